"""Items through the real process function, under gunicorn, at an upstream latency of 0 and 200 ms."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path
from typing import Any

import psutil
import yaml

from infra.local.client import Stack
from infra.local.topology import ROOT
from tests.bench.figure import Figure
from tests.e2e.stacks import Deck
from tests.workbench import artists_csv

CONCURRENT = 80


def bench_topology(folder: Path, *, calls: int = CONCURRENT) -> Path:
    """The real topology with so many calls at once and an upstream that allows whatever comes."""
    content = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
    content["upstreams"]["openai"]["requests"] = 10_000_000
    content["pipelines"]["artists"]["window"] = 2_000
    # A fifth more messages in hand than calls: those that are claimed and settled leave their places to others.
    content["pipelines"]["artists"]["calls"] = calls
    messages = calls / content["pipelines"]["artists"]["items_per_message"]
    content["functions"]["process-artists"]["threads"] = ceil(1.2 * messages)
    path = folder / "topology.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def cpu(stack: Stack, name: str) -> float:
    """CPU seconds a process and those it started have used."""
    process = psutil.Process(stack.pid_of(name))
    return sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])


def rss(stack: Stack, name: str) -> float:
    """Memory of a function's worker, in MB."""
    process = psutil.Process(stack.pid_of(name))
    return max(p.memory_info().rss for p in process.children(recursive=True)) / 2**20


def run(deck: Deck, n: int, first: int, **options: str) -> dict[str, Any]:
    """Drop n artists and wait; seconds from first claim to last settle, and to `completed`."""
    session = deck.drop(artists_csv(n, first=first), f"artists/bench-{first}.csv", **options)
    status = deck.wait(session, timeout=600)
    assert status["enriched"] == n, status
    times = _execute(
        deck,
        "SELECT extract(epoch FROM max(finalized_at) - "
        f"(SELECT min(started_at) FROM calls WHERE session_id = '{session}')),"
        f" extract(epoch FROM (SELECT completed_at FROM sessions WHERE id = '{session}') - max(finalized_at))"
        f" FROM items WHERE session_id = '{session}'",
    )[0]
    return {"seconds": float(times[0]), "to_completed": float(times[1]), "session": session}


def _execute(deck: Deck, text: str) -> list[Any]:
    with deck.db._checked_out() as connection:
        return list(connection.execute_simple(text).rows)


def mean_settle_ms(stack: Stack) -> float:
    """Mean milliseconds of a settle, as the outcome lines of the process function say."""
    lines = [line.partition("| ")[2] for line in stack.log.splitlines() if '"settle_ms"' in line]
    values = [json.loads(line)["settle_ms"] for line in lines]
    return sum(values) / len(values)


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """A warm-up, then 0 ms, 200 ms, both against file, and memory after 10,000 items."""
    n = 500 if quick else 2_000
    figures = []
    with Stack.start(folder / "run", "--topology", str(bench_topology(folder))) as stack:
        deck = Deck(stack)
        run(deck, 200, 1)
        used, used_pg = cpu(stack, "process-artists"), cpu(stack, "postgres")
        found = run(deck, n, 1_000_000)
        used, used_pg = cpu(stack, "process-artists") - used, cpu(stack, "postgres") - used_pg
        figures.append(Figure(what=f"{n:,} items at 0 ms", text=f"{n / found['seconds']:,.0f} items/s"))
        figures.append(
            Figure(
                what="  CPU of the process function",
                text=f"{1000 * used / n:.2f} ms/item (PostgreSQL {1000 * used_pg / n:.2f})",
            )
        )
        figures.append(Figure(what="  last settle to completed", text=f"{found['to_completed']:.2f} s"))
        deck.misbehave(latency=0.2)
        found = run(deck, 1_000, 2_000_000)
        ratio = found["seconds"] / (1_000 * 0.2 / CONCURRENT)
        figures.append(
            Figure(
                what="1,000 items at 200 ms, 80 at once",
                text=f"{ratio:.2f} times the ideal",
                bar="<= 1.50",
                met=ratio <= 1.5,
            )
        )
        settle = mean_settle_ms(stack)
        figures.append(
            Figure(what="  mean settle under load", text=f"{settle:.1f} ms", bar="< 100 ms", met=settle < 100)
        )
        deck.misbehave(latency=0)
        seconds: dict[str, list[float]] = {"file": [], "both": []}
        for turn in range(3):
            for mode, times in seconds.items():
                first = 3_000_000 + 100_000 * turn + (50_000 if mode == "both" else 0)
                times.append(run(deck, n // 2, first, **{"write-mode": mode})["seconds"])
        ratio = min(seconds["both"]) / min(seconds["file"])
        figures.append(Figure(what="write mode both / file", text=f"{ratio:.2f}", bar="<= 1.05", met=ratio <= 1.05))
        if not quick:
            run(deck, 6_000, 4_000_000)
        memory = rss(stack, "process-artists")
        figures.append(
            Figure(
                what="memory of the process function after it all",
                text=f"{memory:.0f} MB",
                bar="< 200 MB",
                met=memory < 200,
            )
        )
        deck.api.close()
        deck.db.close()
    return figures
