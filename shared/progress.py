"""How far a session is, for people who watch: counts, what was settled over time, errors in groups, items by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from shared.db import Database, Row
from shared.states import ItemState, Outcome

POINTS: Final = 200
MOST: Final = 20_000  # items of an outcome whose errors are grouped; about 50 ms
GROUPS: Final = 200
BIGGEST: Final = 2**63 - 1  # what PostgreSQL calls bigint
LOOKED_AT: Final = 20_000  # items a search looks at per request; about 20 ms
OPEN: Final = (ItemState.AVAILABLE, ItemState.RUNNING, ItemState.RETRYABLE)


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

    `complete` is false where there are more than were looked at (20,000 of an outcome), or more than 200 groups.
    """
    rows = db.rows("error_groups", session=session, most=MOST, groups=GROUPS + 1)
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
            for row in rows[:GROUPS]
        ],
        "complete": len(rows) <= GROUPS and all(items < MOST for items in looked_at.values()),
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
) -> tuple[list[Row], int | None]:
    """A page of items and where the next begins, None after the last.

    Where no index finds them a page looks at 20,000 item numbers only: it may be empty and still have a next.
    """
    page = {"session": session, "after": after, "size": limit + 1}
    chosen = {"outcome": outcome, "state": state, "error_code": error_code, "text": text}
    given = {name for name, value in chosen.items() if value is not None}
    beyond: int | None = None
    if not given:
        rows = db.rows("items_page", **page)
    elif given <= {"outcome", "error_code"} and outcome not in (None, Outcome.ENRICHED):
        rows = db.rows("ended_items_page", outcome=outcome, error_code=error_code, **page)
    elif given == {"state"} and state in OPEN:
        rows = db.rows("open_items_page", state=state, **page)
    else:
        rows = db.rows("items_between", upto=min(after + LOOKED_AT, BIGGEST), **chosen, **page)
        size = db.row("session_size", session=session)
        beyond = after + LOOKED_AT if size is not None and after + LOOKED_AT < size["items"] else None
    return (rows[:limit], rows[limit - 1]["item_no"]) if len(rows) > limit else (rows, beyond)
