"""Sound files in our buckets: asked for what they say of themselves, their covers kept in the media bucket."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Final

from shared.audio.prober import Prober
from shared.audio.tags import Cover, NoSound
from shared.errors import ObjectGone, StorageDown
from shared.storage import Store
from shared.text import shortened
from shared.upstreams.base import Answer, ErrorClass, Failure, JsonAnswer

COVERS: Final = "covers"
PICTURE_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}


# Of `NoSound`, as items carry them.
CODES: Final = {
    "empty": "upstream.empty",
    "not_audio": "upstream.not_audio",
    "broken": "upstream.broken",
    "too_greedy": "upstream.too_greedy",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A sound file to be read: one generation of an object, or its newest."""

    bucket: str
    object: str
    generation: int | None
    name: str  # for people, its ending a hint


class SoundUpstream:
    """Reads sound files by ranges, in processes of their own."""

    name = "sound"

    def __init__(self, store: Store, media_bucket: str, prober: Prober | None = None) -> None:
        self._store, self._media, self._prober = store, media_bucket, prober or Prober()

    def call(self, request: Probe, *, timeout: float) -> Answer | Failure:
        """What the file says of itself, and where its cover is; or why it says nothing."""
        try:
            ranges = self._store.ranges(request.bucket, request.object, request.generation)
            found = self._prober.probe(ranges.read, ranges.size, request.name)
            thumbnail = self._kept(found.cover)
        except NoSound as error:
            return _failed(CODES[error.code], str(error))
        except ObjectGone:
            message = "The object was replaced or deleted before it was read; drop it again."
            return _failed("upstream.object_gone", message)
        except StorageDown as error:
            return Failure(kind=ErrorClass.TRANSIENT, code="upstream.storage_down", message=shortened(str(error)))
        said = {**asdict(found.reading), "thumbnail_path": thumbnail, "cover_note": found.cover.refused}
        return JsonAnswer(body={**said, "size": ranges.size})

    def _kept(self, cover: Cover) -> str | None:
        """Where a cover is in the media bucket, named by what it holds: the same one is kept once."""
        if cover.kind is None or not self._media:
            return None
        name = f"{COVERS}/{hashlib.sha256(cover.data).hexdigest()}.{cover.kind}"
        with self._store.write(self._media, name, PICTURE_TYPES[cover.kind]) as writer:
            writer.write(cover.data)
        return f"gs://{self._media}/{name}"


def _failed(code: str, message: str) -> Failure:
    return Failure(kind=ErrorClass.PERMANENT, code=code, message=shortened(message))
