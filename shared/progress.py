"""How far a session is, for people who watch: counts, what was settled over time, errors in groups, items by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from shared.db import Database, Row
from shared.states import Outcome

POINTS: Final = 200
MOST: Final = 100_000  # items of an outcome whose errors are grouped; a few hundred milliseconds
LOOKED_AT: Final = 20_000  # items a search looks at per request; about 60 ms
# Outcomes few items have; an index holds them (migration 0007).
UNUSUAL: Final = frozenset(
    {Outcome.FAILED, Outcome.NOT_FOUND, Outcome.NEEDS_REVIEW, Outcome.SKIPPED, Outcome.CANCELLED, Outcome.REJECTED}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A session in numbers."""

    total: int
    running: int
    counts: dict[str, int]  # by outcome, every one of them
    per_second: float  # settled in the last ten seconds, records that were no work of their own left out
    uncertain_calls: dict[str, int]  # started, and unknown, whose end nobody knows

    @property
    def settled(self) -> int:
        """How many items have ended."""
        return sum(self.counts.values())

    @property
    def open(self) -> int:
        """How many have not."""
        return self.total - self.settled


def standing(db: Database, session: UUID) -> Standing:
    """How a session that exists stands; from counters, so it costs the same at any size."""
    row = db.row("session_stands", session=session)
    assert row is not None, "the session exists"  # noqa: S101
    return Standing(
        total=row["total"],
        running=row["running"],
        counts={outcome.value: int(row["outcomes"].get(outcome.value, 0)) for outcome in Outcome},
        per_second=round(row["recent"] / max(1.0, row["seconds"]), 2),
        uncertain_calls={state: int(row["calls"].get(state, 0)) for state in ("started", "unknown")},
    )


def progress(db: Database, session: UUID) -> dict[str, Any]:
    """What was settled over time, at most 200 points, the newest last; spans in which nothing was settled have none."""
    rows = db.rows("session_progress", session=session, points=POINTS - 1)
    return {
        "seconds_per_point": rows[0]["seconds"] if rows else 5.0,
        "points": [{"at": row["at"].isoformat(), "settled": row["settled"], "failed": row["failed"]} for row in rows],
    }


def error_groups(db: Database, session: UUID) -> dict[str, Any]:
    """Failed, rejected and unclear items grouped by what went wrong, each group with its first item.

    `complete` is false where there are more than were looked at (100,000 of an outcome).
    """
    rows = db.rows("error_groups", session=session, most=MOST)
    looked_at: dict[str, int] = {}
    for row in rows:
        looked_at[row["outcome"]] = looked_at.get(row["outcome"], 0) + int(row["items"])
    example = ("item_no", "line", "key", "error_message")
    return {
        "groups": [
            {
                "outcome": row["outcome"],
                "error_code": row["error_code"],
                "items": int(row["items"]),
                "example": {name: row[name] for name in example},
            }
            for row in rows
        ],
        "complete": all(items < MOST for items in looked_at.values()),
    }


def items_page(
    db: Database,
    session: UUID,
    *,
    outcome: str | None = None,
    state: str | None = None,
    error_code: str | None = None,
    text: str | None = None,
    after: int = 0,
    limit: int = 100,
    total: int = 0,
) -> tuple[list[Row], int | None]:
    """A page of items and where the next begins, None after the last.

    With a text a page looks at 20,000 item numbers of the session's `total`: it may be empty and still have a next.
    """
    chosen = {"session": session, "outcome": outcome, "error_code": error_code, "after": after, "size": limit + 1}
    if outcome in UNUSUAL and state is None and text is None:
        rows = db.rows("unusual_items_page", **chosen)
    else:
        rows = db.rows("items_page", state=state, text=text, looked_at=LOOKED_AT, **chosen)
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1]["item_no"]
    if text is not None and after + LOOKED_AT < total:
        return rows, after + LOOKED_AT
    return rows, None
