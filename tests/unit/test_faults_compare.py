"""The comparison of the upstream's log with the calls table sees every way in which they can disagree."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.faults.check import answers_logged, late_calls
from tests.faults.compare import Booked, Sent, compare, in_flight, most_in
from tests.faults.inflict import Struck
from tests.faults.losses import Moments, losses
from tests.faults.person import Watched
from tests.faults.plan import Drop, Fault

SESSION = str(uuid4())


def sent(at: float = 10.0, *, key: str = "a", state: str = "answered", answer: str | None = "r1", **more: Any) -> Sent:
    kept = answer if state == "answered" else None
    return Sent(key=key, started=at, state=state, response_id=kept, **{"ended": at + 0.5, **more})


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


def struck(kind: str, began: float, ended: float, target: str = "process-artists") -> Struck:
    return Struck(fault=Fault(at=0, kind=kind, target=target), began=began, ended=ended)


LOST = booked(state="unknown", error_code="db.worker_lost")
REASONS: dict[str, tuple[Sent, Booked, list[Struck]]] = {
    "killed": (sent(), LOST, [struck("kill_worker", 10.6, 10.6)]),
    "killed in mid-call": (sent(state="abandoned"), LOST, [struck("kill_function", 10.4, 10.45)]),
    "killed while it waited for PostgreSQL": (
        sent(), LOST, [struck("away", 9, 19), struck("kill_worker", 16.0, 16.0)],
    ),
    "stopped": (sent(), LOST, [struck("stop_worker", 10.2, 23.0)]),
    "stopped, and superseded when it went on": (
        sent(), booked(state="unknown", response_id="r1"), [struck("stop_worker", 10.2, 23.0)],
    ),
    "spoiled": (sent(state="cut", fault="cut"), booked(state="unknown", error_code="upstream.cut"), []),
    "spoiled with status 200": (sent(answer=None, fault="malformed"), booked(state="unknown"), []),
    "given up": (sent(state="abandoned", ended=13.0), booked(state="unknown", error_code="upstream.timeout"), []),
    "given up as it came": (sent(ended=12.95), booked(state="unknown", error_code="upstream.timeout"), []),
}  # fmt: skip
UNEXPLAINED: dict[str, tuple[Sent, Booked, list[Struck]]] = {
    "nothing happened": (sent(), LOST, []),
    "superseded": (sent(), booked(state="unknown", response_id="r1"), []),
    "PostgreSQL was away": (sent(), LOST, [struck("away", 9, 19), struck("cut", 10, 10), struck("postgres", 10, 10)]),
    "another function was killed": (sent(), LOST, [struck("kill_function", 10.6, 10.6, "rescue")]),
    "killed before it was sent": (sent(), LOST, [struck("kill_worker", 8.5, 8.5)]),
    "killed when it had to be written": (sent(), LOST, [struck("kill_worker", 14.0, 14.0)]),
    "killed when it had to be put aside": (sent(), LOST, [struck("away", 9, 19), struck("kill_worker", 23.0, 23.0)]),
    "the caller hung up": (sent(state="abandoned"), booked(state="unknown", error_code="upstream.cut"), []),
    "the caller hung up as if it were too late": (sent(), booked(state="unknown", error_code="upstream.timeout"), []),
    "killed, but hung up before": (sent(state="abandoned"), LOST, [struck("kill_worker", 12.0, 12.0)]),
}


@pytest.mark.parametrize("case", REASONS)
def test_a_loss_has_its_reason(case: str) -> None:
    one, row, done = REASONS[case]
    counted, findings = losses([one], [row], Moments.of(done))
    assert findings == []
    assert [case.startswith(reason) for reason in counted] == [True]
    assert counted.total() == 1


@pytest.mark.parametrize("case", UNEXPLAINED)
def test_a_loss_without_a_reason_is_found(case: str) -> None:
    one, row, done = UNEXPLAINED[case]
    counted, (finding,) = losses([one], [row], Moments.of(done))
    assert counted == {"unexplained": 1}
    assert finding.startswith("a: the request of 10.000 was ")


def test_what_is_booked_or_cost_nothing_is_no_loss() -> None:
    assert losses([sent(), sent(8.0, state="failed")], [booked()], Moments()) == ({}, [])


def test_what_was_admitted_or_left_after_a_stop_is_found_whoever_else_has_the_same_artist() -> None:
    one = Watched(session=uuid4(), drop=Drop(at=0, name="x", first=0, unique=1), file=None, stopped=[(100.0, 120.0)])

    def mine(at: float) -> Booked:
        return Booked(key="a", session=str(one.session), item_no=1, round=1, state="unknown", started=at, finished=at)

    def late(sent: list[Sent], *booked: Booked, moments: Moments = Moments()) -> int:  # noqa: B008  (frozen)
        return len(list(late_calls([one], sent, booked, moments)))

    assert late([sent(104.0), sent(121.0)], mine(99.0), mine(120.5)) == 0
    assert late([], mine(101.0)) == 1
    assert late([sent(106.0)], mine(99.0)) == 1
    assert late([sent(106.0)], mine(99.0), moments=Moments(stops=((98.0, 105.9),))) == 0, "it had been admitted before"
    assert late([sent(106.0)], mine(99.0), booked(105.9)) == 0, "the copy's own"
    assert late([sent(106.0), sent(107.0)], mine(99.0), booked(105.9)) == 1
    assert late([sent(106.0)], mine(99.0), booked(90.0)) == 1


def test_answers_of_the_log_are_added_up() -> None:
    log = (
        'process-artists | {"severity":"WARNING","message":"Paid answers put aside: away","answers":3}\n'
        'process-artists | {"severity":"WARNING","message":"Paid answers are lost","answers":9}\n'
        'process-artists | {"severity":"WARNING","message":"Paid answers put aside: away","answers":12}\n'
    )
    assert answers_logged(log, "Paid answers put aside") == 15
