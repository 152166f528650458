"""Too many failures stop a session early; the rest waits, resume runs it, redo of the failed rows completes it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from shared.config import parse_database_url
from shared.db import Database, connector
from shared.errors import Conflict, InputError
from shared.messages import ItemsNotice
from shared.options import Options
from shared.settling import stop_if_too_many_failed
from shared.upstreams.base import ErrorClass
from tests.factories import failure, until
from tests.workbench import Workbench, artists_csv

REFUSED = failure(ErrorClass.PERMANENT, code="upstream.refused")


@pytest.mark.parametrize(("tolerated", "asked"), [("3", 8), ("10%", 16), ("0", 8)])
def test_a_session_stops_early_and_says_so(bench: Workbench, tolerated: str, asked: int) -> None:
    bench.upstream._script = lambda n, _: REFUSED
    session = bench.drop(artists_csv(100), max_failed=tolerated)
    status = bench.run(session)
    assert (status["status"], status["failed"], status["open"]) == ("failed", asked, 100 - asked)
    assert status["error_code"] == "input.too_many_failed"
    assert f"max-failed={tolerated}" in status["error_message"]
    assert len(bench.upstream.requests) == asked
    assert bench.value("SELECT count(*) FROM items WHERE state = 'available'") == 100 - asked
    assert len(bench.store.text("out", f"{session}/results.jsonl").splitlines()) == asked


def test_resume_runs_the_rest_and_redo_of_the_failed_completes_it(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: REFUSED if n <= 8 else None
    session = bench.drop(artists_csv(40), max_failed="5")
    assert bench.run(session)["status"] == "failed"
    bench.sessions.resume(session)
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["failed"]) == ("failed", 32, 8)  # 8 of 40 are still too many
    assert "8 of 40 items failed" in status["error_message"]
    assert bench.sessions.reprocess(session) == 8
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["failed"]) == ("completed", 40, 0)
    bench.assert_sound(session)


def test_a_reprocess_of_one_that_stopped_early_runs_nothing_that_waits(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: REFUSED
    session = bench.drop(artists_csv(40), max_failed="5")
    bench.run(session)
    with pytest.raises(Conflict, match="resume it first"):
        bench.sessions.reprocess(session)
    assert bench.facts(session)["status"] == "failed"


def test_a_file_that_joins_one_that_stopped_early_runs_nothing_that_waits(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: REFUSED if n <= 8 else None
    session = bench.drop(artists_csv(40), max_failed="5")
    bench.run(session)
    bench.drop(artists_csv(3, first=900), "artists/joins.csv", session=str(session))
    status = bench.run(session)
    assert (status["status"], status["open"], len(bench.upstream.requests)) == ("failed", 35, 8)
    bench.sessions.resume(session)
    assert bench.run(session)["enriched"] == 35
    bench.assert_sound(session)


def test_a_resumed_session_says_no_longer_why_it_stopped(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: REFUSED
    session = bench.drop(artists_csv(40), max_failed="5")
    bench.run(session)
    bench.sessions.resume(session)
    facts = bench.facts(session)
    assert (facts["status"], facts["error_code"], facts["error_message"], facts["completed_at"]) == (
        "enriching", None, None, None,
    )  # fmt: skip


def test_a_count_that_was_taken_before_a_resume_stops_nothing(bench: Workbench) -> None:
    """The resume happens while the count waits for the session's row."""
    bench.upstream._script = lambda n, _: REFUSED
    session = bench.drop(artists_csv(40), max_failed="5")
    bench.processor.handle(ItemsNotice(session=session, items=tuple(range(1, 9))))
    bench.sessions.resume(session)  # as a person would who sees it stopped
    assert bench.facts(session)["failed_at"] is None
    other = Database(connector(parse_database_url(bench.url)), size=1)
    with other.transaction() as holding:
        bench.execute(f"UPDATE sessions SET resumed_at = NULL WHERE id = '{session}'")
        holding.rows("session", session=session)
        holding._connection.execute_simple(f"UPDATE sessions SET resumed_at = clock_timestamp() WHERE id = '{session}'")
        counting = threading.Thread(target=stop_if_too_many_failed, args=(bench.db, session), kwargs={"most": 100})
        counting.start()
        until(lambda: bench.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == 1)
    counting.join(10)
    other.close()
    assert bench.facts(session)["failed_at"] is None


def test_a_tolerance_beyond_all_numbers_is_refused_when_it_is_given() -> None:
    with pytest.raises(InputError, match="max-failed"):
        Options.parse({"max-failed": "99999999999999999999"})


def test_after_a_resume_the_count_begins_anew(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: REFUSED
    session = bench.drop(artists_csv(100), max_failed="5")
    bench.run(session)
    bench.sessions.resume(session)
    status = bench.run(session)
    assert (status["status"], status["failed"]) == ("failed", 16)


def test_as_many_as_are_tolerated_stop_nothing(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: REFUSED if n <= 8 else None
    session = bench.drop(artists_csv(40), max_failed="8")
    assert bench.run(session)["status"] == "completed"


def test_rescue_alone_stops_it_too(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    import shared.settling

    monkeypatch.setattr(shared.settling, "COUNTED_AT_ONCE", 0)
    bench.upstream._script = lambda n, _: REFUSED
    session = bench.drop(artists_csv(600), max_failed="20")
    while bench.sessions.status(session)["status"] == "enriching":
        _deliver_one(bench)
        bench.rescuer.round()
    assert bench.sessions.status(session)["failed"] == 24


def _deliver_one(bench: Workbench) -> Any:
    notices = bench.publisher.take("artists")
    bench.processor.handle(ItemsNotice.decode(notices[0].data))
    bench.publisher.messages += [("artists", one) for one in notices[1:]]
