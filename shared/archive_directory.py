"""The directory of a ZIP archive: what its end says of it, and its entries.

It is read by hand and not by Python's zipfile: what is checked must be what is opened, so there is one reading of it,
and an archive can be refused for its size before anything is built from it. Names are taken as UTF-8 whether or not
they are marked so (macOS leaves the mark out), and as code page 437 where that fails; those that matter are ASCII.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from shared.errors import InputError
from shared.text import shortened

HEADER = struct.Struct("<4s5H3L2H")  # before each member
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LONGEST_COMMENT = 0xFFFF
_IN_ZIP64 = 0xFFFFFFFF  # a size or offset that stands in the extra field instead

_DRIVE = re.compile("[A-Za-z]:")
AGAIN = "Export it again, or pack the folder anew, and drop that."


class Reader(Protocol):
    """An object's bytes from any place."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes from there; none only at the end."""


class Entry(NamedTuple):
    """One entry of the directory."""

    path: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    mode: int  # of the file, where the archiver ran on Unix
    offset: int  # of its header


class End(NamedTuple):
    """What the end of the archive says of the directory."""

    entries: int
    size: int
    offset: int


def end_of(reader: Reader, size: int) -> End:
    """What the record at the end of an archive of `size` bytes, or the ZIP64 one before it, says of the directory.

    The directory then lies where it should. Raises InputError if this is no archive, or not all of one.
    """
    start = max(0, size - _END.size - _LONGEST_COMMENT)
    tail = exactly(reader, start, size - start)
    at = len(tail)
    while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            break
    else:
        if exactly(reader, 0, min(4, size)) != b"PK\3\4":
            raise refused("not_zip", "This is no ZIP archive. Drop the ZIP as it was exported, or the CSV files in it.")
        raise damaged("its end is missing, as after a download that broke off")
    _, disk, first_disk, here, *numbers, _ = _END.unpack_from(tail, at)
    end, behind = End(*numbers), start + at
    end_64 = _end_64(reader, behind)
    if end_64 is not None:
        behind, end_64_disk, wide = end_64
        narrow = zip((disk, *end), (end_64_disk, *wide), (0xFFFF, 0xFFFF, _IN_ZIP64, _IN_ZIP64), strict=True)
        if any(small not in (big, most) for small, big, most in narrow):
            raise damaged("it has two ends that contradict each other")
        disk, first_disk, here, end = end_64_disk, 0, wide.entries, wide
    if disk or first_disk or here != end.entries:
        raise refused("volumes", f"This is one volume of a ZIP archive of several. {AGAIN}")
    if end.offset + end.size != behind:
        raise damaged("parts of it are missing, or something else is in between")
    return end


def _end_64(reader: Reader, at: int) -> tuple[int, int, End] | None:
    """Where the ZIP64 record before the end begins, its volume, and what it says; None if there is none."""
    if at < _LOCATOR.size:
        return None
    signature, disk, offset, _ = _LOCATOR.unpack(exactly(reader, at - _LOCATOR.size, _LOCATOR.size))
    if signature != b"PK\6\7":
        return None
    if offset + _END_64.size <= at - _LOCATOR.size:
        signature, length, _, _, _, _, _, *numbers = _END_64.unpack(exactly(reader, offset, _END_64.size))
        if signature == b"PK\6\6" and offset + 12 + length == at - _LOCATOR.size:
            return offset, disk, End(*numbers)
    raise damaged("its ZIP64 end is not where it should be")


def entries_of(directory: bytes, count: int) -> Iterator[Entry]:
    """The entries in the bytes of a directory; raises InputError if they are not `count`, or one is no entry."""
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(directory) or directory[at : at + 4] != b"PK\1\2":
            raise damaged("its directory is not whole")
        entry = _ENTRY.unpack_from(directory, at)
        _, _, _, flags, method, _, _, crc, *sizes, name_length, extra_length, comment_length, _, _, mode, offset = entry
        at += _ENTRY.size
        raw_name = directory[at : at + name_length]
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        size, compressed_size, offset = _wide((sizes[1], sizes[0], offset), extra)
        yield Entry(
            path=_path(raw_name),
            raw_name=raw_name,
            flags=flags,
            method=method,
            crc=crc,
            compressed_size=compressed_size,
            size=size,
            mode=mode >> 16,
            offset=offset,
        )
    if at != len(directory):
        raise damaged("its directory holds more, or less, than it says")


def _wide(values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """The values, those that do not fit in 32 bits taken from the ZIP64 extra field, where they stand in this order."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            wide = extra[at + 4 : at + 4 + length]
            break
        at += 4 + length
    taken = 0
    found = []
    for value in values:
        if value == _IN_ZIP64:
            if taken + 8 > len(wide):
                raise damaged("its directory lacks the size of a member")
            value = int.from_bytes(wide[taken : taken + 8], "little")
            taken += 8
        found.append(value)
    return found[0], found[1], found[2]


def _path(raw: bytes) -> str:
    """The path of a member, a folder's with a slash at its end."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("cp437")
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or _DRIVE.match(path) or ".." in parts or "\0" in path or not path:
        raise refused("path", f"The ZIP archive holds {shown(name)}, which is no path inside a folder. {AGAIN}")
    return "/".join(parts) + ("/" if path.endswith("/") else "")


def exactly(reader: Reader, offset: int, size: int) -> bytes:
    """So many bytes from an offset on; raises InputError if there are fewer."""
    reader.seek(offset)
    pieces = []
    while size > 0:
        piece = reader.read(size)
        if not piece:
            raise damaged("it ends too early")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def shown(path: str) -> str:
    """A member's path for messages."""
    return repr(shortened(path, 100))


def refused(code: str, message: str) -> InputError:
    """The error for an archive that is refused."""
    return InputError(message, code=f"input.archive_{code}")


def damaged(what: str) -> InputError:
    """The error for an archive that is not whole, or contradicts itself."""
    return refused("damaged", f"The ZIP archive is damaged: {what}. {AGAIN}")
