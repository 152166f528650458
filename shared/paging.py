"""Statements about all items of a session, asked page by page so that none of them takes long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from shared.db import Database, Row

PAGE: Final = 50_000  # item numbers a statement looks at: half a second where each item is looked up elsewhere


def by_number(db: Database, name: str, *, session: UUID, **params: Any) -> Iterator[Row]:
    """The rows a statement answers for one page of item numbers after the other, `after` up to and with `upto`."""
    size = db.row("session_size", session=session)
    for after in range(0, size["items"] if size else 0, PAGE):
        yield from db.rows(name, session=session, after=after, upto=after + PAGE, **params)
