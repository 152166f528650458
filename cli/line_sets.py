"""Whether two streams hold the same lines in whatever order, and about how many differ, in constant memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b

_SLOTS = 1 << 20


class LineSet:
    """Lines added and taken away, and how many are left over."""

    def __init__(self) -> None:
        self._sum = 0
        self._slots = array("q", bytes(8 * _SLOTS))

    def add(self, pieces: Iterable[bytes], times: int = 1) -> LineSet:
        """Add the lines of a stream; -1 times takes them away."""
        for line in lines_of(pieces):
            digest = int.from_bytes(blake2b(line, digest_size=16).digest(), "big")
            self._sum += times * digest
            self._slots[digest % _SLOTS] += times
        return self

    @property
    def left(self) -> int:
        """How many lines were added and not taken away, or the other way round: 0 is exact, large numbers are about."""
        over, short = (sum(each for each in self._slots if each * sign > 0) * sign for sign in (1, -1))
        return max(over, short, 1 if self._sum else 0)


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream without their ends."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest
