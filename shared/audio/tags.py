"""What a sound file says of itself: its tags and its sound's figures, each null where the file does not say.

Runs in a process of its own (`shared.audio.worker`): files from strangers may be made to loop or to allocate.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from shared.audio.kinds import foreign, kind_of
from shared.audio.pictures import NoPicture, picture
from shared.text import clean

LONGEST_TEXT = 1_000  # characters of a title, artist, album or genre
HEAD = 64
# Of an Ogg stream larger than both together only its beginning and its end are read: the library would walk through all
# of its pages for the last one, which says how long the sound is.
OGG_HEAD, OGG_TAIL = 4 << 20, 1 << 17
FIRST_YEAR, LAST_YEAR = 1800, 2100
MOST_CHANNELS = 16
_YEAR = re.compile(r"(?<!\d)(\d{4})(?:(?!\d)|(?=[01]\d[0-3]\d(?!\d)))")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f]+")


class NoSound(Exception):
    """Why a file cannot be read as sound, for people; `code` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a sound file says of itself; None for what it does not say."""

    format: str  # mp3, flac, ogg, opus, m4a, wav, aiff, wma, aac
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    year: int | None = None
    track: int | None = None
    duration: float | None = None  # seconds
    channels: int | None = None
    sample_rate: int | None = None  # in a second
    bitrate: float | None = None  # kbit/s

    @property
    def says_nothing(self) -> bool:
        """Whether there is neither sound nor a tag in it."""
        return all(value is None for name, value in asdict(self).items() if name != "format")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cover:
    """The picture a file holds, if it is one; else why not."""

    data: bytes = b""
    kind: str | None = None  # jpg, png, gif, webp
    refused: str | None = None


def read_tags(file: BinaryIO, name: str) -> tuple[Reading, Cover]:
    """What the file says of itself, and its cover; raises NoSound."""
    head = file.read(HEAD)
    if not head:
        raise NoSound("empty", "The file is empty.")
    kind = kind_of(head, name)
    if kind is None:
        raise NoSound("not_audio", foreign(head) or "Neither its first bytes nor its name say that it is sound.")
    tag = _tag(file, kind, by_name=name)
    reading = Reading(
        format=_format(kind, tag.mime_type or ""),
        title=_text(tag.title),
        artist=_text(tag.artist),
        album=_text(tag.album),
        genre=_text(tag.genre),
        year=year(tag.year),
        track=_whole(tag.track, 1, 1_000_000),
        duration=_figure(tag.duration, 1e9),
        channels=_whole(tag.channels, 1, MOST_CHANNELS),
        sample_rate=_whole(tag.samplerate, 1, 100_000_000),
        bitrate=_figure(tag.bitrate, 1e9),
    )
    if reading.says_nothing:
        raise NoSound("not_audio", f"There is neither sound nor a tag in it, as {kind.upper()} has them.")
    return reading, _cover(tag.images.any)


def title_of(name: str) -> str:
    """What a track without a title is called: its file's name without folders and ending."""
    path = PurePosixPath(name)
    return _text(path.stem) or _text(path.name) or name[:LONGEST_TEXT] or "?"


def year(date: str | None) -> int | None:
    """The year of a date however it is written, such as 2004, 2010-10-11, 20101011 or 11.10.2010; else None."""
    found = (int(digits) for digits in _YEAR.findall(date or ""))
    return next((one for one in found if FIRST_YEAR <= one <= LAST_YEAR), None)


def _tag(file: BinaryIO, kind: str, *, by_name: str) -> Any:
    """The library's reading; raises NoSound for a file it cannot make sense of."""
    from tinytag import ParseError, TinyTag, UnsupportedFormatError

    file.seek(0)
    source = _shortened_ogg(file) if kind in ("ogg", "opus") else file
    try:
        try:
            return TinyTag.get(file_obj=source, image=True)  # by what it holds: endings lie
        except UnsupportedFormatError:
            file.seek(0)
            return TinyTag.get(filename=f"x.{kind}", file_obj=file, image=True)
    except (ParseError, UnsupportedFormatError) as error:
        if isinstance(error.__cause__, MemoryError | OSError):
            raise error.__cause__ from None
        message = f"{by_name.rsplit('/', 1)[-1]} begins like {kind.upper()} and cannot be read on: it is broken."
        raise NoSound("broken", message) from error


def _shortened_ogg(file: BinaryIO) -> BinaryIO:
    """The stream without the pages in its middle where it is long: a cut at a page on either side."""
    from io import BytesIO

    size = file.seek(0, 2)
    file.seek(0)
    if size <= OGG_HEAD + OGG_TAIL:
        return file
    head = file.read(OGG_HEAD)
    file.seek(size - OGG_TAIL)
    tail = file.read(OGG_TAIL)
    serial = head[14:18]
    first = tail.find(b"OggS\0")
    while first != -1 and tail[first + 14 : first + 18] != serial:
        first = tail.find(b"OggS\0", first + 1)
    last = head.rfind(b"OggS\0")
    file.seek(0)
    return file if first == -1 or last <= 0 else BytesIO(head[:last] + tail[first:])


def _format(kind: str, mime_type: str) -> str:
    if 'codecs="opus"' in mime_type and kind == "ogg":
        return "opus"
    return "flac" if kind == "mp3" and mime_type == "audio/flac" else kind


def _text(value: str | None) -> str | None:
    """The text without what cannot be shown, on one line; None for none."""
    return _SPACE.sub(" ", clean(value or "")).strip()[:LONGEST_TEXT].strip() or None


def _whole(value: Any, least: int, most: int) -> int | None:
    return int(value) if isinstance(value, int | float) and least <= value <= most else None


def _figure(value: Any, most: float) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and 0 < value <= most else None


def _cover(image: Any) -> Cover:
    if image is None or not image.data:
        return Cover()
    try:
        found = picture(image.data)
    except NoPicture as error:
        return Cover(refused=f"The cover is not kept: {error}.")
    return Cover(data=bytes(image.data), kind=found.kind)
