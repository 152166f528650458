"""What every upstream's outcomes look like: an answer or a failure, as a value, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal


class ErrorClass(StrEnum):
    """What a failure says about the next try."""

    TRANSIENT = "transient"
    """It may go well next time: again with backoff, honouring the wait the upstream asked for."""
    PERMANENT = "permanent"
    """This row will fail each time: settle it as failed and go on with the others."""
    SYSTEMIC = "systemic"
    """Every row would fail the same: hold the session and name the cause; a person has to act."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens one call was charged for."""

    input_tokens: int = 0  # all that was read, cached and cache-written ones included
    output_tokens: int = 0  # all that was written, reasoning included
    cached_tokens: int = 0  # of input_tokens, read from the prompt cache
    cache_write_tokens: int = 0  # of input_tokens, written to the prompt cache

    @property
    def total(self) -> int:
        """What counts against a limit of tokens."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimits:
    """What the account may ask per `period` seconds, as the upstream's headers said; None where they did not."""

    requests: int | None
    tokens: int | None
    period: float = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A complete answer; each upstream adds what it says."""

    response_id: str | None = None
    model: str | None = None  # the one that answered; often a dated snapshot of the one asked for
    usage: Usage | None = None  # None where nothing is charged by usage
    limits: RateLimits | None = None
    request_id: str | None = None  # what the upstream's support asks for


@dataclass(frozen=True, kw_only=True, slots=True)
class TextAnswer(Answer):
    """A text somebody wrote for us."""

    text: str  # clean for PostgreSQL, never empty
    created: datetime  # UTC, by the upstream's clock


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonAnswer(Answer):
    """A JSON object."""

    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why there is no answer, and what follows from it."""

    kind: ErrorClass
    code: str  # begins with 'upstream.'
    message: str  # what happened and what to do; at most 500 characters, no secrets
    retry_after: float | None = None  # seconds the upstream asked to wait
    # 'unknown' if the request was sent and no answer could be read: it may have been charged for all the same.
    call_state: Literal["failed", "unknown"] = "failed"
    usage: Usage | None = None  # set where a failed answer was charged for
    response_id: str | None = None  # beside call_state 'unknown': the answer may yet be fetched by it
    model: str | None = None
    limits: RateLimits | None = None
    request_id: str | None = None
