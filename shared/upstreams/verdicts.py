"""What the error tables of all upstreams have in common: their lines, and the reading of exceptions and headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from shared.upstreams.base import ErrorClass

_Line = TypeVar("_Line")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of a table."""

    kind: ErrorClass
    code: str
    advice: str  # what happened and what to do
    sent: bool = True  # whether the request may have reached the upstream
    quoted: bool = True  # whether the upstream's own words are added; not where they hold part of a key


def by_exception(error: BaseException | None, table: Mapping[str, _Line]) -> _Line | None:
    """The line of the nearest ancestor listed; by class name, so that a table imports nothing."""
    for ancestor in type(error).__mro__ if error is not None else ():
        if ancestor.__name__ in table:
            return table[ancestor.__name__]
    return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that header Retry-After asks to wait, written as a number or as an HTTP date; None if it does not."""
    told = headers.get("retry-after")
    seconds = number(told)
    return _until(told, headers.get("date")) if seconds is None and told is not None else seconds


def number(text: str | None) -> float | None:
    """A finite number of at least 0."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def whole(text: str | None) -> int | None:
    """A whole number written in fewer than 19 plain digits."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _until(text: str, now: str | None) -> float | None:
    """Seconds until an HTTP date, by the clock that sent it."""
    try:
        then = parsedate_to_datetime(text)
        start = parsedate_to_datetime(now) if now else datetime.now(UTC)
        return max((then - start).total_seconds(), 0.0)
    except (ValueError, TypeError):  # a date of zone -0000 is naive and cannot be compared
        return None
