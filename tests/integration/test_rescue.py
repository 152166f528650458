"""What was lost is found again, and rescue alone brings every session to its end."""

from __future__ import annotations

from contextlib import contextmanager
from types import MethodType
from typing import Any
from uuid import uuid4

import pytest

from shared.db import Database
from shared.dispatch import Dispatcher, Nudged
from shared.errors import Conflict
from shared.rescuing import LATE
from shared.sessions import Sessions
from shared.upstreams.base import ErrorClass
from tests.factories import LEASE, RESERVE, claim, enriched, failure, make_session, planned, settle, start, started
from tests.workbench import Workbench, artists_csv


class NeverNudges(Dispatcher):
    """A dispatcher whose nudges do nothing."""

    def nudge(self, session: Any) -> Nudged:
        return Nudged()

    @contextmanager
    def nudging(self, session: Any, items: int) -> Any:
        yield


@pytest.fixture
def lonely(bench: Workbench) -> Workbench:
    """A Rowlift where rescue alone nudges."""
    silent = NeverNudges(bench.db, bench.publisher, bench.settings)
    bench.sessions = Sessions(bench.db, silent, bench.settings)  # rescue keeps its own
    for part in (bench.ingest, bench.processor, bench.finalizer):
        part._dispatcher = silent
    return bench


def _live(bench: Workbench, session: Any, *, rounds: int = 40) -> str:
    """The status a session has once rescue found nothing more to do for it."""
    for _ in range(rounds):
        bench.rescuer.round()
        bench.deliver()
        bench.make_due(session)
        status: str = bench.facts(session)["status"]
        if status in ("completed", "failed", "cancelled") and not bench.rescuer.round().open_sessions:
            return status
    raise AssertionError(f"rescue alone did not end the session: {bench.sessions.status(session)}")


def test_rescue_alone_completes_a_session(lonely: Workbench) -> None:
    session = lonely.drop(artists_csv(120))
    assert lonely.publisher.messages == []
    assert _live(lonely, session) == "completed"
    lonely.assert_sound(session)


def test_rescue_alone_ends_a_session_of_failures(lonely: Workbench) -> None:
    lonely.upstream._script = lambda n, _: failure(ErrorClass.TRANSIENT, code="upstream.empty_answer")
    session = lonely.drop(artists_csv(5))
    assert _live(lonely, session) == "failed"
    assert lonely.sessions.status(session)["failed"] == 5


def test_rescue_alone_ends_a_resumed_session(lonely: Workbench) -> None:
    session = lonely.drop(artists_csv(5))
    lonely.sessions.pause(session)
    lonely.rescuer.round()
    assert lonely.publisher.messages == []
    lonely.sessions.resume(session)
    assert _live(lonely, session) == "completed"


def test_rescue_alone_ends_a_cancelled_session(lonely: Workbench) -> None:
    session = lonely.drop(artists_csv(5))
    # The canceller died right after its first statement.
    lonely.db.rows("cancel_session", session=session)
    assert _live(lonely, session) == "cancelled"
    assert lonely.sessions.status(session)["cancelled"] == 5
    assert lonely.store.text("out", f"{session}/manifest.json")


def test_rescue_alone_ends_a_reprocessed_session(lonely: Workbench) -> None:
    lonely.upstream._script = lambda n, _: failure(ErrorClass.PERMANENT) if n <= 2 else None
    session = lonely.drop(artists_csv(5))
    assert _live(lonely, session) == "completed"
    assert lonely.sessions.reprocess(session) == 2
    assert _live(lonely, session) == "completed"
    assert lonely.sessions.status(session)["enriched"] == 5
    lonely.assert_sound(session)


def test_rescue_alone_ends_a_refused_file(lonely: Workbench) -> None:
    session = lonely.drop(b"", name="nowhere/list.csv")
    assert _live(lonely, session) == "failed"


def test_lost_notices_go_out_again_once_the_pipeline_is_idle(bench: Workbench) -> None:
    session = bench.drop(artists_csv(20))
    bench.publisher.take("artists")  # lost
    assert bench.rescuer.round().notices == 0
    bench.pass_time(31)
    found = bench.rescuer.round()
    assert (found.notices, found.dispatched) == (20, 20)
    assert bench.run(session)["status"] == "completed"


def test_notices_are_not_lost_while_the_pipeline_works(bench: Workbench) -> None:
    waiting = bench.drop(artists_csv(20))
    bench.publisher.take("artists")
    bench.pass_time(31)
    busy = make_session(bench, 2)
    settle(bench, enriched(started(bench, busy)))
    assert bench.rescuer.round().notices == 0
    bench.pass_time(601)
    settle(bench, enriched(started(bench, busy, 2)))
    assert bench.rescuer.round().notices == 20  # ten minutes are over
    bench.publisher.take("artists")
    bench.pass_time(601)
    busier = make_session(bench, 1)
    settle(bench, enriched(started(bench, busier)))
    assert bench.rescuer.round().notices == 0  # the second time it takes twice as long
    assert bench.item(waiting)["dispatches"] == 2


def test_a_retired_lease_leaves_its_call_unknown_and_reserved(bench: Workbench) -> None:
    session = make_session(bench, 2)
    started(bench, session, 1)
    claim(bench, session, [2])
    bench.pass_time(LEASE - 10)
    assert bench.rescuer.round().freed == 0
    bench.pass_time(11)
    assert bench.rescuer.round().freed == 2
    assert bench.calls(session) == [(1, 1, "unknown", RESERVE, None)]
    assert bench.facts(session)["reserved"] == RESERVE
    assert [bench.item(session, n)["state"] for n in (1, 2)] == ["retryable", "retryable"]
    assert bench.item(session)["failures"] == 0
    assert bench.sessions.status(session)["calls"] == {"started": 0, "unknown": 1}
    assert bench.run(session)["status"] == "completed"
    bench.assert_sound(session)


def test_leases_are_left_alone_for_a_grace(db: Database, database_url: str) -> None:
    bench = Workbench(db=db, url=database_url, changes={"lease_grace": 3600})
    session = make_session(bench, 1)
    started(bench, session)
    bench.pass_time(LEASE + 60)
    assert bench.rescuer.round().freed == 0


def test_the_tenth_lost_lease_ends_the_item(bench: Workbench) -> None:
    session = make_session(bench, 1)
    for n in range(1, 11):
        started(bench, session)
        bench.pass_time(LEASE + 1)
        assert bench.rescuer.round().freed == 1
        assert bench.item(session)["lost_leases"] == n
        bench.pass_time(LATE)
    found = bench.item(session)
    assert (found["state"], found["outcome"], found["code"]) == ("discarded", "failed", "worker_lost")
    assert found["failures"] == 0
    assert bench.run(session)["status"] == "failed"
    assert bench.facts(session)["reserved"] == 10 * RESERVE
    bench.assert_sound(session)


def test_a_file_whose_notice_was_lost_is_read(bench: Workbench) -> None:
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(3))
    claim_file = bench.ingest.go_on
    bench.ingest.go_on = MethodType(lambda self, file: None, bench.ingest)  # type: ignore[method-assign]
    session = bench.ingest.take(uploaded)
    bench.ingest.go_on = claim_file  # type: ignore[method-assign]
    assert bench.rescuer.round().files == 0
    bench.pass_time(31)
    assert bench.rescuer.round().files == 1
    assert bench.run(session)["enriched"] == 3


def test_a_file_whose_reader_died_is_read_on(bench: Workbench) -> None:
    bench.ingest._chunk_rows = 10
    bench.store.on_read = _die_at(2)
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(100))
    with pytest.raises(RuntimeError):
        bench.ingest.take(uploaded)
    bench.store.on_read = lambda offset: None
    assert bench.rescuer.round().files == 0
    bench.pass_time(61)
    assert bench.rescuer.round().files == 1
    session = bench.ingest.take(uploaded)
    assert bench.run(session)["total"] == 100
    bench.assert_sound(session)


def test_cancelled_items_that_return_later_are_settled_too(bench: Workbench) -> None:
    session = make_session(bench, 3)
    ending = started(bench, session, 1)
    claim(bench, session, [2])
    assert bench.sessions.cancel(session) == 1
    assert settle(bench, enriched(ending)) == {1: "settled"}
    assert bench.facts(session)["completed_epoch"] is None
    bench.pass_time(LEASE + 1)
    bench.rescuer.round()
    bench.deliver()
    states = [bench.item(session, n)["outcome"] for n in (1, 2, 3)]
    assert states == ["enriched", "cancelled", "cancelled"]
    assert bench.facts(session)["completed_epoch"] == bench.facts(session)["epoch"]
    bench.assert_sound(session)


def test_a_large_session_is_cancelled_in_batches(bench: Workbench) -> None:
    session = make_session(bench, 5_001)
    assert bench.sessions.cancel(session) == 5_001
    bench.deliver()
    assert bench.sessions.status(session)["cancelled"] == 5_001
    with pytest.raises(Conflict):
        bench.sessions.resume(session)


def test_rescue_works_in_rounds_until_just_before_the_next_call(bench: Workbench) -> None:
    now = [0.0]
    make_session(bench, 1)
    rounds = bench.rescuer.run(clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    assert (rounds, now[0]) == (28, 54)
    bench.execute("UPDATE sessions SET hold = 'person'")
    assert bench.rescuer.run() == 1, "a session that waits for a person keeps nobody busy"
    bench.execute("UPDATE sessions SET completed_epoch = epoch")
    assert bench.rescuer.run(clock=lambda: now[0], sleep=lambda s: None) == 1


def test_one_session_of_an_unknown_pipeline_does_not_stop_the_others(bench: Workbench) -> None:
    stranger = uuid4()
    bench.execute(
        f"INSERT INTO sessions (id, pipeline, source, files_known, created_at) "
        f"VALUES ('{stranger}', 'gone', 's', 1, now() - interval '1 day')"
    )
    bench.execute(f"INSERT INTO items (session_id, item_no, file, line, input) VALUES ('{stranger}', 1, 1, 1, '{{}}')")
    session = make_session(bench, 3)
    assert bench.run(session)["status"] == "completed"


def test_a_slow_worker_whose_lease_ran_out_still_settles_before_rescue_comes(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    bench.pass_time(LEASE + 1)
    call = planned(item)
    assert start(bench, call) == {1: "started"}  # it renews the lease
    assert bench.rescuer.round().freed == 0
    assert settle(bench, enriched(call)) == {1: "settled"}


def _die_at(read: int) -> Any:
    left = [read]

    def die(offset: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("the reader died")

    return die


def test_a_session_that_waits_for_leases_alone_says_so(bench: Workbench) -> None:
    session = make_session(bench, 2)
    started(bench, session, 1)
    started(bench, session, 2)
    assert bench.sessions.status(session)["bound_by"] == "upstream"
    bench.execute("UPDATE sessions SET worked_at = now() - interval '66 s'")
    assert bench.sessions.status(session)["bound_by"] == "lease"
