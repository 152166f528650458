"""Proof of payment: what the calls of a session cost, and which items may have cost twice."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from shared.db import Database, Row
from shared.errors import NotFound
from shared.options import MICROS

CALLS_OF_AN_ITEM = 1_000


def payment(db: Database, session: UUID) -> dict[str, Any]:
    """The proof of payment of a session that exists.

    `started` are in flight now; `unknown` were sent and got no answer: they stay reserved. `repeated` counts items with
    a call after such a one in the same round, which the upstream may have charged twice; `items_paid_more_than_once`
    those with two answers that were paid for, and must be 0.
    """
    row = db.row("payment", session=session)
    assert row is not None, "the session exists"  # noqa: S101
    return {
        "session_id": str(session),
        **{name: int(row[name]) for name in _COUNTS},
        "by_model": [
            {name: each[name] for name in ("model", "calls", "tokens_in", "tokens_out")}
            | {"cost_usd": each["cost"] / MICROS}
            for each in row["by_model"]
        ],
        "spent_usd": row["spent"] / MICROS,
        "reserved_usd": row["reserved"] / MICROS,
        "budget_usd": _dollars(row["budget"]),
    }


_COUNTS = (
    "started", "succeeded", "failed", "unknown", "duplicates_absorbed", "items_paid_more_than_once", "repeated",
)  # fmt: skip


def calls_page(
    db: Database, session: UUID, *, state: str | None = None, after: UUID | None = None, size: int
) -> list[dict[str, Any]]:
    """Calls of a session by item and time, those behind call `after` when paging. Raises NotFound if it has no such."""
    if after is not None and db.row("call_of_session", call=after, session=session) is None:
        raise NotFound(f"Session {session} has no call {after}.")
    rows = db.rows("calls_page", session=session, item_no=None, state=state, after=after, size=size)
    return [_call(row) for row in rows]


def item_document(db: Database, session: UUID, item_no: int) -> dict[str, Any]:
    """One item with how it ended in earlier rounds and its calls; raises NotFound."""
    item = db.row("one_item", session=session, item_no=item_no)
    if item is None:
        raise NotFound(f"Session {session} has no item {item_no}.")
    calls = db.rows("calls_page", session=session, item_no=item_no, state=None, after=None, size=CALLS_OF_AN_ITEM)
    return {
        **item,
        "history": db.rows("history_of_item", session=session, item_no=item_no),
        "calls": [_call(row) for row in calls],
    }


def _call(row: Row) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in ("reserved", "cost")}
    return {**kept, "reserved_usd": _dollars(row["reserved"]), "cost_usd": _dollars(row["cost"])}


def _dollars(micros: int | None) -> float | None:
    return None if micros is None else micros / MICROS
