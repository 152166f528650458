"""The library of tracks as the API shows it: lists, searches, one track, its sound by ranges and its cover."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from flask import Request, Response
from pydantic import Field, StringConstraints
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from shared.api.answers import Answer
from shared.api.asking import Ask, json_response
from shared.api.requests import Flag, ItemNumber, Query, Word
from shared.audio.kinds import CONTENT_TYPES
from shared.audio.listing import MOST, USUAL, TrackStatus, get_all_audio_metadata, get_audio_metadata_by_id
from shared.audio.pictures import CONTENT_TYPES as PICTURE_TYPES
from shared.audio.search import search_audio_tracks_advanced
from shared.audio.tags import FIRST_YEAR, LAST_YEAR
from shared.db import Database, Row
from shared.errors import NotFound, ObjectGone
from shared.storage import Ranges, Store

PIECE = 1 << 20  # bytes read from the bucket at once, and the most that one answer to a range holds
SIGNED_SECONDS = 3_600  # of an address of the bucket's: a long piece is listened to in one go
_OBJECT = re.compile(r"gs://([^/]+)/(.+)")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

TrackCursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,600}$")]
Year = Annotated[int, Field(ge=FIRST_YEAR, le=LAST_YEAR)]


class TracksQuery(Query):
    """Which tracks, and in which order: behind a cursor, or the first `offset` left out."""

    status: TrackStatus | None = None
    sort: Literal["created_at", "title", "artist", "year"] = "created_at"
    order: Literal["asc", "desc"] = "desc"
    limit: int = Field(default=USUAL, ge=1, le=MOST)
    offset: ItemNumber = 0
    after: TrackCursor | None = None


class TrackSearchQuery(Query):
    """What to look for, and what else a track has to be; with `prefix` the last word may go on."""

    q: Word
    prefix: Flag = False
    status: TrackStatus | None = None
    year_from: Year | None = None
    year_to: Year | None = None
    format: Literal[tuple(CONTENT_TYPES)] | None = None  # type: ignore[valid-type]
    genre: Word | None = None
    min_rank: float = Field(default=0, ge=0, le=1)
    limit: int = Field(default=USUAL, ge=1, le=MOST)
    offset: ItemNumber = 0
    after: TrackCursor | None = None


class Track(Answer):
    """A sound file and what it says of itself; null is what it does not say."""

    id: UUID
    status: TrackStatus
    title: str | None
    artist: str | None
    album: str | None
    genre: str | None
    year: int | None
    track: int | None
    duration: float | None = Field(description="Seconds.")
    channels: int | None
    sample_rate: int | None = Field(description="In a second.")
    bitrate: float | None = Field(description="In kbit/s.")
    format: str | None
    audio_path: str
    thumbnail_path: str | None
    error_code: str | None
    error_message: str | None
    retry_count: int
    session_id: UUID | None
    item_no: int | None
    created_at: str
    updated_at: str
    sound: str | None = Field(description="Where it can be heard, by ranges; null where it lies in no bucket of ours.")
    cover: str | None = Field(description="Where its cover is.")


class RankedTrack(Track):
    """A track that was looked for."""

    rank: float


class TracksPage(Answer):
    """Some tracks of a list."""

    tracks: list[Track]
    total: int
    has_more: bool
    next: str | None = Field(description="The cursor to go on from: `after`.")


class FoundTracks(Answer):
    """Some tracks that were looked for, the best first."""

    tracks: list[RankedTrack]
    total: int
    total_is_exact: bool = Field(description="Else it is an estimate: so many match that not all were ranked.")
    has_more: bool
    next: str | None = Field(description="The cursor to go on from: `after`.")


class Library:
    """Answers requests for tracks; raises our errors, which `routing` turns into problem documents."""

    def __init__(self, db: Database, store: Store) -> None:
        self._db, self._store = db, store

    def tracks(self, ask: Ask) -> Response:
        """A page of all tracks."""
        page = get_all_audio_metadata(self._db, **ask.query.model_dump())
        return json_response(
            {
                "tracks": [_shown(one) for one in page.tracks],
                "total": page.total,
                "has_more": page.has_more,
                "next": page.next,
            }
        )

    def search(self, ask: Ask) -> Response:
        """The tracks that are looked for, the best first."""
        asked = ask.query.model_dump()
        found = search_audio_tracks_advanced(self._db, asked.pop("q"), **asked)
        return json_response(
            {
                "tracks": [{**_shown(one), "rank": one["rank"]} for one in found.tracks],
                "total": found.total,
                "total_is_exact": found.total_is_exact,
                "has_more": found.has_more,
                "next": found.next,
            }
        )

    def track(self, ask: Ask, track: str) -> Response:
        """One track."""
        return json_response(_shown(self._known(track)))

    def sound(self, ask: Ask, track: str) -> Response:
        """A track's sound: sent on to a signed address of the bucket's, else streamed, ranges a piece at a time."""
        known = self._known(track)
        bucket, name, ranges = self._ranges(known["audio_path"], f"The sound of track {track}")
        disposition = f"inline; filename*=UTF-8''{quote(name.rpartition('/')[2])}"
        signed = self._store.download_address(bucket, name, seconds=SIGNED_SECONDS, disposition=disposition)
        if signed is not None:
            return Response(status=302, headers={"Location": signed})
        kind = CONTENT_TYPES.get(known["format"] or "", "application/octet-stream")
        wanted = _wanted(ask.request, ranges.size)
        if wanted is None:
            answer = Response(_pieces(ranges), mimetype=kind)
            answer.headers["Content-Length"] = str(ranges.size)
        else:
            first, beyond = wanted
            answer = Response(ranges.read(first, beyond - first), 206, mimetype=kind)
            answer.headers["Content-Range"] = f"bytes {first}-{beyond - 1}/{ranges.size}"
        answer.headers["Accept-Ranges"] = "bytes"
        answer.headers["Content-Disposition"] = disposition
        return answer

    def cover(self, ask: Ask, track: str) -> Response:
        """A track's cover; it is named by what it holds, so a browser may keep it."""
        _, name, ranges = self._ranges(self._known(track)["thumbnail_path"], f"A cover of track {track}")
        kind = PICTURE_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        answer = Response(_pieces(ranges), mimetype=kind)
        answer.headers["Content-Length"] = str(ranges.size)
        answer.headers["Cache-Control"] = "private, max-age=86400"
        return answer

    def _known(self, track: str) -> Row:
        try:
            return get_audio_metadata_by_id(self._db, UUID(track))
        except ValueError as error:
            raise NotFound(f"{track[:60]!r} is no track; an id has 36 characters.") from error

    def _ranges(self, path: str | None, what: str) -> tuple[str, str, Ranges]:
        found = _OBJECT.fullmatch(path or "")
        if found is None:
            raise NotFound(f"{what} is in no bucket.")
        try:
            return found[1], found[2], self._store.ranges(found[1], found[2], None)
        except ObjectGone as error:
            raise NotFound(f"{what} is no longer in its bucket.") from error


def _shown(row: Row) -> Row:
    """A track with where its sound and its cover are."""
    place = f"/api/audio/{row['id']}"
    return {
        **{name: str(value) if isinstance(value, UUID) else value for name, value in row.items() if name != "rank"},
        "created_at": row["created_at"].isoformat(),
        "updated_at": row["updated_at"].isoformat(),
        "sound": f"{place}/sound" if row["audio_path"].startswith("gs://") else None,
        "cover": f"{place}/cover" if row["thumbnail_path"] else None,
    }


def _wanted(request: Request, size: int) -> tuple[int, int] | None:
    """The range asked for as first byte and the one beyond its last; None for all. Raises for one beyond the end."""
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if found is None or not any(found.groups()):  # several ranges, or other units: all of it, as the standard allows
        return None
    if found[1]:
        first, beyond = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    else:
        first, beyond = max(0, size - int(found[2])), size
    if first >= size or beyond <= first:
        raise RequestedRangeNotSatisfiable(description=f"The file has {size:,} bytes; ask for some of them.")
    return first, min(beyond, first + PIECE)


def _pieces(ranges: Ranges) -> Iterator[bytes]:
    for offset in range(0, ranges.size, PIECE):
        yield ranges.read(offset, min(PIECE, ranges.size - offset))
