"""The statements every message runs, with 1,000 items in the table and with 10,000,000."""

from __future__ import annotations

import statistics
from pathlib import Path

from shared.config import parse_database_url
from shared.db import connector
from tests.bench.figure import Figure
from tests.bench.partitioning import Timed
from tests.conftest import _administer, running_server
from tests.crowds import Crowd, fill, gather, run_message
from tests.factories import claim, enriched, planned, settle
from tests.workbench import Workbench

SMALL, LARGE, QUICK = 1_000, 10_000_000, 1_000_000
MESSAGE, WARM, MESSAGES = 8, 10, 100  # as many messages as the small session has items for
WINDOW, WIDEST = 100, 5_000
BAR = 1.25
STATEMENTS = (
    "standing", "fill_window", "claim_items", "reserve_slots", "start_calls", "settle/artists", "session_stands",
)  # fmt: skip
# Not logged and not flushed: loading is not what is measured. Memory as a server that holds ten million items has it.
_SERVER = (
    "-c", "fsync=off", "-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "max_wal_size=8GB",
    "-c", "shared_buffers=1GB", "-c", "autovacuum=off",
)  # fmt: skip


class Side:
    """One of the two databases, with a session that is worked on."""

    def __init__(self, url: str, crowds: list[Crowd], *, calls: int) -> None:
        gather(url, crowds, calls=calls)
        self.db = Timed(connector(parse_database_url(url)), size=1)
        self.bench = Workbench(db=self.db, url=url)
        self.session = crowds[-1].session
        self.next = crowds[-1].settled + 1
        if crowds[-1].items > SMALL:  # autovacuum analyses no table of so few
            self.bench.execute("ANALYZE")

    def message(self) -> None:
        """Run the next message."""
        run_message(self.bench, self.session, range(self.next, self.next + MESSAGE), window=WINDOW)
        self.next += MESSAGE


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """A message in the small database and one in the large, in turns: what disturbs one disturbs both."""
    large = QUICK if quick else LARGE
    with running_server(*_SERVER) as url:
        sides = []
        for name, crowds, calls in (
            ("small", [Crowd(items=SMALL, settled=0)], 0),
            ("large", _months(large), large // 50),
        ):
            _administer(url, f"CREATE DATABASE {name} TEMPLATE template")
            sides.append(Side(url.replace("/template", f"/{name}"), crowds, calls=calls))
        for turn in range(WARM + MESSAGES):
            for side in sides if turn % 2 else sides[::-1]:
                side.message()
        figures = _ratios(*sides, large)
        figures.append(_widest(sides[1]))
        for side in sides:
            side.db.close()
    return figures


def _months(items: int) -> list[Crowd]:
    """Four sessions that have ended, one that waits, and one half done, which is worked on."""
    ended = [Crowd(items=items * 3 // 20, settled=items * 3 // 20) for _ in range(4)]
    return [*ended, Crowd(items=items // 5, settled=0), Crowd(items=items // 5, settled=items // 10)]


def _ratios(small: Side, large: Side, items: int) -> list[Figure]:
    figures = []
    for name in STATEMENTS:
        few, many = (_median(side.db.took[name][WARM:]) for side in (small, large))
        ratio = many / few
        figures.append(
            Figure(
                what=f"{name}, {items:,} items / {SMALL:,}",
                text=f"{ratio:.2f} ({many:.2f} ms / {few:.2f} ms)",
                value=ratio,
                at_most=BAR,
            )
        )
    return figures


def _widest(side: Side) -> Figure:
    """What a nudge after a message costs while 5,000 items are out."""
    fill(side.bench, side.session, window=WIDEST)
    took = []
    for _ in range(40):
        items = claim(side.bench, side.session, range(side.next, side.next + MESSAGE))
        settle(side.bench, *(enriched(planned(item)) for item in items))
        side.next += MESSAGE
        fill(side.bench, side.session, window=WIDEST)
        took.append(side.db.took["fill_window"][-1])
    median = _median(took)
    return Figure(what=f"fill_window, {WIDEST:,} items out", text=f"{median:.2f} ms", value=median, at_most=5)


def _median(seconds: list[float]) -> float:
    return 1e3 * statistics.median(seconds)
