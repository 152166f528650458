"""How a row of each file of a Letterboxd export reads: its cells as an item's input, or why they are none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from shared.errors import InputError
from shared.letterboxd import Kind
from shared.pipelines.base import Form, InvalidRow, ValidRow
from shared.text import clean, shortened

_YEARS = range(1870, 2101)
_YEAR = re.compile(r"([0-9]{4})(?:\.0)?").fullmatch  # programs that keep numbers as floats write 2019.0
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_SLASHED_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})").fullmatch
_URI = re.compile(r"https?://(?:www\.)?(?:letterboxd\.com|boxd\.it)/[!-~]{1,500}").fullmatch
_RATINGS = {f"{half / 2:{form}}": half / 2 for half in range(1, 11) for form in ("g", ".1f")}
_REWATCH = {"": False, "no": False, "false": False, "0": False, "yes": True, "true": True, "1": True}
_LONGEST_NAME = 500  # of Letterboxd's 20,634 the longest has under 200; the ledger finds films by it
_REMEMBERED = 4_096  # years and dates that were read: a file has few different ones
_CONFLICT_MARKS = ("<<<<<<< ", "||||||| ", ">>>>>>> ")

_FILM_COLUMNS = ("Date", "Name", "Year", "Letterboxd URI")  # first in every file
_ENTRIES = (Kind.DIARY, Kind.REVIEW)
_HEADER_WORDS = frozenset({"title", "film", "film name", "movie", "uri", "url", "link", "my rating", "release year"})


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterboxdForm:
    """How the rows of one kind of file read."""

    kind: Kind
    columns: tuple[str, ...]
    required: tuple[str, ...]
    header_words: frozenset[str] = _HEADER_WORDS
    headerless: bool = False
    may_be_empty: bool = True

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The record in these cells, in the order of `columns`; None stands for a cell the row or the file lacks.

        Raises InputError for merge-conflict markers, and for a date that shows the file to write the day first: the
        dates of its other rows would be misread.
        """
        try:
            made = self._input(cells)
        except _Refused as refused:
            _check_conflict([*cells, *extra.values()])
            row = zip(self.columns, cells, strict=True)
            with_nul = next((column for column, cell in row if cell and "\x00" in cell), None)
            cause = refused if with_nul is None else _nul(with_nul)
            return InvalidRow(column=cause.column, code=cause.code, reason=str(cause))
        if extra:
            made["extra"] = {clean(key): clean(value) for key, value in extra.items()}
        name, year = made["name"], made["year"]
        return ValidRow(key=made["uri"] or (f"{name} ({year})" if year else name), input=made)

    def _input(self, cells: Sequence[str | None]) -> dict[str, Any]:
        """The input of an item, columns the file lacks left out."""
        if None in cells:
            self._check_required(cells)
        day, name, year, link, *others = cells
        uri = _uri("Letterboxd URI", link or "")
        is_entry = self.kind in _ENTRIES
        made: dict[str, Any] = {
            "kind": self.kind.value,
            "name": _name("Name", name or ""),
            "year": _year("Year", year or ""),
            "uri": None if is_entry else uri,
            "entry": uri if is_entry else None,
            "date": _date("Date", day or ""),
        }
        for column, cell in zip(self.columns[len(_FILM_COLUMNS) :], others, strict=True):
            if cell is not None:
                field, read = _OTHERS[column]
                made[field] = read(column, cell)
        return made

    def _check_required(self, cells: Sequence[str | None]) -> None:
        for column in self.required:
            if cells[self.columns.index(column)] is None:
                raise _Refused(column, "missing_cell", f"The row ends before {column}; it may have been cut off.")


class _Refused(Exception):
    """A cell that cannot be read: its column, a code, and the sentence for the person who mends it."""

    def __init__(self, column: str, code: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.code = column, f"input.{code}"


def _shown(cell: str) -> str:
    return repr(shortened(cell, 60))


def _nul(column: str) -> _Refused:
    return _Refused(
        column,
        "nul",
        f"{column} holds NUL bytes, as a save that was cut off leaves them, and rows below may be lost; "
        f"drop the file as Letterboxd exported it.",
    )


def _text(column: str, cell: str) -> str:
    """Free text; a NUL within it is noise, but NULs at its end stand for text that is lost."""
    if cell.endswith("\x00"):
        raise _nul(column)
    return clean(cell)


def _name(column: str, cell: str) -> str:
    name = _text(column, cell)
    if not name.strip():
        raise _Refused(column, "empty_name", f"{column} is empty; give the film's title.")
    if len(name) > _LONGEST_NAME:
        raise _Refused(column, "long_name", f"{column} has {len(name):,} characters, which no film's title has.")
    return name


@lru_cache(maxsize=_REMEMBERED)
def _year(column: str, cell: str) -> int | None:
    if not (text := cell.strip()):
        return None
    found = _YEAR(text)
    if found is None or int(found[1]) not in _YEARS:
        raise _Refused(
            column,
            "bad_year",
            f"{column} {_shown(cell)} is no year from {_YEARS[0]} to {_YEARS[-1]}; correct it or leave it empty.",
        )
    return int(found[1])


def _uri(column: str, cell: str) -> str | None:
    if not (text := cell.strip()):
        return None
    if not _URI(text):
        raise _Refused(
            column,
            "bad_uri",
            f"{column} {_shown(cell)} is no link to Letterboxd, such as https://boxd.it/29Pq; copy it from the export.",
        )
    return text


@lru_cache(maxsize=_REMEMBERED)
def _date(column: str, cell: str) -> str | None:
    """The date as ISO writes it; a spreadsheet saves it again as month/day/year."""
    if not (text := cell.strip()):
        return None
    if slashed := _SLASHED_DATE(text):
        month, day, year = map(int, slashed.groups())
        if month > 12 >= day:
            raise InputError(
                f"{column} {_shown(cell)} has the day before the month, so other dates of the file may mean either. "
                f"Write all its dates as YYYY-MM-DD, or drop the file as Letterboxd exported it.",
                code="input.ambiguous_dates",
            )
        text = f"{year:04}-{month:02}-{day:02}"
    try:
        return date.fromisoformat(text if _ISO_DATE(text) else "").isoformat()
    except ValueError:
        raise _Refused(
            column, "bad_date", f"{column} {_shown(cell)} is no date; write it as YYYY-MM-DD, such as 2024-03-18."
        ) from None


def _rating(column: str, cell: str) -> float | None:
    text = cell.strip().replace(",", ".")
    if text and text not in _RATINGS:
        raise _Refused(
            column, "bad_rating", f"{column} {_shown(cell)} is none of 0.5, 1, 1.5 … 5; correct it or leave it empty."
        )
    return _RATINGS.get(text)


def _rewatch(column: str, cell: str) -> bool:
    rewatch = _REWATCH.get(cell.strip().lower())
    if rewatch is None:
        raise _Refused(column, "bad_rewatch", f"{column} {_shown(cell)} is neither Yes nor empty; make it one of them.")
    return rewatch


def _tags(column: str, cell: str) -> list[str]:
    return [tag for tag in map(str.strip, _text(column, cell).split(",")) if tag]


def _review(column: str, cell: str) -> str:
    if "\n<<<<<<< " in cell:
        raise _conflict("<<<<<<<")
    return _text(column, cell)


# The columns only some files have: the field of the input each makes, and how it reads.
_OTHERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "Rating": ("rating", _rating),
    "Rewatch": ("rewatch", _rewatch),
    "Review": ("review", _review),
    "Tags": ("tags", _tags),
    "Watched Date": ("watched_date", _date),
}


def _check_conflict(cells: Sequence[str | None]) -> None:
    """Raise InputError if a row that cannot be read is a line a version control program put there."""
    filled = [cell for cell in cells if cell]
    mark = next((cell for cell in filled if cell.startswith(_CONFLICT_MARKS)), None)
    if mark is None and len(filled) == 1 and filled[0].strip() == "=======":
        mark = "======="
    if mark is not None:
        raise _conflict(mark)


def _conflict(mark: str) -> InputError:
    return InputError(
        f"The merge-conflict marker {_shown(mark)} shows that two versions of the file are mixed in it. "
        f"Resolve the conflict, or drop the file as Letterboxd exported it.",
        code="input.merge_conflict",
    )


def _form(kind: Kind, others: tuple[str, ...] = (), *, required: tuple[str, ...] = ()) -> LetterboxdForm:
    return LetterboxdForm(kind=kind, columns=(*_FILM_COLUMNS, *others), required=("Name", *required))


# A film is its URI, so files of films must have the column; an entry belongs to its film by Name and Year. The column
# that tells the kind is required too: its absence from a row then shows that the row was cut off.
forms: Mapping[Kind, Form] = MappingProxyType(
    {
        Kind.WATCHED: _form(Kind.WATCHED, required=("Letterboxd URI",)),
        Kind.RATING: _form(Kind.RATING, ("Rating",), required=("Letterboxd URI", "Rating")),
        Kind.LIKE: _form(Kind.LIKE, required=("Letterboxd URI",)),
        Kind.WATCHLIST: _form(Kind.WATCHLIST, required=("Letterboxd URI",)),
        Kind.DIARY: _form(Kind.DIARY, ("Rating", "Rewatch", "Tags", "Watched Date"), required=("Year", "Watched Date")),
        Kind.REVIEW: _form(
            Kind.REVIEW, ("Rating", "Rewatch", "Review", "Tags", "Watched Date"), required=("Year", "Review")
        ),
    }
)
