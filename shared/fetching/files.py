"""What a fetch answers: a file that is in the media bucket, named for people, as table assets has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.fetching import names
from shared.fetching.transfer import Fetcher
from shared.fetching.wanted import Fetch, What
from shared.media import Media, usable_type
from shared.text import clean


@dataclass(frozen=True, kw_only=True, slots=True)
class Templates:
    """How files are named."""

    video: str = names.VIDEO
    transcript: str = names.TRANSCRIPT
    file: str = names.FILE

    def of(self, what: What) -> str:
        """The template of what is fetched."""
        return {What.VIDEO: self.video, What.TRANSCRIPT: self.transcript}.get(what, self.file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """What every way of fetching needs: something to open files with, a place to keep them, and names for them."""

    fetcher: Fetcher
    media: Media
    templates: Templates = field(default_factory=Templates)

    def keep(
        self,
        fetch: Fetch,
        pieces: Iterable[bytes],
        *,
        original: str,
        content_type: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The answer for a file whose pieces are these; raises FetchError."""
        kept = self.media.keep(pieces, usable_type(content_type))
        name = names.named(self.templates.of(fetch.what), _fields(fetch, original, content_type, metadata or {}))
        return {
            "filename": clean(name),
            "content_type": usable_type(content_type),
            "file_size_bytes": kept.size,
            "sha256": kept.sha256,
            "cloud_storage_url": kept.url,
            "metadata": {"original_name": clean(names.safe_name(original)), **(metadata or {})},
        }


def _fields(fetch: Fetch, original: str, content_type: str, metadata: Mapping[str, Any]) -> dict[str, str]:
    known = fetch.link.id or ""
    return {
        "video_id": known,
        "id": known,
        "row_id": fetch.row_id,
        "ext": names.ending(content_type, original),
        "original name": original,
        "title": str(metadata.get("title") or ""),
    }
