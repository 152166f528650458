"""What changed since the session before: rows that are new, other, the same and gone, by key and input."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from shared.db import Database
from shared.errors import TooSlow
from shared.logs import log
from shared.paging import by_number

GONE_KEYS: Final = 100


def changes(db: Database, session: UUID) -> dict[str, Any]:
    """The part of the manifest that tells what changed; `changes` is null where there is nothing to compare with.

    It is null, too, where the ledger takes too long over it, and `changes_error` says so: no session is kept from its
    end for that.
    """
    try:
        db.rows("compare_with", session=session)
        found = db.row("compared_with", session=session)
        return {"changes": _changes(db, session, found["id"]) if found else None}
    except TooSlow as error:
        log("ERROR", "Changes cannot be told", error_code="db.changes", reason=str(error))
        return {"changes": None, "changes_error": "The ledger took too long to compare the sessions."}


def _changes(db: Database, session: UUID, earlier: UUID) -> dict[str, Any]:
    counts = dict.fromkeys(("added", "changed", "unchanged", "gone"), 0)
    for page in by_number(db, "changes", session=session, earlier=earlier):
        for name, count in page.items():
            counts[name] += count
    keys: list[str] = []
    for page in by_number(db, "gone", session=earlier, later=session):
        counts["gone"] += page["gone"]
        keys += page["keys"]
    return {"compared_with": str(earlier), **counts, "gone_keys": keys[:GONE_KEYS]}
