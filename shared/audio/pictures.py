"""Covers: whether bytes from a stranger's file are a picture, told by their header; nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp"}  # by kind
LARGEST = 5_000_000  # bytes
LONGEST_SIDE = 10_000  # pixels
MOST_PIXELS = 64_000_000  # a browser that shows it needs four bytes for each
_SEGMENTS = 1_000  # of a JPEG, looked through for the one with its size


class NoPicture(Exception):
    """Why some bytes are no picture that could be shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture's kind and its size in pixels."""

    kind: str  # jpg, png, gif, webp
    width: int
    height: int


def picture(data: bytes) -> Picture:
    """What picture the bytes are; raises NoPicture for anything a browser should not be given."""
    if len(data) > LARGEST:
        raise NoPicture(f"it has {len(data):,} bytes, {LARGEST:,} at most are kept")
    try:
        kind, (width, height) = _measured(data)
    except (struct.error, IndexError) as error:
        raise NoPicture("its header is cut off") from error
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE and width * height <= MOST_PIXELS):
        raise NoPicture(f"it says it is {width:,} by {height:,} pixels")
    return Picture(kind=kind, width=width, height=height)


def _measured(data: bytes) -> tuple[str, tuple[int, int]]:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return "png", struct.unpack_from(">II", data, 16)
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg", _jpeg(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif", struct.unpack_from("<HH", data, 6)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp", _webp(data)
    raise NoPicture("it is neither JPEG, PNG, GIF nor WebP")


def _jpeg(data: bytes) -> tuple[int, int]:
    """Width and height from the frame's header, which stands behind any number of other segments."""
    at = 2
    for _ in range(_SEGMENTS):
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # any number of fill bytes
            at += 1
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise NoPicture("its header says no size")


def _webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case _:
            raise NoPicture("it is a WebP of no known kind")
