"""Settled items as JSON lines, a page of text at a time: PostgreSQL writes the JSON, memory stays constant."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from shared.db import Database

PAGE = 5_000


def result_lines(db: Database, session: UUID, *, pipeline: str, after: int = 0, page: int = PAGE) -> Iterator[bytes]:
    """Pages of lines in item order, every line ended; a pipeline's `<slug>_results` says what a line holds."""
    while True:
        row = db.row(f"{pipeline}_results", session=session, after=after, size=page)
        if row is None or not row["n"]:
            return
        yield row["lines"].encode() + b"\n"
        after = row["last"]
