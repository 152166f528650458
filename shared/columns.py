"""What a result line holds: the columns of each pipeline's lines in their order, and the type of each.

For formats that have to know before the first line: CSV and Parquet. A list stands for any number of what is in it, a
mapping for an object with these fields. `<slug>_lines` in shared/sql makes the lines; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Union


class Scalar(StrEnum):
    """A value that is no list and no object; any may be null."""

    TEXT = "text"  # dates and times too, as ISO 8601 writes them
    WHOLE = "whole"  # 64 bits
    NUMBER = "number"
    TRUTH = "truth"


Type = Union[Scalar, list["Type"], Mapping[str, "Type"]]  # noqa: UP007  # a string on the right of | is none

_TEXT, _WHOLE, _NUMBER, _TRUTH = Scalar.TEXT, Scalar.WHOLE, Scalar.NUMBER, Scalar.TRUTH

_ARTISTS: Mapping[str, Type] = {
    "item_no": _WHOLE, "artist_id": _TEXT, "artist_name": _TEXT, "artist_data": _TEXT, "response_text": _TEXT,
    "response_id": _TEXT, "created": _TEXT, "db_status": _TEXT, "error": _TEXT, "outcome": _TEXT, "attempts": _WHOLE,
    "code": _TEXT, "error_code": _TEXT, "line": _WHOLE, "model": _TEXT, "prompt": _TEXT,
    "usage": {"input_tokens": _WHOLE, "output_tokens": _WHOLE},
}  # fmt: skip

_DIARY: Type = {
    "watched_date": _TEXT, "logged_date": _TEXT, "rating": _NUMBER, "rewatch": _TRUTH, "tags": [_TEXT],
}  # fmt: skip
_CANDIDATE: Type = {
    "tmdb_id": _WHOLE, "title": _TEXT, "original_title": _TEXT, "release_date": _TEXT, "year": _WHOLE,
    "popularity": _NUMBER, "score": _NUMBER, "reason": _TEXT,
}  # fmt: skip
_MOVIES: Mapping[str, Type] = {
    "item_no": _WHOLE, "kind": _TEXT, "letterboxd_uri": _TEXT, "title": _TEXT, "year": _WHOLE, "outcome": _TEXT,
    "code": _TEXT, "parent": _WHOLE, "rating": _NUMBER, "watched_date": _TEXT, "logged_date": _TEXT, "liked": _TRUTH,
    "in_watchlist": _TRUTH, "tags": [_TEXT], "diary": [_DIARY], "tmdb_id": _WHOLE, "imdb_id": _TEXT, "genres": [_TEXT],
    "directors": [_TEXT], "cast": [{"name": _TEXT, "role": _TEXT}], "runtime": _WHOLE, "original_title": _TEXT,
    "original_language": _TEXT, "release_date": _TEXT, "tmdb_rating": _NUMBER, "tmdb_votes": _WHOLE, "overview": _TEXT,
    "poster_path": _TEXT, "match": {"method": _TEXT, "score": _NUMBER}, "candidates": [_CANDIDATE],
    "from_cache": _TRUTH, "db_status": _TEXT, "error": _TEXT, "error_code": _TEXT, "attempts": _WHOLE, "line": _WHOLE,
}  # fmt: skip

_WHOLE_LINES = {"artists": _ARTISTS, "movies": _MOVIES}
_SHORT = {
    "artists": ("artist_id", "db_status", "response_id", "error"),
    "movies": ("item_no", "letterboxd_uri", "tmdb_id", "db_status", "error"),
}

# What a line tells of its row, and not of the answer.
OF_THE_ROW: Mapping[str, frozenset[str]] = {
    "artists": frozenset({"item_no", "artist_id", "artist_name", "artist_data", "line"}),
    "movies": frozenset({
        "item_no", "kind", "letterboxd_uri", "title", "year", "parent", "rating", "watched_date", "logged_date",
        "liked", "in_watchlist", "tags", "diary", "line",
    }),
}  # fmt: skip


def columns_of(pipeline: str, *, minimal: bool) -> Mapping[str, Type]:
    """The columns of a pipeline's lines; `minimal` as `shared.results.is_minimal` says of the session's options."""
    whole = _WHOLE_LINES[pipeline]
    return MappingProxyType({name: whole[name] for name in _SHORT[pipeline]} if minimal else whole)
