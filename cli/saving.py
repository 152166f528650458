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
    """Write the pieces to a file that replaces `output` once all are there. Raises WrongUsage, or what they raise."""
    output = output.absolute()
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


def _umask() -> int:
    """The process's mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
