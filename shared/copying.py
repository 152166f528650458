"""The records of a chunk as items: each valid or with the reason why not, in COPY's text format."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson

from shared.errors import InputError
from shared.items import input_digest
from shared.pipelines.base import Form, InvalidRow, ValidRow
from shared.rejects import own_cells, shown, unmended
from shared.rows import Chunk, Defect, Layout
from shared.text import clean

COPY_PIECE = 500  # rows handed to COPY at once, about 64 KB and more


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where records come from, as their items name it."""

    session: UUID
    file: int
    name: str  # for people


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One record as it will stand in the ledger."""

    line: int
    row: ValidRow | InvalidRow
    cells: Sequence[str]


class Maker:
    """Makes items of the records of one file."""

    def __init__(self, form: Form, layout: Layout) -> None:
        self._form = form
        self._width = len(layout.columns)
        at = {name: i for i, name in enumerate(layout.columns) if name is not None}
        self._places = [at.get(name) for name in form.columns]
        self._plain = self._places == list(range(len(form.columns))) and self._width == len(form.columns)
        self._returned = layout.returned is not None
        self._extras = [(layout.names[i], i) for i, name in enumerate(layout.columns) if name is None]

    def make(self, chunk: Chunk) -> list[Made]:
        """The chunk's records, each valid or with the reason why not.

        Raises InputError, which names the line, if one shows that the whole file cannot be trusted.
        """
        made = []
        for index, (line, cells) in enumerate(zip(chunk.lines, chunk.rows, strict=True)):
            defect = chunk.defects.get(index) if chunk.defects else None
            reason = ""
            try:
                if self._returned:
                    cells, reason = own_cells(cells, self._width)
                refused = _defective(defect) if defect else unmended(reason, cells) if reason else None
                row = refused or self._row(cells)
            except InputError as error:
                raise InputError(f"Line {line}: {error}", code=error.code) from error
            made.append(Made(line=line, row=row, cells=cells))
        return made

    def _row(self, cells: Sequence[str]) -> ValidRow | InvalidRow:
        n = len(cells)
        if self._plain and n == self._width:
            return self._form.validate(cells, {})
        if n > self._width and any(cell.strip() for cell in cells[self._width :]):
            return InvalidRow(
                column=str(self._width + 1),
                code="input.too_many_cells",
                reason=f"The row has {n} cells, its header {self._width}; put cells that hold the delimiter in quotes.",
            )
        picked = [cells[place] if place is not None and place < n else None for place in self._places]
        extra = {name: cells[place] for name, place in self._extras if place < n and cells[place]}
        return self._form.validate(picked, extra)


def check_no_header(cells: Sequence[str], form: Form) -> None:
    """Raise InputError if the first row is a header in other words: its columns would be taken by their position."""
    if any(cell.strip().lower() in form.header_words for cell in cells):
        found, wanted = ", ".join(cell.strip()[:40] for cell in cells[:10]), ",".join(form.columns)
        message = (
            f"The header names none of the columns: it reads {found!r}. Write {wanted} there and drop the file again."
        )
        raise InputError(message, code="input.missing_column")


def _defective(defect: Defect) -> InvalidRow:
    return InvalidRow(column=defect.column or "1", code=defect.code, reason=defect.reason)


def copy_text(
    origin: Origin, made: Sequence[Made], *, first: int, owners: dict[str, int], together: Collection[int] = ()
) -> Iterator[bytes]:
    """The items in COPY's text format, numbered from `first`, in pieces.

    `owners` says which item has which key already: a row of such a key is a duplicate. The valid rows whose numbers are
    in `together` stand as merged without a parent, for the pipeline's grouping to find out what they belong to.
    """
    session = str(origin.session)
    lines: list[str] = []
    for number, one in enumerate(made, start=first):
        row = one.row
        if isinstance(row, InvalidRow):
            rest = _rejected(row, one, origin)
        else:
            rest = _valid(row, number, None if number in together else owners)
        lines.append(f"{session}\t{number}\t{origin.file}\t{one.line}\t{rest}\n")
        if len(lines) >= COPY_PIECE:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def _valid(row: ValidRow, number: int, owners: dict[str, int] | None) -> str:
    raw = orjson.dumps(row.input)
    digest = input_digest(raw)
    body = raw.decode().replace("\\", "\\\\")
    if owners is None:
        return f"\\N\t{body}\t\\\\x{digest}\tcompleted\tmerged\t\\N\t\\N\t\\N\tnow\t\\N"
    start = f"{_escaped(row.key)}\t{body}\t\\\\x{digest}"
    owner = owners.setdefault(row.key, number)
    if owner == number:
        return f"{start}\tavailable\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N"
    reason = f"The same key stands in item {owner}; the first row wins."
    return f"{start}\tcompleted\tduplicate\tsame_key\t\\N\t{reason}\tnow\t{owner}"


def _rejected(row: InvalidRow, one: Made, origin: Origin) -> str:
    body = orjson.dumps(shown(row, one.cells)).decode().replace("\\", "\\\\")
    reason = _escaped(f"{origin.name}, line {one.line}, column {row.column}: {row.reason}")
    return f"\\N\t{body}\t\\N\trejected\trejected\t{row.code}\t{row.code}\t{reason}\tnow\t\\N"


def _escaped(text: str) -> str:
    """Text as one field of COPY's text format."""
    text = clean(text)
    if "\\" in text or "\t" in text or "\n" in text or "\r" in text:
        text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text
