"""Responses in the background: begun, looked at until they end, by a clock that only sleeping moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.prompts import load
from shared.upstreams import openai as upstreams
from shared.upstreams.base import ErrorClass, Failure, TextAnswer, Usage
from shared.upstreams.openai import LOOK_SECONDS, OpenAIUpstream

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "openai"
T, P, S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC
RENDERED = load("artist-bio/1").render(artist_name="Sigur Rós", artist_data="")
ID = "resp_0e1eedd011e1e4c200699cc47a9ec481"
ODD_IDS = ["", "../files", "resp_1/cancel", "resp_1?stream=true", "resp 1", "resp_é", "resp_1\n", "r" * 201]

Step = httpx2.Response | Exception


class Clock:
    """Stands in for `time`: tells what was slept, and lets requests take time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


class Service:
    """Gives the replies it was told, the last one for ever, and remembers what it was asked."""

    def __init__(self, *steps: Step, clock: Clock | None = None, takes: float = 0.0) -> None:
        self.steps, self.clock, self.takes = list(steps), clock, takes
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        if self.clock is not None:
            self.clock.now += self.takes
        step = self.steps[min(len(self.asked), len(self.steps)) - 1]
        if isinstance(step, Exception):
            raise step
        return step

    def upstream(self) -> OpenAIUpstream:
        return OpenAIUpstream(
            api_key="sk-test", request_timeout=5.0, base_url="http://openai.test/v1",
            transport=httpx2.MockTransport(self),
        )  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(upstreams, "time", stopped)
    return stopped


def response(status: str = "completed", **members: Any) -> httpx2.Response:
    text = {"type": "message", "content": [{"type": "output_text", "text": "A bio."}]}
    ended = status not in ("queued", "in_progress")
    return httpx2.Response(200, json={
        "id": ID, "created_at": 1755603578, "status": status, "model": "m-1", "output": [text] if ended else [],
        "usage": {"input_tokens": 7, "output_tokens": 3} if ended else None, **members,
    })  # fmt: skip


def error(status: int, headers: dict[str, str] | None = None, **members: Any) -> httpx2.Response:
    told = {"message": "m", "type": "invalid_request_error", "param": None, "code": None, **members}
    return httpx2.Response(status, headers=headers, json={"error": told})


def begun(*steps: Step) -> str | TextAnswer | Failure:
    return Service(*steps).upstream().begin(RENDERED, timeout=5.0)


def fetched(*steps: Step, timeout: float = 60.0) -> TextAnswer | Failure:
    return Service(*steps).upstream().fetch(ID, timeout=timeout)


def test_beginning_differs_from_calling_in_two_members() -> None:
    service = Service(response("queued"))
    calls = service.upstream()
    calls.call(RENDERED, timeout=2.0)
    assert calls.begin(RENDERED, timeout=2.0) == ID
    direct, background = (json.loads(request.content) for request in service.asked)
    assert background == {**direct, "background": True, "store": True}
    assert direct["store"] is False
    assert [str(request.url) for request in service.asked] == ["http://openai.test/v1/responses"] * 2
    assert service.asked[1].extensions["timeout"]["read"] == 2.0


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded traffic is not at {DATA}")
@pytest.mark.parametrize("name", ["background-queued-eaae71.json", "background-queued-ee4b47.json"])
def test_recorded_beginnings(name: str) -> None:
    content = json.loads((DATA / "responses" / name).read_text())["body"]
    assert begun(httpx2.Response(200, json=content)) == content["id"]


def test_an_outcome_at_once_needs_no_fetching() -> None:
    answer, failure = begun(response()), begun(response("failed", error={"code": "server_error", "message": "m"}))
    assert isinstance(answer, TextAnswer)
    assert (answer.text, answer.response_id) == ("A bio.", ID)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.call_state) == ("upstream.server_error", "failed")


@pytest.mark.parametrize(
    ("step", "kind", "code", "call_state"),
    [
        (error(429, code="rate_limit_exceeded"), T, "upstream.rate_limited", "failed"),
        (error(401), S, "upstream.bad_key", "failed"),
        (httpx2.ConnectError("refused"), T, "upstream.unreachable", "failed"),
        (httpx2.ReadTimeout("late"), T, "upstream.timeout", "unknown"),
        (httpx2.Response(200, content=b'{"id": "resp_1", "sta'), T, "upstream.malformed", "unknown"),
        (response("queued", id=None), S, "upstream.bad_response_id", "unknown"),
        *((response("queued", id=odd), S, "upstream.bad_response_id", "unknown") for odd in ODD_IDS),
    ],
)
def test_a_beginning_that_failed_cannot_be_fetched(step: Step, kind: ErrorClass, code: str, call_state: str) -> None:
    outcome = begun(step)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, call_state)
    assert outcome.response_id is None


@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_odd_id_never_gets_into_a_path(odd: str) -> None:
    service = Service(response())
    outcome = service.upstream().fetch(odd, timeout=5.0)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.response_id) == ("upstream.response_lost", None)
    assert service.asked == []


def test_a_response_is_looked_at_less_and_less_often_until_it_ends(clock: Clock) -> None:
    service = Service(response("queued"), *[response("in_progress")] * 7, response())
    outcome = service.upstream().fetch(ID, timeout=60.0)
    assert isinstance(outcome, TextAnswer)
    assert (outcome.text, outcome.response_id, outcome.model) == ("A bio.", ID, "m-1")
    assert outcome.usage == Usage(input_tokens=7, output_tokens=3)
    assert clock.slept == pytest.approx([0.25, 0.375, 0.5625, 0.84375, 1.265625, 1.8984375, 2.0, 2.0, 2.0])
    assert {(request.method, str(request.url)) for request in service.asked} == {
        ("GET", f"http://openai.test/v1/responses/{ID}")
    }
    assert service.asked[0].headers["authorization"] == "Bearer sk-test"
    assert {request.extensions["timeout"]["read"] for request in service.asked} == {LOOK_SECONDS}


def test_a_look_that_fails_is_repeated_and_a_wait_that_is_asked_for_is_kept(clock: Clock) -> None:
    outcome = fetched(
        httpx2.ConnectError("refused"),
        error(429, {"retry-after": "3"}, code="rate_limit_exceeded"),
        httpx2.ReadTimeout("late"),
        httpx2.Response(503, html="<html>", headers={"retry-after": "0.1"}),
        httpx2.RemoteProtocolError("closed"),
        httpx2.Response(200, content=b'{"id": "resp_1", "sta'),
        error(500),
        response(),
    )
    assert isinstance(outcome, TextAnswer)
    assert clock.slept == pytest.approx([0.25, 0.375, 3.0, 0.84375, 1.265625, 1.8984375, 2.0, 2.0])


@pytest.mark.parametrize("takes", [0.0, 1.2])
@pytest.mark.parametrize("timeout", [0.1, 1.0, 8.0, 30.0])
def test_a_response_that_does_not_end_in_time_can_be_fetched_again(clock: Clock, timeout: float, takes: float) -> None:
    began = clock.now
    service = Service(response("in_progress"), clock=clock, takes=min(takes, timeout / 4))
    outcome = service.upstream().fetch(ID, timeout=timeout)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.unfinished", "unknown")
    assert outcome.response_id == ID
    assert timeout - max(LOOK_SECONDS, timeout / 2) <= clock.now - began <= timeout
    left = [request.extensions["timeout"]["read"] for request in service.asked]
    assert all(0 < seconds <= LOOK_SECONDS for seconds in left)
    assert clock.now - began + left[-1] - service.takes <= timeout + 1e-6, "the last look may take what is left"


def test_unfinished_names_what_the_last_look_met(clock: Clock) -> None:
    outcome = fetched(response("in_progress"), httpx2.ConnectError("refused"), timeout=5.0)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.unfinished", "unknown")
    assert outcome.response_id == ID
    assert "No connection to OpenAI" in outcome.message


def test_a_wait_longer_than_the_time_left_is_left_to_the_next_attempt(clock: Clock) -> None:
    outcome = fetched(error(429, {"retry-after": "120"}, code="rate_limit_exceeded"), timeout=60.0)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.response_id, outcome.retry_after) == ("upstream.unfinished", ID, 120.0)
    assert clock.slept == [0.25]


def test_a_response_nobody_knows_is_lost(clock: Clock) -> None:
    for step in (
        error(404, message=f"Response with id '{ID}' not found."),
        error(400, message="Expected an ID that begins with 'resp'.", param="response_id", code="invalid_value"),
    ):
        outcome = fetched(response("in_progress"), step)
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.response_lost", "unknown")
        assert outcome.response_id is None


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (error(401, code="invalid_api_key"), "upstream.bad_key"),
        (error(403), "upstream.forbidden"),
        (error(429, code="insufficient_quota"), "upstream.quota_exhausted"),
        (error(400, code="billing_not_active"), "upstream.quota_exhausted"),
        (httpx2.Response(404, html="<html>no such page</html>"), "upstream.bad_address"),
        (httpx2.UnsupportedProtocol("ftp"), "upstream.bad_address"),
    ],
)
def test_a_look_that_is_refused_for_good_leaves_the_answer_to_be_fetched(clock: Clock, step: Step, code: str) -> None:
    outcome = fetched(response("in_progress"), step)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (S, code, "unknown")
    assert outcome.response_id == ID
    assert len(clock.slept) == 2


@pytest.mark.parametrize(
    ("ended", "kind", "code"),
    [
        (response("failed", error={"code": "server_error", "message": "m"}), T, "upstream.server_error"),
        (response("failed", error={"code": "rate_limit_exceeded", "message": "m"}), T, "upstream.rate_limited"),
        (response("incomplete", incomplete_details={"reason": "max_output_tokens"}), P, "upstream.incomplete"),
        (response("cancelled"), T, "upstream.response_failed"),
        (response("expired"), T, "upstream.response_failed"),
        (response(output=[]), T, "upstream.empty_answer"),
    ],
)
def test_a_response_that_ended_badly_is_a_failed_call(
    clock: Clock, ended: httpx2.Response, kind: ErrorClass, code: str
) -> None:
    outcome = fetched(response("queued"), ended)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, "failed")
    assert (outcome.response_id, outcome.usage) == (ID, Usage(input_tokens=7, output_tokens=3))


def test_the_id_that_was_stored_stays_the_calls_id(clock: Clock) -> None:
    outcome = fetched(response(id="resp_another"))
    assert isinstance(outcome, TextAnswer)
    assert outcome.response_id == ID


def test_what_nobody_foresaw_is_raised(clock: Clock) -> None:
    act: list[Callable[[], object]] = [lambda: begun(ZeroDivisionError()), lambda: fetched(ZeroDivisionError())]
    for one in act:
        with pytest.raises(ZeroDivisionError):
            one()
