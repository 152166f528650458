"""JSON lines as CSV, and cells that no spreadsheet takes for a formula.

A guarded cell has a `'` in front. What is guarded and what is taken back look alike however many of them a cell has
already, so `unguarded` gives every cell back as it was.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

_FIRST = frozenset("'=+-@\t\r")  # of a cell that a look is worth
_WRITTEN = frozenset({str, int, float, type(None)})
_FORMULA = re.compile(r"'*[=+\-@\t\r]").match
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch


def guarded(cell: str) -> str:
    """The cell as no spreadsheet runs it; a plain number is none of those it would run."""
    return f"'{cell}" if _FORMULA(cell) and not _NUMBER(cell) else cell


def unguarded(cell: str) -> str:
    """The cell that `guarded` made this of."""
    return cell[1:] if cell.startswith("'") and _FORMULA(cell) else cell


def csv_pages(pages: Iterable[bytes], columns: Sequence[str], *, guard: bool) -> Iterator[bytes]:
    """Pages of JSON lines as pages of CSV (RFC 4180, UTF-8): a header, then a record a line, also if there is none.

    Lists and objects are JSON text, null is an empty cell, true and false are those words.
    """
    yield _written([columns])
    shown = _guarded_cell if guard else _cell
    for page in pages:
        lines = [orjson.loads(line) for line in page.split(b"\n") if line]
        yield _written([[shown(value) for value in map(line.get, columns)] for line in lines])


def _written(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _guarded_cell(value: Any) -> Any:
    return guarded(value) if type(value) is str and value[:1] in _FIRST else _cell(value)


def _cell(value: Any) -> Any:
    # The writer knows these by itself; nearly all cells are of them, and this is asked of each.
    return value if type(value) in _WRITTEN else orjson.dumps(value).decode()
