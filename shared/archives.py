"""An uploaded ZIP archive: its members, and each of them as a stream, read where it lies and never unpacked whole."""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from shared.archive_directory import AGAIN, HEADER, Entry, Reader, damaged, end_of, entries_of, exactly, refused, shown
from shared.storage import ObjectReader

__all__ = ["ArchiveLimits", "ArchiveMember", "MemberStream", "ObjectReader", "members", "open_member"]

_ENCRYPTED = 0x0001 | 0x0040 | 0x2000  # the member, strongly, or its header
_STORED, _DEFLATED = 0, 8
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_AES = 99
_ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".7z", ".rar")
_PACKED_PIECE = 64 * 1024
_PIECE = 256 * 1024  # unpacked bytes in memory at once


LONGEST_PATH = 500  # bytes; the ledger finds a file by it


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveLimits:
    """What an archive may measure; beyond it is refused."""

    members: int = 1_000
    directory_bytes: int = 4 << 20
    total_bytes: int = 2 << 30  # unpacked
    ratio: int = 200  # unpacked to packed, of one member; CSV text seldom passes 10
    any_ratio_bytes: int = 1 << 20  # unpacked, up to which the ratio is no matter


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveMember:
    """A file in an archive."""

    path: str  # with slashes, whatever the archiver wrote
    size: int
    compressed_size: int
    crc: int


def members(reader: Reader, size: int, limits: ArchiveLimits | None = None) -> list[ArchiveMember]:
    """The files in an archive of `size` bytes, folders left out, in the order of its directory.

    Raises InputError, naming the member and what to do, if any entry is hostile or cannot be read, also an entry
    nobody would read: such an archive is not what it says it is.
    """
    entries, _ = _checked(reader, size, limits or ArchiveLimits())
    found = [
        ArchiveMember(path=one.path, size=one.size, compressed_size=one.compressed_size, crc=one.crc)
        for one in entries
        if not one.path.endswith("/")
    ]
    if not found:
        raise refused("empty", f"The ZIP archive holds no file. {AGAIN}")
    return found


def open_member(
    reader: Reader, size: int, path: str, *, offset: int = 0, limits: ArchiveLimits | None = None
) -> MemberStream:
    """The bytes of a member from an offset on, which is come to by unpacking what stands before it.

    Raises InputError, here or while it is read, if the member is not what the directory says.
    """
    entries, directory = _checked(reader, size, limits or ArchiveLimits())
    entry = next((one for one in entries if one.path == path), None)
    if entry is None:
        raise refused("damaged", f"The ZIP archive holds no {shown(path)}. {AGAIN}")
    beyond = min((one.offset for one in entries if one.offset > entry.offset), default=directory)
    raw = exactly(reader, entry.offset, HEADER.size + len(entry.raw_name))
    signature, _, flags, method, *_, name_length, extra_length = HEADER.unpack_from(raw)
    same = (method, raw[HEADER.size :], name_length) == (entry.method, entry.raw_name, len(entry.raw_name))
    data = entry.offset + HEADER.size + name_length + extra_length
    if signature != b"PK\3\4" or flags & _ENCRYPTED or not same or data + entry.compressed_size > beyond:
        raise damaged(f"{shown(path)} is not what its directory says")
    return MemberStream(_unpacked(reader, entry, data), skip=offset)


class MemberStream:
    """The bytes of one member of an archive."""

    def __init__(self, pieces: Iterator[bytes], *, skip: int) -> None:
        self._pieces, self._skip = pieces, skip
        self._buffer = b""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end; raises InputError if the size or the checksum prove wrong."""
        while not self._buffer:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._buffer = piece[self._skip :]
            self._skip -= min(self._skip, len(piece))
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def _unpacked(reader: Reader, entry: Entry, data: int) -> Iterator[bytes]:
    """A member's bytes in pieces; the last one is given only if all of them are as announced."""
    pieces = _packed(reader, data, entry.compressed_size)
    if entry.method == _DEFLATED:
        pieces = _inflated(pieces, entry)
    size, crc = 0, 0
    for piece in pieces:
        size, crc = size + len(piece), zlib.crc32(piece, crc)
        if size > entry.size:
            raise damaged(f"{shown(entry.path)} holds more than the {entry.size:,} bytes it announces")
        if size == entry.size and crc != entry.crc:
            raise damaged(f"{shown(entry.path)} does not have the checksum it announces")
        yield piece
    if size < entry.size:
        raise damaged(f"{shown(entry.path)} holds {size:,} of the {entry.size:,} bytes it announces")


def _packed(reader: Reader, at: int, size: int) -> Iterator[bytes]:
    for start in range(at, at + size, _PACKED_PIECE):
        yield exactly(reader, start, min(_PACKED_PIECE, at + size - start))


def _inflated(pieces: Iterator[bytes], entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for rest in pieces:
            while True:
                piece = inflater.decompress(rest, _PIECE)
                yield piece
                rest = inflater.unconsumed_tail
                if not rest and len(piece) < _PIECE:  # a full piece may have left bytes in the inflater
                    break
            if inflater.unused_data:
                raise damaged(f"{shown(entry.path)} holds something behind its end")
    except zlib.error as error:
        raise damaged(f"{shown(entry.path)} cannot be unpacked") from error


def _checked(reader: Reader, size: int, limits: ArchiveLimits) -> tuple[list[Entry], int]:
    """The entries of the directory, all of them harmless, and where it begins."""
    end = end_of(reader, size)
    if end.entries > limits.members:
        raise refused(
            "too_many",
            f"The ZIP archive holds {end.entries:,} files of {limits.members:,} at most. Drop the CSV files alone.",
        )
    if end.size > limits.directory_bytes:
        raise refused(
            "too_large",
            f"The directory of the ZIP archive takes {end.size:,} bytes of {limits.directory_bytes:,}. {AGAIN}",
        )
    entries = list(entries_of(exactly(reader, end.offset, end.size), end.entries))
    for entry in entries:
        _check_readable(entry)
        _check_ratio(entry, limits)
    _check_total(entries, limits)
    _check_apart(entries, end.offset)
    return entries, end.offset


def _check_readable(entry: Entry) -> None:
    name = shown(entry.path)
    if len(entry.path.encode()) > LONGEST_PATH:
        raise refused("path", f"{name} in the ZIP archive has a name of more than {LONGEST_PATH} bytes. {AGAIN}")
    if entry.flags & _ENCRYPTED or entry.method == _AES:
        raise refused("encrypted", f"{name} in the ZIP archive is encrypted. Pack the files without a password.")
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused("link", f"{name} in the ZIP archive is a link or a device, no file. {AGAIN}")
    if entry.path.lower().endswith(_ARCHIVES):
        raise refused("nested", f"The ZIP archive holds another archive, {name}. Take it out, or drop it by itself.")
    if entry.method not in (_STORED, _DEFLATED):
        method = _METHODS.get(entry.method, f"method {entry.method}")
        raise refused(
            "compression",
            f"{name} in the ZIP archive is packed with {method}. Pack the files with Deflate, the usual.",
        )
    if entry.method == _STORED and entry.size != entry.compressed_size:
        raise damaged(f"{name} is not packed and yet has two sizes")


def _check_ratio(entry: Entry, limits: ArchiveLimits) -> None:
    if entry.size > limits.any_ratio_bytes and entry.size > limits.ratio * entry.compressed_size:
        raise refused(
            "bomb",
            f"{shown(entry.path)} would grow from {entry.compressed_size:,} bytes to {entry.size:,}, more than "
            f"{limits.ratio} times. {AGAIN}",
        )


def _check_total(entries: list[Entry], limits: ArchiveLimits) -> None:
    total = sum(entry.size for entry in entries)
    if total > limits.total_bytes:
        raise refused(
            "too_large",
            f"The files in the ZIP archive take {total:,} bytes of {limits.total_bytes:,}. Drop the CSV files alone.",
        )


def _check_apart(entries: list[Entry], directory: int) -> None:
    """Refuse entries of one name, and entries that share bytes: many files out of one are how bombs are built."""
    paths: set[str] = set()
    for entry in entries:
        if entry.path in paths and not entry.path.endswith("/"):
            raise refused("duplicate", f"The ZIP archive holds {shown(entry.path)} twice. {AGAIN}")
        paths.add(entry.path)
    spans = [(one.offset, one.offset + HEADER.size + len(one.raw_name) + one.compressed_size, one) for one in entries]
    spans.sort(key=lambda span: span[:2])
    for (_, beyond, _), (start, _, entry) in pairwise(spans):
        if start < beyond:
            raise refused("bomb", f"{shown(entry.path)} begins within another file of the ZIP archive. {AGAIN}")
    if spans and spans[-1][1] > directory:
        raise damaged(f"{shown(spans[-1][2].path)} reaches into its directory")
