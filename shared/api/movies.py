"""The films of a session as the API shows them: a page with links to its neighbours, or one with all there is of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson

from shared.api.requests import MoviesQuery
from shared.db import Database, Row
from shared.errors import Conflict, NotFound
from shared.options import Options


def check_shown(session: Row) -> None:
    """Raise Conflict if the session's films are in no table."""
    if session["pipeline"] != "movies":
        raise Conflict(f"The session is one of pipeline {session['pipeline']}, which has no films.")
    options = Options.model_validate(session["options"])
    if not options.writes_domain:
        option = "dry-run" if options.dry_run else f"write-mode={options.write_mode}"
        raise Conflict(f"The session ran with {option}: its films are in results.jsonl only, and under /results.")


def page_of(db: Database, session: UUID, query: MoviesQuery, *, item_no: int | None = None) -> tuple[bytes, int]:
    """The films a query asks for as a JSON array, and how many there are on all its pages."""
    row = db.row(
        "movies_page",
        session=session,
        item_no=item_no,
        **query.model_dump(include={"sort", "year", "rating", "genre", "outcome", "enriched", "offset"}),
        descending=query.order == "desc",
        size=query.limit,
    )
    assert row is not None, "the statement answers one row"  # noqa: S101
    return row["films"].encode(), int(row["total"])


def one_of(db: Database, session: UUID, item_no: int) -> dict[str, Any]:
    """The film a record belongs to, with its diary, reviews and candidates; raises NotFound."""
    more = db.row("movie_entries", session=session, item_no=item_no)
    if more is None:
        raise NotFound(f"Session {session} has no film for item {item_no}.")
    films, _ = page_of(db, session, MoviesQuery(), item_no=more["item_no"])
    found = orjson.loads(films)
    if not found:  # a file that came in between made another record the film's
        raise NotFound(f"Session {session} has no film for item {item_no}.")
    return {**found[0], **more}


def links(path: str, asked: Mapping[str, str], query: MoviesQuery, total: int) -> str:
    """The Link header of a page: where its neighbours and the first are, asked for in the same way."""
    kept = {name: value for name, value in asked.items() if value and name != "offset"}
    places = {}
    if query.offset + query.limit < total:
        places["next"] = query.offset + query.limit
    if query.offset:
        places["prev"] = max(0, query.offset - query.limit)
        places["first"] = 0
    return ", ".join(
        f'<{path}?{urlencode({**kept, "offset": offset})}>; rel="{name}"' for name, offset in places.items()
    )
