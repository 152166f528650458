"""What breaks at night: processes killed, PostgreSQL restarted, notices doubled or broken."""

from __future__ import annotations

import threading

import pytest
from google.pubsub_v1.types import PubsubMessage

from shared.publisher import _client
from tests.e2e.stacks import Deck
from tests.workbench import artists_csv


def test_a_killed_process_costs_a_lease_and_nothing_else(deck: Deck) -> None:
    deck.misbehave(latency=1.5)
    session = deck.drop(artists_csv(60, first=200_000), "artists/killed.csv")
    deck.wait(session, until=lambda s: s.get("calls", {}).get("started", 0) > 0)
    deck.stack.restart("process-artists")
    deck.misbehave(latency=0)
    status = deck.wait(session, until=lambda s: s["status"] == "completed", timeout=90)
    assert status["enriched"] == 60
    assert status["calls"]["unknown"] > 0, "calls in flight at the kill have an end nobody knows"
    assert status["reserved_usd"] > 0, "and stay reserved"
    assert deck.verify(session) == []


def test_postgres_restarted_in_mid_run(deck: Deck) -> None:
    deck.misbehave(latency=0.5)
    session = deck.drop(artists_csv(300, first=210_000), "artists/restarted.csv")
    deck.wait(session, until=lambda s: s["enriched"] > 20)
    with deck.stack.held("postgres"):
        deck.misbehave(latency=0)
    status = deck.wait(session, until=lambda s: s["status"] == "completed", timeout=90)
    assert status["enriched"] == 300
    assert deck.verify(session) == []


def test_the_same_event_three_times_at_once(deck: Deck) -> None:
    before = deck.calls()["total"]
    session = deck.drop(artists_csv(40, first=220_000), "artists/tripled.csv")
    deck.wait(session)
    bucket = deck.stack.info["buckets"]["uploads"]
    row = deck.db.rows("session_files", session=session)[0]
    notice = {
        "bucket": bucket, "name": "artists/tripled.csv", "generation": str(row["generation"]), "size": str(row["size"]),
    }  # fmt: skip
    answers: list[int] = []

    def push() -> None:
        import base64
        import json

        import httpx

        data = base64.b64encode(json.dumps(notice).encode()).decode()
        body = {"message": {"data": data, "messageId": "1", "attributes": {"eventType": "OBJECT_FINALIZE"}}}
        answers.append(httpx.post(deck.stack.info["functions"]["ingest"], json=body, timeout=30).status_code)

    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = deck.wait(session)
    assert answers == [204, 204, 204]
    assert (status["status"], status["total"], status["enriched"]) == ("completed", 40, 40)
    assert deck.calls()["total"] - before == 40


BROKEN = (
    b"",
    b"not json",
    b'{"session_id": "00000000-0000-0000-0000-000000000000", "items": [1]}',
    b'{"session_id": 7, "items": "x"}',
)


def test_broken_messages_are_acknowledged_and_never_loop(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", deck.stack.info["pubsub"])
    client = _client()
    topic = f"projects/{deck.stack.info['project']}/topics/rowlift-artists"
    messages = [PubsubMessage(data=data, attributes={"mark": "broken"}) for data in BROKEN]
    log_before = len(deck.stack.log)
    client.publish(topic=topic, messages=messages)
    client.transport.close()
    session = deck.drop(artists_csv(3, first=230_000), "artists/after-broken.csv")
    assert deck.wait(session)["status"] == "completed"
    said = [line for line in deck.stack.log[log_before:].splitlines() if '"severity":"ERROR"' in line]
    assert len([line for line in said if "process-artists" in line]) == len(BROKEN), said


def test_notices_delivered_twice_pay_once(deck: Deck) -> None:
    deck.stack.set_push_faults(duplicate=0.3, seed=7)
    try:
        before = deck.calls()["total"]
        session = deck.drop(artists_csv(200, first=240_000), "artists/doubled.csv")
        status = deck.wait(session)
        assert (status["status"], status["enriched"]) == ("completed", 200)
        assert deck.calls()["total"] - before == 200
        assert deck.verify(session) == []
    finally:
        deck.stack.set_push_faults()


def test_pause_stops_new_calls_and_resume_goes_on(deck: Deck) -> None:
    deck.misbehave(latency=0.3)
    session = deck.drop(artists_csv(400, first=250_000), "artists/paused.csv")
    deck.wait(session, until=lambda s: s["enriched"] > 10)
    assert deck.api.post(f"/api/session/{session}/pause").status_code == 200
    deck.wait(session, until=lambda s: s["running"] == 0)
    paused = deck.status(session)
    calls = deck.calls()["total"]
    assert paused["status"] == "paused"
    assert 0 < paused["open"] < 400
    deck.misbehave(latency=0)
    assert deck.api.post(f"/api/session/{session}/resume").status_code == 200
    assert deck.calls()["total"] >= calls
    status = deck.wait(session, until=lambda s: s["status"] == "completed")
    assert status["enriched"] == 400
    assert deck.verify(session) == []
