"""How often a message asks the ledger from claim to settle, counted on the wire, with PostgreSQL 1 ms away."""

from __future__ import annotations

import statistics
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

from shared.config import UpstreamLimits, parse_database_url
from shared.db import Database, connector
from shared.messages import ItemsNotice
from tests.bench.figure import Figure
from tests.conftest import running_server
from tests.factories import make_session
from tests.faults.proxy import Proxy
from tests.workbench import Workbench

ROUND_TRIP = 0.001  # seconds
WARM = 3  # messages in which the statements are prepared
# Requests and tokens both paced, as they are with every real account.
LIMITS = {"openai": UpstreamLimits(requests=10_000_000, tokens=10_000_000_000)}


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Messages of different sizes, one after another on one connection; the upstream answers at once."""
    with running_server() as url:
        parts = urlsplit(url)
        with Proxy(lambda: (parts.hostname or "127.0.0.1", parts.port or 5432)) as proxy:
            proxy.delay = ROUND_TRIP / 2
            far = url.replace(f":{parts.port}/", f":{proxy.port}/")
            with redirect_stdout(StringIO()):  # its log lines
                return [_figure(far, proxy, size, 20 if quick else 100) for size in (1, 8, 50)]


def _figure(url: str, proxy: Proxy, size: int, messages: int) -> Figure:
    db = Database(connector(parse_database_url(url)), size=1)
    # A window so large that no quarter of it is used up: that has a message nudge, too.
    wide = {"window": 1_000_000}
    bench = Workbench(db=db, url=url, changes={"threads": 64}, pipeline_changes=wide, limits=LIMITS)
    session = make_session(bench, size * (messages + WARM))
    trips, took = [], []
    # In a process with other messages in hand: who has the last one nudges, and gives back the tokens not used.
    with bench.dispatcher.nudging(session, 0):
        assert bench.processor.places.take(1, within=0)
        for turn in range(messages + WARM):
            before, began = proxy.round_trips, time.perf_counter()
            first = 1 + turn * size
            bench.processor.handle(ItemsNotice(session=session, items=tuple(range(first, first + size))))
            took.append(1000 * (time.perf_counter() - began))
            trips.append(proxy.round_trips - before)
    db.close()
    most, alone = max(trips[WARM:]), statistics.median(took[WARM:])
    return Figure(
        what=f"round trips of a message of {size}", text=f"{most}, {alone:.1f} ms ({alone / size:.2f} an item)",
        value=most, at_most=4,
    )  # fmt: skip
