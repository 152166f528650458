"""Sixteen processes spend one budget: spent and reserved never pass it, and next to nothing of it is left unused."""

from __future__ import annotations

import multiprocessing
import random
import time
from typing import Any
from uuid import UUID

from shared.calls import Verdict
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.states import CallState
from tests.factories import broken, claim, enriched, make_session, planned, settle, start
from tests.workbench import Workbench

PROCESSES, ITEMS, BUDGET, WORST, COST = 16, 400, 60_000, 1_000, 250


def spend(url: str, session: UUID, numbers: list[int], barrier: Any, results: Any) -> None:
    """One process: calls for its items, at the worst case reserved and for a quarter of it, some of them unknown."""
    bench = Workbench(db=Database(connector(parse_database_url(url)), size=1), url=url)
    barrier.wait(60)
    busy = gone = 0
    for number in numbers:
        items = claim(bench, session, [number])
        while items:
            call = planned(items[0], reserve=WORST)
            verdict = start(bench, call)[number]
            if verdict is Verdict.STARTED:
                time.sleep(random.uniform(0, 0.01))
                lost = number % 50 == 0
                settle(bench, broken(call, CallState.UNKNOWN) if lost else enriched(call, cost=COST))
                break
            if verdict is Verdict.BUDGET_GONE:
                gone += 1
                break
            busy += 1
            time.sleep(random.uniform(0, 0.005))
    bench.db.close()
    results.put((busy, gone))


def test_sixteen_processes_never_pass_the_budget_and_use_it_up(bench: Workbench) -> None:
    session = make_session(bench, ITEMS, budget=BUDGET)
    spawning = multiprocessing.get_context("spawn")
    barrier, results = spawning.Barrier(PROCESSES + 1), spawning.Queue()
    processes = [
        spawning.Process(
            target=spend, args=(bench.url, session, list(range(1 + i, ITEMS + 1, PROCESSES)), barrier, results)
        )
        for i in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    barrier.wait(60)
    most = 0
    while any(process.is_alive() for process in processes):
        most = max(most, bench.value(f"SELECT spent + reserved FROM sessions WHERE id = '{session}'"))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    told = [results.get(timeout=10) for _ in processes]
    facts = bench.facts(session)
    assert WORST < most <= BUDGET
    assert facts["spent"] + facts["reserved"] <= BUDGET
    assert sum(gone for _, gone in told) > 0
    assert sum(busy for busy, _ in told) > 0
    # What is left holds no further worst case: calls in flight have stopped nobody early.
    assert BUDGET - facts["spent"] - facts["reserved"] < WORST
    bench.assert_sound(session)
