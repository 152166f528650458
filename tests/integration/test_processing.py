"""What becomes of an item: every class of failure, holds, money, and a ledger that goes away."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from shared import limits, processing
from shared.config import UpstreamLimits
from shared.db import Database
from shared.errors import Conflict, LedgerDown, UsageError
from shared.messages import ItemsNotice
from shared.upstreams.base import ErrorClass
from tests.factories import COST, failure, make_session
from tests.fakes import FakeUpstream
from tests.workbench import Workbench, artists_csv

TRANSIENT, PERMANENT, SYSTEMIC = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC


def handle(bench: Workbench, session: UUID, *numbers: int) -> None:
    """Deliver one notice."""
    bench.processor.handle(ItemsNotice(session=session, items=numbers or (1,)))


def due_in(bench: Workbench, session: UUID, number: int = 1) -> float:
    """Seconds until an item is due."""
    found = bench.value(
        f"SELECT extract(epoch FROM due_at - clock_timestamp()) FROM items "
        f"WHERE session_id = '{session}' AND item_no = {number}"
    )
    return float(found)


def always(answer: Any) -> FakeUpstream:
    """An upstream that always says the same."""
    return FakeUpstream(lambda n, request: answer)


def test_a_transient_failure_is_tried_three_times(db: Database, database_url: str) -> None:
    bench = Workbench(db=db, url=database_url, upstream=always(failure(TRANSIENT)))
    session = make_session(bench, 1)
    for n, (least, most) in enumerate([(2, 2.5), (4, 5)], 1):
        handle(bench, session)
        assert least - 0.5 < due_in(bench, session) <= most
        assert (bench.item(session)["state"], bench.item(session)["failures"]) == ("retryable", n)
        handle(bench, session)  # too early: not claimed
        assert bench.item(session)["attempt"] == n
        bench.make_due(session)
    handle(bench, session)
    found = bench.item(session)
    assert (found["state"], found["outcome"], found["error_code"]) == ("discarded", "failed", "upstream.server_error")
    assert (found["failures"], found["attempt"]) == (3, 3)
    assert [call[2] for call in bench.calls(session)] == ["failed"] * 3
    assert bench.facts(session)["reserved"] == 0
    bench.assert_sound(session)


def test_waits_carry_jitter(db: Database, database_url: str) -> None:
    bench = Workbench(db=db, url=database_url, upstream=always(failure(TRANSIENT)))
    session = make_session(bench, 8)
    handle(bench, session, *range(1, 9))
    assert len({round(due_in(bench, session, n), 2) for n in range(1, 9)}) > 1


def test_a_permanent_failure_ends_its_item_and_no_other(db: Database, database_url: str) -> None:
    bench = Workbench(
        db=db,
        url=database_url,
        upstream=FakeUpstream(lambda n, _: failure(PERMANENT, code="upstream.refused") if n == 1 else None),
    )
    session = make_session(bench, 4)
    status = bench.run(session)
    assert (status["status"], status["failed"], status["enriched"]) == ("completed", 1, 3)
    assert bench.value("SELECT count(*) FROM items WHERE outcome = 'failed' AND attempt = 1") == 1


def test_a_systemic_failure_holds_the_session_until_it_is_resumed(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: failure(SYSTEMIC, code="upstream.bad_key") if n <= 8 else None
    session = bench.drop(artists_csv(30))
    status = bench.run(session)
    assert (status["status"], status["open"]) == ("paused", 30)
    assert status["pause_reason"].startswith("upstream.bad_key: It went wrong.")
    assert len(bench.upstream.requests) == 8  # the first message's; nothing burnt
    assert bench.value("SELECT max(failures) FROM items") == 0
    bench.rescuer.round()
    assert bench.publisher.messages == []
    bench.sessions.resume(session)
    assert bench.run(session)["enriched"] == 30
    bench.assert_sound(session)


def test_a_failure_from_before_the_resume_does_not_hold_again(db: Database, database_url: str) -> None:
    bench = Workbench(db=db, url=database_url, limits={"openai": UpstreamLimits(systemic_failures=1)})
    going, may_end = threading.Event(), threading.Event()

    def slow(n: int, _: Any) -> Any:
        going.set()
        assert may_end.wait(10)
        return failure(SYSTEMIC)

    bench.upstream._script = slow
    session = make_session(bench, 1)
    worker = threading.Thread(target=handle, args=(bench, session))
    worker.start()
    assert going.wait(10)
    bench.sessions.pause(session)
    bench.sessions.resume(session)
    may_end.set()
    worker.join(10)
    assert bench.facts(session)["hold"] is None
    assert bench.item(session)["state"] == "retryable"
    bench.make_due(session)
    handle(bench, session)  # this call starts after the resume
    assert bench.facts(session)["hold"] == "systemic"


def test_the_wait_the_upstream_asks_for_is_kept(db: Database, database_url: str) -> None:
    limited = failure(TRANSIENT, code="upstream.rate_limited", retry_after=37.0)
    bench = Workbench(db=db, url=database_url, upstream=always(limited))
    session = make_session(bench, 1)
    handle(bench, session)
    assert 35 < due_in(bench, session) <= 37


def test_an_upstream_that_breaks_unforeseen_counts_as_a_retry(db: Database, database_url: str) -> None:
    bench = Workbench(
        db=db, url=database_url, upstream=FakeUpstream(lambda n, _: ZeroDivisionError("oh") if n == 1 else None)
    )
    session = make_session(bench, 1)
    handle(bench, session)
    assert bench.item(session)["error_code"] == "upstream.unexpected"
    assert [call[2] for call in bench.calls(session)] == ["unknown"]
    assert bench.run(session)["enriched"] == 1
    assert bench.facts(session)["reserved"] == bench.calls(session)[0][3]
    bench.assert_sound(session)


def test_a_call_without_an_answer_stays_reserved_and_is_shown(db: Database, database_url: str) -> None:
    bench = Workbench(
        db=db,
        url=database_url,
        upstream=FakeUpstream(lambda n, _: failure(TRANSIENT, call_state="unknown") if n == 1 else None),
    )
    session = bench.drop(artists_csv(1))
    status = bench.run(session)
    assert status["calls"] == {"started": 0, "unknown": 1}
    assert status["reserved_usd"] > 0
    bench.assert_sound(session)


def test_a_budget_stops_the_session_and_a_higher_one_lets_it_go_on(bench: Workbench) -> None:
    session = bench.drop(artists_csv(20), budget="0.0006")
    status = bench.run(session)
    assert status["status"] == "paused"
    assert "budget" in status["pause_reason"]
    assert 0 < status["spent_usd"] <= status["budget_usd"] == 0.0006
    assert status["enriched"] == len(bench.upstream.requests) < 20
    with pytest.raises(UsageError):
        bench.sessions.resume(session, budget_usd=0.0)
    bench.sessions.resume(session, budget_usd=1)
    assert bench.run(session)["enriched"] == 20
    bench.assert_sound(session)


def test_calls_in_flight_make_the_budget_busy_not_gone(bench: Workbench) -> None:
    worst = bench.pipeline.estimate("?").micros
    session = make_session(bench, 8, budget=worst + worst // 2)
    handle(bench, session, *range(1, 9))
    assert Counter(bench.item(session, n)["code"] for n in range(2, 9)) == {"budget_busy": 7}
    assert bench.item(session)["outcome"] == "enriched"
    assert 1 < due_in(bench, session, 2) <= 2
    assert bench.facts(session)["hold"] is None


def test_a_session_paused_in_mid_call_settles_what_is_in_flight(bench: Workbench) -> None:
    session = make_session(bench, 3)
    _while_calling(bench, session, lambda: bench.sessions.pause(session))
    assert [bench.item(session, n)["outcome"] for n in (1, 2, 3)] == ["enriched", "enriched", None]
    handle(bench, session, 3)
    assert (bench.item(session, 3)["state"], bench.item(session, 3)["attempt"]) == ("available", 0)
    assert bench.facts(session)["status"] == "paused"
    bench.sessions.resume(session)
    assert bench.run(session)["enriched"] == 3


@pytest.mark.parametrize(
    ("act", "state", "status"), [("pause", "retryable", "paused"), ("cancel", "cancelled", "cancelled")]
)
def test_items_held_before_their_call_are_handed_back_unpaid(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, act: str, state: str, status: str
) -> None:
    def slots(*args: Any, **kwargs: Any) -> Any:
        getattr(bench.sessions, act)(session)
        return limits.reserve_slots(*args, **kwargs)

    monkeypatch.setattr(processing, "reserve_slots", slots)
    session = make_session(bench, 2)
    handle(bench, session, 1)
    assert (bench.item(session)["state"], bench.item(session)["code"]) == (state, "held")
    assert bench.upstream.requests == bench.calls(session) == []
    assert bench.facts(session)["status"] == status
    bench.assert_sound(session)


def test_a_resumed_session_goes_on_at_once_although_its_notices_were_taken(bench: Workbench) -> None:
    session = bench.drop(artists_csv(10))
    bench.sessions.pause(session)
    bench.deliver()  # taken and acknowledged: on hold
    bench.sessions.resume(session)
    assert len(bench.publisher.take("artists")) == 2


def test_items_handed_back_to_a_cancelled_session_are_cancelled(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: failure(TRANSIENT) if n == 1 else None
    session = make_session(bench, 3)
    _while_calling(bench, session, lambda: bench.sessions.cancel(session))
    outcomes = {bench.item(session, n)["outcome"] for n in (1, 2)}
    assert outcomes == {"cancelled", "enriched"}
    assert bench.item(session, 3)["outcome"] == "cancelled"
    bench.deliver()
    assert bench.store.text("out", f"{session}/results.jsonl").count("\n") == 3
    with pytest.raises(Conflict):
        bench.sessions.pause(session)
    bench.assert_sound(session)


def test_rate_limited_calls_use_up_no_try(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: failure(TRANSIENT, code="upstream.rate_limited") if n <= 5 else None
    session = make_session(bench, 1)
    assert bench.run(session)["enriched"] == 1
    assert (bench.item(session)["failures"], bench.item(session)["attempt"]) == (0, 6)


def test_no_connection_is_held_while_a_call_is_waited_for(bench: Workbench) -> None:
    held: list[int] = []
    bench.upstream._script = lambda n, _: held.append(bench.db.state()["checked_out"])
    session = make_session(bench, 1)
    handle(bench, session)
    assert held == [0]
    assert bench.facts(session)["spent"] < COST


def test_a_ledger_that_cannot_claim_refuses_the_push(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise LedgerDown

    session = make_session(bench, 1)
    with monkeypatch.context() as patch:
        patch.setattr(bench.db, "rows", away)
        with pytest.raises(LedgerDown):
            handle(bench, session)
    assert bench.run(session)["enriched"] == 1


def _while_calling(bench: Workbench, session: UUID, act: Any) -> None:
    """Run items 1 and 2 and act while both calls are under way."""
    scripted = bench.upstream._script
    under_way, may_end = threading.Semaphore(0), threading.Event()

    def slow(n: int, request: Any) -> Any:
        under_way.release()
        assert may_end.wait(10)
        return scripted(n, request) if scripted else None

    bench.upstream._script = slow
    worker = threading.Thread(target=handle, args=(bench, session, 1, 2))
    worker.start()
    assert under_way.acquire(timeout=10)
    assert under_way.acquire(timeout=10)
    act()
    may_end.set()
    worker.join(10)
    bench.upstream._script = scripted


def _slow_to_start(bench: Workbench, monkeypatch: pytest.MonkeyPatch, between: Any = None) -> list[str]:
    """Have calls be started later than their slots once; names the statements that were asked for from then on."""
    rows, asked = Database.rows, []

    def slow(self: Database, name: str, **params: Any) -> Any:
        asked.append(name)
        found = rows(self, name, **params)
        if name == "start_calls" and asked.count(name) == 1:
            until = time.monotonic() + 0.15  # later than any slot may be
            while time.monotonic() < until:
                pass
            if between is not None:
                between()
        return found

    monkeypatch.setattr(Database, "rows", slow)
    return asked


def test_paid_calls_that_missed_their_slots_leave_at_others_and_are_booked_once(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(bench, 3)
    asked = _slow_to_start(bench, monkeypatch)
    handle(bench, session, 1, 2, 3)
    assert asked.count("start_calls") == 2
    assert "reserve_slots" in asked[asked.index("start_calls") :]
    assert [call[2] for call in bench.calls(session)] == ["succeeded"] * 3
    assert len(bench.upstream.requests) == 3
    bench.assert_sound(session)


def test_a_session_paused_before_they_leave_gets_its_reserve_back(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(bench, 3, budget=10_000_000)
    _slow_to_start(bench, monkeypatch, between=lambda: bench.sessions.pause(session))
    handle(bench, session, 1, 2, 3)
    assert bench.upstream.requests == []
    assert [call[2:] for call in bench.calls(session)] == [("failed", call[3], 0) for call in bench.calls(session)]
    assert bench.facts(session)["reserved"] == 0
    bench.sessions.resume(session)
    assert bench.run(session)["enriched"] == 3
    bench.assert_sound(session)
