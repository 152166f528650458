"""Too many failures stop a session early; the rest waits, resume runs it, redo of the failed rows completes it."""

from __future__ import annotations

from typing import Any

import pytest

from shared.upstreams.base import ErrorClass
from tests.factories import failure
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
    from shared.messages import ItemsNotice

    notices = bench.publisher.take("artists")
    bench.processor.handle(ItemsNotice.decode(notices[0].data))
    bench.publisher.messages += [("artists", one) for one in notices[1:]]
