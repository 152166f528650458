"""An item that is due again soon is dispatched by the process that handed it back, without rescue."""

from __future__ import annotations

import threading
import time
from uuid import UUID, uuid4

import pytest

from shared.db import Database
from shared.dispatch import _Timers
from shared.errors import LedgerDown
from shared.upstreams.base import Answer, ErrorClass, Failure
from tests.fakes import FakeUpstream
from tests.workbench import Workbench, artists_csv


def failing_once(n: int, request: object) -> Answer | Failure | None:
    """A server error for the first call, answers from then on."""
    return Failure(kind=ErrorClass.TRANSIENT, code="upstream.server_error", message="once") if n == 1 else None


def test_a_retry_goes_out_when_it_is_due_and_not_before(db: Database, database_url: str) -> None:
    changes = {"linger": 5, "retry_base": 0.4}
    bench = Workbench(db=db, url=database_url, pipeline_changes=changes, upstream=FakeUpstream(failing_once))
    session = bench.drop(artists_csv(1))
    began = time.monotonic()
    bench.deliver()
    waited = time.monotonic() - began
    assert 0.4 <= waited < 4, "the handler stays until the retry is due"
    bench.deliver()
    assert bench.sessions.status(session)["enriched"] == 1


def waiting(timers: _Timers, until: float, found: list[set[UUID]]) -> threading.Thread:
    """A thread that waits by now."""
    thread = threading.Thread(target=lambda: found.append(timers.wait(until)))
    thread.start()
    deadline = time.monotonic() + 10
    while timers._stays_until != until and time.monotonic() < deadline:
        time.sleep(0.001)
    return thread


def test_one_thread_waits_and_an_earlier_moment_wakes_it() -> None:
    timers, late, soon = _Timers(), uuid4(), uuid4()
    now = time.monotonic()
    found: list[set[UUID]] = []
    timers.add(late, now + 30)
    thread = waiting(timers, now + 60, found)
    assert timers.wait(now + 50) == set(), "another thread waits that may stay longer"
    timers.add(soon, now)
    thread.join(10)
    assert found == [{soon}]
    assert timers.wait(now + 1) == set(), "the late one is beyond the deadline"


def test_a_thread_that_may_stay_longer_takes_over() -> None:
    timers, first, second = _Timers(), uuid4(), uuid4()
    now = time.monotonic()
    found: list[set[UUID]] = []
    timers.add(first, now + 30)
    old = waiting(timers, now + 40, found)
    new = waiting(timers, now + 60, found)
    old.join(10)
    assert found == [set()], "the one that had to leave earlier is gone"
    timers.add(second, now)
    new.join(10)
    assert found == [set(), {second}]


def test_an_error_while_nudging_leaves_the_place_free(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(session: object) -> None:
        raise LedgerDown

    monkeypatch.setattr(bench.dispatcher, "nudge", away)
    for _ in range(2):
        bench.dispatcher.due_in(uuid4(), 0)
        with pytest.raises(LedgerDown):
            bench.dispatcher.linger(until=time.monotonic() + 1)
