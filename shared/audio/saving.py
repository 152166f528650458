"""Tracks that a program writes itself, one or many: all of them or none, or each for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.audio.kinds import CONTENT_TYPES
from shared.audio.listing import check_many, track_id
from shared.audio.tags import FIRST_YEAR, LAST_YEAR, LONGEST_TEXT, MOST_CHANNELS
from shared.db import Database
from shared.errors import StatementFailed
from shared.problems import Fault, InvalidRequest
from shared.text import clean


def _known_format(value: str) -> str:
    if value not in CONTENT_TYPES:
        raise ValueError(f"choose from {', '.join(CONTENT_TYPES)}")
    return value


_INTEGER = 2**31 - 1
Said = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(clean)]
_Object = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^gs://[a-z0-9][a-z0-9._-]+/[^\x00-\x1f\x7f]+$")]
_Address = Annotated[
    str,
    StringConstraints(max_length=2_000, pattern=r"^(gs://[a-z0-9][a-z0-9._-]+/|https?://[^/])[^\x00-\x1f\x7f]+$"),
]


class AudioMetadata(BaseModel):
    """What a program knows of a track; what it does not know stays null."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    audio_path: _Address
    status: Literal["PENDING", "COMPLETED"] = "COMPLETED"  # of a new one
    title: Said | None = None
    artist: Said | None = None
    album: Said | None = None
    genre: Said | None = None
    year: int | None = Field(default=None, ge=FIRST_YEAR, le=LAST_YEAR)
    track: int | None = Field(default=None, ge=1, le=_INTEGER)
    duration: float | None = Field(default=None, gt=0)
    channels: int | None = Field(default=None, ge=1, le=MOST_CHANNELS)
    sample_rate: int | None = Field(default=None, ge=1, le=_INTEGER)
    bitrate: float | None = Field(default=None, gt=0)
    format: Annotated[str, AfterValidator(_known_format)] | None = None
    thumbnail_path: _Object | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """What became of one of many: its track, or why it is not saved."""

    id: UUID | None = None
    error: str | None = None


def save_audio_metadata(db: Database, metadata: AudioMetadata | Mapping[str, Any]) -> UUID:
    """The id of the track that is saved; one of the same path is written over. Raises InvalidRequest."""
    return save_audio_metadata_batch(db, [metadata])[0].id  # type: ignore[return-value]  # all or nothing: it has one


def save_audio_metadata_batch(
    db: Database, metadata: Sequence[AudioMetadata | Mapping[str, Any]], *, each: bool = False
) -> list[Saved]:
    """What became of each, in their order: all are saved in one statement, or with a fault in any of them none.

    With `each` those without a fault are saved. Raises InvalidRequest naming every fault, without `each`.
    """
    check_many(metadata)
    checked = [_checked(one) for one in metadata]
    taken: set[str] = set()
    found: list[AudioMetadata | str] = []
    for one in checked:
        twice = isinstance(one, AudioMetadata) and one.audio_path in taken
        found.append("audio_path: stands in the batch before" if twice else one)
        if isinstance(one, AudioMetadata):
            taken.add(one.audio_path)
    faults = [Fault(field=f"{place}", message=one) for place, one in enumerate(found) if isinstance(one, str)]
    if faults and not each:
        raise InvalidRequest(tuple(faults))
    good = [one for one in found if isinstance(one, AudioMetadata)]
    refused = _save(db, good, each=each)
    return [
        Saved(error=one)
        if isinstance(one, str)
        else Saved(
            id=None if one.audio_path in refused else track_id(one.audio_path), error=refused.get(one.audio_path)
        )
        for one in found
    ]


def _checked(metadata: AudioMetadata | Mapping[str, Any]) -> AudioMetadata | str:
    """The metadata, or what is wrong with it."""
    if isinstance(metadata, AudioMetadata):
        return metadata
    try:
        return AudioMetadata.model_validate(metadata)
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors())


def _save(db: Database, tracks: Sequence[AudioMetadata], *, each: bool) -> dict[str, str]:
    """By path, why one is not saved; written together, with `each` one by one if PostgreSQL refuses that."""
    if not tracks:
        return {}
    try:
        db.rows("save_tracks", tracks=[{"id": str(track_id(one.audio_path)), **one.model_dump()} for one in tracks])
    except StatementFailed as error:
        if not each:
            raise
        if len(tracks) == 1:
            return {tracks[0].audio_path: str(error)}
        return {path: why for one in tracks for path, why in _save(db, [one], each=True).items()}
    return {}
