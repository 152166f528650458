"""What happens when something is said twice, late, or to the wrong session."""

from __future__ import annotations

import base64
from uuid import uuid4

import orjson

from shared.dead_lettering import DeadLetters
from shared.events import Push
from shared.items import Settlement, claim, settle
from shared.options import Options
from shared.states import Outcome
from tests.workbench import Workbench, artists_csv


def dead_letter(session: object, items: list[int], message: str) -> Push:
    """A notice that was given up, as its push arrives."""
    data = base64.b64encode(orjson.dumps({"session_id": str(session), "items": items})).decode()
    return Push.parse(orjson.dumps({"message": {"data": data, "messageId": message}, "subscription": "s"}))


def test_a_dead_letter_delivered_twice_counts_once(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    letters = DeadLetters(bench.db, bench.dispatcher)
    for message in ("a", "a", "a"):
        letters.take(dead_letter(session, [1], message))
    assert bench.value("SELECT dead_lettered FROM items") == 1


def test_three_dead_letters_end_the_item_with_the_reason(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    letters = DeadLetters(bench.db, bench.dispatcher)
    for message in ("a", "b", "c"):
        letters.take(dead_letter(session, [1], message))
    status = bench.run(session)
    assert (status["status"], status["failed"]) == ("failed", 1)
    assert bench.value("SELECT error_code FROM items") == "db.undeliverable"


def test_nothing_late_from_an_old_round_lands_in_the_new_one(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    claimed = claim(bench.db, session, [1], pipeline="artists", lease=100)
    assert claimed is not None
    failed = Settlement(item=claimed.items[0], outcome=Outcome.FAILED, code="x", error_code="upstream.x")
    assert settle(bench.db, session, [failed], pipeline="artists", options=Options()) == {1: "settled"}
    assert bench.sessions.reprocess(session) == 1
    assert settle(bench.db, session, [failed], pipeline="artists", options=Options()) == {1: "superseded"}
    assert bench.run(session)["enriched"] == 1


def test_an_answer_that_could_not_be_written_is_not_paid_for_again_by_reprocess(bench: Workbench) -> None:
    bench.execute("ALTER TABLE artists ADD CONSTRAINT no_bios CHECK (bio IS NULL)")
    session = bench.drop(artists_csv(1), max_failed="100%")
    assert bench.run(session)["failed"] == 1
    bench.execute("ALTER TABLE artists DROP CONSTRAINT no_bios")
    bench.sessions.reprocess(session)
    assert bench.run(session)["enriched"] == 1
    assert len(bench.upstream.requests) == 1
    assert bench.sessions.verify(session)["findings"] == []


def test_a_file_cannot_join_a_session_that_has_ended_for_good(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    bench.sessions.cancel(session)
    other = bench.drop(artists_csv(1, first=5), name="artists/late.csv", session=str(session))
    status = bench.run(other)
    assert other != session
    assert (status["status"], status["error_code"]) == ("failed", "input.session")
    assert "is cancelled" in status["error_message"]


def test_a_file_in_no_folder_does_not_fail_the_session_it_names(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    bench.drop(artists_csv(1, first=5), name="nowhere/late.csv", session=str(session))
    assert bench.run(session)["status"] == "completed"


def test_an_announced_session_that_is_cancelled_ends(bench: Workbench) -> None:
    session = uuid4()
    bench.db.rows("announce_session", session=session, pipeline="artists", options={}, source="", budget=None,
                  approval="none", trace_id=None)  # fmt: skip
    assert bench.sessions.status(session)["status"] == "uploading"
    bench.sessions.cancel(session)
    bench.deliver()
    assert bench.value("SELECT completed_epoch = epoch FROM sessions")
    assert bench.rescuer.round().open_sessions == 0
