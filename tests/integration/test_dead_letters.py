"""Messages Pub/Sub gave up: their items are put back, the third time ended, and nothing loops."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.dead_lettering import DeadLetters
from shared.events import Push
from shared.messages import continuation, finalize_notice, items_notices
from shared.rescuing import LATE
from tests.factories import claim, enriched, make_session, settle, started
from tests.workbench import Workbench, artists_csv


@pytest.fixture
def letters(bench: Workbench) -> DeadLetters:
    """The taker of dead letters."""
    return DeadLetters(bench.db, bench.dispatcher)


def dead(data: bytes) -> Push:
    """A dead letter as Pub/Sub delivers it."""
    attributes = {
        "CloudPubSubDeadLetterSourceDeliveryCount": "50",
        "CloudPubSubDeadLetterSourceSubscription": "rowlift-artists",
    }
    return Push(
        data=data, attributes=attributes, message_id=uuid4().hex, subscription="dead-letters", delivery_attempt=None
    )


def notice(session: UUID, *items: int) -> Push:
    """The dead letter of a notice of items."""
    (message,) = items_notices(session, items, per_message=100, pipeline="artists", traceparent=None)
    return dead(message.data)


def test_a_dead_letter_puts_its_items_back_and_sends_them_again(bench: Workbench, letters: DeadLetters) -> None:
    session = bench.drop(artists_csv(3))
    bench.publisher.take("artists")
    letters.take(notice(session, 1, 2, 3))
    found = bench.item(session)
    assert (found["state"], found["dead_lettered"], found["dispatches"]) == ("available", 1, 2)
    assert bench.run(session)["enriched"] == 3
    bench.assert_sound(session)


def test_the_third_dead_letter_ends_the_item_and_so_the_session(bench: Workbench, letters: DeadLetters) -> None:
    session = bench.drop(artists_csv(1))
    for n in (1, 2, 3):
        bench.publisher.take("artists")
        letters.take(notice(session, 1))
        assert bench.item(session)["dead_lettered"] == n
    found = bench.item(session)
    assert (found["state"], found["outcome"], found["code"]) == ("discarded", "failed", "undeliverable")
    assert "50 deliveries by rowlift-artists" in found["error_message"]
    assert bench.run(session)["status"] == "failed"
    bench.assert_sound(session)


@pytest.mark.parametrize("state", ["running", "settled", "retryable"])
def test_only_waiting_items_are_touched(bench: Workbench, letters: DeadLetters, state: str) -> None:
    session = make_session(bench, 1)
    call = started(bench, session)
    if state == "settled":
        settle(bench, enriched(call))
    elif state == "retryable":
        bench.pass_time(200)
        bench.rescuer.round()
        bench.pass_time(LATE)
    before = bench.item(session)
    letters.take(notice(session, 1))
    after = bench.item(session)
    assert (after["dead_lettered"] == 1) is (state == "retryable")
    if state != "retryable":
        assert after == before
    assert claim(bench, session, [1]) if state == "retryable" else not claim(bench, session, [1])


def test_reprocessing_forgives_the_dead_letters(bench: Workbench, letters: DeadLetters) -> None:
    session = bench.drop(artists_csv(1))
    for _ in range(3):
        letters.take(notice(session, 1))
    bench.run(session)
    assert bench.sessions.reprocess(session) == 1
    assert bench.item(session)["dead_lettered"] == 0
    assert bench.run(session)["enriched"] == 1


def test_a_given_up_finalize_notice_is_asked_for_again(bench: Workbench, letters: DeadLetters) -> None:
    session = make_session(bench, 1)
    settle(bench, enriched(started(bench, session)))
    letters.take(dead(finalize_notice(session, pipeline="artists", traceparent=None).data))
    assert len(bench.publisher.take("finalize")) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b'{"session_id": "x", "items": [1]}',
        b'{"items": [1, "2"]}',
        continuation(UUID(int=7), 7, pipeline="artists", traceparent=None).data,
        b'{"session_id": "00000000-0000-4000-8000-000000000001", "items": [9223372036854775808]}',
    ],
)
def test_anything_else_is_logged_and_done_with(
    bench: Workbench, letters: DeadLetters, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    letters.take(dead(data))
    assert '"severity":"ERROR","message":"Message given up"' in capsys.readouterr().out
    assert bench.publisher.messages == []


def test_an_unknown_session_harms_nobody(bench: Workbench, letters: DeadLetters) -> None:
    unknown: Any = uuid4()
    letters.take(notice(unknown, 1))
    assert bench.publisher.messages == []
