"""Rows through the real process function, under gunicorn, with everything on this machine."""

from __future__ import annotations

import heapq
import json
import random
from math import ceil, exp
from pathlib import Path
from typing import Any

import psutil
import yaml

from infra.local.client import Stack
from infra.local.topology import ROOT
from tests.bench.cpu import cpu_of
from tests.bench.figure import Figure
from tests.e2e.stacks import Deck
from tests.workbench import artists_csv

CONCURRENT = 80


def bench_topology(folder: Path, *, calls: int = CONCURRENT) -> Path:
    """The real topology with so many calls at once and an upstream that allows whatever comes."""
    content = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
    content["upstreams"]["openai"]["requests"] = 10_000_000
    pipeline, function = content["pipelines"]["artists"], content["functions"]["process-artists"]
    pipeline |= {"window": 2_000, "calls": calls}
    # A fifth more messages in hand than calls: those that are claimed and settled leave their places to others.
    function["threads"] = ceil(1.2 * calls / pipeline["items_per_message"])
    path = folder / "topology.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def two_instances(folder: Path, *, calls: int) -> Path:
    """The same for two instances of the function that make so many calls together, each taking its own time.

    Twice as many messages in hand as calls: of a message of eight some end long before the others.
    """
    path = bench_topology(folder, calls=calls // 2)
    content = yaml.safe_load(path.read_text("utf-8"))
    pipeline, function = content["pipelines"]["artists"], content["functions"]["process-artists"]
    pipeline["window"] = 5_000
    function |= {"threads": calls // pipeline["items_per_message"], "pool_size": 16}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def unlimited(deck: Deck, **behaviour: float) -> None:
    """Have the simulated OpenAI name limits nobody reaches: functions keep to those that its answers name."""
    deck.misbehave(limit_requests=10_000_000, limit_tokens=10**12, **behaviour)


def cpu(stack: Stack, name: str) -> float:
    """CPU seconds a process and those it started have used."""
    pid = stack.pid_of(name)
    assert pid is not None, f"{name} is down"
    return cpu_of(pid)


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
    """At 0 ms and at 200 ms through one instance, and at a lognormal 2 s through two."""
    return [*_one_instance(folder, quick=quick), *_two_instances(folder, quick=quick)]


def _one_instance(folder: Path, *, quick: bool) -> list[Figure]:
    n = 2_000 if quick else 10_000
    with Stack.start(folder / "run", "--topology", str(bench_topology(folder))) as stack:
        deck = Deck(stack)
        unlimited(deck)
        run(deck, 400, 1)
        figures = [*_at_once(deck, n), *_at_200_ms(deck, n * 2 // 5), _both_and_file(deck, n // 10)]
        memory = rss(stack, "process-artists")
        what = "memory of the process function after it all"
        figures.append(Figure(what=what, text=f"{memory:.0f} MB", value=memory, at_most=200))
        deck.api.close()
        deck.db.close()
    return figures


def _at_once(deck: Deck, n: int) -> list[Figure]:
    """What a row costs, where the upstream answers at once."""
    names = "process-artists", "postgres"
    before = {name: cpu(deck.stack, name) for name in names}
    found = run(deck, n, 1_000_000)
    used = {name: 1000 * (cpu(deck.stack, name) - before[name]) / n for name in names}
    both, last = sum(used.values()), found["to_completed"]
    text = f"{both:.2f} s per 1,000 rows ({used['process-artists']:.2f} + {used['postgres']:.2f})"
    rate = n / found["seconds"]
    return [
        Figure(what=f"{n:,} rows at 0 ms", text=f"{rate:,.0f} rows/s", value=rate, at_least=430),
        Figure(what="  CPU of process function + PostgreSQL", text=text, value=both, at_most=2.3),
        Figure(what="  last settle to completed", text=f"{last:.2f} s", value=last, at_most=1),
    ]


def _at_200_ms(deck: Deck, n: int) -> list[Figure]:
    deck.misbehave(latency=0.2)
    found = run(deck, n, 2_000_000)
    deck.misbehave(latency=0)
    ratio, settle = found["seconds"] / (n * 0.2 / CONCURRENT), mean_settle_ms(deck.stack)
    what, text = f"{n:,} rows at 200 ms, {CONCURRENT} at once", f"{ratio:.2f} times the ideal"
    return [
        Figure(what=what, text=text, value=ratio, at_most=1.10),
        Figure(what="  mean settle", text=f"{settle:.1f} ms", value=settle, at_most=100),
    ]


def _both_and_file(deck: Deck, n: int) -> Figure:
    seconds: dict[str, list[float]] = {"file": [], "both": []}
    for turn in range(3):
        for mode, times in seconds.items():
            first = 3_000_000 + 100_000 * turn + (50_000 if mode == "both" else 0)
            times.append(run(deck, n, first, **{"write-mode": mode})["seconds"])
    ratio = min(seconds["both"]) / min(seconds["file"])
    return Figure(what="write mode both / file", text=f"{ratio:.2f}", value=ratio, at_most=1.05)


def _two_instances(folder: Path, *, quick: bool) -> list[Figure]:
    n, calls, mean, spread = (2_000 if quick else 10_000), 500, 2.0, 0.25
    topology = two_instances(folder, calls=calls)
    with Stack.start(folder / "two", "--topology", str(topology), "--set", "WORKERS=2") as stack:
        deck = Deck(stack)
        unlimited(deck)
        run(deck, 600, 1)
        deck.misbehave(latency=mean, spread=spread)
        deck.openai.forget()
        seconds, most = run(deck, n, 1_000_000)["seconds"], deck.openai.calls()["most_open"]
        assert most <= calls, most
        deck.api.close()
        deck.db.close()
    ideal = n * mean / calls
    ratio, least = seconds / ideal, _least_seconds(n, calls, mean, spread) / ideal
    what = f"{n:,} rows at a lognormal {mean:g} s (spread {spread}), {calls} at once in two instances"
    text = f"{ratio:.2f} times the ideal; {least:.2f} if nothing but calls took time"
    return [Figure(what=what, text=text, value=ratio, at_most=1.15)]


def _least_seconds(n: int, calls: int, mean: float, spread: float) -> float:
    """How long calls of such latencies take if the next begins whenever one ends: the last ones are waited for."""
    draw = random.Random(0)
    busy_until = [0.0] * calls
    for _ in range(n):
        began = heapq.heappop(busy_until)
        heapq.heappush(busy_until, began + mean * exp(draw.gauss(0, spread) - spread**2 / 2))
    return max(busy_until)
