"""Never twice, never over, never lost, on a whole stack: stop, outages of PostgreSQL and of the upstream."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import httpx

from tests.e2e.stacks import Deck
from tests.workbench import artists_csv

ROWS = 700
STOPS_WITHIN = 5.0  # seconds after the answer of pause or cancel


def started_after(deck: Deck, moment: float, first: int) -> list[float]:
    """How long after a moment calls for the artists from `first` on reached the simulated OpenAI, by its own log."""
    log = httpx.get(f"{deck.openai.url}/control/log").raise_for_status().json()
    numbered = [(int(call["key"].rpartition(" ")[2]), call["started"] - moment) for call in log["calls"]]
    return sorted(later for number, later in numbered if first <= number < first + ROWS and later > 0)


def put_aside(deck: Deck, session: UUID) -> list[Any]:
    """The answers of a session that wait in the results bucket."""
    answer = httpx.get(
        f"{deck.stack.info['storage']}/storage/v1/b/{deck.stack.info['buckets']['results']}/o",
        params={"prefix": f"{session}/pending/"},
    )
    return list(answer.raise_for_status().json().get("items", ()))


def until(condition: Any, *, seconds: float) -> None:
    """Wait for a condition to hold; the test fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
        time.sleep(0.1)


def test_after_pause_and_cancel_no_paid_call_starts(deck: Deck) -> None:
    deck.misbehave(latency=1.0)
    deck.openai.forget()
    paused = deck.drop(artists_csv(ROWS, first=300_000), "artists/to-pause.csv")
    deck.wait(paused, until=lambda s: s["enriched"] > 20)
    assert deck.api.post(f"/api/session/{paused}/pause").status_code == 200
    paused_at = time.time()
    cancelled = deck.drop(artists_csv(ROWS, first=310_000), "artists/to-cancel.csv")
    deck.wait(cancelled, until=lambda s: s["enriched"] > 20)
    assert deck.api.post(f"/api/session/{cancelled}/cancel").status_code == 200
    cancelled_at = time.time()
    until(lambda: time.time() > cancelled_at + STOPS_WITHIN + 2, seconds=30)
    for first, answered in ((300_000, paused_at), (310_000, cancelled_at)):
        late = started_after(deck, answered, first)
        assert [seconds for seconds in late if seconds > STOPS_WITHIN] == [], "calls started after the answer"
    ended = deck.wait(cancelled, until=lambda s: not s["open"] and not s["calls"].get("started"))
    assert ended["status"] == "cancelled"
    assert ended["enriched"] + ended["cancelled"] == ROWS
    lines = [line for line in deck.results(cancelled) if line["outcome"] == "enriched"]
    assert len(lines) == ended["enriched"] > 20
    waiting = deck.wait(paused, until=lambda s: not s["running"])
    assert waiting["status"] == "paused"
    assert not waiting["calls"]["started"], "what was in flight is settled"
    deck.misbehave(latency=0)
    assert deck.api.post(f"/api/session/{paused}/resume").status_code == 200
    assert deck.wait(paused, until=lambda s: s["status"] == "completed")["enriched"] == ROWS
    assert deck.calls()["total"] == ROWS + ended["enriched"], "nothing was asked twice"
    for session in (paused, cancelled):
        assert deck.verify(session) == []


def test_answers_that_postgres_was_not_there_for_are_not_paid_again(deck: Deck) -> None:
    deck.misbehave(latency=1.5)
    before = deck.calls()["total"]
    session = deck.drop(artists_csv(24, first=320_000), "artists/put-aside.csv")
    deck.wait(session, until=lambda s: s.get("calls", {}).get("started", 0) >= 8)
    with deck.stack.held("postgres"):
        until(lambda: put_aside(deck, session), seconds=60)
        deck.misbehave(latency=0)
    status = deck.wait(session, until=lambda s: s["status"] == "completed", timeout=120)
    assert status["enriched"] == 24
    assert deck.calls_of(session) == {"succeeded": 24}
    assert deck.calls()["total"] - before == 24
    assert put_aside(deck, session) == []
    assert deck.verify(session) == []


def test_an_upstream_that_is_down_for_a_while_fails_no_row(deck: Deck) -> None:
    deck.misbehave(faults={"500": 1.0})
    session = deck.drop(artists_csv(40, first=330_000), "artists/outage.csv")
    status = deck.wait(session, until=lambda s: s.get("bound_by") == "breaker")
    assert status["status"] == "enriching"
    assert status["breaker"]["reason"]
    asked = deck.calls()["total"]
    until(lambda: deck.calls()["total"] > asked, seconds=30)  # a probe
    assert deck.calls()["total"] - asked < 8
    deck.misbehave(faults={})
    status = deck.wait(session, until=lambda s: s["status"] == "completed", timeout=90)
    assert (status["enriched"], status["failed"]) == (40, 0)
    assert deck.verify(session) == []
