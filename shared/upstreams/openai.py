"""OpenAI's Responses API: one prompt in, one answer or failure out.

The library sends the request, so its authentication and errors hold; the JSON is encoded and read here, because its
models double the cost of a call (1.8 ms of CPU against 0.9 ms, 32 threads, local server). It never tries again by
itself: each try passes admission and has its own row in `calls`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from shared.prompts import Rendered
from shared.text import clean
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
_UNFINISHED: Final = Verdict(_T, "upstream.unfinished", "OpenAI answered before the text was ready; tried again")


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
        self._clients: dict[int, openai.OpenAI] = {}

    def worst_case(self, rendered: Rendered) -> Usage:
        """The most one call can use: what admission reserves of tokens and money."""
        tokens = worst_case_tokens(rendered.text)
        return Usage(input_tokens=tokens, output_tokens=self.max_output_tokens, cache_write_tokens=tokens)

    def call(self, rendered: Rendered, *, timeout: float | None = None) -> TextAnswer | Failure:
        """One request and its outcome within `timeout` seconds (the request timeout if none is given)."""
        seconds = min(timeout or self.request_timeout, self.request_timeout)
        body = orjson.dumps({**self._constant, "instructions": rendered.instructions, "input": rendered.input})
        try:
            response = self._send(body, seconds)
        except Exception as error:
            failure = errors.failure_of(error)
            if failure is None:
                raise
            return failure
        return read(response.content, response.headers)

    def close(self) -> None:
        """Close this process's connections."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def _send(self, body: bytes, seconds: float) -> httpx2.Response:
        import httpx2

        return self._client().post(
            "/responses",
            cast_to=httpx2.Response,
            content=body,
            options={
                "headers": {"Content-Type": "application/json"},
                "timeout": httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            },
        )

    def _client(self) -> openai.OpenAI:
        """This process's client; the first call makes it, about a second of imports included."""
        client = self._clients.get(os.getpid())
        if client is None:
            with self._lock:
                client = self._clients.get(os.getpid()) or self._make_client()
                # Whatever was inherited through a fork belongs to the parent.
                self._clients = {os.getpid(): client}
        return client

    def _make_client(self) -> openai.OpenAI:
        import httpx2
        import openai

        from shared.upstreams.connections import transport_to

        if not self._api_key or not self._api_key.isascii() or any(c.isspace() for c in self._api_key):
            # Sent as it is it would fail as a header, with the key in the error's text.
            raise openai.OpenAIError("the key is empty or holds blanks or letters that are not ASCII")
        return openai.OpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=self.request_timeout,
            http_client=httpx2.Client(transport=self._transport or transport_to(httpx2.URL(self._base_url))),
        )


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
        case status:
            return failed(_UNFINISHED, f"status {status}")
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
