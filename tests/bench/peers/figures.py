"""What was measured of each peer, and the table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from tests.bench.peers.peer import Peer

LATENCY = 0.2
COLUMNS = (
    "at\nonce",
    "rows/s\n0 ms",
    "rows/s\n200 ms",
    "of the\nideal",
    "s\naround",
    "CPU s (PG)\n0 ms",
    "CPU s (PG)\n200 ms",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one run of some rows took."""

    rows: int
    seconds: float  # first call to last record
    around: float  # seconds before and after: the rows are read or put in a queue, results are written
    cpu: float  # seconds of its own processes
    cpu_postgres: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    def of_ideal(self, at_once: int) -> float:
        """How many times as long it took as waiting for the upstream alone, at LATENCY."""
        return self.seconds / (self.rows * LATENCY / at_once)

    @property
    def cpu_text(self) -> str:
        """CPU seconds for 1,000 rows, PostgreSQL's in brackets."""
        own, postgres = (1000 * used / self.rows for used in (self.cpu, self.cpu_postgres))
        return f"{own + postgres:.2f} ({postgres:.2f})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A peer's figures."""

    peer: Peer
    at_0: Turn
    at_200: Turn


def table(found: Sequence[Measured]) -> Table:
    """A row for each peer, in the order they were measured; tests/bench/README.md says what columns mean."""
    made = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    made.add_column("what", no_wrap=True)
    for column in COLUMNS:
        made.add_column(column, justify="right", no_wrap=True)
    for one in found:
        made.add_row(
            one.peer.name,
            str(one.peer.at_once),
            f"{one.at_0.rate:,.0f}",
            f"{one.at_200.rate:,.0f}",
            f"{one.at_200.of_ideal(one.peer.at_once):.2f}",
            f"{one.at_200.around:.1f}",
            one.at_0.cpu_text,
            one.at_200.cpu_text,
        )
    return made


def kept(found: Sequence[Measured]) -> list[str]:
    """What each one has left after kill -9, a line for each."""
    return [f"{one.peer.name}, {one.peer.at_once} at once: {one.peer.kept}" for one in found]
