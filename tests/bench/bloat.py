"""What the lives of items leave behind in their tables, by fillfactor and by how eagerly autovacuum comes.

Not part of `make bench`; run it with `python -m tests.bench.bloat > /dev/null`, and names of kinds or `front` for some:
log lines go to standard output, figures to standard error. Migration 0010 has what was chosen.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psutil

from shared.config import parse_database_url
from shared.db import connector
from tests.bench.cpu import cpu_of
from tests.bench.partitioning import Timed
from tests.conftest import _administer, running_server
from tests.crowds import Crowd, fill, gather, live
from tests.workbench import Workbench

SETTLED, LIVES, MESSAGE, WINDOW = 400_000, 120_000, 40, 5_000
WAITING, BEHIND = 2_000_000, (0, 40_000, 100_000, 640_000)
BIO = "A bio of an artist, as long as most are. " * 20
# Lives go some ten times as fast here as an instance of two vCPUs has them, so autovacuum comes and works ten times as
# fast, too.
_SERVER = (
    "-c", "fsync=off", "-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "max_wal_size=8GB",
    "-c", "shared_buffers=512MB", "-c", "autovacuum_naptime=5", "-c", "autovacuum_vacuum_cost_delay=0.2",
)  # fmt: skip
WATCHED = "items", "calls", "sessions", "upstreams", "tallies"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Storage parameters, by table."""

    name: str
    set: dict[str, str] = field(default_factory=dict)


def _both(name: str, settings: str) -> Kind:
    return Kind(name=name, set={"items": settings, "calls": settings})


_DEFAULT = "autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 50"
_EAGER = "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000"
KINDS = (
    _both("never vacuumed", "fillfactor = 80, autovacuum_enabled = false"),
    _both("as by default", f"fillfactor = 80, {_DEFAULT}"),
    *(_both(f"fillfactor {full}", f"fillfactor = {full}, {_EAGER}") for full in (100, 90, 80, 70, 50)),
    Kind(name="calls full", set={"items": f"fillfactor = 70, {_EAGER}", "calls": f"fillfactor = 100, {_EAGER}"}),
    _both("every 2,000", "fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000"),
    Kind(name="small ones full", set=dict.fromkeys(("sessions", "upstreams"), "fillfactor = 100")),
)


def measured(url: str, kind: Kind) -> dict[str, float]:
    """What the lives of a session's items took and left, on a copy of the crowd."""
    name = f"kind_{abs(hash(kind.name))}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE crowd")
    db = Timed(connector(parse_database_url(url.replace("/template", f"/{name}"))), size=1)
    bench = Workbench(db=db, url=url)
    for table, settings in kind.set.items():
        bench.execute(f"ALTER TABLE {table} SET ({settings})")
    sizes, crowd = _sizes(bench), Crowd(items=LIVES, settled=0)
    crowd.join(url.replace("/template", f"/{name}"))
    wal, used, began = _wal(bench), _cpu(bench), time.perf_counter()
    _live(bench, crowd.session)
    found = {
        "seconds": time.perf_counter() - began,
        "CPU of PostgreSQL, us a life": 1e6 * (_cpu(bench) - used) / LIVES,
        "WAL, bytes a life": (_wal(bench) - wal) / LIVES,
    }
    for table, size in _sizes(bench).items():
        found[f"{table} grew, MB"] = (size - sizes[table]) / 2**20
    found["standing at the end, ms"] = 1e3 * statistics.median(db.took["standing"][-19::2])
    found["settle/artists at the end, ms"] = 1e3 * statistics.median(db.took["settle/artists"][-200:])
    found |= _statistics(bench)
    db.close()
    _administer(url, f"DROP DATABASE {name} WITH (FORCE)")
    return found


def _live(bench: Workbench, session: UUID) -> None:
    for first in range(1, LIVES + 1, MESSAGE):
        if first % 1_000 == 1:
            for _ in range(2):  # the first one marks what has died since the last
                bench.db.row("standing", session=session)
            fill(bench, session, window=WINDOW)
        live(bench, session, range(first, first + MESSAGE), BIO)


def _sizes(bench: Workbench) -> dict[str, float]:
    asked = {table: f"pg_table_size('{table}')" for table in WATCHED}
    asked |= {f"indexes of {table}": f"pg_indexes_size('{table}')" for table in ("items", "calls")}
    (row,) = bench.execute(f"SELECT {', '.join(asked.values())}")
    return dict(zip(asked, map(float, row), strict=True))


def _wal(bench: Workbench) -> float:
    return float(bench.value("SELECT pg_current_wal_lsn() - '0/0'"))


def _cpu(bench: Workbench) -> float:
    """CPU seconds of the whole server so far, autovacuum's processes that have ended included."""
    return cpu_of(psutil.Process(int(bench.value("SELECT pg_backend_pid()"))).ppid())


def _statistics(bench: Workbench) -> dict[str, float]:
    bench.execute("SELECT pg_stat_force_next_flush()")
    bench.execute("SELECT pg_stat_clear_snapshot()")
    found: dict[str, float] = {}
    for table in WATCHED:
        (row,) = bench.execute(
            "SELECT n_dead_tup, 100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1), autovacuum_count "
            f"FROM pg_stat_user_tables WHERE relname = '{table}'"
        )
        dead, hot, vacuums = map(float, row)
        found |= {f"{table}: dead": dead, f"{table}: HOT, %": hot, f"{table}: vacuums": vacuums}
    return found


def front(url: str) -> list[str]:
    """How long a nudge looks for the first item that waits, behind so many that do no more, and what vacuum takes."""
    name = url.replace("/template", "/front")
    _administer(url, "CREATE DATABASE front TEMPLATE template")
    crowd = Crowd(items=WAITING, settled=0)
    gather(name, [crowd], vacuum=True)
    bench = Workbench(db=Timed(connector(parse_database_url(name)), size=1), url=name)
    bench.execute("ALTER TABLE items SET (autovacuum_enabled = false)")
    bench.execute("SET session_replication_role = replica")
    lines, ended = [], 0
    for upto in BEHIND:
        for first in range(ended + 1, upto + 1, 100_000):
            bench.execute(
                "UPDATE items SET state = 'completed', outcome = 'enriched', finalized_at = now() "
                f"WHERE session_id = '{crowd.session}' AND item_no BETWEEN {first} AND {min(upto, first + 99_999)}"
            )
        ended = upto
        lines.append(f"standing, {upto:,} have ended since the last vacuum: {_standing(bench, crowd.session):.2f} ms")
        if upto in (BEHIND[1], BEHIND[-1]):
            began = time.perf_counter()
            bench.execute("VACUUM (INDEX_CLEANUP ON) items")
            lines.append(f"  vacuum of {WAITING:,} items: {time.perf_counter() - began:.1f} s")
            lines.append(f"  standing then: {_standing(bench, crowd.session):.2f} ms")
    bench.db.close()
    return lines


def _standing(bench: Workbench, session: UUID) -> float:
    bench.db.took.clear()
    for _ in range(22):
        bench.db.row("standing", session=session)
    return 1e3 * statistics.median(bench.db.took["standing"][2:])


def main() -> None:
    """Print what vacuum spares, then a column for each kind."""
    kinds = [kind for kind in KINDS if kind.name in sys.argv[1:] or len(sys.argv) == 1]
    found: list[dict[str, Any]] = []
    with running_server(*_SERVER) as url:
        if len(sys.argv) == 1 or "front" in sys.argv:
            print("\n".join(front(url)), file=sys.stderr)
        if not kinds:
            return
        _administer(url, "CREATE DATABASE crowd TEMPLATE template")
        crowd = [Crowd(items=SETTLED, settled=SETTLED)]
        gather(url.replace("/template", "/crowd"), crowd, calls=SETTLED // 2, vacuum=True)
        _administer(url, "CHECKPOINT")
        for kind in kinds:
            found.append(measured(url, kind))
            print(f"... {kind.name}", file=sys.stderr)
    print(f"{'':30}" + "".join(f"{kind.name:>16}" for kind in kinds), file=sys.stderr)
    for what in found[0]:
        print(f"{what:30}" + "".join(f"{one[what]:>16,.1f}" for one in found), file=sys.stderr)


if __name__ == "__main__":
    main()
