"""The status of a large session, and fifty dashboards beside work that runs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from infra.local.client import Stack
from tests.bench.figure import Figure
from tests.bench.running import bench_topology, cpu, run
from tests.e2e.stacks import Deck
from tests.workbench import artists_csv

PAGES = 50
ASKED = 200  # statuses


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Status at two sizes; then the same work with nobody watching and with fifty pages open, in turns."""
    with Stack.start(folder / "watching", "--topology", str(bench_topology(folder))) as stack:
        deck = Deck(stack)
        small, large = (large_session(deck, size) for size in (10_000, 100_000 if quick else 1_000_000))
        figures = [_status(deck, small), _status(deck, large)]
        figures += _watched(deck, large, n=500 if quick else 2_000)
        deck.api.close()
        deck.db.close()
    return figures


def large_session(deck: Deck, items: int) -> UUID:
    """A held session of that many artists as if most had run: a tenth failed, a hundredth open, and a call for each."""
    session = deck.drop(artists_csv(1, first=items), f"artists/large-{items}.csv", **{"dry-run": "true"})
    deck.wait(session)
    deck.execute(f"UPDATE sessions SET hold = 'person', epoch = epoch + 1, completed_at = NULL WHERE id = '{session}'")
    made = 50_000
    for first in range(2, items + 1, made):
        last = min(items, first + made - 1)
        deck.execute(
            f"""
            INSERT INTO items (session_id, item_no, file, line, key, input, state, outcome, code, finalized_at, result,
                               error_code, error_message)
            SELECT '{session}', i, 1, i + 1, 'large-{items}-' || i,
                   jsonb_build_object('artist_id', i, 'artist_name', 'Artist ' || i, 'artist_data', repeat('x', 100)),
                   CASE WHEN i % 100 = 1 THEN 'available' WHEN i % 10 = 0 THEN 'discarded' ELSE 'completed' END,
                   CASE WHEN i % 100 = 1 THEN NULL WHEN i % 10 = 0 THEN 'failed' ELSE 'enriched' END, NULL,
                   CASE WHEN i % 100 <> 1 THEN now() END,
                   CASE WHEN i % 10 <> 0 THEN jsonb_build_object('text', repeat('y', 200)) END,
                   CASE WHEN i % 10 = 0 THEN 'upstream.timeout' END, CASE WHEN i % 10 = 0 THEN 'It took too long.' END
              FROM generate_series({first}, {last}) i
            """
        )
        deck.execute(
            f"""
            INSERT INTO calls (id, session_id, item_no, attempt, round, try, upstream, reserved, state, finished_at,
                               cost)
            SELECT gen_random_uuid(), '{session}', i, 1, 1, 1, 'openai', 1, 'succeeded', now(), 1
              FROM generate_series({first}, {last}) i
            """
        )
    deck.execute(f"UPDATE sessions SET next_item_no = {items + 1} WHERE id = '{session}'")
    deck.execute("ANALYZE")
    return session


def _status(deck: Deck, session: UUID) -> Figure:
    took, items = [], deck.status(session)["total"]
    for _ in range(ASKED):
        began = time.perf_counter()
        deck.status(session)
        took.append((time.perf_counter() - began) * 1000)
    p95 = statistics.quantiles(took, n=20)[18]
    return Figure(
        what=f"status of a session of {items:,} items",
        text=f"{statistics.median(took):.1f} ms, p95 {p95:.1f} ms",
        value=p95,
        at_most=200,
    )


def _watched(deck: Deck, session: UUID, *, n: int) -> list[Figure]:
    deck.misbehave(latency=0.2)
    run(deck, 200, 50_000_000)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    spent = 0.0
    for turn in range(6):
        watched = turn % 2 == 1
        first = 60_000_000 + turn * 1_000_000
        if watched:
            with dashboards(deck.stack.info["api"], session):
                before, began = cpu(deck.stack, "api"), time.monotonic()
                seconds[True].append(run(deck, n, first)["seconds"])
                spent = (cpu(deck.stack, "api") - before) / (time.monotonic() - began)
        else:
            seconds[False].append(run(deck, n, first)["seconds"])
    ratio = statistics.median(seconds[True]) / statistics.median(seconds[False])
    return [
        Figure(
            what=f"{n:,} items at 200 ms with {PAGES} dashboards open / none",
            text=f"{ratio:.3f}",
            value=ratio,
            at_most=1.05,
        ),
        Figure(what="  CPU of the api function meanwhile", text=f"{100 * spent:.0f} % of a core"),
    ]


@contextmanager
def dashboards(api: str, session: UUID) -> Iterator[None]:
    """Fifty pages open on a session for as long as the block lasts."""
    command = [sys.executable, "-m", "tests.bench.watchers", api, str(session), str(PAGES)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "watching"
    try:
        yield
    finally:
        assert process.poll() is None, "a dashboard was refused"
        process.communicate("", timeout=60)
