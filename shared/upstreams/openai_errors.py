"""What OpenAI's errors mean for Rowlift: tables from status, error code and exception to class and code of ours.

Nothing is decided by the wording of a message; only a wait is read from it where no header says one.
A 400 concerns the row if it names the input or a policy, and the configuration if it names any other parameter:
that one would be refused for every row alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import orjson

from shared.text import shortened
from shared.upstreams.base import ErrorClass, Failure, RateLimits
from shared.upstreams.verdicts import Verdict, by_exception, number, retry_after, whole

_T, _P, _S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC

RATE_LIMITED: Final = Verdict(_T, "upstream.rate_limited", "OpenAI's rate limit is reached; the item is tried again")
QUOTA: Final = Verdict(
    _S, "upstream.quota_exhausted", "The OpenAI account has no credit left; add credit or raise its limit, then resume"
)
BAD_KEY: Final = Verdict(
    _S, "upstream.bad_key", "OpenAI does not accept the key; set a valid OPENAI_API_KEY, then resume", quoted=False
)
FORBIDDEN: Final = Verdict(
    _S, "upstream.forbidden", "OpenAI forbids this account, project or region the request; mend that, then resume"
)
NO_MODEL: Final = Verdict(
    _S, "upstream.model_not_found", "The account has no such model; set OPENAI_MODEL to one it has, then resume"
)
BAD_CONFIGURATION: Final = Verdict(
    _S,
    "upstream.bad_configuration",
    "OpenAI refuses a setting that every request carries; check OPENAI_MODEL and OPENAI_MAX_OUTPUT_TOKENS, then resume",
)
BAD_ADDRESS: Final = Verdict(
    _S, "upstream.bad_address", "There is no Responses API at that address; check OPENAI_BASE_URL, then resume"
)
SERVER_ERROR: Final = Verdict(_T, "upstream.server_error", "OpenAI had an error of its own; the item is tried again")
CONFLICT: Final = Verdict(_T, "upstream.conflict", "OpenAI could not take the request just then; it is tried again")
CONTENT_POLICY: Final = Verdict(
    _P, "upstream.content_policy", "OpenAI's usage policy rejects this row's text; change artist_name or artist_data"
)
TOO_LONG: Final = Verdict(_P, "upstream.too_long", "This row's text is too long for the model; shorten artist_data")
BAD_INPUT: Final = Verdict(_P, "upstream.rejected", "OpenAI rejects this row's input")
UNREACHABLE: Final = Verdict(
    _T, "upstream.unreachable", "No connection to OpenAI; check the network and OPENAI_BASE_URL if it lasts", sent=False
)
TIMED_OUT: Final = Verdict(_T, "upstream.timeout", "OpenAI did not answer in time; the call may have been charged")
CUT: Final = Verdict(_T, "upstream.cut", "The connection broke before the answer was whole; it may have been charged")
MALFORMED: Final = Verdict(_T, "upstream.malformed", "OpenAI's answer cannot be read; it may have been charged")
LOST: Final = Verdict(
    _T,
    "upstream.response_lost",
    "OpenAI cannot give the answer back; the item is asked for anew, and may be paid twice",
)
ODD_ID: Final = Verdict(
    _S, "upstream.bad_response_id", "What answers has response ids no answer can be fetched by; use call-mode=direct"
)
FAILED: Final = Verdict(_T, "upstream.response_failed", "OpenAI could not finish the answer; the item is tried again")

# Keyed on `error.code` or, where that is null, `error.type`; in a body of status 4xx or a response of status failed.
BY_CODE: Final[Mapping[str, Verdict]] = {
    "rate_limit_exceeded": RATE_LIMITED,
    "slow_down": RATE_LIMITED,
    "insufficient_quota": QUOTA,
    "billing_hard_limit_reached": QUOTA,
    "billing_not_active": QUOTA,
    "invalid_api_key": BAD_KEY,
    "account_deactivated": BAD_KEY,
    "unsupported_country_region_territory": FORBIDDEN,
    "data_residency_mismatch": FORBIDDEN,
    "model_not_found": NO_MODEL,
    "server_error": SERVER_ERROR,
    "server_is_overloaded": SERVER_ERROR,
    "vector_store_timeout": SERVER_ERROR,
    "invalid_prompt": CONTENT_POLICY,
    "bio_policy": CONTENT_POLICY,
    "cyber_policy": CONTENT_POLICY,
    "content_policy_violation": CONTENT_POLICY,
    "image_content_policy_violation": CONTENT_POLICY,
    "context_length_exceeded": TOO_LONG,
    "invalid_image": BAD_INPUT,
    "invalid_image_format": BAD_INPUT,
    "invalid_base64_image": BAD_INPUT,
    "invalid_image_url": BAD_INPUT,
    "image_too_large": BAD_INPUT,
    "image_too_small": BAD_INPUT,
    "image_parse_error": BAD_INPUT,
    "invalid_image_mode": BAD_INPUT,
    "image_file_too_large": BAD_INPUT,
    "unsupported_image_media_type": BAD_INPUT,
    "empty_image_file": BAD_INPUT,
    "failed_to_download_image": BAD_INPUT,
    "image_file_not_found": BAD_INPUT,
}

BY_STATUS: Final[Mapping[int, Verdict]] = {
    400: BAD_INPUT,
    401: BAD_KEY,
    402: QUOTA,
    403: FORBIDDEN,
    404: BAD_ADDRESS,
    408: CONFLICT,
    409: CONFLICT,
    413: TOO_LONG,
    422: BAD_INPUT,
    425: CONFLICT,
    429: RATE_LIMITED,
}

# Exceptions by class name, so that reading the table imports nothing; the nearest ancestor listed decides.
# None: the calls made here cannot raise it.
BY_EXCEPTION: Final[Mapping[str, Verdict | None]] = {
    # openai; an APIStatusError is judged by its status and body instead, an APIConnectionError by its cause
    "OpenAIError": replace(BAD_KEY, sent=False),  # raised as it stands for a missing key only, before all sending
    "APIError": MALFORMED,
    "APIResponseValidationError": MALFORMED,
    "APIStatusError": SERVER_ERROR,
    "BadRequestError": BAD_INPUT,
    "AuthenticationError": BAD_KEY,
    "OAuthError": BAD_KEY,
    "SubjectTokenProviderError": BAD_KEY,
    "PermissionDeniedError": FORBIDDEN,
    "NotFoundError": BAD_ADDRESS,
    "ConflictError": CONFLICT,
    "UnprocessableEntityError": BAD_INPUT,
    "RateLimitError": RATE_LIMITED,
    "InternalServerError": SERVER_ERROR,
    "APIConnectionError": CUT,
    "APITimeoutError": TIMED_OUT,
    "LengthFinishReasonError": None,  # parsing helpers of chat completions
    "ContentFilterFinishReasonError": None,
    "InvalidWebhookSignatureError": None,
    "WebSocketConnectionClosedError": None,
    "WebSocketQueueFullError": None,
    "StreamAlreadyConsumed": None,
    "APIRemovedInV1": None,  # the library's own checks on how it is used
    "MutuallyExclusiveAuthError": None,
    "_AmbiguousModuleClientUsageError": None,
    # httpx2, as the cause of an APIConnectionError
    "ConnectError": UNREACHABLE,
    "ConnectTimeout": UNREACHABLE,
    "PoolTimeout": UNREACHABLE,
    "ProxyError": UNREACHABLE,
    "TimeoutException": TIMED_OUT,
    "RequestError": CUT,
    "DecodingError": MALFORMED,
    "TooManyRedirects": BAD_ADDRESS,
    "UnsupportedProtocol": replace(BAD_ADDRESS, sent=False),
    "InvalidURL": replace(BAD_ADDRESS, sent=False),
    "LocalProtocolError": replace(BAD_CONFIGURATION, sent=False),
    "SSLError": CUT,
    "EndOfStream": CUT,
}

_DURATION: Final = r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+"
_AGAIN_IN: Final = re.compile(rf"try again in ({_DURATION})", re.IGNORECASE)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECRET: Final = re.compile(r"\b(?:sk|sess|rk)-[\w*.\-]+|Bearer\s+\S+", re.IGNORECASE)


def failure_of(error: Exception) -> Failure | None:
    """What an exception means; None if no table knows it, and then it is to be raised on."""
    response = getattr(error, "response", None)
    if response is not None and getattr(error, "status_code", 0) >= 300:
        return failure_of_status(response.status_code, response.headers, response.content)
    verdict = _by_exception(error.__cause__) or _by_exception(error)
    return None if verdict is None else failure(verdict, call_state="unknown" if verdict.sent else "failed")


def failure_of_look(error: Exception, response_id: str) -> Failure | None:
    """The same of a look at a response under way: the call itself stays unknown, and its answer there to be fetched.

    Unless OpenAI says that it does not know the response, as it does with 404, or with 400 where the id is not one of
    its own. A 404 of anybody else, of a proxy say, is about the address.
    """
    response = getattr(error, "response", None)
    if response is not None and response.status_code in (400, 404):
        said = _error_member(response.content)
        if said and by_code(said) is None:
            return failure(LOST, call_state="unknown", request_id=response.headers.get("x-request-id"))
    found = failure_of(error)
    return None if found is None else replace(found, call_state="unknown", response_id=response_id)


def failure_of_status(status: int, headers: Mapping[str, str], content: bytes) -> Failure:
    """What a reply with a status other than 200 means."""
    error = _error_member(content)
    verdict = judge(status, error)
    message = error.get("message")
    said = message if isinstance(message, str) else f"status {status}"
    param = error.get("param")
    return failure(
        verdict,
        said=f"{said} (parameter {param})" if verdict is BAD_CONFIGURATION and param else said,
        retry_after=wait(headers, error, limited=verdict is RATE_LIMITED) if verdict.kind is _T else None,
        limits=limits(headers),
        request_id=headers.get("x-request-id"),
    )


def judge(status: int, error: Mapping[str, Any]) -> Verdict:
    """The line of the tables for a status and the `error` member of its body, empty if it had none."""
    if status >= 500:
        return SERVER_ERROR
    if status in (401, 403):
        return BY_STATUS[status]
    known = by_code(error)
    if known is not None:
        return known
    param = error.get("param")
    if status in (400, 422) and isinstance(param, str) and param:
        return BAD_INPUT if re.match(r"input\b", param) else BAD_CONFIGURATION
    return BY_STATUS.get(status, BAD_ADDRESS)


def by_code(error: Mapping[str, Any]) -> Verdict | None:
    """The line for an error's code or else its type; types name the kind of limit too, which codes do not."""
    for name in (error.get("code"), error.get("type")):
        if isinstance(name, str) and name in BY_CODE:
            return BY_CODE[name]
    return None


def failure(
    verdict: Verdict,
    *,
    said: str | None = None,
    call_state: Literal["failed", "unknown"] = "failed",
    retry_after: float | None = None,
    limits: RateLimits | None = None,
    request_id: str | None = None,
) -> Failure:
    """A failure from a line of a table, with what OpenAI said about it, keys blotted out."""
    message = verdict.advice
    if said and verdict.quoted:
        message = f"{message}. OpenAI: {_SECRET.sub('[key]', ' '.join(said.split()))}"
    return Failure(
        kind=verdict.kind,
        code=verdict.code,
        message=shortened(message),
        retry_after=retry_after,
        call_state=call_state,
        limits=limits,
        request_id=request_id,
    )


def limits(headers: Mapping[str, str]) -> RateLimits | None:
    """What the account may ask per minute, if the headers say anything about it."""
    requests, tokens = (
        whole(headers.get("x-ratelimit-limit-requests")),
        whole(headers.get("x-ratelimit-limit-tokens")),
    )
    return None if requests is None and tokens is None else RateLimits(requests=requests, tokens=tokens)


def wait(headers: Mapping[str, str], error: Mapping[str, Any], *, limited: bool) -> float | None:
    """The seconds OpenAI asks to wait, None if it does not say; state and text of the limits count if `limited`."""
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    seconds = retry_after(headers)
    if seconds is not None:
        return seconds
    if not limited:
        return None
    reset = _reset(headers, error.get("type"))
    if reset is not None:
        return reset
    message = error.get("message")
    found = _AGAIN_IN.search(message) if isinstance(message, str) else None
    return duration(found[1]) if found else None


def duration(text: str) -> float | None:
    """Seconds in a duration as OpenAI writes them: '6ms', '8.64s', '20m52.666s'."""
    if re.fullmatch(_DURATION, text.strip()) is None:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def _reset(headers: Mapping[str, str], exhausted: object) -> float | None:
    """The time until the exhausted limit is fresh; without a word which one it is, the longer of those used up."""
    resets = {}
    for name in ("requests", "tokens"):
        seconds = duration(headers.get(f"x-ratelimit-reset-{name}", ""))
        if seconds is not None:
            resets[name] = seconds
    if isinstance(exhausted, str) and exhausted in resets:
        return resets[exhausted]
    used_up = [seconds for name, seconds in resets.items() if headers.get(f"x-ratelimit-remaining-{name}") == "0"]
    return max(used_up or resets.values(), default=None)


def _by_exception(error: BaseException | None) -> Verdict | None:
    return by_exception(error, BY_EXCEPTION)


def _error_member(content: bytes) -> Mapping[str, Any]:
    """The `error` object of a body; empty for HTML and whatever else edges send."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}
