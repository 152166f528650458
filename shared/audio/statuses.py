"""The status of tracks that programs change: PENDING, PROCESSING, then COMPLETED, or FAILED, which may be retried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.audio.listing import TrackStatus, check_many, get_audio_metadata_by_id, refused
from shared.db import Database, Row
from shared.errors import Conflict, NotFound
from shared.text import clean, shortened

MOVES: dict[TrackStatus, frozenset[TrackStatus]] = {
    TrackStatus.PENDING: frozenset({TrackStatus.PROCESSING}),
    TrackStatus.PROCESSING: frozenset({TrackStatus.COMPLETED, TrackStatus.FAILED}),
    TrackStatus.COMPLETED: frozenset(),
    TrackStatus.FAILED: frozenset({TrackStatus.PROCESSING}),  # and its retry_count is one more
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What became of one of many: moved, or why not."""

    id: UUID
    moved: bool
    error: str | None = None


def update_processing_status(
    db: Database,
    track: UUID,
    status: TrackStatus,
    *,
    actor: str,
    error_code: str | None = None,
    error_message: str | None = None,
) -> Row:
    """The track, moved, with who did it noted.

    Raises NotFound, Conflict for a move there is not, InvalidRequest for a failure without a code, or a code alone.
    """
    asked = [track]
    row = _move(db, asked, status, actor=actor, error_code=error_code, error_message=error_message, whole=True)[0]
    if row["verdict"] == "unknown":
        raise NotFound(f"There is no track {track}.")
    if not row["moved"]:
        raise Conflict(_refusal(row, status))
    return get_audio_metadata_by_id(db, track)


def update_processing_status_batch(
    db: Database,
    tracks: Sequence[UUID],
    status: TrackStatus,
    *,
    actor: str,
    error_code: str | None = None,
    error_message: str | None = None,
    each: bool = False,
) -> list[Moved]:
    """What became of each track, in their order: all are moved in one statement, or if any cannot be, none.

    With `each` those that can be moved are. Raises Conflict naming the tracks that keep the others, without `each`.
    """
    check_many(tracks)
    if not tracks:
        return []
    rows = _move(db, tracks, status, actor=actor, error_code=error_code, error_message=error_message, whole=not each)
    if not each and not all(row["moved"] for row in rows):
        whys = [_refusal(row, status) for row in rows if row["verdict"] != "moved"]
        raise Conflict(f"{' '.join(whys[:10])}{f' And {len(whys) - 10:,} more.' if len(whys) > 10 else ''}")
    found = {row["id"]: row for row in rows}
    return [
        Moved(id=one, moved=found[one]["moved"], error=None if found[one]["moved"] else _refusal(found[one], status))
        for one in dict.fromkeys(tracks)
    ]


def mark_as_processing(db: Database, track: UUID, *, actor: str) -> Row:
    """The track, taken up: a new one, or one that failed, for another try. Raises NotFound, Conflict."""
    return update_processing_status(db, track, TrackStatus.PROCESSING, actor=actor)


def mark_as_completed(db: Database, track: UUID, *, actor: str) -> Row:
    """The track, done. Raises NotFound, Conflict."""
    return update_processing_status(db, track, TrackStatus.COMPLETED, actor=actor)


def mark_as_failed(db: Database, track: UUID, error_code: str, error_message: str, *, actor: str) -> Row:
    """The track, failed for this reason. Raises NotFound, Conflict."""
    return update_processing_status(
        db, track, TrackStatus.FAILED, actor=actor, error_code=error_code, error_message=error_message
    )


def _move(
    db: Database,
    tracks: Sequence[UUID],
    status: TrackStatus,
    *,
    actor: str,
    error_code: str | None,
    error_message: str | None,
    whole: bool,
) -> list[Row]:
    if (status is TrackStatus.FAILED) != bool(error_code):
        raise refused("error_code", "a failed track has one, and only a failed one")
    return db.rows(
        "move_tracks",
        ids=list(dict.fromkeys(tracks)),
        status=TrackStatus(status),
        actor=shortened(actor, 320),
        error_code=clean(error_code)[:100] if error_code else None,
        error_message=shortened(error_message or "", 2_000) if error_code else None,
        whole=whole,
    )


def _refusal(row: Row, status: TrackStatus) -> str:
    if row["verdict"] == "unknown":
        return f"There is no track {row['id']}."
    if row["verdict"] == "moved":
        return f"Track {row['id']} could be moved, and others of its batch cannot."
    allowed = ", ".join(sorted(MOVES[TrackStatus(row["stood"])])) or "nothing: its work is done"
    return f"Track {row['id']} is {row['stood']} and cannot become {status}, but {allowed}."
