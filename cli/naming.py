"""Which session a person means: its whole id, or as much of its beginning as no other session shares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

from cli.client import Api
from cli.faults import WrongUsage

SHORT = 8  # digits of an id that tables show
LEAST = 4  # digits that may be typed: with fewer nearly any two sessions begin alike
PAGE = 100  # the most the API lists at once
SEARCHED = 1_000  # newest sessions that a beginning is looked for in
_BEGINNING = re.compile(rf"[0-9a-f]{{{LEAST},31}}").fullmatch


def session_named(text: str, service: Api) -> UUID:
    """The session of this id, or the only one whose id begins so; raises WrongUsage, Unreachable."""
    try:
        return UUID(text)
    except ValueError:
        digits = _digits(checked(text))
    found = [session for session in _newest(service) if session.hex.startswith(digits)]
    if not found:
        raise WrongUsage(f"No session's id begins with {text[:60]}; `rowlift status` lists the sessions.")
    if len(found) > 1:
        shown = ", ".join(str(session) for session in found[:3])
        raise WrongUsage(f"{len(found)} sessions begin with {text[:60]}: {shown}. Type more of it.")
    return found[0]


def checked(text: str) -> str:
    """The text, if it can be a session's id or the beginning of one; raises WrongUsage."""
    try:
        UUID(text)
    except ValueError as error:
        if not begins_id(text):
            raise WrongUsage(
                f"{text[:60]!r} is not a session id, nor the first {LEAST} or more digits of one; "
                "`rowlift status` lists the sessions."
            ) from error
    return text


def begins_id(text: str) -> bool:
    """Whether a session's id may begin so."""
    return bool(_BEGINNING(_digits(text)))


def _digits(text: str) -> str:
    return text.strip().lower().replace("-", "")


def _newest(service: Api) -> Iterator[UUID]:
    """The ids of the newest sessions."""
    before: UUID | None = None
    for _ in range(SEARCHED // PAGE):
        page = service.sessions(limit=PAGE, before=before)
        yield from (UUID(each["session_id"]) for each in page["sessions"])
        if not page["next"]:
            return
        before = UUID(page["next"])


def short(session: UUID | str) -> str:
    """The first digits of an id, which nearly always are enough."""
    return str(session)[:SHORT]
