"""Who did what to which session: written down before it is done, completed with what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from shared.db import Database
from shared.errors import InputError, LedgerDown, NotFound, StatementFailed, UsageError
from shared.logs import log

NEWEST: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What somebody does to a session."""

    session: UUID
    name: str
    actor: str
    trace_id: str | None


@contextmanager
def recorded(db: Database, action: Action, *, is_new: bool = False, **details: Any) -> Iterator[dict[str, Any]]:
    """A place for what comes of an action, while it is done; an action is recorded before it begins.

    So none goes unrecorded: where the entry cannot be written LedgerDown is raised and nothing was done. An action that
    is refused keeps its entry, which then says `refused`; `failed` says that nobody knows how far it came. If only this
    addition cannot be written, the entry stands as it was begun: it may tell of more than was done, never of less.
    Raises NotFound unless there is the session or it `is_new`.
    """
    row = db.row(
        "record_action",
        session=action.session,
        action=action.name,
        actor=action.actor,
        details=_said(details),
        trace_id=action.trace_id,
        is_new=is_new,
    )
    if row is None:
        raise NotFound(f"There is no session {action.session}.")
    came_of_it: dict[str, Any] = {}
    try:
        yield came_of_it
    except (UsageError, InputError) as error:
        came_of_it["refused"] = str(error)[:500]
        raise
    except Exception as error:
        came_of_it["failed"] = type(error).__name__  # its text may hold what is nobody's business
        raise
    finally:
        if came_of_it:
            _complete(db, row["id"], action, came_of_it)


def _complete(db: Database, entry: int, action: Action, came_of_it: dict[str, Any]) -> None:
    try:
        db.rows("complete_record", id=entry, details=_said(came_of_it))
    except (LedgerDown, StatementFailed) as error:
        log(
            "WARNING",
            "Audit entry stays as it was begun",
            session_id=action.session,
            action=action.name,
            reason=str(error),
        )


def entries(db: Database, session: UUID) -> list[dict[str, Any]]:
    """The newest thousand actions on a session, the newest first."""
    return [
        {"at": row["at"].isoformat(), "action": row["action"], "actor": row["actor"], "details": row["details"]}
        for row in db.rows("audit_entries", session=session, size=NEWEST)
    ]


def _said(details: dict[str, Any]) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in details.items() if value is not None}
