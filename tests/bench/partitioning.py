"""What hash partitions of `items` would cost now: the same work on the whole table and on a partitioned one, in turns.

Not part of `make bench`; run it with `python -m tests.bench.partitioning > /dev/null`: log lines go to standard output,
figures to standard error. docs/scale.md has them.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections import defaultdict
from typing import Any
from uuid import UUID

import psutil

from shared.config import parse_database_url
from shared.db import Database, connector
from shared.messages import ItemsNotice
from tests.bench.ingesting import artists, streamed
from tests.conftest import ROOT, _administer, running_server
from tests.workbench import Workbench

RECIPE = ROOT / "infra/scale/partition_items.sql"
ROWS, WORKED, TURNS = 100_000, 4_000, 5
ANALYZED = "--analyzed" in sys.argv  # as it is once somebody ran ANALYZE; autovacuum never does on a partitioned table
KINDS = (0, 8, 16)
SHOWN = ("claim_items", "start_calls", "settle/artists", "fill_window", "standing", "results/artists", "session_counts")


class Timed(Database):
    """Keeps how long each statement took, by name, in seconds."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.took: dict[str, list[float]] = defaultdict(list)

    def rows(self, name: str, **params: Any) -> list[dict[str, Any]]:
        began = time.perf_counter()
        found = super().rows(name, **params)
        self.took[name].append(time.perf_counter() - began)
        return found


def partition(bench: Workbench, partitions: int) -> None:
    """Run the recipe with so many partitions; 0 leaves the table as it is."""
    if partitions:
        text = RECIPE.read_text("utf-8")
        bench.execute(re.sub(r"CONSTANT integer := \d+", f"CONSTANT integer := {partitions}", text))


def measured(url: str, partitions: int, turn: int) -> dict[str, float]:
    """Milliseconds (and bytes) of every part of the work, on a database of its own."""
    name = f"kind_{partitions}_{turn}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE template")
    db = Timed(connector(parse_database_url(url.replace("/template", f"/{name}"))), size=1)
    bench = Workbench(db=db, url=url)
    partition(bench, partitions)
    found: dict[str, float] = {}
    uploaded = streamed(bench, "artists/ingest.csv", lambda: artists(ROWS))
    began = time.perf_counter()
    session = bench.ingest.take(uploaded)
    found["ingest, us a row"] = 1e6 * (time.perf_counter() - began) / ROWS
    if ANALYZED:
        bench.execute("ANALYZE")
    server = _server_of(db)
    before, wal = sum(server.cpu_times()[:2]), bench.value("SELECT pg_current_wal_lsn() - '0/0'")
    db.took.clear()
    worked = _work(bench, session)
    found["CPU of PostgreSQL, us an item"] = 1e6 * (sum(server.cpu_times()[:2]) - before) / worked
    found["WAL, bytes an item"] = float(bench.value("SELECT pg_current_wal_lsn() - '0/0'") - wal) / worked
    for _ in range(20):
        db.rows("session_counts", session=session)
        db.rows("results/artists", session=session, minimal=False, after=0, upto=5_000, size=5_000)
    for statement in SHOWN:
        if statement in db.took:
            found[f"{statement}, ms"] = 1e3 * statistics.median(db.took[statement][6:] or db.took[statement])
            found[f"{statement}, first, ms"] = 1e3 * db.took[statement][0]
    found["memory of the connection, MB"] = server.memory_full_info().uss / 2**20
    db.close()
    _administer(url, f"DROP DATABASE {name} WITH (FORCE)")
    return found


def _work(bench: Workbench, session: UUID) -> int:
    """Run items through claim, start, settle and the window, on one connection; how many."""
    done = 0
    bench.rescuer.round()
    while done < WORKED:
        notices = bench.publisher.take("artists")
        assert notices, "the window is empty"
        for message in notices:
            notice = ItemsNotice.decode(message.data)
            bench.processor.handle(notice)
            done += len(notice.items)
    return done


def _server_of(db: Database) -> psutil.Process:
    with db._checked_out() as connection:
        return psutil.Process(int(connection.execute_simple("SELECT pg_backend_pid()").rows[0][0]))


def main() -> None:
    """Print the median of each figure for each kind of table, and its ratio to the whole one."""
    kinds = tuple(int(word) for word in sys.argv[1:] if word.isdigit()) or KINDS
    found: dict[int, list[dict[str, float]]] = defaultdict(list)
    with running_server() as url:
        for turn in range(TURNS):
            for kind in kinds if turn % 2 == 0 else kinds[::-1]:
                found[kind].append(measured(url, kind, turn))
    print(f"{'':34}" + "".join(f"{kind or 'whole':>16}" for kind in kinds), file=sys.stderr)
    for what in found[kinds[0]][0]:
        medians = [statistics.median(one[what] for one in found[kind]) for kind in kinds]
        cells = [f"{value:,.2f} ({value / medians[0]:.2f})" for value in medians]
        print(f"{what:34}" + "".join(f"{cell:>16}" for cell in cells), file=sys.stderr)


if __name__ == "__main__":
    main()
