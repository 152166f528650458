"""A stream into a file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cli.faults import Failed, WrongUsage

BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """What was written where; `output` is None for standard output."""

    output: Path | None
    lines: int
    bytes: int

    def document(self) -> dict[str, Any]:
        """It as JSON shows it."""
        return {"output": str(self.output) if self.output else None, "lines": self.lines, "bytes": self.bytes}


def save(pieces: Iterable[bytes], output: Path, *, json_lines: bool = False) -> Saved:
    """Write the pieces to a file that replaces `output` once all are there. Raises WrongUsage, Failed, or what they do.

    A link is followed; a device or a pipe is written to as it is. Where the disk is full `output` stays as it was; if
    there was none, JSON lines are left there as far as they are whole.
    """
    if output.exists() and not output.is_file():
        try:
            with output.open("wb", buffering=0) as file:
                return copy(pieces, file, output)
        except OSError as error:
            raise WrongUsage(f"Cannot write {output}: {error.strerror}.") from error
    output = Path(os.path.realpath(output))
    with replacing(output) as file:
        try:
            return copy(pieces, file, output)
        except Failed as error:
            lines = whole_lines(file) if json_lines and not output.exists() else 0
            if not lines:
                raise Failed(f"{error} {output.name} is as it was; free some space and try again.") from error
            left = f"{output.name} holds the first {lines:,} lines, and more are missing"
            short = Failed(f"{error} {left}; free some space and try again.")
    raise short


def copy(pieces: Iterable[bytes], file: BinaryIO, output: Path | None) -> Saved:
    """Write the pieces to an open file, unbuffered; raises Failed if they cannot be written, or what they raise."""
    lines = size = 0
    for piece in pieces:
        write(file, piece, output)
        lines, size = lines + piece.count(b"\n"), size + len(piece)
    return Saved(output=output, lines=lines, bytes=size)


def write(file: BinaryIO, data: bytes, output: Path | None) -> None:
    """Write all of the data to an unbuffered file; raises Failed."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise full(error, output) from error


def full(error: OSError, output: Path | None) -> Failed:
    """That something cannot be written, most likely because the disk is full."""
    return Failed(f"Cannot write {output or 'standard output'}: {error.strerror}.")


@contextmanager
def replacing(output: Path) -> Iterator[BinaryIO]:
    """An unbuffered file that replaces `output` if the block ends well, and else is gone. Raises WrongUsage, Failed."""
    try:
        descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name[:100]}.")
    except OSError as error:
        raise WrongUsage(f"Cannot write {output}: {error.strerror}.") from error
    temporary = Path(name)
    try:
        with open(descriptor, "wb+", buffering=0) as file:
            yield file
            try:
                os.fsync(file.fileno())
            except OSError as error:
                raise full(error, output) from error
        try:
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(output)
        except OSError as error:
            raise WrongUsage(f"Cannot write {output}: {error.strerror}.") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def whole_lines(file: BinaryIO) -> int:
    """How many lines a file has once what stands behind the last line end is cut off."""
    file.seek(0)
    lines = size = at = 0
    while block := file.read(BLOCK):
        lines += block.count(b"\n")
        if b"\n" in block:
            size = at + block.rindex(b"\n") + 1
        at += len(block)
    file.truncate(size)
    return lines


def unused(path: Path) -> Path:
    """The path, or one beside it with a number where something is there already."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _umask() -> int:
    """The process's mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
