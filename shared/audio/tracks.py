"""The library of tracks: everything a program does with it."""

from shared.audio.listing import (
    TrackPage,
    TrackStatus,
    get_all_audio_metadata,
    get_audio_metadata_by_id,
    get_audio_metadata_by_ids,
    track_id,
)
from shared.audio.saving import AudioMetadata, Saved, save_audio_metadata, save_audio_metadata_batch
from shared.audio.search import Found, search_audio_tracks, search_audio_tracks_advanced
from shared.audio.statuses import (
    Moved,
    mark_as_completed,
    mark_as_failed,
    mark_as_processing,
    update_processing_status,
    update_processing_status_batch,
)

__all__ = [
    "AudioMetadata",
    "Found",
    "Moved",
    "Saved",
    "TrackPage",
    "TrackStatus",
    "get_all_audio_metadata",
    "get_audio_metadata_by_id",
    "get_audio_metadata_by_ids",
    "mark_as_completed",
    "mark_as_failed",
    "mark_as_processing",
    "save_audio_metadata",
    "save_audio_metadata_batch",
    "search_audio_tracks",
    "search_audio_tracks_advanced",
    "track_id",
    "update_processing_status",
    "update_processing_status_batch",
]
