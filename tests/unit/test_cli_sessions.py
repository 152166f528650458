"""The commands on one session: watch, pause, resume, cancel, approve, verify."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fake_api import (
    SESSION,
    FakeApi,
    payment_of,
    problem,
    status_of,
    working,
)
from tests.unit.conftest import ID, Run


@pytest.mark.parametrize(
    ("end", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1), ("paused", 1), ("quoted", 1)]
)
def test_watch_ends_as_the_session_does(run: Run, api: FakeApi, stack: dict[str, Any], end: str, code: int) -> None:
    api.statuses[SESSION] = [working(3), status_of(status=end)]
    ran = run("watch", ID, "--json")
    assert ran.code == code
    assert ran.answer["status"] == end


def test_ctrl_c_leaves_a_watched_session_running(
    run: Run, api: FakeApi, stack: dict[str, Any], interrupt_at: Callable[[], None]
) -> None:
    interrupt_at()
    api.statuses[SESSION] = [working(3)]
    ran = run("watch", ID, "--json")
    assert ran.code == 130
    assert f"rowlift watch {ID[:8]}" in ran.answer["error"]["message"]
    assert {request.method for request in api.requests} == {"GET"}


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["pause"], {}),
        (["resume"], {}),
        (["resume", "--budget", "$2.50"], {"budget_usd": 2.5}),
        (["cancel"], {}),
        (["approve"], {}),
    ],
)
def test_acting_on_a_session_answers_its_status(
    run: Run, api: FakeApi, stack: dict[str, Any], words: list[str], body: dict[str, Any]
) -> None:
    ran = run(words[0], ID, *words[1:], "--json")
    assert (ran.code, ran.answer) == (0, status_of())
    assert api.sent("POST", f"/api/session/{ID}/{words[0]}") == [body]


def test_a_refusal_of_the_api_is_told_in_its_own_words(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    api.answers[f"POST /api/session/{ID}/cancel"] = problem(409, "The session is completed.")
    ran = run("cancel", ID, "--json")
    assert ran.code == 2
    assert ran.err.strip() == "The session is completed."
    assert ran.answer["error"]["problem"]["status"] == 409


def test_verify_of_a_sound_session_shows_what_was_paid(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    paid = payment_of(started=2, failed=1, repeated=1, unknown=1, duplicates_absorbed=3, budget_usd=2.5)
    sound = {"session_id": ID, "sound": True, "findings": [], "calls": {"succeeded": 10}, "payment": paid}
    api.answers[f"GET /api/session/{ID}/verify"] = sound
    ran = run("verify", ID, "--json")
    assert (ran.code, ran.answer) == (0, sound)
    shown = " ".join(ran.err.split())
    for words in (
        "10 succeeded, 1 failed, 1 unknown, 2 in flight", "gpt-5-mini 10 calls, 1,000 tokens in, 2,000 out, $0.0125",
        "$0.0125 of a budget of $2.50", "paid more than once 0 items", "perhaps paid twice 1 items", "3 deliveries",
    ):  # fmt: skip
        assert words in shown


def test_verify_of_a_session_without_calls(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    paid = payment_of(succeeded=0, by_model=[], spent_usd=0.0)
    api.answers[f"GET /api/session/{ID}/verify"] = {
        "session_id": ID, "sound": True, "findings": [], "calls": {}, "payment": paid,
    }  # fmt: skip
    assert "calls none spent $0.00" in " ".join(run("verify", ID).out.split()).replace("$0.00,", "$0.00")


def test_verify_ends_with_status_1_and_the_findings(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    findings = [{"rule": "I5", "finding": "item 3 was paid for 2 times in round 1"}]
    api.answers[f"GET /api/session/{ID}/verify"] = {
        "session_id": ID,
        "sound": False,
        "findings": findings,
        "calls": {},
        "payment": payment_of(),
    }
    ran = run("verify", ID)
    assert ran.code == 1
    assert "item 3 was paid for 2 times" in ran.out
