"""What one row leaves behind, and what ends with a session's size: the figures that docs/scale.md counts with.

Not part of `make bench`; run it with `python -m tests.bench.footprint > /dev/null` (`--leaves` for the rows alone): log
lines go to standard output, figures to standard error.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import yaml

from infra.local.client import Stack
from shared.config import parse_database_url
from shared.db import Database, connector
from tests.bench import films
from tests.bench.running import bench_topology, cpu
from tests.conftest import running_server
from tests.e2e.stacks import Deck
from tests.factories import claim, enriched, make_session, planned, settle, start
from tests.workbench import Workbench, artists_csv

ARTISTS, FILMS, LARGE = 4_000, 1_500, 1_000_000
THREADS, MESSAGES, MESSAGE = 8, 20, 8
TABLES = "items", "calls", "answers", "artists", "tallies", "film_records", "movies", "tmdb_answers"
SCATTERED = "calls_pkey", "answers_pkey", "artists_pkey", "tmdb_answers_pkey"  # indexes that grow in no order


def leaves(folder: Path) -> list[str]:
    """Bytes of WAL, disk, log and results a row leaves, and its commits, through the real functions."""
    path = bench_topology(folder)
    content = yaml.safe_load(path.read_text("utf-8"))
    content["upstreams"]["tmdb"]["requests"] = 100_000
    path.write_text(yaml.safe_dump(content), "utf-8")
    with Stack.start(folder / "run", "--topology", str(path)) as stack:
        deck = Deck(stack)
        artists = artists_csv(ARTISTS, first=5_000)
        return [
            *_left(deck, "artists", ARTISTS, lambda: deck.drop(artists, "artists/footprint.csv")),
            *_left(deck, "movies", FILMS, lambda: _films(deck)),
        ]


def _films(deck: Deck) -> UUID:
    from shared.sessions import export_session_ids

    deck.drop(films.known_films(FILMS), "movies/footprint/watched.csv")
    return next(export_session_ids(deck.stack.info["buckets"]["uploads"], "movies/footprint"))


def _left(deck: Deck, pipeline: str, n: int, drop: Any) -> list[str]:
    before, log, used = _counters(deck), len(deck.stack.log), _used(deck.stack, pipeline)
    session = drop()
    status = deck.wait(session, timeout=600)
    after, used_then = _counters(deck), _used(deck.stack, pipeline)
    lines = [f"{pipeline}: {n} rows, {status['status']}, enriched {status['enriched']}"]
    lines += [f"  {name}: {(after[name] - value) / n:,.1f} a row" for name, value in before.items()]
    lines += [f"  CPU of {name}: {1e3 * (used_then[name] - value) / n:.2f} ms a row" for name, value in used.items()]
    lines.append(f"  log: {(len(deck.stack.log) - log) / n:,.0f} bytes a row")
    results = deck.api.get(f"/api/session/{session}/results").content
    lines.append(f"  results: {len(results) / n:,.0f} bytes a row")
    return lines


def _counters(deck: Deck) -> dict[str, float]:
    sizes = {f"bytes of {table}": f"pg_total_relation_size('{table}')" for table in TABLES}
    sizes |= {f"bytes of {index}": f"pg_relation_size('{index}')" for index in SCATTERED}
    commits = "(SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())"
    asked = {"WAL bytes": "pg_current_wal_lsn() - '0/0'", "commits": commits, **sizes}
    (row,) = deck.execute(f"SELECT {', '.join(asked.values())}")
    return dict(zip(asked, map(float, row), strict=True))


def _used(stack: Stack, pipeline: str) -> dict[str, float]:
    """CPU seconds so far: the process function's, PostgreSQL's, and all else's of the stack."""
    processes = [stack.process, *psutil.Process(stack.process.pid).children(recursive=True)]
    whole = sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in processes)
    own, ledger = cpu(stack, f"process-{pipeline}"), cpu(stack, "postgres")
    return {"the process function": own, "PostgreSQL": ledger, "all else": whole - own - ledger}


def large_session(url: str) -> list[str]:
    """Seconds of what reads a whole session in one statement, at a million items."""
    db = Database(connector(parse_database_url(url)), size=1)
    bench = Workbench(db=db, url=url)
    with db._checked_out() as connection:
        connection.execute_simple("SET statement_timeout = 0")
    session = make_session(bench, LARGE)
    bench.execute(
        "UPDATE items SET state = 'completed', outcome = 'enriched', finalized_at = now(), attempt = 1, "
        "result = jsonb_build_object('text', repeat('A bio of an artist. ', 50), 'db_status', 'updated')"
    )
    bench.execute("VACUUM ANALYZE items")
    lines = []
    for name in ("session_counts", "verify_session"):
        began = time.perf_counter()
        db.rows(name, session=session)
        lines.append(f"{name} of {LARGE:,}: {time.perf_counter() - began:.2f} s")
    db.close()
    return lines


def one_row(url: str, delay_ms: int) -> list[str]:
    """Items a second through start and settle where a commit takes `delay_ms` longer: in one session, and in many."""
    lines = []
    for sessions in (1, THREADS):
        db = Database(connector(parse_database_url(url)), size=THREADS)
        bench = Workbench(db=db, url=url)
        made = [make_session(bench, THREADS * (MESSAGES + 2) * MESSAGE) for _ in range(sessions)]
        _at_once(bench, made, range(2))
        began = time.perf_counter()
        _at_once(bench, made, range(2, MESSAGES + 2))
        done = THREADS * MESSAGES * MESSAGE / (time.perf_counter() - began)
        lines.append(f"commits {delay_ms} ms longer, {sessions} session(s): {done:,.0f} items/s")
        db.close()
    return lines


def _at_once(bench: Workbench, sessions: list[UUID], turns: range) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda n: _messages(bench, sessions[n % len(sessions)], n, turns), range(THREADS)))


def _messages(bench: Workbench, session: UUID, thread: int, turns: range) -> None:
    for turn in turns:
        first = 1 + (thread * (MESSAGES + 2) + turn) * MESSAGE
        items = claim(bench, session, range(first, first + MESSAGE))
        calls = [planned(item) for item in items]
        start(bench, *calls)
        settle(bench, *map(enriched, calls))


def main() -> None:
    """Print everything."""
    lines: list[str] = []
    if "--leaves" not in sys.argv:
        lines += _of_the_ledger()
    with tempfile.TemporaryDirectory(prefix="rowlift-footprint-") as folder:
        lines += leaves(Path(folder))
    print("\n".join(lines), file=sys.stderr)


def _of_the_ledger() -> list[str]:
    lines: list[str] = []
    with running_server() as url:
        lines += large_session(url)
    for delay in (0, 20):
        with running_server("-c", f"commit_delay={delay * 1000}", "-c", "commit_siblings=0") as url:
            lines += one_row(url, delay)
    return lines


if __name__ == "__main__":
    main()
