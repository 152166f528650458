"""The process that reads sound files for its parent: `python -m shared.audio.worker`, one file after the other.

It has no network, no credentials and little memory. What it needs of a file it asks its parent for, a range at a time.
Messages either way are a JSON object and some bytes, both with their length before them.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

from shared.audio.tags import NoSound, read_tags

MEMORY = 192 << 20  # bytes of address space, the interpreter's own included
CPU = 5  # seconds for one file
AHEAD, MOST_AHEAD = 64 << 10, 2 << 20  # bytes asked for at once: more with each piece that follows the one before
PIECES = 4
_SIZES = struct.Struct(">II")


def send(pipe: BinaryIO, said: dict[str, Any], data: bytes = b"") -> None:
    """Write one message."""
    text = json.dumps(said).encode()
    pipe.write(_SIZES.pack(len(text), len(data)) + text + data)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read one message; raises EOFError when the other side is gone."""
    lengths = pipe.read(_SIZES.size)
    if len(lengths) < _SIZES.size:
        raise EOFError
    text, data = _SIZES.unpack(lengths)
    return json.loads(pipe.read(text)), pipe.read(data)


class Ranges(io.RawIOBase):
    """A file whose bytes the parent fetches; the pieces read last are kept."""

    def __init__(self, inlet: BinaryIO, outlet: BinaryIO, size: int) -> None:
        self._inlet, self._outlet, self._size = inlet, outlet, size
        self._at, self._ahead = 0, AHEAD
        self._pieces: list[tuple[int, bytes]] = []  # the one used last at the end

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + (0, self._at, self._size)[whence]
        if at < 0:
            raise OSError("a place before the file's first byte")
        self._at = at
        return at

    def read(self, size: int = -1) -> bytes:
        """As much as there is from here, `size` bytes at most."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        parts = []
        while self._at < end:
            start, piece = self._piece(end - self._at)
            part = piece[self._at - start : end - start]
            parts.append(part)
            self._at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _piece(self, wanted: int) -> tuple[int, bytes]:
        """The piece that holds the present place."""
        for number, (start, piece) in enumerate(self._pieces):
            if start <= self._at < start + len(piece):
                self._pieces.append(self._pieces.pop(number))
                return start, piece
        follows = any(start + len(piece) == self._at for start, piece in self._pieces)
        self._ahead = min(MOST_AHEAD, self._ahead * 2) if follows else AHEAD
        length = min(self._size - self._at, max(self._ahead, min(wanted, MOST_AHEAD)))
        send(self._outlet, {"offset": self._at, "length": length})
        _, data = receive(self._inlet)
        if not data:
            raise OSError("the parent has nothing there")
        self._pieces = [*self._pieces[1 - PIECES :], (self._at, data)]
        return self._pieces[-1]


def limit_process() -> None:
    """Take away what reading tags does not need."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def limit_cpu() -> None:
    """Have the system end this process when the next file takes more than its share of computing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU + 1, hard))


def answer(inlet: BinaryIO, outlet: BinaryIO, name: str, size: int) -> None:
    """Read one file and say what came of it."""
    try:
        reading, cover = read_tags(Ranges(inlet, outlet, size), name)  # type: ignore[arg-type]  # all it has to be
    except NoSound as error:
        send(outlet, {"code": error.code, "message": str(error)})
    except (MemoryError, RecursionError, OverflowError):
        message = f"Reading it would take more than {MEMORY >> 20} MB: it is broken, or made to do harm."
        send(outlet, {"code": "too_greedy", "message": message})
    except Exception as error:  # whatever a hostile file makes the library do
        message = f"Its tags cannot be read ({type(error).__name__}): it is broken."
        send(outlet, {"code": "broken", "message": message})
    else:
        told = {"reading": asdict(reading), "cover": cover.kind, "cover_refused": cover.refused}
        send(outlet, told, cover.data)


def main() -> None:
    """Answer until the parent is gone."""
    import tinytag  # noqa: F401  # before there is little memory

    inlet, outlet = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    sys.stdout = sys.stderr  # whatever is printed must not get among the messages
    limit_process()
    send(outlet, {"ready": True})
    while True:
        try:
            asked, _ = receive(inlet)
        except EOFError:
            return
        limit_cpu()
        answer(inlet, outlet, asked["name"], asked["size"])


if __name__ == "__main__":
    main()
