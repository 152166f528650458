"""rejects.csv: the rows that were refused as their user wrote them, and the same file when it comes back mended.

Behind the user's own columns stand three of ours. A row that could not be shown as it was says so at the beginning of
its reason; dropped back, it is refused until it is mended or that cell is cleared, so that no excerpt is taken for the
row itself. Cells that a spreadsheet would run are guarded, and every cell of a file that comes back is taken as what it
was before.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from shared.csv_export import guarded, unguarded
from shared.csvtext import printable
from shared.db import Database
from shared.dialect import DELIMITERS, Layout
from shared.errors import InputError
from shared.pipelines.base import InvalidRow
from shared.text import clean

ADDED = ("reason", "column", "line")
PAGE = 5_000
PAGE_BYTES = 1 << 20  # as stored; a row is 8 MB at most, but may have been compressed a hundredfold

SHORTENED = "Shown shortened: take the whole row from your own file and clear this cell."
LOST = "Shown with \ufffd for what could not be read: write the right letters, or clear this cell."
JOINED = "Shown with its last cells as one: divide them as they belong, or clear this cell."

_LOSES_LETTERS = ("input.encoding", "input.nul", "input.lost_letters")
_MARKS = {
    **dict.fromkeys(("input.too_many_columns", "input.field_too_long", "input.record_too_long"), SHORTENED),
    **dict.fromkeys(("input.unclosed_quote", "input.shortened"), SHORTENED),
    **dict.fromkeys(_LOSES_LETTERS, LOST),
    "input.joined_cells": JOINED,
}

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# What browsers and people add behind a name, as in `rejects-… (1).csv`, is no part of it.
_REST = r"(?:[^0-9a-z/][^/]*)?\.(?:csv|tsv|txt)"
_NAMES = (
    re.compile(rf"(?:.*/)?rejects-({_UUID}){_REST}", re.IGNORECASE | re.DOTALL),
    re.compile(rf"(?:.*/)?({_UUID})-rejects{_REST}", re.IGNORECASE | re.DOTALL),
    re.compile(rf"(?:.*/)?({_UUID})/rejects{_REST}", re.IGNORECASE | re.DOTALL),
)


def file_name(session: UUID) -> str:
    """The name under which a session's rejected rows are handed out, by which they find back."""
    return f"rejects-{session}.csv"


def session_of_name(object_name: str) -> UUID | None:
    """The session whose rejected rows an object holds by its name, wherever it lies; None for any other name."""
    found = next(filter(None, (name.fullmatch(object_name) for name in _NAMES)), None)
    return UUID(found[1]) if found else None


def session_returned_to(db: Database, *object_names: str) -> UUID | None:
    """The session that objects come back to by their names. Raises InputError if it is unknown, or not one."""
    sessions = {session_of_name(name) for name in object_names}
    if len(sessions) > 1:
        message = "Only some of the files are named for the rejected rows of one session; send those by themselves."
        raise InputError(message, code="input.session")
    session = sessions.pop()
    if session is not None and db.row("session", session=session) is None:
        message = (
            f"The file is named for the rejected rows of session {session}, which is not known here. Give it another "
            "name if it is to be a session of its own."
        )
        raise InputError(message, code="input.session")
    return session


def shown(row: InvalidRow, cells: Sequence[str]) -> dict[str, Any]:
    """What an item keeps of a refused row: its cells, and the column that is wrong."""
    show = printable if row.code in _LOSES_LETTERS else clean  # elsewhere NUL is left out of what is read, too
    return {"record": [clean(show(cell)) for cell in cells], "column": clean(row.column)}


def reject_lines(db: Database, session: UUID, *, guard: bool = True, page: int = PAGE) -> Iterator[bytes]:
    """rejects.csv in pieces: the user's own header and column order, the bad rows, then reason, column and line.

    Rows of files with another header stand below that header. A user whose file began with a byte order mark, as
    spreadsheets have it, gets one.
    """
    layouts = {
        row["id"]: Layout.from_dict(row["layout"]) for row in db.rows("session_files", session=session) if row["layout"]
    }
    first: Layout | None = None
    header: tuple[str, ...] | None = None
    after = 0
    while rows := db.rows("rejects_page", session=session, after=after, size=page, bytes=PAGE_BYTES):
        text = io.StringIO()
        for row in rows:
            layout = layouts[row["file"]]
            if first is None:
                first = layout
                text.write("\ufeff" if layout.bom else "")
            writer = csv.writer(text, delimiter=first.delimiter, lineterminator="\r\n")
            own = layout.header or layout.names
            if own != header:
                writer.writerow([*_safe(own, guard=guard), *ADDED])
                header = own
            writer.writerow([*_safe(_line(row, own, first.delimiter), guard=guard), row["line"]])
        yield text.getvalue().encode()
        after = rows[-1]["item_no"]


def _safe(cells: Sequence[str], *, guard: bool) -> Sequence[str]:
    return [guarded(cell) for cell in cells] if guard else cells


def _line(row: dict[str, Any], header: Sequence[str], delimiter: str) -> list[str]:
    """The cells of a refused row, then why it is and which column is wrong."""
    width = len(header)
    cells = _without_blanks(row["input"]["record"], width)
    mark = _MARKS.get(row["error_code"])
    if len(cells) > width:  # most likely the last one held the delimiter without quotes
        cells[width - 1 :] = [delimiter.join(cells[width - 1 :])]
        mark = mark or JOINED
    cells += [""] * (width - len(cells))
    reason = f"{mark} {row['error_message']}" if mark else row["error_message"]
    return [*cells, reason, row["input"]["column"]]


def returned(layout: Layout, parts: Sequence[str], *, named: bool) -> Layout:
    """The layout of a file whose session has refused rows of these parts already, without our own columns.

    It is the same unless its header ends in exactly those, or its name says what it is. Raises InputError if it cannot
    be told which rows it holds, or which columns are whose.
    """
    header = layout.header or ()
    ours = ends_as_rejects(header)
    if not parts or not (ours or named):
        return layout
    if not ours and (not header or {cell.strip().lower() for cell in header} & {*ADDED}):
        message = (
            "It is named for rejected rows, but its first line is not that of rejects.csv. Put that back: your own "
            f"columns, behind them {', '.join(ADDED)} or nothing."
        )
        raise InputError(message, code="input.missing_column")
    if len(parts) > 1:
        message = (
            f"It holds rejected rows of several files of an export ({', '.join(parts)}), which read differently; mend "
            "them in those files and drop these again."
        )
        raise InputError(message, code="input.several_files")
    own = len(layout.columns) - (len(ADDED) if ours else 0)
    header = tuple(map(unguarded, header[:own]))
    return replace(layout, header=header, columns=layout.columns[:own], returned=parts[0])


def ends_as_rejects(cells: Sequence[str]) -> bool:
    """Whether the cells are a header that ends in our own columns."""
    return tuple(cell.strip().lower() for cell in cells[-len(ADDED) :]) == ADDED and len(cells) > len(ADDED)


def own_cells(cells: list[str], width: int) -> tuple[list[str], str]:
    """The user's own cells of a row that came back, and the reason it still carries.

    Raises InputError at a second header: what follows are rows of another file.
    """
    if ends_as_rejects(cells):
        message = (
            "a second header, below which the rows of another file begin. Put them with it into a file of its own, "
            "its name with -2 behind it, and drop both again."
        )
        raise InputError(message, code="input.second_header")
    cells = _without_blanks(cells, width)
    ours = cells[width:][-len(ADDED) :]
    if len(ours) == len(ADDED) and ours[-1].strip().isdigit():
        return [unguarded(cell) for cell in cells[: -len(ADDED)]], ours[0]
    return [unguarded(cell) for cell in cells], ""  # a row of the user's own file, put in place of the excerpt of it


def _without_blanks(cells: Sequence[str], width: int) -> list[str]:
    """The cells without the blank ones behind the last column."""
    end = len(cells)
    while end > width and not cells[end - 1].strip():
        end -= 1
    return list(cells[:end])


def unmended(reason: str, cells: Sequence[str]) -> InvalidRow | None:
    """Why a row that came back is still not the user's own; None if it is mended."""
    reason = reason.strip()
    if reason.startswith(SHORTENED):
        code, told = "input.shortened", "The row is still the excerpt that was shown; put your own row in its place"
    elif reason.startswith(LOST) and any("\ufffd" in cell for cell in cells):
        code, told = "input.lost_letters", "The row still holds \ufffd for letters that were lost; write them"
    elif reason.startswith(JOINED) and any(delimiter in cells[-1] for delimiter in DELIMITERS):
        code, told = "input.joined_cells", "The last cell still holds several; divide them as they belong"
    else:
        return None
    return InvalidRow(column="reason", code=code, reason=f"{told}, then clear the cell reason.")
