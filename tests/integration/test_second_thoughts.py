"""What happens when something is said twice, late, or to the wrong session."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson

from shared.db import Database
from shared.dead_lettering import DeadLetters
from shared.errors import LedgerDown
from shared.events import Push
from shared.items import Settlement, claim, settle
from shared.states import Outcome
from shared.upstreams.base import ErrorClass, Failure, Usage
from tests.factories import TERMS
from tests.fakes import FakeUpstream, answer
from tests.workbench import Workbench, artist_id, artists_csv


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
    assert settle(bench.db, session, [failed], terms=TERMS) == {1: "settled"}
    assert bench.sessions.reprocess(session) == 1
    assert settle(bench.db, session, [failed], terms=TERMS) == {1: "superseded"}
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


def test_notices_of_one_outage_count_as_one_dead_letter(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    letters = DeadLetters(bench.db, bench.dispatcher)
    for message in ("a", "b", "c"):  # all published before the first of them was given up
        letter = dead_letter(session, [1], message)
        attributes = {"CloudPubSubDeadLetterSourceTopicPublishTime": "2026-01-01T00:00:00Z"}
        letters.take(Push(data=letter.data, attributes=attributes, message_id=message, subscription="s",
                          delivery_attempt=None))  # fmt: skip
    assert bench.value("SELECT dead_lettered FROM items") == 1


def test_a_file_with_other_options_cannot_join(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1), budget="1")
    other = bench.drop(artists_csv(1, first=5), name="artists/dry.csv", session=str(session), dry_run="true")
    status = bench.run(other)
    assert (status["status"], status["error_code"]) == ("failed", "input.session")
    assert "dry-run" in status["error_message"]
    joined = bench.drop(artists_csv(1, first=9), name="artists/same.csv", session=str(session), budget="1")
    assert joined == session
    assert bench.run(session)["enriched"] == 2


def test_a_redelivered_notification_of_a_joined_file_makes_no_session(bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    uploaded = bench.store.put("up", "artists/more.csv", artists_csv(1, first=5), session=str(session))
    bench.ingest.take(uploaded)
    bench.sessions.cancel(session)
    bench.ingest.take(uploaded)
    assert bench.value("SELECT count(*) FROM sessions") == 1


def test_finalize_is_asked_for_once_a_minute(bench: Workbench) -> None:
    session = bench.drop(b"nothing,of,the,kind\n")
    bench.publisher.take("finalize")
    for _ in range(3):
        bench.dispatcher.nudge(session)
    assert bench.publisher.take("finalize") == []
    bench.execute("UPDATE sessions SET finalize_asked_at = now() - interval '2 minutes'")
    bench.publisher.refuse = True
    bench.dispatcher.nudge(session)
    bench.publisher.refuse = False
    bench.dispatcher.nudge(session)
    assert len(bench.publisher.take("finalize")) == 1, "one that could not be published is asked for again"


def test_one_stuck_session_keeps_no_other_from_being_rescued(bench: Workbench, monkeypatch: Any) -> None:
    stuck = bench.drop(artists_csv(1))
    other = bench.drop(artists_csv(1, first=5), name="artists/other.csv")
    bench.publisher.messages.clear()
    bench.execute("UPDATE items SET dispatched_at = NULL")
    really = bench.dispatcher.nudge

    def nudge(session: Any) -> Any:
        if session == stuck:
            raise LedgerDown
        return really(session)

    monkeypatch.setattr(bench.dispatcher, "nudge", nudge)
    assert bench.rescuer.round().dispatched == 1
    assert str(other) in bench.publisher.take("artists")[0].data.decode()


def test_an_answer_that_hides_its_usage_costs_what_was_reserved(db: Database, database_url: str) -> None:
    silent = replace(answer("A bio."), usage=Usage())
    bench = Workbench(db=db, url=database_url, upstream=FakeUpstream(lambda n, request: silent))
    session = bench.drop(artists_csv(1))
    bench.run(session)
    assert bench.value("SELECT cost = reserved AND cost > 0 FROM calls")
    assert bench.sessions.verify(session)["findings"] == []


def test_a_wait_of_centuries_is_cut_to_a_day(db: Database, database_url: str) -> None:
    patient = Failure(kind=ErrorClass.TRANSIENT, code="upstream.rate_limited", message="wait", retry_after=1e14)
    upstream = FakeUpstream(lambda n, request: patient if n == 1 else None)
    bench = Workbench(db=db, url=database_url, upstream=upstream)
    session = bench.drop(artists_csv(4))
    bench.deliver()
    assert bench.value("SELECT due_at < now() + interval '25 hours' FROM items WHERE due_at IS NOT NULL")
    assert bench.run(session)["enriched"] == 4


def test_a_dispatch_repeated_after_a_lost_connection_answers_the_same_items(bench: Workbench) -> None:
    session = bench.drop(artists_csv(5))
    bench.execute("UPDATE items SET dispatched_at = NULL")
    token = uuid4()
    window = {"window": 3, "upstream": "openai", "probes": 1}
    first = bench.db.rows("fill_window", session=session, **window, token=token)
    again = bench.db.rows("fill_window", session=session, **window, token=token)
    assert sorted(row["item_no"] for row in first) == sorted(row["item_no"] for row in again) == [1, 2, 3]
    assert bench.db.rows("fill_window", session=session, **window, token=uuid4()) == []


def test_a_file_claim_repeated_after_a_lost_connection_finds_its_file(bench: Workbench) -> None:
    bench.drop(artists_csv(1))
    bench.execute("UPDATE files SET state = 'waiting'")
    (file,) = bench.execute("SELECT id FROM files")[0]
    token = uuid4()
    assert bench.db.row("claim_file", file=file, claim=token, lease=60) is not None
    assert bench.db.row("claim_file", file=file, claim=token, lease=60) is not None
    assert bench.db.row("claim_file", file=file, claim=uuid4(), lease=60) is None


def test_a_header_in_other_words_is_no_row(bench: Workbench) -> None:
    session = bench.drop(b"id,country,name\n" + artist_id(1).encode() + b",Iceland,Bj\xc3\xb6rk\n")
    status = bench.run(session)
    assert (status["status"], status["error_code"], status["total"]) == ("failed", "input.missing_column", 0)
    assert "artist_id,artist_name,artist_data" in status["error_message"]
    assert bench.upstream.requests == [], "nobody pays for a biography of Iceland"
