"""OpenAI's Responses API: one prompt in, one answer or failure out.

A request has the library's address, authentication and headers, and fails with the library's errors. It is put
together, sent and read here: a call costs 0.31 ms of CPU so and 0.52 ms by the library's bare `post` (8 threads, local
server), which its models would double. Nothing tries again by itself: each try passes admission and has its own row in
`calls`.

`call` waits for the answer. `begin` hears the response's id at once, and `fetch` asks for the answer by that id:
whoever kept the id need not pay for the answer again. A fetched answer costs a request and several looks, several
times the CPU.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import orjson

from shared.prompts import Rendered
from shared.text import clean, shortened
from shared.upstreams import openai_errors as errors
from shared.upstreams.base import ErrorClass, Failure, RateLimits, TextAnswer, Usage
from shared.upstreams.prices import undated
from shared.upstreams.verdicts import Verdict

if TYPE_CHECKING:
    import httpx2
    import openai

# The cheapest model that reasons and knows artists up to May 2026 (prices.json says what it costs).
DEFAULT_MODEL: Final = "gpt-6-luna"
# A bio of 180 words is about 260 tokens, more in other scripts' names; the rest is room for low-effort reasoning.
DEFAULT_MAX_OUTPUT_TOKENS: Final = 1200
DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
CONNECT_SECONDS: Final = 5.0
# Seconds between two looks at a response under way: an answer of 2 to 5 s takes 5.6 of them and is heard of 0.9 s
# late, one of 5 to 20 s takes 10 and 1 s (means).
FIRST_PAUSE, PAUSE_GROWTH, LONGEST_PAUSE = 0.25, 1.5, 2.0
LOOK_SECONDS: Final = 5.0  # for one of them; it only reads, so one that hangs is made again
# Role markers and the like around two messages; the real figure is about 12.
OVERHEAD_TOKENS: Final = 32

# Models that take reasoning effort "low"; their default, medium, spends several times the bio on it.
_LOW_EFFORT: Final = frozenset((
    "gpt-6-luna", "gpt-6-sol", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-5.6-luna", "gpt-5.6-terra", "gpt-5.6-sol",
    "gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano", "gpt-5.2", "gpt-5.1", "gpt-5", "gpt-5-mini", "gpt-5-nano",
))  # fmt: skip

_T, _P = ErrorClass.TRANSIENT, ErrorClass.PERMANENT
_REFUSED: Final = Verdict(_P, "upstream.refused", "The model refuses to write about this row")
_INCOMPLETE: Final = Verdict(
    _P, "upstream.incomplete", "The answer was cut off at its limit; raise OPENAI_MAX_OUTPUT_TOKENS and reprocess"
)
_FILTERED: Final = Verdict(_P, "upstream.content_filter", "OpenAI's content filter stopped the answer to this row")
_EMPTY: Final = Verdict(_T, "upstream.empty_answer", "The answer holds no text; the item is tried again")
_UNFINISHED: Final = Verdict(
    _T, "upstream.unfinished", "OpenAI's answer was not ready in time; it may yet come, and the item is tried again"
)

_RESPONSE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")  # what may stand in a path


def worst_case_tokens(prompt_text: str) -> int:
    """No fewer tokens than this text can be as input: a token is at least one byte of UTF-8."""
    return len(prompt_text.encode("utf-8", "replace")) + OVERHEAD_TOKENS


class OpenAIUpstream:
    """Calls one model with one prompt; shared by threads, and after a fork each process makes its own client."""

    name: Final = "openai"

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        model: str = DEFAULT_MODEL,
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        request_timeout: float,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        # Loaded here and not in the first calls: those would leave late and all at once (50 in a quarter second of 20).
        import openai  # noqa: F401

        import shared.upstreams.connections  # noqa: F401

        self.model = model
        self.max_output_tokens = max_output_tokens
        self.request_timeout = request_timeout
        self._api_key = api_key
        self._base_url = base_url
        self._transport = transport  # for tests; else connections of our own
        self._constant: dict[str, Any] = {"model": model, "max_output_tokens": max_output_tokens, "store": False}
        if undated(model) in _LOW_EFFORT:
            self._constant["reasoning"] = {"effort": "low"}
        self._lock = threading.Lock()
        self._wires: dict[int, _Wire] = {}

    def worst_case(self, rendered: Rendered) -> Usage:
        """The most one call can use: what admission reserves of tokens and money."""
        tokens = worst_case_tokens(rendered.text)
        return Usage(input_tokens=tokens, output_tokens=self.max_output_tokens, cache_write_tokens=tokens)

    def call(self, rendered: Rendered, *, timeout: float | None = None) -> TextAnswer | Failure:
        """One request and its outcome within `timeout` seconds (the request timeout if none is given)."""
        return self._ask(rendered, timeout or self.request_timeout)

    def begin(self, rendered: Rendered, *, timeout: float) -> str | TextAnswer | Failure:
        """The id of the response OpenAI has begun, for `fetch`; or the outcome, where that came at once.

        Such a response is stored at OpenAI, for 30 days; unstored it would be gone after some ten minutes.
        """
        outcome = self._ask(rendered, timeout, background=True, store=True)
        if not isinstance(outcome, Failure) or outcome.code != _UNFINISHED.code:
            return outcome
        if outcome.response_id is None or not _RESPONSE_ID.fullmatch(outcome.response_id):
            return errors.failure(errors.ODD_ID, call_state="unknown", request_id=outcome.request_id)
        return outcome.response_id

    def fetch(self, response_id: str, *, timeout: float) -> TextAnswer | Failure:
        """The outcome of a response begun earlier, looked for until it is known or `timeout` seconds are over.

        A failure with call_state 'unknown' and the response's id says nothing about the call: fetch it again later.
        With call_state 'unknown' and no id (`upstream.response_lost`) it says that nobody can: ask anew.
        """
        if not _RESPONSE_ID.fullmatch(response_id):
            return errors.failure(errors.LOST, call_state="unknown")
        end = time.monotonic() + timeout
        last = end - min(LOOK_SECONDS, timeout / 2)  # the last look leaves while there is time to hear of it
        pause, asked = FIRST_PAUSE, 0.0
        while True:
            time.sleep(max(0.0, min(max(pause, asked), last - time.monotonic())))
            outcome = self._look(response_id, min(LOOK_SECONDS, end - time.monotonic()))
            if not _may_yet_come(outcome):
                return outcome
            asked = outcome.retry_after or 0.0
            if time.monotonic() + asked >= last:
                return _unfinished(outcome)
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)

    def close(self) -> None:
        """Close this process's connections."""
        wire = self._wires.pop(os.getpid(), None)
        if wire is not None:
            wire.transport.close()

    def _ask(self, rendered: Rendered, timeout: float, **mode: bool) -> TextAnswer | Failure:
        wanted = {**self._constant, **mode, "instructions": rendered.instructions, "input": rendered.input}
        try:
            response = self._send(min(timeout, self.request_timeout), body=orjson.dumps(wanted))
        except Exception as error:
            failure = errors.failure_of(error)
            if failure is None:
                raise
            return failure
        return read(response.content, response.headers)

    def _look(self, response_id: str, seconds: float) -> TextAnswer | Failure:
        """What one look at a response under way tells."""
        try:
            response = self._send(seconds, response_id=response_id)
        except Exception as error:
            failure = errors.failure_of_look(error, response_id)
            if failure is None:
                raise
            return failure
        return replace(read(response.content, response.headers), response_id=response_id)

    def _send(self, seconds: float, *, body: bytes | None = None, response_id: str = "") -> httpx2.Response:
        """The reply to a new request, or to a look at a response; raises the library's errors."""
        import httpx2
        import openai

        wire = self._wire()
        request = httpx2.Request(
            "GET" if response_id else "POST",
            f"{wire.responses}/{response_id}" if response_id else wire.responses,
            headers=wire.headers,
            content=body,
            extensions={"timeout": httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)).as_dict()},
        )
        try:
            response = wire.transport.handle_request(request)
            try:
                response.read()
            finally:
                response.close()
        except httpx2.TimeoutException as error:
            raise openai.APITimeoutError(request=request) from error
        except httpx2.RequestError as error:
            raise openai.APIConnectionError(request=request) from error
        if response.is_success:
            return response
        response.request = request
        raise wire.library._make_status_error_from_response(response)

    def _wire(self) -> _Wire:
        """This process's way to OpenAI; the first call makes it."""
        wire = self._wires.get(os.getpid())
        if wire is None:
            with self._lock:
                wire = self._wires.get(os.getpid()) or self._make_wire()
                # Whatever was inherited through a fork belongs to the parent.
                self._wires = {os.getpid(): wire}
        return wire

    def _make_wire(self) -> _Wire:
        import httpx2
        import openai

        from shared.upstreams.connections import transport_to

        if not self._api_key or not self._api_key.isascii() or any(c.isspace() for c in self._api_key):
            # Sent as it is it would fail as a header, with the key in the error's text.
            raise openai.OpenAIError("the key is empty or holds blanks or letters that are not ASCII")
        transport = self._transport or transport_to(httpx2.URL(self._base_url))
        library = openai.OpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=self.request_timeout,
            http_client=httpx2.Client(transport=transport),
        )
        headers = {**library.default_headers, **library.auth_headers}
        return _Wire(
            library=library,
            transport=transport,
            responses=library.base_url.join("responses"),
            headers=httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)}),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wire:
    """What requests are made of: the library's address and headers, and a transport."""

    library: openai.OpenAI
    transport: httpx2.BaseTransport
    responses: httpx2.URL
    headers: httpx2.Headers


def _may_yet_come(outcome: TextAnswer | Failure) -> TypeGuard[Failure]:
    """Whether another look may tell more."""
    return (
        isinstance(outcome, Failure)
        and outcome.kind is _T
        and outcome.call_state == "unknown"
        and outcome.response_id is not None
    )


def _unfinished(outcome: Failure) -> Failure:
    """What the last look told, for whoever has no time for another."""
    if outcome.code == _UNFINISHED.code:
        return outcome
    return replace(outcome, code=_UNFINISHED.code, message=shortened(f"{_UNFINISHED.advice}: {outcome.message}"))


def read(content: bytes, headers: Mapping[str, str]) -> TextAnswer | Failure:
    """The outcome that a reply with status 200 holds."""
    limits, request_id = errors.limits(headers), headers.get("x-request-id")
    try:
        return _read(_decoded(content), limits, request_id)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return errors.failure(errors.MALFORMED, call_state="unknown", limits=limits, request_id=request_id)


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # Models do write lone surrogates, which orjson refuses and the standard library takes.
        return json.loads(content)


def _read(body: Any, limits: RateLimits | None, request_id: str | None) -> TextAnswer | Failure:
    usage = _usage(body.get("usage"))

    def failed(verdict: Verdict, said: object = None) -> Failure:
        plain = errors.failure(verdict, said=said if isinstance(said, str) else None)
        return Failure(
            kind=plain.kind, code=plain.code, message=plain.message, usage=usage,
            response_id=_text_or_none(body.get("id")), model=_text_or_none(body.get("model")),
            limits=limits, request_id=request_id,
        )  # fmt: skip

    match body["status"]:
        case "completed":
            pass
        case "incomplete":
            reason = (body.get("incomplete_details") or {}).get("reason")
            return failed(_FILTERED if reason == "content_filter" else _INCOMPLETE, f"reason {reason}")
        case "failed":
            error = body.get("error") or {}
            return failed(errors.by_code(error) or errors.FAILED, error.get("message"))
        case "queued" | "in_progress" as status:  # it may be finished, and charged, after all
            return replace(failed(_UNFINISHED, f"status {status}"), call_state="unknown")
        case status:  # cancelled, say
            return failed(errors.FAILED, f"status {status}")
    text, refusal = _message(body["output"])
    if refusal is not None:
        return failed(_REFUSED, refusal)
    if not text:
        return failed(_EMPTY)
    return TextAnswer(
        text=text,
        response_id=str(body["id"]),
        created=datetime.fromtimestamp(body["created_at"], UTC),
        model=str(body["model"]),
        usage=usage or Usage(),
        limits=limits,
        request_id=request_id,
    )


def _message(output: Any) -> tuple[str, str | None]:
    """All text of all messages, and the first refusal; reasoning and tool calls often stand before them."""
    texts: list[str] = []
    for item in output:
        if item["type"] != "message":
            continue
        for part in item["content"]:
            if part["type"] == "refusal":
                return "", str(part.get("refusal"))
            if part["type"] == "output_text":
                texts.append(part["text"])
    return clean("".join(texts)).strip(), None


def _usage(usage: Any) -> Usage | None:
    """Token counts; the details are absent from some answers."""
    if not usage:
        return None
    details = usage.get("input_tokens_details") or {}
    return Usage(
        input_tokens=int(usage["input_tokens"]),
        output_tokens=int(usage["output_tokens"]),
        cached_tokens=int(details.get("cached_tokens") or 0),
        cache_write_tokens=int(details.get("cache_write_tokens") or 0),
    )


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
