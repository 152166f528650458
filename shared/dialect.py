"""How an uploaded CSV file is written: encoding, delimiter, header, and which column is which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, count, islice
from typing import Any

from shared.csvtext import byte_length, csv_reader, decode, is_blank, lines_of, printable
from shared.errors import InputError
from shared.filetypes import known_binary, unlike_text
from shared.text import shortened

DELIMITERS = (",", ";", "\t", "|")
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_SEP_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)  # Excel's own way of naming the delimiter
_COMPARED_RECORDS = 50
_COMPARED_LINES = 500


class Unreadable(InputError):
    """The file cannot be read as CSV; the message says what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one record may measure; beyond it the record is refused and the others go on."""

    max_field_chars: int = 1_000_000
    max_columns: int = 1_000
    max_record_bytes: int = 8_000_000


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A place between two records of a file."""

    offset: int  # bytes before it, a byte order mark included
    record: int  # data records before it, so the number of the last one
    line: int  # physical lines before it


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the beginning of a file told about all of it."""

    encoding: str  # utf-8, utf-16-le or utf-16-be
    delimiter: str
    header: tuple[str, ...] | None  # the cells of the header as the user wrote them; None without a header
    columns: tuple[str | None, ...]  # per column of the file the pipeline's column, None for an extra one
    start: Cursor  # where the data begins
    bom: bool = False  # whether it began with a byte order mark
    returned: str | None = None  # of a rejects.csv that came back: the part of its export that the rows are of

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each column of the file, all different: the pipeline's, or for an extra one the header's."""
        taken = {column for column in self.columns if column}
        names = []
        for index, column in enumerate(self.columns):
            name = column or _free_name(self._own_name(index), taken)
            taken.add(name)
            names.append(name)
        return tuple(names)

    def name(self, index: int) -> str:
        """The name of a column by its index; columns beyond those of the header have names as well."""
        return self.names[index] if index < len(self.names) else _free_name(f"column_{index + 1}", set(self.names))

    def _own_name(self, index: int) -> str:
        own = _trimmed(self.header[index]) if self.header else ""
        return own or f"column_{index + 1}"

    def to_dict(self) -> dict[str, Any]:
        """The layout as JSON can hold it; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Layout:
        """The layout that `to_dict` wrote, also after a journey through JSON."""
        header = stored["header"]
        return cls(
            encoding=stored["encoding"],
            delimiter=stored["delimiter"],
            header=None if header is None else tuple(header),
            columns=tuple(stored["columns"]),
            start=Cursor(**stored["start"]),
            bom=stored.get("bom", False),
            returned=stored.get("returned"),
        )


def _free_name(name: str, taken: Set[str]) -> str:
    """The name, or if it is taken the name with the lowest number that makes it free."""
    names = chain((name,), (f"{name}_{number}" for number in count(2)))
    return next(each for each in names if each not in taken)


def _trimmed(cell: str) -> str:
    return cell.strip("\ufeff").strip()


def _folded(cell: str) -> str:
    return _trimmed(cell).casefold()


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """The first lines of a file, as far as they are whole."""

    encoding: str
    lines: list[str]
    skipped: int  # bytes before those lines: the byte order mark, and Excel's line `sep=;`
    skipped_lines: int
    bom: bool
    whole: bool  # whether the lines are all of the file
    delimiters: Sequence[str]  # what the delimiter may be


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The first record of a file, read with a delimiter under which it names columns of the pipeline."""

    delimiter: str
    cells: list[str]
    lines: int  # physical lines up to its end


def detect(
    head: bytes,
    *,
    whole: bool,
    columns: Sequence[str],
    required: Sequence[str],
    limits: Limits,
    headerless: bool = True,
    may_be_empty: bool = False,
) -> Layout:
    """The layout of the file that begins with `head`, which should be 64 KiB or more, or the `whole` file.

    `columns` are the pipeline's in the order they have without a header, which only a `headerless` file may lack; a
    header must name those `required`. Raises Unreadable if nothing in the file can be a record, unless it
    `may_be_empty` below its header.
    """
    opening = _opening(head, whole=whole, columns=columns)
    header = _find_header(opening, columns, required)
    if header is None:
        if problem := unlike_text("".join(opening.lines)):
            raise Unreadable(problem, code="input.not_text")
        if not headerless:
            first = shortened(printable(next(line for line in opening.lines if line.strip())).strip(), 200)
            raise Unreadable(
                f"The first line names none of the columns; it reads “{first}”. It should read: {','.join(columns)}",
                code="input.missing_column",
            )
        return _without_header(opening, columns, limits)
    _check_header(header, opening, columns, required, limits, may_be_empty=may_be_empty)
    return _with_header(opening, header, columns)


def _opening(head: bytes, *, whole: bool, columns: Sequence[str]) -> _Opening:
    if problem := known_binary(head):
        raise Unreadable(problem, code="input.not_text")
    bom, encoding = next(((bom, name) for bom, name in _BOMS if head.startswith(bom)), (b"", "utf-8"))
    lines = lines_of(decode(head[len(bom) :], encoding, last=whole).text)
    if not whole and any(map(str.strip, lines[:-1])):
        lines.pop()  # the rest of it, or the second half of its line end, may lie beyond `head`
    skipped = len(bom)
    delimiters: tuple[str, ...] = DELIMITERS
    sep = _SEP_LINE.fullmatch(lines[0]) if lines else None
    if sep:
        skipped, delimiters = skipped + byte_length(lines[0], encoding), (sep[1],)
    lines = lines[1:] if sep else lines
    if not any(map(str.strip, lines)):
        what = "is empty" if whole else "begins with nothing but blanks"
        raise Unreadable(f"The file {what}: upload a CSV with the columns {','.join(columns)}.", code="input.empty")
    return _Opening(
        encoding=encoding,
        lines=lines,
        skipped=skipped,
        skipped_lines=1 if sep else 0,
        bom=bool(bom),
        whole=whole,
        delimiters=delimiters,
    )


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[list[str], int]]:
    """The records in the lines, blank ones left out, each with the number of lines up to its end.

    One line more than there is stands for a quote that is never closed.
    """
    reader = csv_reader(chain(lines, ("\n",)), delimiter)
    start = 0
    for row in reader:
        if not is_blank(row, "".join(lines[start : reader.line_num]) or "\n"):
            yield row, reader.line_num
        start = reader.line_num


def _find_header(opening: _Opening, columns: Sequence[str], required: Sequence[str]) -> _Header | None:
    """The first record that is not all empty as header, under the delimiter that finds most of our columns in it."""
    wanted = {_folded(column) for column in columns}
    best, most = None, 0
    for delimiter in opening.delimiters:
        records = _records(opening.lines, delimiter)
        cells, end = next((record for record in records if any(map(str.strip, record[0]))), ([], 0))
        found = len(wanted.intersection(map(_folded, cells)))
        if found > most:
            best, most = _Header(delimiter=delimiter, cells=[printable(cell) for cell in cells], lines=end), found
    if best is None:
        _refuse_undivided(opening, columns, required)
    return best


def _refuse_undivided(opening: _Opening, columns: Sequence[str], required: Sequence[str]) -> None:
    first = next(line for line in opening.lines if line.strip())
    if len(first) < 10_000 and required and all(_folded(column) in _folded(first) for column in required):
        raise Unreadable(
            f"The first line names the columns, but nothing that separates them was recognised in "
            f"“{shortened(printable(first).strip(), 200)}”: write {','.join(columns)} "
            f"and separate the cells by comma, semicolon, tab or |.",
            code="input.missing_column",
        )


def _check_header(
    header: _Header,
    opening: _Opening,
    columns: Sequence[str],
    required: Sequence[str],
    limits: Limits,
    *,
    may_be_empty: bool,
) -> None:
    """Refuse a header that makes every record useless."""
    if header.lines > len(opening.lines):
        raise Unreadable("A quote opened in the first line is never closed: close it.", code="input.unclosed_quote")
    width, longest = len(header.cells), max(map(len, header.cells))
    unfinished = not opening.whole and not opening.lines[-1].endswith(("\n", "\r"))
    if width > limits.max_columns or longest > limits.max_field_chars or unfinished:
        raise Unreadable(
            f"The header is too long: {width:,} columns of {limits.max_columns:,} at most, the longest name has "
            f"{longest:,} characters of {limits.max_field_chars:,} at most. Leave out the columns that are not needed.",
            code="input.too_wide",
        )
    times = Counter(map(_folded, header.cells))
    expected = f"The first line should read: {header.delimiter.join(columns)}"
    if missing := [column for column in required if not times[_folded(column)]]:
        found = shortened(", ".join(_trimmed(cell) or "(blank)" for cell in header.cells), 300)
        raise Unreadable(
            f"The header lacks {_listed(missing)}; it names {found}. {expected}", code="input.missing_column"
        )
    if twice := [column for column in required if times[_folded(column)] > 1]:
        raise Unreadable(
            f"The header names {_listed(twice)} more than once: rename or remove the others. {expected}",
            code="input.duplicate_column",
        )
    if not may_be_empty and opening.whole and not any(map(str.strip, opening.lines[header.lines :])):
        raise Unreadable(
            "The file holds a header and no rows: add the rows below it and upload it again.", code="input.header_only"
        )


def _listed(names: Sequence[str]) -> str:
    return ("the column " if len(names) == 1 else "the columns ") + " and ".join(names)


def _with_header(opening: _Opening, header: _Header, columns: Sequence[str]) -> Layout:
    left = {_folded(column): column for column in columns}
    above = "".join(opening.lines[: header.lines])
    return Layout(
        encoding=opening.encoding,
        delimiter=header.delimiter,
        header=tuple(cell.strip("\ufeff") for cell in header.cells),
        columns=tuple(left.pop(_folded(cell), None) for cell in header.cells),
        start=Cursor(
            offset=opening.skipped + byte_length(above, opening.encoding),
            record=0,
            line=opening.skipped_lines + header.lines,
        ),
        bom=opening.bom,
    )


def _without_header(opening: _Opening, columns: Sequence[str], limits: Limits) -> Layout:
    delimiter = max(opening.delimiters, key=lambda each: _fitness(opening, each, columns))
    cells, _ = next(_records(opening.lines, delimiter))
    extra = min(len(cells), limits.max_columns) - len(columns)
    return Layout(
        encoding=opening.encoding,
        delimiter=delimiter,
        header=None,
        columns=(*columns, *[None] * extra),
        start=Cursor(offset=opening.skipped, record=0, line=opening.skipped_lines),
        bom=opening.bom,
    )


def _fitness(opening: _Opening, delimiter: str, columns: Sequence[str]) -> tuple[float, bool, int]:
    """How well a delimiter divides the first records: alike, into as many cells as there are columns, into many."""
    records = _records(opening.lines[:_COMPARED_LINES], delimiter)
    counts = Counter(len(cells) for cells, _ in islice(records, _COMPARED_RECORDS))
    usual, times = counts.most_common(1)[0]
    divides = usual > 1 or len(columns) == 1
    return (times / counts.total() if divides else 0.0, usual == len(columns), usual)
