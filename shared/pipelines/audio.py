"""Audio: sound files in, one by one or listed, what they say of themselves in a library that is searched out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import unquote, urlsplit
from uuid import UUID

from shared.audio.kinds import ENDINGS, ending, kind_of
from shared.audio.listing import track_id
from shared.audio.tags import title_of
from shared.columns import Scalar, Type
from shared.errors import InputError
from shared.forecasts import Forecast, Preview, Range
from shared.options import Options
from shared.paging import by_number
from shared.pipelines.base import (
    Dialogue,
    Form,
    Input,
    InvalidRow,
    Pipeline,
    Service,
    Settled,
    Told,
    Upstream,
    ValidRow,
)
from shared.states import Outcome
from shared.storage import CloudStore
from shared.text import clean
from shared.upstreams.base import Failure, JsonAnswer
from shared.upstreams.sound import Probe, ProbeLink, SoundUpstream

if TYPE_CHECKING:
    from shared.db import Database
    from shared.items import Item
    from shared.samples import Sample

_TEXT, _WHOLE, _NUMBER = Scalar.TEXT, Scalar.WHOLE, Scalar.NUMBER
_OF_THE_ROW: Mapping[str, Type] = {"item_no": _WHOLE, "audio_path": _TEXT, "track_id": _TEXT}
_OF_THE_FILE: Mapping[str, Type] = {
    "title": _TEXT, "artist": _TEXT, "album": _TEXT, "genre": _TEXT, "year": _WHOLE, "track": _WHOLE,
    "duration": _NUMBER, "channels": _WHOLE, "sample_rate": _WHOLE, "bitrate": _NUMBER, "format": _TEXT, "size": _WHOLE,
    "thumbnail_path": _TEXT, "cover_note": _TEXT,
}  # fmt: skip
_OF_THE_ITEM: Mapping[str, Type] = {
    "db_status": _TEXT, "error": _TEXT, "outcome": _TEXT, "attempts": _WHOLE, "code": _TEXT, "error_code": _TEXT,
    "line": _WHOLE,
}  # fmt: skip
LISTS = ("csv", "tsv", "txt")  # endings of files whose rows name sound files; every other object is one itself
LONGEST_NAME = 1_024  # bytes, of an object
LONGEST_LINK = 2_000
SECONDS = 0.1  # a file is read within about so long
# What a file says of itself, as it stands in table audio_tracks.
SAID = (
    "title", "artist", "album", "genre", "year", "track", "duration", "channels", "sample_rate", "bitrate", "format",
    "thumbnail_path",
)  # fmt: skip
_OBJECT = re.compile(r"gs://([a-z0-9][a-z0-9._-]+)/(.+)")


class AudioForm:
    """Rows that each name a sound file: a link, gs://bucket/name, or the name of an object of the upload bucket."""

    columns: tuple[str, ...] = ("file",)
    required: tuple[str, ...] = ("file",)
    header_words: frozenset[str] = frozenset()
    headerless = False
    may_be_empty = False

    def __init__(self, buckets: frozenset[str], home: str) -> None:
        self._open, self._home = buckets, home

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The row of a named object. Only what lies in the upload and the media bucket may be read."""
        cell = clean(cells[0] or "").strip()
        if not cell:
            return InvalidRow(column="file", code="input.empty_cell", reason="file is empty; name a sound file.")
        if cell.lower().startswith(("http://", "https://")):
            return _row_of_link(cell)
        found = _OBJECT.fullmatch(cell)
        bucket, name = (found[1], found[2]) if found else (self._home, cell)
        if (found is None and "://" in cell) or bucket not in self._open:
            allowed = " or ".join(f"gs://{one}/…" for one in sorted(self._open))
            reason = f"{cell[:60]!r} is in no bucket that is read; name an object of {allowed}."
            return InvalidRow(column="file", code="input.bucket", reason=reason)
        return row_of(bucket, name, None)


def row_of(bucket: str, name: str, generation: int | None) -> ValidRow | InvalidRow:
    """The row of an object: its newest generation unless one is given."""
    if not name.isprintable() or len(name.encode()) > LONGEST_NAME:
        reason = f"{name[:60]!r} cannot be an object's name; give up to {LONGEST_NAME:,} bytes without line breaks."
        return InvalidRow(column="file", code="input.object_name", reason=reason)
    path = f"gs://{bucket}/{name}"
    return _row(path, generation)


def _row_of_link(url: str) -> ValidRow | InvalidRow:
    """The row of a link; whether its host may be asked is found out then."""
    if not url.isprintable() or " " in url or len(url.encode()) > LONGEST_LINK:
        reason = f"{url[:60]!r} is no link; give up to {LONGEST_LINK:,} bytes without spaces."
        return InvalidRow(column="file", code="input.link", reason=reason)
    return _row(url, None)


def _row(path: str, generation: int | None) -> ValidRow:
    # Generations are numbers beyond what JSON's readers hold exactly.
    said = {"audio_path": path, "track_id": str(track_id(path)), "generation": str(generation) if generation else None}
    return ValidRow(key=path, input=said)


class Audio(Pipeline):
    """The audio pipeline; its processes are started when the first file is read."""

    slug = "audio"
    title = "Audio: sound files, and what they say of themselves"
    service = Service(called="the files", stand_in="", key="")
    needs = ("UPLOAD_BUCKET", "MEDIA_BUCKET")
    accepts = (*(f".{one}" for one in ENDINGS), ".csv", ".tsv", ".txt")
    known_by = "sound in it, or the column file"
    of_the_row: ClassVar[Mapping[str, Type]] = _OF_THE_ROW
    of_the_answer: ClassVar[Mapping[str, Type]] = _OF_THE_FILE
    whole: ClassVar[Mapping[str, Type]] = {**_OF_THE_ROW, **_OF_THE_FILE, **_OF_THE_ITEM}
    short = ("item_no", "audio_path", "track_id", "db_status", "error")

    def form(self, part: str, header: Sequence[str] | None) -> Form:
        """That of a list of sound files."""
        upload, media = self._settings.upload_bucket, self._settings.media_bucket
        return AudioForm(frozenset(filter(None, (upload, media))), upload)

    def single(self, bucket: str, name: str, generation: int) -> ValidRow | None:
        """The row of an uploaded sound file; None for a list of them. Raises InputError for a name none can have."""
        if ending(name) in LISTS:
            return None
        row = row_of(bucket, name, generation)
        if isinstance(row, InvalidRow):
            raise InputError(row.reason, code=row.code)
        return row

    @classmethod
    def is_single(cls, name: str) -> bool:
        """Whether a file of this name is a sound file rather than a list of them, as far as the name tells."""
        return ending(name) in ENDINGS

    @classmethod
    def recognises(cls, sample: Sample) -> bool:
        """Whether a file is sound by its name and its first bytes, or a list of such files."""
        if sample.ending.removeprefix(".") in LISTS:
            return sample.names_columns_of(AudioForm(frozenset(), ""))
        return not sample.folder and cls.is_single(sample.name) and kind_of(sample.head[:64], sample.name) is not None

    def begin(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled | Dialogue]:
        """A file to be read, unless its track is there and stays."""
        there: set[UUID] = set()
        if options.skip_existing and options.writes_domain and items:
            ids = [UUID(item.input["track_id"]) for item in items]
            there = {row["id"] for row in db.rows("audio_known", ids=ids)}
        skipped = Settled(outcome=Outcome.SKIPPED, code="skip_existing")
        return {item.number: skipped if UUID(item.input["track_id"]) in there else _read(item.input) for item in items}

    def forecast(self, db: Database, session: UUID, options: Options) -> Forecast:
        """One reading for each file."""
        files = sum(row["files"] for row in by_number(db, "audio_forecast", session=session))
        return Forecast(
            to_run=files,
            requests=Range(low=files, likely=files, high=files),
            seconds=SECONDS,
            basis="one reading for each file; nothing is paid",
        )

    def preview(self, session: UUID, item_no: int, row: Input, options: Options) -> Preview:
        """The file that would be read, and its track."""
        kept = f"(id, audio_path, {', '.join(SAID)})"
        effect = f"INSERT INTO audio_tracks {kept} VALUES ('{row['track_id']}', …)"  # noqa: S608  # shown, not run
        request = {"read": row["audio_path"], "generation": row["generation"] or "the newest"}
        return Preview(request=request, effect=effect if options.writes_domain else None)

    def domain(self, row: Input, settled: Settled) -> dict[str, Any] | None:
        """The track; what becomes of one that cannot be read, the table's own triggers write."""
        if settled.outcome is not Outcome.ENRICHED or settled.result is None:
            return None
        said = {name: settled.result[name] for name in SAID}
        return {"id": row["track_id"], "audio_path": row["audio_path"], **said}

    @classmethod
    def told(cls, line: Input) -> Told | None:
        """A track by the path of its file, and what the line says of it."""
        if not {"audio_path", "db_status"} <= line.keys():
            return None
        path, title = line["audio_path"], line.get("title")
        answer = {"title": title} if isinstance(title, str) and line.get("error") is None else None
        return Told(
            key=clean(path) if isinstance(path, str) else None,
            answer=answer,
            says=title if isinstance(title, str) else "",
        )

    @property
    def upstream(self) -> Upstream:
        """Whatever reads sound files."""
        return self._sound

    @cached_property
    def _sound(self) -> SoundUpstream:
        return SoundUpstream(CloudStore(), self._settings.media_bucket, fetch=self._settings.fetch)


def _read(row: Input) -> Dialogue:
    found = _OBJECT.fullmatch(row["audio_path"])
    if found is None:
        name = unquote(urlsplit(row["audio_path"]).path)
        answer = yield ProbeLink(url=row["audio_path"], name=name)
    else:
        name, generation = found[2], int(row["generation"]) if row["generation"] else None
        answer = yield Probe(bucket=found[1], object=name, generation=generation, name=name)
    if isinstance(answer, Failure):
        return answer
    said = dict(cast(JsonAnswer, answer).body)
    return Settled(outcome=Outcome.ENRICHED, result={**said, "title": said["title"] or title_of(name)})
