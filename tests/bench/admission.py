"""What admission adds to an item, with a network of 1 ms between the function and PostgreSQL."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from shared.config import UpstreamLimits, parse_database_url
from shared.db import Database, connector
from shared.limits import reserve_slots
from tests.bench.figure import Figure
from tests.conftest import running_server
from tests.factories import claim, make_session, planned, start
from tests.faults.proxy import Proxy
from tests.workbench import Workbench

ROUND_TRIP = 0.001
MESSAGE = 8  # items, as topology.yaml sets it for artists
LIMITS = UpstreamLimits(requests=1_000_000)


class Counted(Database):
    """Counts statements; each is one round trip once it is prepared."""

    statements = 0

    def rows(self, name: str, **params: object) -> list[dict[str, object]]:
        self.statements += 1
        return super().rows(name, **params)


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Messages of one item and of eight, one after another on one connection."""
    with running_server() as url:
        parts = urlsplit(url)
        with Proxy(lambda: (parts.hostname or "127.0.0.1", parts.port or 5432)) as proxy:
            proxy.delay = ROUND_TRIP / 2
            far = url.replace(f":{parts.port}/", f":{proxy.port}/")
            return [_figure(far, size, 20 if quick else 200) for size in (1, MESSAGE)]


def _figure(url: str, size: int, messages: int) -> Figure:
    db = Counted(connector(parse_database_url(url)), size=1)
    bench = Workbench(db=db, url=url)
    session = make_session(bench, size * (messages + 2))
    trips = [_trip(db) for _ in range(messages)]  # what the network and this proxy take, whatever is asked
    took = [_admit(bench, db, session, range(1 + i * size, 1 + (i + 1) * size)) for i in range(messages + 2)][2:]
    db.close()
    trip = statistics.median(trips) * 1000
    whole = statistics.median(seconds for seconds, _ in took) * 1000
    count = max(count for _, count in took)
    beyond = (whole - count * trip) / size
    return Figure(
        what=f"admission of an item, {size} in a message, PostgreSQL 1 ms away",
        text=f"{whole / size:.2f} ms: {count} round trips of {trip:.2f} ms a message, and {beyond:.2f} ms",
        bar="2 round trips and 2 ms",
        met=count <= 2 and beyond <= 2,
    )


def _trip(db: Counted) -> float:
    began = time.perf_counter()
    db.rows("server_version")
    return time.perf_counter() - began


def _admit(bench: Workbench, db: Counted, session: UUID, numbers: range) -> tuple[float, int]:
    """Seconds and round trips from claimed items to calls that may leave."""
    items = claim(bench, session, numbers)
    before, began = db.statements, time.perf_counter()
    slots = reserve_slots(db, "openai", LIMITS, n=len(items), tokens=1_000, max_wait=20)
    verdicts = start(bench, *(planned(item) for item in items))
    seconds = time.perf_counter() - began
    assert len(slots.waits) == len(verdicts) == len(items)
    return seconds, db.statements - before
