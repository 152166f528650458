"""Sound files in our buckets and behind links: what they say of themselves, their covers kept in the media bucket."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from shared.audio.pictures import CONTENT_TYPES
from shared.audio.prober import Probed, Prober
from shared.audio.tags import Cover, NoSound
from shared.errors import FetchError, ObjectGone, StorageDown
from shared.fetching.causes import failure_of
from shared.fetching.pace import Pace
from shared.fetching.settings import FetchSettings
from shared.storage import Store
from shared.text import shortened
from shared.upstreams.base import Answer, ErrorClass, Failure, JsonAnswer

if TYPE_CHECKING:
    from shared.fetching.web import Web

COVERS: Final = "covers"

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeLink:
    """A sound file behind a link to be read, and kept where it is."""

    url: str
    name: str


class SoundUpstream:
    """Reads sound files by ranges, in processes of their own."""

    name = "sound"

    def __init__(
        self,
        store: Store,
        media_bucket: str,
        prober: Prober | None = None,
        *,
        fetch: FetchSettings | None = None,
        web: Web | None = None,
    ) -> None:
        self._store, self._media, self._prober = store, media_bucket, prober or Prober()
        self._fetch = fetch or FetchSettings()
        if web is not None:
            self._web = web
        self._pace = Pace(at_once=self._fetch.at_once, per_second=self._fetch.per_second)

    def call(self, request: Probe | ProbeLink, *, timeout: float) -> Answer | Failure:
        """What the file says of itself, and where its cover is; or why it says nothing."""
        try:
            found, size = self._probed(request, time.monotonic() + timeout)
            thumbnail = self._kept(found.cover)
        except FetchError as error:
            return failure_of(error)
        except NoSound as error:
            return _failed(CODES[error.code], str(error))
        except ObjectGone:
            message = "The object was replaced or deleted before it was read; drop it again."
            return _failed("upstream.object_gone", message)
        except StorageDown as error:
            return Failure(kind=ErrorClass.TRANSIENT, code="upstream.storage_down", message=shortened(str(error)))
        said = {**asdict(found.reading), "thumbnail_path": thumbnail, "cover_note": found.cover.refused}
        return JsonAnswer(body={**said, "size": size})

    @cached_property
    def _web(self) -> Web:
        """The way to links; its libraries are not loaded for files of our own buckets."""
        from shared.upstreams.web import web_of

        return web_of(self._fetch)

    def _probed(self, request: Probe | ProbeLink, until: float) -> tuple[Probed, int]:
        """What a file says, and its bytes."""
        if isinstance(request, ProbeLink):
            from shared.audio.links import LinkRanges

            host = self._web.hosts.read(request.url).host
            with self._pace.turn(host, until=until):
                behind = LinkRanges(self._web, request.url, until=until)
                return self._prober.probe(behind.read, behind.size, request.name), behind.size
        ranges = self._store.ranges(request.bucket, request.object, request.generation)
        return self._prober.probe(ranges.read, ranges.size, request.name), ranges.size

    def _kept(self, cover: Cover) -> str | None:
        """Where a cover is in the media bucket, named by what it holds: the same one is kept once."""
        if cover.kind is None or not self._media:
            return None
        name = f"{COVERS}/{hashlib.sha256(cover.data).hexdigest()}.{cover.kind}"
        with self._store.write(self._media, name, CONTENT_TYPES[cover.kind]) as writer:
            writer.write(cover.data)
        return f"gs://{self._media}/{name}"


def _failed(code: str, message: str) -> Failure:
    return Failure(kind=ErrorClass.PERMANENT, code=code, message=shortened(message))
