"""Responses in the background at the simulated OpenAI, and our upstream begun and fetched against it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.upstreams.base import ErrorClass, Failure, TextAnswer
from shared.upstreams.openai import OpenAIUpstream
from tests.conformance.simulated_openai import DATA, PROMPT, Document, Server, needs_recordings, until, wanted

T, P, S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC
KEY = {"authorization": "Bearer sk-simulated"}


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    running.control(latency=0.0, faults={}, key_ok=True, slow=5.0, accept=0.0, fetch_faults={})
    running.http.post("/control/reset")
    return running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at responses soon, as those of the stand-in are ready."""
    monkeypatch.setattr("shared.upstreams.openai.FIRST_PAUSE", 0.02)


@pytest.fixture
def upstream(server: Server) -> Iterator[OpenAIUpstream]:
    made = OpenAIUpstream(api_key="sk-simulated", base_url=f"{server.url}/v1", request_timeout=5.0)
    yield made
    made.close()


def begin(upstream: OpenAIUpstream, name: str, *, timeout: float = 5.0) -> str | TextAnswer | Failure:
    return upstream.begin(PROMPT.render(artist_name=name, artist_data="from Oslo"), timeout=timeout)


def begun(upstream: OpenAIUpstream, name: str) -> str:
    response_id = begin(upstream, name)
    assert isinstance(response_id, str), response_id
    return response_id


def background(name: str) -> dict[str, Any]:
    return {**wanted(name), "background": True}


def look(server: Server, response_id: str) -> dict[str, Any]:
    answer = server.http.get(f"/v1/responses/{response_id}", headers=KEY)
    assert answer.status_code == 200
    return json.loads(answer.content)


@needs_recordings
@pytest.mark.parametrize("fault", [None, "refusal", "incomplete", "failed"])
def test_bodies_are_what_the_document_says_at_every_stage(server: Server, fault: str | None) -> None:
    server.control(latency=0.1, faults={fault: 1.0} if fault else {})
    stages = [server.post(**background("A")).json()]
    stages.append(look(server, stages[0]["id"]))
    until(lambda: server.log()["open"] == 0)
    stages.append(look(server, stages[0]["id"]))
    statuses = [stage["status"] for stage in stages]
    assert statuses == ["queued", "in_progress", fault if fault in ("incomplete", "failed") else "completed"]
    recorded = json.loads((DATA / "responses" / "background-queued-eaae71.json").read_text())["body"]
    for name in ("usage", "error", "output", "background", "incomplete_details", "object"):
        assert stages[0][name] == stages[1][name] == recorded[name]
    document = Document()
    for stage in stages:
        # The document knows no null for usage; the recorded response under way has one.
        shown = {name: value for name, value in stage.items() if name != "usage" or value is not None}
        assert document.faults(shown, {"$ref": "#/components/schemas/Response"}) == []


@needs_recordings
def test_an_unknown_response_is_an_error_the_document_knows(server: Server) -> None:
    answer = server.http.get("/v1/responses/resp_nobody", headers=KEY)
    assert answer.status_code == 404
    assert Document().faults(answer.json(), {"$ref": "#/components/schemas/ErrorResponse"}) == []


def test_what_is_refused(server: Server) -> None:
    refused = server.post(**background("A"), store=False)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "store")
    response_id = server.post(**background("A")).json()["id"]
    assert server.http.get(f"/v1/responses/{response_id}").status_code == 401
    direct = server.post(**wanted("A")).json()["id"]
    assert server.http.get(f"/v1/responses/{direct}", headers=KEY).status_code == 404, "only those in the background"


def test_the_id_comes_at_once_and_the_answer_is_fetched_as_often_as_wanted(
    server: Server, upstream: OpenAIUpstream
) -> None:
    server.control(latency=0.5)
    response_id = begun(upstream, "Sigur Rós")
    told = time.time()
    first = upstream.fetch(response_id, timeout=5.0)
    assert told < server.log()["calls"][0]["ended"] <= time.time()
    # Another process, after a crash: nothing but the id is left.
    other = OpenAIUpstream(api_key="sk-simulated", base_url=f"{server.url}/v1", request_timeout=5.0)
    second = other.fetch(response_id, timeout=5.0)
    other.close()
    assert isinstance(first, TextAnswer)
    assert isinstance(second, TextAnswer)
    assert (first.text, first.created, first.usage) == (second.text, second.created, second.usage)
    assert "Sigur Rós" in first.text
    assert first.response_id == response_id
    direct = upstream.call(PROMPT.render(artist_name="Sigur Rós", artist_data="from Oslo"))
    assert isinstance(direct, TextAnswer)
    assert (direct.text, direct.usage) == (first.text, first.usage), "the mode changes nothing about the answer"
    log = server.log()
    assert log["keys"]["Sigur Rós"] == {"started": 2, "answered": 2, "failed": 0}
    assert log["fetched"] >= 3


def test_a_client_that_went_away_does_not_stop_its_response(server: Server) -> None:
    server.control(accept=0.3)
    body = json.dumps(background("A")).encode()
    head = b"POST /v1/responses HTTP/1.1\r\nAuthorization: Bearer sk-x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(head + body)
        until(lambda: server.log()["total"] == 1)
    until(lambda: server.log()["open"] == 0)
    (call,) = server.log()["calls"]
    assert (call["state"], call["status"]) == ("answered", 200)
    assert call["ended"] - call["started"] >= 0.29, "the client had gone before it was told the id"
    assert look(server, call["response_id"])["status"] == "completed"


def test_a_call_lasts_from_its_request_until_it_is_finished(server: Server, upstream: OpenAIUpstream) -> None:
    server.control(latency=0.5)
    begun(upstream, "A")
    under_way = server.log()
    assert (under_way["total"], under_way["open"], under_way["answered"]) == (1, 1, 0)
    upstream.close()
    until(lambda: server.log()["open"] == 0)
    (call,) = server.log()["calls"]
    assert (call["state"], call["status"], call["fault"]) == ("answered", 200, None)
    assert 0.49 <= call["ended"] - call["started"] < 2.0
    assert call["response_id"].startswith("resp_sim")


AT_THE_BEGINNING = [
    ("429", T, "upstream.rate_limited", "failed"),
    ("quota", S, "upstream.quota_exhausted", "failed"),
    ("500", T, "upstream.server_error", "failed"),
    ("503", T, "upstream.server_error", "failed"),
    ("cut", T, "upstream.cut", "unknown"),
    ("malformed", T, "upstream.malformed", "unknown"),
    ("hang", T, "upstream.timeout", "unknown"),
    ("policy", P, "upstream.content_policy", "failed"),
    ("forbidden", S, "upstream.forbidden", "failed"),
]
AT_THE_END = [
    ("refusal", P, "upstream.refused"),
    ("incomplete", P, "upstream.incomplete"),
    ("content_filter", P, "upstream.content_filter"),
    ("failed", T, "upstream.server_error"),
    ("empty", T, "upstream.empty_answer"),
]


@pytest.mark.parametrize(("fault", "kind", "code", "call_state"), AT_THE_BEGINNING)
def test_faults_of_the_beginning(
    server: Server, upstream: OpenAIUpstream, fault: str, kind: ErrorClass, code: str, call_state: str
) -> None:
    name = f"Band fault={fault}:1"
    outcome = begin(upstream, name, timeout=0.3 if fault == "hang" else 5.0)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, call_state)
    until(lambda: server.log()["open"] == 0)
    assert isinstance(upstream.fetch(begun(upstream, name), timeout=5.0), TextAnswer), "the second try goes well"
    assert server.log()["keys"][name]["started"] == 2


@pytest.mark.parametrize(("fault", "kind", "code"), AT_THE_END)
def test_faults_of_the_end(server: Server, upstream: OpenAIUpstream, fault: str, kind: ErrorClass, code: str) -> None:
    response_id = begun(upstream, f"fault={fault}")
    outcome = upstream.fetch(response_id, timeout=5.0)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, "failed")
    assert outcome.response_id == response_id
    assert outcome.usage is not None
    assert outcome.usage.total > 0, "it is charged for all the same"


def test_a_slow_response_is_unfinished_first_and_fetched_later(server: Server, upstream: OpenAIUpstream) -> None:
    server.control(slow=0.6)
    response_id = begun(upstream, "fault=slow")
    early = upstream.fetch(response_id, timeout=0.2)
    assert isinstance(early, Failure)
    assert (early.kind, early.code, early.call_state) == (T, "upstream.unfinished", "unknown")
    assert early.response_id == response_id
    assert isinstance(upstream.fetch(response_id, timeout=5.0), TextAnswer)
    assert server.log()["total"] == 1


@pytest.mark.parametrize("fault", ["429_bare", "500", "503", "cut", "malformed"])
def test_looks_that_fail_now_and_then_do_no_harm(server: Server, upstream: OpenAIUpstream, fault: str) -> None:
    """With this seed the first look at some of the responses fails, and not the second or third."""
    server.control(fetch_faults={fault: 0.5}, retry_after=0)
    names = [f"Artist {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda name: upstream.fetch(begun(upstream, name), timeout=20.0), names))
    assert all(isinstance(outcome, TextAnswer) for outcome in outcomes)
    log = server.log()
    assert log["fetched"] > 8, "some were looked at again"
    assert (log["total"], log["answered"]) == (8, 8)


def test_looks_that_always_fail(server: Server, upstream: OpenAIUpstream) -> None:
    response_id = begun(upstream, "A")
    for fault, code, known in (
        ("hang", "upstream.unfinished", response_id),
        ("500", "upstream.unfinished", response_id),
        ("404", "upstream.response_lost", None),
    ):
        server.control(fetch_faults={fault: 1.0})
        outcome = upstream.fetch(response_id, timeout=0.4)
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code, outcome.call_state) == (T, code, "unknown")
        assert outcome.response_id == known
    server.control(fetch_faults={}, key_ok=False)
    outcome = upstream.fetch(response_id, timeout=5.0)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code, outcome.response_id) == (S, "upstream.bad_key", response_id)
    server.control(key_ok=True)
    assert isinstance(upstream.fetch(response_id, timeout=5.0), TextAnswer), "it was there all the time"


def test_a_service_that_is_away_for_a_while(server: Server) -> None:
    first = Server()
    upstream = OpenAIUpstream(api_key="sk-x", base_url=f"{first.url}/v1", request_timeout=5.0)
    response_id = begun(upstream, "A")
    first.stop()
    away = upstream.fetch(response_id, timeout=0.5)
    assert isinstance(away, Failure)
    assert (away.code, away.call_state, away.response_id) == ("upstream.unfinished", "unknown", response_id)
    second = Server("--port", str(first.port))
    lost = upstream.fetch(response_id, timeout=5.0)
    assert isinstance(lost, Failure)
    assert (lost.code, lost.response_id) == ("upstream.response_lost", None), "the stand-in keeps them in memory"
    upstream.close()
    second.stop()


def test_only_so_many_responses_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from infra.local.upstreams import openai as simulated
    from infra.local.upstreams.http_server import Request

    monkeypatch.setattr(simulated, "KEPT", 3)

    async def statuses() -> list[int]:
        service = simulated.SimulatedOpenAI(simulated.Behaviour(accept=0.0), simulated.Log())
        bodies = [json.dumps(background(f"Artist {number}")).encode() for number in range(5)]
        headers = {b"authorization": b"Bearer sk-x"}
        replies = [service.answer(Request("POST", "/v1/responses", headers, body)).reply for body in bodies]
        ids = [json.loads(reply.body)["id"] for reply in replies]
        await asyncio.sleep(0)
        return [service.answer(Request("GET", f"/v1/responses/{one}", headers, b"")).reply.status for one in ids]

    assert asyncio.run(statuses()) == [404, 404, 200, 200, 200]


def test_wrong_faults_of_fetching_are_refused(server: Server) -> None:
    for wrong in ({"refusal": 1.0}, {"500": 2.0}, ["500"]):
        assert server.http.post("/control", json={"fetch_faults": wrong}).status_code == 400
    assert server.http.get("/control").json()["fetch_faults"] == {}
