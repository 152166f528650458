"""The tracks a person looks for by words of title, artist, album or genre, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.audio.listing import USUAL, Cursor, TrackStatus, checked_limit, refused, told
from shared.db import Database, Row
from shared.text import clean

LONGEST = 200  # characters of a question
# Up to so many tracks that match are ranked, all of them (a few ms for a thousand). For more common words the 5,000
# tracks with the fewest words are looked through (`search_shortest_tracks`), of which the best are hardly missed: a
# rank falls with the number of words. To read one of these costs as much as to rank two others, which lie side by side.
RANKED = 12_000
ENOUGH = 200  # that match among them
# Where too few of them match after all, so many are ranked, whichever come first.
RANKED_AT_MOST = 20_000
NOTHING = "give a word with at least one letter or digit to look for"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Some tracks that were looked for, each with its rank, and how many there are."""

    tracks: Sequence[Row]
    total: int
    total_is_exact: bool  # else it is the planner's estimate, and not all of them were ranked
    has_more: bool
    next: str | None  # the cursor to go on from, where there is more


def search_audio_tracks(
    db: Database, query: str, *, limit: int = USUAL, offset: int = 0, after: str | None = None
) -> Found:
    """The tracks that have all words of a query. Raises InvalidRequest for a query with nothing to look for."""
    return search_audio_tracks_advanced(db, query, limit=limit, offset=offset, after=after)


def search_audio_tracks_advanced(
    db: Database,
    query: str,
    *,
    prefix: bool = False,
    status: TrackStatus | None = None,
    year_from: int | None = None,
    year_to: int | None = None,
    format: str | None = None,  # noqa: A002  # as the column is called
    genre: str | None = None,
    min_rank: float = 0.0,
    limit: int = USUAL,
    offset: int = 0,
    after: str | None = None,
) -> Found:
    """The tracks that have all words of a query and pass the filters; with `prefix` its last word may go on.

    Any text may be asked: "…" finds words that follow each other, - what lacks a word, or one of two. Raises
    InvalidRequest for a query with nothing to look for, and for a cursor of another list.
    """
    limit = checked_limit(limit, offset)
    key, place = Cursor.parse(after, kind="rank") if after is not None else ("0", None)
    asked = _asked(db, query, prefix=prefix)
    filters = {"status": status, "year_from": year_from, "year_to": year_to, "format": format,
               "genre": clean(genre) if genre else None, "min_rank": min_rank}  # fmt: skip
    page = {"after": place, "after_rank": _rank(key), "size": limit + 1, "offset": offset}
    rows: list[Row] = []
    exact = asked["expected"] <= RANKED
    if not exact:
        enough = max(ENOUGH, offset + limit + 1)
        rows = _ranked(db, "search_shortest_tracks", asked, filters, {**page, "enough": enough})
    if exact or len(rows) <= limit:
        rows = _ranked(db, "search_tracks", asked, filters, {**page, "most": RANKED_AT_MOST})
        exact = not rows or rows[0]["found"] < RANKED_AT_MOST
    return _found(rows, asked, limit, exact=exact)


def _asked(db: Database, query: str, *, prefix: bool) -> Row:
    if len(query) > LONGEST:
        raise refused("q", f"has {len(query):,} characters; give {LONGEST} at most")
    row = db.row("question", words=clean(query), prefix=prefix)
    if row is None or not row["words"]:
        raise refused("q", NOTHING)
    return row


def _ranked(db: Database, statement: str, asked: Row, filters: Row, page: Row) -> list[Row]:
    name, params = f"{statement}/tracks", {"question": asked["question"], **filters, **page}
    if not any(filters.values()):
        return db.rows(name, **params)
    with db.transaction() as transaction:  # a filter may be the quicker way to them
        transaction.rows("plan_with_values")
        return transaction.rows(name, **params)


def _found(rows: Sequence[Row], asked: Row, limit: int, *, exact: bool) -> Found:
    there = [row for row in rows if row["id"] is not None]
    page, more = there[:limit], len(there) > limit
    found = rows[0]["found"] if rows else 0
    return Found(
        tracks=[{**told(row), "rank": float(row["rank"])} for row in page],
        total=found if exact else max(found, asked["expected"]),
        total_is_exact=exact,
        has_more=more,
        next=Cursor.spell("rank", page[-1]["rank"], UUID(str(page[-1]["id"]))) if more else None,
    )


def _rank(key: str) -> float:
    try:
        return float(key)
    except ValueError as error:
        raise refused("after", "is of another list; begin without one") from error
