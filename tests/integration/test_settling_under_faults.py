"""Answers that were paid for survive: refused domain rows, a missing table, a ledger that goes away, lock timeouts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pg8000.dbapi
import pytest

from shared.config import UpstreamLimits, parse_database_url
from shared.db import Database, connector
from shared.errors import LedgerDown, StatementFailed
from shared.messages import ItemsNotice
from shared.upstreams.base import ErrorClass
from tests.factories import at_once, failure, make_session
from tests.fakes import FakeUpstream
from tests.workbench import Workbench, artist_id, artists_csv


def handle(bench: Workbench, session: UUID, *numbers: int) -> None:
    """Deliver one notice."""
    bench.processor.handle(ItemsNotice(session=session, items=numbers or (1,)))


def test_a_refused_domain_row_fails_only_its_item_and_keeps_its_answer(bench: Workbench) -> None:
    bench.execute(f"ALTER TABLE artists ADD CONSTRAINT not_him CHECK (id <> '{artist_id(3)}')")
    session = bench.drop(artists_csv(8))
    status = bench.run(session)
    assert (status["status"], status["failed"], status["enriched"]) == ("completed", 1, 7)
    found = bench.item(session, 3)
    assert (found["error_code"], found["code"]) == ("db.not_him", "db.not_him")
    assert found["result"]["text"].startswith("A bio")
    assert len(bench.upstream.requests) == 8
    assert {call[2] for call in bench.calls(session)} == {"succeeded"}
    bench.assert_sound(session)


def test_a_row_a_trigger_refuses_fails_only_its_item(bench: Workbench) -> None:
    bench.execute(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.id = '{artist_id(1)}' THEN RAISE EXCEPTION 'no' USING ERRCODE = 'P0001'; END IF; RETURN NEW; END $$"
    )
    bench.execute("CREATE TRIGGER t BEFORE INSERT ON artists FOR EACH ROW EXECUTE FUNCTION refuse()")
    session = bench.drop(artists_csv(8))
    assert bench.run(session)["failed"] == 1
    assert bench.item(session)["error_code"] == "db.P0001"


@pytest.mark.parametrize("message", [1, 8])
def test_a_missing_table_holds_the_session_and_keeps_the_answers(bench: Workbench, message: int) -> None:
    session = make_session(bench, 8)
    bench.execute("ALTER TABLE artists RENAME TO elsewhere")
    for first in range(1, 9, message):
        handle(bench, session, *range(first, first + message))
    facts = bench.facts(session)
    assert (facts["status"], facts["hold"]) == ("paused", "systemic")
    assert "42P01" in facts["pause_reason"]
    assert "migrations" in facts["pause_reason"]
    kept = [bench.item(session, n) for n in range(1, message + 1)]
    assert {(item["state"], item["code"]) for item in kept} == {("retryable", "answered")}
    assert all(item["result"]["text"].startswith("A bio") for item in kept)
    assert len(bench.upstream.requests) == message
    bench.execute("ALTER TABLE elsewhere RENAME TO artists")
    bench.sessions.resume(session)
    assert bench.run(session)["enriched"] == 8
    assert len(bench.upstream.requests) == 8
    assert len(bench.calls(session)) == 8
    assert bench.value("SELECT count(*) FROM artists WHERE bio IS NOT NULL") == 8
    bench.assert_sound(session)


def test_write_mode_file_does_without_the_domain_table(bench: Workbench) -> None:
    bench.execute("DROP TABLE artists")
    session = bench.drop(artists_csv(3), write_mode="file")
    assert bench.run(session)["enriched"] == 3


def test_failures_are_recorded_without_the_domain_table(bench: Workbench) -> None:
    bench.execute("DROP TABLE artists")
    bench.upstream._script = lambda n, _: failure(ErrorClass.PERMANENT)
    session = bench.drop(artists_csv(2))
    assert bench.run(session)["failed"] == 2


def test_a_missing_table_seen_before_the_call_holds_the_session_unpaid(bench: Workbench) -> None:
    bench.execute("ALTER TABLE artists RENAME TO elsewhere")
    session = bench.drop(artists_csv(3), skip_existing="true")
    status = bench.run(session)
    assert (status["status"], status["running"]) == ("paused", 0)
    assert bench.upstream.requests == []
    bench.execute("ALTER TABLE elsewhere RENAME TO artists")
    bench.sessions.resume(session)
    assert bench.run(session)["enriched"] == 3


def _away_for(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, seconds: float, only: Callable[[str], bool]
) -> list[str]:
    """Make statements fail as if PostgreSQL were away, from the first one chosen and for some seconds."""
    until: list[float] = []
    failed: list[str] = []
    really = bench.db.rows

    def rows(name: str, **params: Any) -> Any:
        if only(name):
            if not until:
                until.append(time.monotonic() + seconds)
            if time.monotonic() < until[0]:
                failed.append(name)
                raise LedgerDown
        return really(name, **params)

    monkeypatch.setattr(bench.db, "rows", rows)
    return failed


def test_an_answer_is_written_once_the_ledger_is_back(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = _away_for(bench, monkeypatch, 0.5, lambda name: name.startswith("settle/"))
    session = make_session(bench, 3)
    handle(bench, session, 1, 2, 3)
    assert len(failed) >= 2
    assert [bench.item(session, n)["outcome"] for n in (1, 2, 3)] == ["enriched"] * 3
    assert len(bench.upstream.requests) == 3
    bench.assert_sound(session)


def test_a_ledger_that_stays_away_is_given_up_at_the_deadline(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Workbench(
        db=db, url=database_url, pipeline_changes={"deadline": 1.0, "request_timeout": 0.2, "max_wait": 0}
    )
    session = make_session(bench, 1)
    with monkeypatch.context() as patch:
        _away_for(bench, patch, 60, lambda name: name.startswith("settle/"))
        began = time.monotonic()
        with pytest.raises(LedgerDown):
            handle(bench, session)
        assert 0.3 < time.monotonic() - began < 3
    bench.pass_time(131)
    bench.rescuer.round()
    assert [call[2] for call in bench.calls(session)] == ["succeeded"]  # the answer was put aside meanwhile
    assert bench.run(session)["enriched"] == 1
    bench.assert_sound(session)


def test_calls_in_flight_are_settled_although_the_next_could_not_be_started(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"openai": UpstreamLimits(requests=10, period=2)}  # a call each 0.2 s, so that they start one by one
    bench = Workbench(db=db, url=database_url, limits=limits)
    session = make_session(bench, 3)
    starts: list[str] = []

    def third(name: str) -> bool:
        starts.extend([name] if name == "start_calls" else [])
        return name == "start_calls" and len(starts) > 2

    with monkeypatch.context() as patch:
        _away_for(bench, patch, 60, third)
        with pytest.raises(LedgerDown):
            handle(bench, session, 1, 2, 3)
    assert [bench.item(session, n)["outcome"] for n in (1, 2, 3)] == ["enriched", "enriched", None]


def test_a_lock_that_is_not_given_in_time_is_no_reason_to_fail_an_item(database_url: str) -> None:
    def connect() -> Any:
        connection = connector(parse_database_url(database_url))()
        connection.cursor().execute("SET lock_timeout = '100ms'")
        return connection

    bench = Workbench(db=Database(connect, size=4), url=database_url)
    session = make_session(bench, 1)
    other: pg8000.dbapi.Connection = connector(parse_database_url(database_url))()

    def lock_the_item(n: int, request: Any) -> None:
        other.execute_simple(f"BEGIN; SELECT FROM items WHERE session_id = '{session}' FOR UPDATE")
        threading.Timer(0.7, other.execute_simple, ["ROLLBACK"]).start()  # longer than two tries take

    bench.upstream._script = lock_the_item
    handle(bench, session)
    assert (bench.item(session)["outcome"], bench.item(session)["error_code"]) == ("enriched", None)
    other.close()
    bench.db.close()


def test_a_statement_postgres_refuses_for_good_says_so(bench: Workbench) -> None:
    with pytest.raises(StatementFailed) as caught:
        bench.db.rows("session", session="not a uuid")
    assert caught.value.sqlstate == "22P02"
    assert bench.db.rows("unfinished_sessions") == []


def test_no_more_calls_leave_than_the_upstream_allows(db: Database, database_url: str) -> None:
    threads, limit, period = 4, 20, 2.0
    left_at: list[float] = []
    upstream = FakeUpstream(lambda n, _: left_at.append(time.monotonic()))
    limits = {"openai": UpstreamLimits(requests=limit, period=period)}
    benches = [Workbench(db=db, url=database_url, upstream=upstream, limits=limits) for _ in range(threads)]
    session = make_session(benches[0], 48)
    at_once(threads, lambda i: [handle(benches[i], session, *range(1 + 12 * i + k, 7 + 12 * i + k)) for k in (0, 6)])
    left_at.sort()
    assert len(left_at) == 48
    most = max(sum(at <= other < at + period for other in left_at) for at in left_at)
    assert most <= limit
    assert left_at[-1] - left_at[0] < 48 / limit * period * 1.3  # and not far fewer


def test_a_wait_longer_than_max_wait_hands_the_item_back(db: Database, database_url: str) -> None:
    limits = {"openai": UpstreamLimits(requests=1, period=3600)}
    bench = Workbench(db=db, url=database_url, limits=limits)
    session = make_session(bench, 3)
    handle(bench, session, 1, 2, 3)
    states = sorted((bench.item(session, n)["state"], bench.item(session, n)["code"]) for n in (1, 2, 3))
    assert states == [("completed", None), ("retryable", "rate_limit"), ("retryable", "rate_limit")]
    due = bench.value(
        f"SELECT min(extract(epoch FROM due_at - clock_timestamp())) FROM items WHERE session_id = '{session}'"
    )
    assert 3400 < due <= 3720
    assert bench.value("SELECT max(failures) FROM items") == 0


def test_a_call_booked_while_the_ledger_left_ends_as_unknown(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed back at once, its item would run again while the call stood as started, and reserved, for ever."""
    session = bench.drop(artists_csv(2))
    rows, lost = bench.db.rows, iter([True])

    def losing(name: str, **params: Any) -> list[dict[str, Any]]:
        found = rows(name, **params)
        if name == "start_calls" and next(lost, False):
            raise LedgerDown
        return found

    monkeypatch.setattr(bench.db, "rows", losing)
    with pytest.raises(LedgerDown):
        bench.deliver()
    assert bench.item(session)["state"] == "running"
    bench.pass_time(200)
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["calls"]["unknown"]) == ("completed", 2, 2)
    bench.assert_sound(session)
