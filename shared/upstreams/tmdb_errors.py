"""What TMDB's errors mean for Rowlift: tables from its own status codes, the HTTP status and exceptions.

TMDB's code decides where the tables have it, else the HTTP status; 401 and 403 concern the account whatever the code.
Nothing is decided by the wording of a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import orjson

from shared.text import shortened
from shared.upstreams.base import ErrorClass, Failure, RateLimits
from shared.upstreams.verdicts import Verdict, by_exception, retry_after, whole

_T, _P, _S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC
_DAY: Final = 86_400.0
_LEGACY_PERIOD: Final = 10.0  # X-RateLimit-Limit comes only with the limit of before 2019: so many in ten seconds

BAD_TOKEN: Final = Verdict(
    _S, "upstream.bad_key", "TMDB does not accept the token; set a valid TMDB_API_TOKEN, then resume", quoted=False
)
UNSENDABLE: Final = replace(
    BAD_TOKEN, advice="TMDB_API_TOKEN is empty or holds blanks or letters beyond ASCII; mend it, then resume"
)
FORBIDDEN: Final = Verdict(
    _S,
    "upstream.forbidden",
    "TMDB forbids this account or network the request; check the account of TMDB_API_TOKEN, then resume",
    quoted=False,
)
BAD_ADDRESS: Final = Verdict(
    _S, "upstream.bad_address", "There is no TMDB API at that address; check TMDB_BASE_URL, then resume"
)
BAD_REQUEST: Final = Verdict(
    _S, "upstream.bad_configuration", "The request cannot be sent as it is; check TMDB_API_TOKEN and TMDB_BASE_URL"
)
NOT_FOUND: Final = Verdict(_P, "upstream.not_found", "TMDB has no film of that id")
REJECTED: Final = Verdict(_P, "upstream.rejected", "TMDB rejects this row's request")
RATE_LIMITED: Final = Verdict(_T, "upstream.rate_limited", "TMDB's rate limit is reached; the item is tried again")
SERVER_ERROR: Final = Verdict(_T, "upstream.server_error", "TMDB had an error of its own; the item is tried again")
CONFLICT: Final = Verdict(_T, "upstream.conflict", "TMDB could not take the request just then; it is tried again")
UNREACHABLE: Final = Verdict(
    _T, "upstream.unreachable", "No connection to TMDB; check the network and TMDB_BASE_URL if it lasts"
)
TIMED_OUT: Final = Verdict(_T, "upstream.timeout", "TMDB did not answer in time; the item is tried again")
CUT: Final = Verdict(_T, "upstream.cut", "The connection to TMDB broke before the answer was whole; it is tried again")
MALFORMED: Final = Verdict(_T, "upstream.malformed", "TMDB's answer is not what was asked for; it is tried again")

# Keyed on `status_code` of the body, TMDB's own number.
BY_CODE: Final[Mapping[int, Verdict]] = {
    3: BAD_TOKEN,  # no permission for the service
    6: NOT_FOUND,  # the id is invalid or not found
    7: BAD_TOKEN,  # invalid key
    9: SERVER_ERROR,  # service offline
    10: BAD_TOKEN,  # suspended key
    11: SERVER_ERROR,
    14: BAD_TOKEN,  # authentication failed
    24: SERVER_ERROR,  # backend timed out
    25: RATE_LIMITED,
    31: BAD_TOKEN,  # account disabled
    32: BAD_TOKEN,  # e-mail address not verified
    34: NOT_FOUND,
    35: BAD_TOKEN,  # invalid token
    43: SERVER_ERROR,  # backend not reached
    44: NOT_FOUND,  # the id is invalid; comes with status 500
    45: FORBIDDEN,  # suspended user
    46: SERVER_ERROR,  # maintenance
}

# Statuses of 500 and more are SERVER_ERROR, others REJECTED. A 404 without a code of TMDB's is somebody else's.
BY_STATUS: Final[Mapping[int, Verdict]] = {
    401: BAD_TOKEN,
    403: FORBIDDEN,
    404: BAD_ADDRESS,
    408: CONFLICT,
    409: CONFLICT,
    425: CONFLICT,
    429: RATE_LIMITED,
}

# Exceptions of httpx2 and ssl by class name; the nearest ancestor listed decides.
BY_EXCEPTION: Final[Mapping[str, Verdict]] = {
    "ConnectError": UNREACHABLE,
    "ConnectTimeout": UNREACHABLE,
    "PoolTimeout": UNREACHABLE,
    "ProxyError": UNREACHABLE,
    "TimeoutException": TIMED_OUT,
    "RequestError": CUT,
    "DecodingError": MALFORMED,
    "TooManyRedirects": BAD_ADDRESS,
    "UnsupportedProtocol": BAD_ADDRESS,
    "InvalidURL": BAD_ADDRESS,
    "LocalProtocolError": BAD_REQUEST,
    "SSLError": CUT,
    "EndOfStream": CUT,
}

# A key of version 3, a token of version 4 or whatever stands behind `Bearer`.
_SECRET: Final = re.compile(r"[0-9a-f]{32}|\beyJ[\w.\-]+|Bearer\s+\S+|api_key=\S+", re.IGNORECASE)


def failure_of(error: Exception) -> Failure | None:
    """What an exception means; None if the table does not know it, and then it is to be raised on."""
    verdict = by_exception(error, BY_EXCEPTION)
    return None if verdict is None else failure(verdict)


def failure_of_status(status: int, headers: Mapping[str, str], content: bytes, *, of_film: bool) -> Failure:
    """What a reply with an error status means; `of_film` where the address asked for names one film."""
    code, said = _error(content)
    verdict = judge(status, code, of_film=of_film)
    wait = retry_after(headers) if verdict.kind is _T else None
    return failure(
        verdict,
        said=said or f"status {status}",
        retry_after=None if wait is None else min(wait, _DAY),
        limits=limits(headers),
    )


def judge(status: int, code: int | None, *, of_film: bool) -> Verdict:
    """The line of the tables for a status and TMDB's own code, None if the body had none."""
    known = BY_CODE.get(code) if code is not None else None
    if known is NOT_FOUND and not of_film:
        return BAD_ADDRESS  # a search is always there
    if status in (401, 403):
        return known if known is not None and known.kind is _S else BY_STATUS[status]
    if known is not None:
        return known
    if status >= 500:
        return SERVER_ERROR
    return BY_STATUS.get(status, REJECTED if status >= 400 else BAD_ADDRESS)


def failure(
    verdict: Verdict, *, said: str | None = None, retry_after: float | None = None, limits: RateLimits | None = None
) -> Failure:
    """A failure from a line of a table, with what TMDB said about it, tokens blotted out."""
    message = verdict.advice
    if said and verdict.quoted:
        message = f"{message}. TMDB: {_SECRET.sub('[token]', ' '.join(said.split()))}"
    return Failure(
        kind=verdict.kind, code=verdict.code, message=shortened(message), retry_after=retry_after, limits=limits
    )


def limits(headers: Mapping[str, str]) -> RateLimits | None:
    """The limit that the headers name; TMDB of today names none."""
    requests = whole(headers.get("x-ratelimit-limit"))
    return RateLimits(requests=requests, tokens=None, period=_LEGACY_PERIOD) if requests else None


def _error(content: bytes) -> tuple[int | None, str | None]:
    """TMDB's code and words in a body; none in HTML and whatever else edges send."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(body, dict):
        return None, None
    code, said = body.get("status_code"), body.get("status_message")
    return code if isinstance(code, int) else None, said if isinstance(said, str) else None
