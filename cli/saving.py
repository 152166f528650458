"""A stream into a file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.faults import WrongUsage


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """What was written where; `output` is None for standard output."""

    output: Path | None
    lines: int
    bytes: int

    def document(self) -> dict[str, Any]:
        """It as JSON shows it."""
        return {"output": str(self.output) if self.output else None, "lines": self.lines, "bytes": self.bytes}


def save(pieces: Iterable[bytes], output: Path) -> Saved:
    """Write the pieces to a file that replaces `output` once all are there. Raises WrongUsage, or what they raise.

    A link is followed; a device or a pipe is written to as it is.
    """
    output = output.absolute()
    if output.exists() and not output.is_file():
        return _pour(pieces, output)
    output = Path(os.path.realpath(output))
    try:
        descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    except OSError as error:
        raise WrongUsage(f"Cannot write {output}: {error.strerror}.") from error
    temporary = Path(name)
    lines = size = 0
    try:
        with open(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
                lines, size = lines + piece.count(b"\n"), size + len(piece)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(output)
    except OSError as error:
        raise WrongUsage(f"Cannot write {output}: {error.strerror}.") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return Saved(output=output, lines=lines, bytes=size)


def _pour(pieces: Iterable[bytes], output: Path) -> Saved:
    lines = size = 0
    try:
        with output.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                lines, size = lines + piece.count(b"\n"), size + len(piece)
    except OSError as error:
        raise WrongUsage(f"Cannot write {output}: {error.strerror}.") from error
    return Saved(output=output, lines=lines, bytes=size)


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
