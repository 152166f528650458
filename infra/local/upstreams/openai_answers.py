"""What the simulated OpenAI answers: bodies in the shapes of the real service, good and bad.

The shapes follow the recorded answers and the OpenAPI document; `tests/conformance` holds
them to it. Everything that does not change from answer to answer is encoded once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import orjson

from infra.local.upstreams.http_server import Reply

# Every misbehaviour there is, and what the client sees.
FAULTS: Final = {
    "429": "rate limited, with Retry-After",
    "429_bare": "rate limited, the wait only in the text",
    "quota": "429 insufficient_quota",
    "500": "server error as JSON",
    "503": "an HTML page from the edge",
    "slow": "a good answer, late",
    "hang": "no answer at all",
    "cut": "the connection closes in the middle of the body",
    "malformed": "200 and a body that is not JSON",
    "refusal": "200 with a refusal part",
    "incomplete": "200, status incomplete: max_output_tokens",
    "content_filter": "200, status incomplete: content_filter",
    "failed": "200, status failed: server_error",
    "empty": "200 without any text",
    "surrogates": "a good answer with a lone surrogate and a NUL in its text",
    "policy": "400 invalid_prompt",
    "bad_parameter": "400 unsupported_parameter",
    "forbidden": "403, a country that is not served",
}

# What a look at a response in the background can meet; 404 is a response the service does not know.
FAULTS_OF_FETCHING: Final = ("404", "429", "429_bare", "500", "503", "hang", "cut", "malformed")

_PARAMETERS: Final = frozenset((
    "background", "context_management", "conversation", "include", "input", "instructions", "max_output_tokens",
    "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls", "previous_response_id", "prompt",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools",
    "top_logprobs", "top_p", "truncation", "user",
))  # fmt: skip
_MODELS: Final = ("gpt-", "o1", "o3", "o4", "chatgpt-", "ft:")
# An undated name is answered with its snapshot, as the real service does for these.
_SNAPSHOTS: Final = {
    "gpt-5": "gpt-5-2025-08-07", "gpt-5-mini": "gpt-5-mini-2025-08-07", "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14", "gpt-5.4-mini": "gpt-5.4-mini-2026-03-17",
}  # fmt: skip

_BIO: Final = (
    "[SIMULATED] This biography of {name} was written by Rowlift's simulated OpenAI and says nothing true about "
    "anybody. {name} is treated here as an artist whose work is described in the style a real answer would have: "
    "origins first, then the sound, then the records that matter, then how it all was received. The first recordings "
    "appeared in the year {year} of this simulation and drew attention for their {trait}. Over {count} releases the "
    "approach grew broader, taking in {other}, without losing what listeners had first noticed. Critics who do not "
    "exist praised the restraint of the arrangements. No awards were won, since none are given here. The text is as "
    "long as a real one so that storage, results and costs behave as they would, and it is the same whenever the "
    "same artist is asked for, so that two runs can be compared. To see real biographies, set a real key and run again."
)
_TRAITS: Final = (
    "patience",
    "plain melodies",
    "dense rhythm",
    "dry humour",
    "long silences",
    "bright brass",
    "odd metres",
)


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as the real service words it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _invalid(message: str, *, param: str | None = None, code: str | None = None) -> tuple[int, dict[str, Any]]:
    return 400, error_body(message, "invalid_request_error", param=param, code=code)


def validate_key(authorization: bytes, *, key_ok: bool) -> tuple[int, dict[str, Any]] | None:
    """Status and body of the refusal a bad key meets; nothing if it is good."""
    scheme, _, key = authorization.decode("latin-1").partition(" ")
    if scheme != "Bearer" or not key:
        return 401, error_body("You didn't provide an API key.", "invalid_request_error")
    if not key_ok or not key.startswith("sk-") or "wrong" in key:
        shown = f"{key[:3]}****{key[-4:]}"
        message = f"Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys."
        return 401, error_body(message, "invalid_request_error", code="invalid_api_key")
    return None


def validate(wanted: Any) -> tuple[int, dict[str, Any]] | None:
    """The same for a bad request."""
    if not isinstance(wanted, dict):
        return _invalid("We could not parse the JSON body of your request.")
    for name in wanted.keys() - _PARAMETERS:
        return _invalid(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    model = wanted.get("model")
    if not isinstance(model, str):
        return _invalid("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    if not model.startswith(_MODELS):
        return _invalid(f"The requested model '{model}' does not exist.", param="model", code="model_not_found")
    return _invalid_value(wanted)


def _invalid_value(wanted: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    most = wanted.get("max_output_tokens")
    if most is not None and (not isinstance(most, int) or most < 16):
        message = "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16."
        return _invalid(message, param="max_output_tokens", code="integer_below_min_value")
    if not isinstance(wanted.get("input"), str | list):
        return _invalid("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if wanted.get("background") and not wanted.get("store", True):
        return _invalid("Background mode requires 'store' to be true.", param="store", code="invalid_value")
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One response of the service; small, for thousands are kept, and encoded when it is asked for."""

    id: str
    name: str
    digest: str
    fault: str | None
    created: int
    read: int  # input tokens
    most: int  # output tokens
    echo: bytes  # the members that echo the request; shared by those of one configuration

    def encode(self, under_way: str | None = None) -> bytes:
        """The body at the end, or with the status it is under way in."""
        if under_way is not None:
            return self._body(under_way.encode(), b"null", b"null", b"", b"null")
        fault = self.fault
        text = bio(self.name or self.digest, int(self.digest[:8], 16))
        if fault == "surrogates":
            text += " \x00"
        quoted = orjson.dumps(text)
        if fault == "surrogates":
            quoted = quoted[:-1] + b'\\ud83d"'
        content = b'{"type":"output_text","annotations":[],"logprobs":[],"text":%s}' % quoted
        status, error, details = b"completed", b"null", b"null"
        if fault == "refusal":
            content = b'{"type":"refusal","refusal":"[SIMULATED] I can\'t help with that."}'
        elif fault in ("incomplete", "content_filter"):
            status = b"incomplete"
            details = b'{"reason":"%s"}' % (b"content_filter" if fault == "content_filter" else b"max_output_tokens")
        elif fault == "failed":
            status, error = b"failed", b'{"code":"server_error","message":"The model failed to generate a response."}'
        thinks = self.digest[0] in "01234"  # about a third, as in the recordings
        thought = 64 if thinks else 0
        written = self.most if fault == "incomplete" else len(text) // 4 + thought
        usage = (
            b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":%d,'
            b'"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
        ) % (self.read, written, thought, self.read + written)
        return self._body(status, error, details, _output(self.digest, content, thinks, fault), usage)

    def _body(self, status: bytes, error: bytes, details: bytes, output: bytes, usage: bytes) -> bytes:
        return (
            b'{"id":"%s","object":"response","created_at":%d,"status":"%s","error":%s,"incomplete_details":%s,'
            b'"output":[%s],"usage":%s,%s'
        ) % (self.id.encode(), self.created, status, error, details, output, usage, self.echo)


class Bodies:
    """Makes responses; remembers the encoded parts that are the same for every request of one configuration."""

    def __init__(self) -> None:
        self._tails: dict[tuple[Any, ...], bytes] = {}
        self._made = 0

    def response(self, wanted: dict[str, Any], name: str, digest: str, fault: str | None) -> Response:
        """The response to a valid request: a good one, or one that ends as the fault says."""
        self._made += 1
        return Response(
            id=f"resp_sim{digest}{self._made:08x}", name=name, digest=digest, fault=fault, created=int(time.time()),
            read=len(wanted["input"]) // 4 + len(wanted.get("instructions") or "") // 4 + 8,
            most=wanted.get("max_output_tokens") or 4096, echo=self._tail(wanted),
        )  # fmt: skip

    def _tail(self, wanted: dict[str, Any]) -> bytes:
        """The members that echo the request, encoded once for each configuration."""
        model, instructions, most = wanted["model"], wanted.get("instructions"), wanted.get("max_output_tokens")
        store, reasoning = bool(wanted.get("store", True)), wanted.get("reasoning")
        background = bool(wanted.get("background"))
        key = (model, instructions, most, store, background, str(reasoning))
        tail = self._tails.get(key)
        if tail is None:
            if len(self._tails) > 100:
                self._tails.clear()
            echoed = {
                "background": background, "instructions": instructions, "max_output_tokens": most,
                "max_tool_calls": None, "model": _SNAPSHOTS.get(model, model), "parallel_tool_calls": True,
                "previous_response_id": None,
                "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None, **(reasoning or {})},
                "safety_identifier": None, "service_tier": "default", "store": store, "temperature": 1.0,
                "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [],
                "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None, "metadata": {},
            }  # fmt: skip
            tail = self._tails[key] = orjson.dumps(echoed)[1:]
        return tail


def _output(digest: str, content: bytes, thinks: bool, fault: str | None) -> bytes:
    """The output items: a message, often with a reasoning item before it; without either where the fault says so."""
    if fault in ("failed", "empty"):
        return b""
    reasoning = b'{"id":"rs_sim%s","type":"reasoning","summary":[]}' % digest.encode()
    if fault == "incomplete":
        return reasoning
    message = b'{"id":"msg_sim%s","type":"message","status":"completed","role":"assistant","content":[%s]}' % (
        digest.encode(), content,
    )  # fmt: skip
    return reasoning + b"," + message if thinks else message


def bio(name: str, number: int) -> str:
    """The text for one artist; the same for the same name and number."""
    return _BIO.format(
        name=name.replace("\n", " ")[:200], year=1950 + number % 70, count=2 + number % 17,
        trait=_TRAITS[number % 7], other=_TRAITS[(number + 3) % 7],
    )  # fmt: skip


_ERRORS: Final = frozenset(("429", "429_bare", "quota", "500", "503", "policy", "bad_parameter", "forbidden"))


def misbehaved(fault: str | None, model: str, headers: bytes, retry_after: int) -> Reply | None:
    """The reply that holds no response, where the fault makes it so."""
    if fault == "malformed":
        return Reply(200, b'{"id": "resp_sim", "output": [', headers)
    return _error(fault, model, headers, retry_after) if fault in _ERRORS else None


def _error(fault: str, model: str, headers: bytes, retry_after: int) -> Reply:
    """The reply that a fault with a status other than 200 is."""
    if fault in ("429", "429_bare"):
        told = headers + b"retry-after: %d\r\n" % retry_after if fault == "429" else b""
        message = (
            f"Rate limit reached for {model} in organization org-simulated on requests per min (RPM): Limit 500, "
            f"Used 500, Requested 1. Please try again in {retry_after}.12s. "
            "Visit https://platform.openai.com/account/rate-limits to learn more."
        )
        return Reply(429, orjson.dumps(error_body(message, "requests", code="rate_limit_exceeded")), told)
    if fault == "quota":
        message = "You exceeded your current quota, please check your plan and billing details."
        return Reply(429, orjson.dumps(error_body(message, "insufficient_quota", code="insufficient_quota")), headers)
    if fault == "503":
        page = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>"
        return Reply(503, page, headers, b"text/html")
    if fault == "policy":
        message = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
        return Reply(400, orjson.dumps(_invalid(message, code="invalid_prompt")[1]), headers)
    if fault == "bad_parameter":
        message = "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        return Reply(
            400, orjson.dumps(_invalid(message, param="reasoning.effort", code="unsupported_parameter")[1]), headers
        )
    if fault == "forbidden":
        message = "Country, region, or territory not supported"
        return Reply(
            403,
            orjson.dumps(error_body(message, "request_forbidden", code="unsupported_country_region_territory")),
            headers,
        )
    message = "The server had an error processing your request. Sorry about that! You can retry your request."
    return Reply(500, orjson.dumps(error_body(message, "server_error")), headers)
