"""Settled items as JSON lines, a page of text at a time: PostgreSQL writes the JSON, memory stays constant."""

from __future__ import annotations

import csv
import io
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


def reject_lines(db: Database, session: UUID, *, page: int = PAGE) -> Iterator[bytes]:
    """rejects.csv in pieces: the user's own header and column order, the bad rows, then reason, column and line."""
    layouts = {row["id"]: row["layout"] or {} for row in db.rows("session_files", session=session)}
    header_of: int | None = None
    after = 0
    while True:
        rows = db.rows("items_page", session=session, after=after, outcome="rejected", state=None, size=page)
        if not rows:
            return
        text = io.StringIO()
        for row in rows:
            layout = layouts.get(row["file"], {})
            delimiter = layout.get("delimiter") or ","
            writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
            header = layout.get("header") or [name or "" for name in layout.get("columns") or ()]
            if row["file"] != header_of:
                writer.writerow([*header, "reason", "column", "line"])
                header_of = row["file"]
            cells = list(row["input"].get("record", ()))
            cells += [""] * (len(header) - len(cells))
            if header and len(cells) > len(header):  # most likely the last one held the delimiter without quotes
                cells[len(header) - 1 :] = [delimiter.join(cells[len(header) - 1 :])]
            writer.writerow([*cells, row["error_message"], row["input"].get("column"), row["line"]])
        yield text.getvalue().encode()
        after = rows[-1]["item_no"]
