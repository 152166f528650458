"""How the rows of an artists file read: cells as an item's input, or why they are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from shared.pipelines.base import InvalidRow, ValidRow
from shared.text import clean

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch

_HEX = re.compile(r"[0-9a-fA-F]{32}").fullmatch


def _uuid(value: Any) -> Any:
    """Any spelling Python's uuid accepts: with or without hyphens, braces, urn:uuid:, either case."""
    if not isinstance(value, str):
        return value
    digits = value.strip().replace("urn:", "").replace("uuid:", "").strip("{}").replace("-", "")
    if not _HEX(digits):  # Python's uuid also takes what int() does: 0x, +, _ and digits of other scripts
        raise ValueError("is not a UUID, such as 5b11f4ce-a62d-471e-81fc-a69a8278c7da")
    return UUID(digits)


def key_of(artist_id: Any) -> str | None:
    """The key of the artist with this id; None if it is none."""
    try:
        return str(_uuid(artist_id)) if isinstance(artist_id, str) else None
    except ValueError:
        return None


class ArtistRow(BaseModel):
    """One row of an artists file."""

    model_config = ConfigDict(frozen=True)

    artist_id: Annotated[UUID, BeforeValidator(_uuid)]
    artist_name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    artist_data: str = ""


class ArtistForm:
    """How the rows of an artists file read."""

    columns: tuple[str, ...] = ("artist_id", "artist_name", "artist_data")
    required: tuple[str, ...] = ("artist_id", "artist_name")
    header_words = frozenset({"id", "uuid", "gid", "mbid", "name", "artist", "artist name", "artist id", "data", "bio"})
    headerless = True
    may_be_empty = False

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The artist in these cells. Canonical ids skip pydantic, which is for every other spelling and every fault."""
        artist_id, name, data = cells
        if artist_id is None or name is None:
            column = "artist_id" if artist_id is None else "artist_name"
            return InvalidRow(
                column=column, code="input.missing_cell", reason=f"The row ends before {column}; it needs {_NEEDED}."
            )
        stripped = clean(name).strip()
        if not (stripped and _CANONICAL(artist_id)):
            try:
                row = ArtistRow(artist_id=artist_id, artist_name=stripped)  # type: ignore[arg-type]
            except ValidationError as error:
                return _invalid(error)
            artist_id = str(row.artist_id)
        made: dict[str, Any] = {"artist_id": artist_id, "artist_name": stripped, "artist_data": clean(data or "")}
        if extra:
            made["extra"] = {clean(key): clean(value) for key, value in extra.items()}
        return ValidRow(key=artist_id, input=made)


_NEEDED = "artist_id, artist_name and, if there is any, artist_data"


def _invalid(error: ValidationError) -> InvalidRow:
    fault = error.errors()[0]
    column = str(fault["loc"][0])
    if column == "artist_name":
        return InvalidRow(
            column=column, code="input.empty_name", reason="artist_name is empty; give the artist's name."
        )
    shown = clean(str(fault["input"]))[:60]
    reason = f"artist_id {shown!r} is not a UUID, such as 5b11f4ce-a62d-471e-81fc-a69a8278c7da."
    return InvalidRow(column=column, code="input.bad_uuid", reason=reason)
