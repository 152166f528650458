"""The comparison of the upstream's log with the calls table sees every way in which they can disagree."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.faults.check import late_calls
from tests.faults.compare import Booked, Sent, compare, in_flight, most_in
from tests.faults.person import Watched
from tests.faults.plan import Drop

SESSION = str(uuid4())


def sent(at: float = 10.0, *, key: str = "a", state: str = "answered", answer: str | None = "r1") -> Sent:
    return Sent(key=key, started=at, state=state, response_id=answer if state == "answered" else None)


def booked(
    at: float = 9.99, *, key: str = "a", state: str = "succeeded", answer: str | None = "r1", **more: Any
) -> Booked:
    values: dict[str, Any] = {"item_no": 1, "round": 1, "finished": None if state == "started" else at + 1}
    values["cost"] = 170 if state == "succeeded" else None
    values["response_id"] = answer if state == "succeeded" else None
    return Booked(key=key, session=SESSION, state=state, started=at, **{**values, **more})


SOUND = {
    "one call": ([sent()], [booked()]),
    "a killed one, asked again": (
        [sent(answer="r0"), sent(20.0)],
        [booked(state="unknown"), booked(19.9)],
    ),
    "refused, then answered": ([sent(state="failed"), sent(12.0)], [booked(state="failed"), booked(11.9)]),
    "booked and never sent": ([sent(20.0)], [booked(state="unknown"), booked(19.9)]),
    "a new round": ([sent(), sent(20.0, answer="r2")], [booked(), booked(19.9, answer="r2", round=2)]),
    "an answer that came after its attempt was superseded": (
        [sent(answer="r0"), sent(20.0)],
        [booked(9.9, state="unknown", response_id="r0"), booked(19.9)],
    ),
}  # fmt: skip

BROKEN = {
    "saw 1 requests, 0 are booked": ([sent()], []),
    "saw 2 requests, 1 are booked": ([sent(), sent(11.0, answer="r2")], [booked()]),
    "before its call was booked": ([sent(9.0)], [booked()]),
    "calls have no end": ([sent(state="open")], [booked(state="started")]),
    "answer r2 is booked 1 times more": ([sent(), sent(12.0, answer="r3")], [booked(), booked(11.9, answer="r2")]),
    "without an answer": ([sent()], [booked(answer=None)]),
    "1 requests that may be charged have no answer booked, 0 calls are unknown": ([sent()], [booked(state="failed")]),
    "2 requests that may be charged have no answer booked, 1 calls are unknown": (
        [sent(state="abandoned"), sent(12.0, state="cut"), sent(14.0)],
        [booked(state="failed"), booked(11.9, state="unknown"), booked(13.9)],
    ),
    "was paid for 2 times in round 1": ([sent(), sent(12.0, answer="r2")], [booked(), booked(11.9, answer="r2")]),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_sound_is_left_alone(case: str) -> None:
    assert compare(*SOUND[case]).findings == []


@pytest.mark.parametrize("finding", BROKEN)
def test_what_is_wrong_is_found_and_named(finding: str) -> None:
    (found, *_) = compare(*BROKEN[finding]).findings
    assert found.startswith("a: ")
    assert any(finding in one for one in compare(*BROKEN[finding]).findings)


def test_numbers() -> None:
    result = compare(*SOUND["a killed one, asked again"])
    assert (result.sent, result.booked, result.lost, result.repeated) == (2, 2, 1, 1)
    assert result.states == {"unknown": 1, "succeeded": 1}
    refused = compare(*SOUND["refused, then answered"])
    assert (refused.lost, refused.repeated) == (0, 0), "what was refused cost nothing"
    assert compare(*SOUND["a new round"]).repeated == 0


def test_calls_in_flight_at_a_moment() -> None:
    calls = [booked(10.0), booked(10.5, state="unknown", finished=25.0), booked(12.0), booked(9.0, state="started")]
    assert in_flight(calls, 10.2) == 2
    assert in_flight(calls, 11.5) == 2
    assert in_flight(calls, 30.0) == 1


def test_the_most_in_any_window() -> None:
    requests = [sent(at) for at in (0.0, 0.9, 1.0, 1.5, 1.8, 5.0)]
    assert most_in(requests, 1.0) == 4
    assert most_in([], 1.0) == 0


def test_requests_after_a_stop_are_found_unless_another_session_may_have_sent_them() -> None:
    one = Watched(session=uuid4(), drop=Drop(at=0, name="x", first=0, unique=1), file=None, stopped=[(100.0, 120.0)])
    row = Booked(key="a", session=str(one.session), item_no=1, round=1, state="unknown", started=1.0, finished=2.0)
    assert not list(late_calls([one], [sent(104.0), sent(121.0)], [row]))
    assert list(late_calls([one], [sent(106.0)], [row]))
    assert not list(late_calls([one], [sent(106.0)], [row, booked()]))
