"""Tracks by id, and pages of them in an order, by place or behind a cursor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson

from shared.db import Database, Row
from shared.errors import NotFound
from shared.problems import Fault, InvalidRequest

USUAL, MOST = 20, 1_000  # tracks on a page

Sort = Literal["created_at", "title", "artist", "year"]
Order = Literal["asc", "desc"]


class TrackStatus(StrEnum):
    """Where a track stands."""

    PENDING = "PENDING"
    """Known, not read yet."""
    PROCESSING = "PROCESSING"
    """Being read."""
    COMPLETED = "COMPLETED"
    """Read: what its file says is known."""
    FAILED = "FAILED"
    """Could not be read; error_code and error_message say why. It may be taken up again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackPage:
    """Some tracks of an order, and where the rest is."""

    tracks: Sequence[Row]
    total: int
    has_more: bool
    next: str | None  # the cursor to go on from, where there is more


def track_id(audio_path: str) -> UUID:
    """The id of the track of an object or link: the same for the same path, always."""
    return uuid5(NAMESPACE_URL, audio_path)


def get_audio_metadata_by_id(db: Database, track: UUID) -> Row:
    """One track; raises NotFound."""
    found = get_audio_metadata_by_ids(db, [track])
    if not found:
        raise NotFound(f"There is no track {track}.")
    return found[0]


def get_audio_metadata_by_ids(db: Database, tracks: Sequence[UUID]) -> list[Row]:
    """Those of some tracks that there are, in the order they were asked for, by one query."""
    check_many(tracks)
    found = {row["id"]: told(row) for row in db.rows("tracks_by_ids", ids=list(dict.fromkeys(tracks)))}
    return [found[one] for one in dict.fromkeys(tracks) if one in found]


def get_all_audio_metadata(
    db: Database,
    *,
    status: TrackStatus | None = None,
    sort: Sort = "created_at",
    order: Order = "desc",
    limit: int = USUAL,
    offset: int = 0,
    after: str | None = None,
) -> TrackPage:
    """A page of all tracks in an order, nulls as if they were empty; behind a cursor, or `offset` from the start.

    Raises InvalidRequest for a cursor of another list.
    """
    limit = checked_limit(limit, offset)
    key, place = Cursor.parse(after, kind=f"{sort} {order}") if after is not None else ("", None)
    with db.transaction() as transaction:
        transaction.rows("plan_with_values")
        rows = transaction.rows(
            f"tracks_{'up' if order == 'asc' else 'down'}/{sort}",
            status=status, after=place, after_key=key, size=limit + 1, offset=offset,
        )  # fmt: skip
        counted = transaction.row("count_tracks", status=status)
    page, more = rows[:limit], len(rows) > limit
    cursor = Cursor.spell(f"{sort} {order}", page[-1]["key"], page[-1]["id"]) if more else None
    total = int(counted["total"]) if counted else 0
    return TrackPage(tracks=[told(row) for row in page], total=total, has_more=more, next=cursor)


def told(row: Row) -> Row:
    """A track as it is told: without what only finds it."""
    return {name: value for name, value in row.items() if name not in ("key", "found", "rank")}


def checked_limit(limit: int, offset: int) -> int:
    """The limit, if it and the offset are of use; raises InvalidRequest."""
    if not 1 <= limit <= MOST:
        raise refused("limit", f"is {limit}; give 1 to {MOST:,}")
    if offset < 0:
        raise refused("offset", f"is {offset}; give 0 or more")
    return limit


def check_many(ones: Sequence[Any]) -> None:
    """Raise InvalidRequest if there are more than one statement takes."""
    if len(ones) > MOST:
        raise refused("number", f"{len(ones):,} at once are too many; give {MOST:,} at most")


def refused(field: str, message: str) -> InvalidRequest:
    """What is raised for one thing that cannot be asked for."""
    return InvalidRequest((Fault(field=field, message=message),))


class Cursor:
    """A place in an order, as text that means nothing to anybody else."""

    _WRONG: Final = "is no cursor of this list; begin without one and go on with what `next` says"

    @staticmethod
    def spell(kind: str, key: str, place: UUID) -> str:
        """The cursor behind a track with this key."""
        return base64.urlsafe_b64encode(orjson.dumps([kind, key, str(place)])).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str, *, kind: str) -> tuple[str, UUID]:
        """Key and id it stands behind; raises InvalidRequest."""
        try:
            found, key, place = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if found != kind or not isinstance(key, str):
                raise ValueError("another list's")
            return key, UUID(place)
        except (ValueError, TypeError, AttributeError, binascii.Error) as error:
            raise refused("after", f"{text[:60]!r} {cls._WRONG}") from error
