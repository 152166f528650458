"""One trace from upload to finalize: every line of an upload carries it, and its spans hang together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from shared import spans, tracing
from shared.dead_lettering import DeadLetters
from shared.events import Push, uploaded_object
from shared.messages import ItemsNotice, Message, decode_continuation, decode_finalize
from shared.serving import DONE, answer_call, answer_push
from shared.spans import Destination
from shared.upstreams.base import ErrorClass, Failure
from tests.collector import Collector, collecting
from tests.workbench import Workbench, artists_csv

TRACE, SENDER = "ab" * 16, "12" * 8
LOGGED, NAMED = "logging.googleapis.com/trace", "session_id"


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(spans, "_outboxes", {})
    with collecting() as one:
        spans.set_up(Destination(project="test", service="rowlift", version="1", endpoint=one.url), 1.0)
        yield one
    tracing.sample(0)


def pushed(message: Message, subscription: str, handle: Callable[[Push], object]) -> None:
    """Deliver a message as Pub/Sub does."""
    body = {"message": {"data": base64.b64encode(message.data).decode(), "attributes": dict(message.attributes)},
            "subscription": f"projects/test/subscriptions/rowlift-{subscription}"}  # fmt: skip
    request = Request(EnvironBuilder(method="POST", data=json.dumps(body)).get_environ())

    def take(push: Push) -> None:
        handle(push)

    assert answer_push(request, take) == DONE


def drop(bench: Workbench, data: bytes, name: str, **metadata: str) -> UUID:
    """Announce an object as its bucket does; the session it became."""
    put = bench.store.put("up", name, data, **metadata)
    resource = {"bucket": put.bucket, "name": put.name, "generation": str(put.generation), "size": str(put.size),
                "metadata": dict(put.metadata)}  # fmt: skip
    notice = Message(data=json.dumps(resource).encode(), attributes={"eventType": "OBJECT_FINALIZE"})
    taken: list[UUID | None] = []

    def take(push: Push) -> None:
        uploaded = uploaded_object(push)
        assert uploaded is not None
        taken.append(bench.ingest.take(uploaded))

    pushed(notice, "uploads", take)
    (session,) = taken
    assert session is not None
    return session


def deliver(bench: Workbench) -> int:
    """Push every message that is out, once."""
    files, items, ends = (bench.publisher.take(topic) for topic in ("uploads", bench.slug, "finalize"))
    for message in files:
        pushed(message, "uploads", lambda push: bench.ingest.go_on(decode_continuation(push.data) or 0))
    for message in items:
        pushed(message, bench.slug, lambda push: bench.processor.handle(ItemsNotice.decode(push.data)))
    for message in ends:
        pushed(message, "finalize", lambda push: bench.finalizer.finalize(decode_finalize(push.data)))
    return len(files) + len(items) + len(ends)


def rescue(bench: Workbench) -> None:
    answer_call(Request(EnvironBuilder(method="POST").get_environ()), bench.rescuer.round)


def run(bench: Workbench, *sessions: UUID) -> None:
    for _ in range(50):
        if not deliver(bench):
            if all(bench.sessions.status(one)["status"] == "completed" for one in sessions):
                return
            for one in sessions:
                bench.make_due(one)
            rescue(bench)
    pytest.fail("the sessions did not end")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_line_of_an_upload_carries_its_trace_and_no_line_of_another(
    bench: Workbench, capsys: pytest.CaptureFixture[str]
) -> None:
    # One row's first call breaks, which is told of on the call's own thread.
    bench.upstream._script = lambda n, prompt: ZeroDivisionError() if n == 1 else None
    first = drop(bench, artists_csv(9), "artists/one.csv", traceparent=f"00-{TRACE}-{SENDER}-01")
    second = drop(bench, artists_csv(9, first=50), "artists/two.csv")
    run(bench, first, second)
    said = lines(capsys)
    of = {one: [line for line in said if line.get(NAMED) == str(one)] for one in (first, second)}
    assert bench.facts(first)["trace_id"] == TRACE
    for session, found in of.items():
        trace = bench.sessions.status(session)["trace_id"]
        assert {line[LOGGED] for line in found} == {f"projects/test/traces/{trace}"}
        assert {line["pipeline"] for line in found} == {"artists"}
        assert all(len(line["logging.googleapis.com/spanId"]) == 16 for line in found)
        sentences = [line["message"] for line in found]
        assert {"File read", "Item settled", "Session finalized"} <= {*sentences}
        assert sentences.count("Item settled") == 9  # one line for each committed outcome
    assert any("ZeroDivisionError" in line["message"] for line in said)
    # What names no session is nobody's: the calls of rescue alone write such lines.
    others = [line for line in said if NAMED not in line]
    assert {line["message"] for line in others} <= {"Rescue found something"}
    assert TRACE not in json.dumps(others)
    assert bench.facts(second)["trace_id"] not in (None, TRACE)


def test_a_file_that_joins_a_session_goes_on_in_that_session_s_trace(
    bench: Workbench, capsys: pytest.CaptureFixture[str]
) -> None:
    session = drop(bench, artists_csv(2), "artists/one.csv")
    trace = bench.facts(session)["trace_id"]
    drop(bench, artists_csv(2, first=9), "artists/two.csv", session=str(session), traceparent=f"00-{TRACE}-{SENDER}-01")
    drop(bench, b"nonsense", "artists/three.csv", session=str(session), budget="none")
    said = lines(capsys)
    assert [line["message"] for line in said] == ["File read", "File read", "File failed"]
    assert {line[LOGGED] for line in said[:2]} == {f"projects/test/traces/{trace}"}
    assert said[2][LOGGED] == f"projects/test/traces/{bench.facts(UUID(said[2][NAMED]))['trace_id']}"


def test_what_rescue_says_of_a_session_is_in_its_trace(bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    session = drop(bench, artists_csv(2), "artists/one.csv")
    trace = bench.facts(session)["trace_id"]
    bench.execute(f"UPDATE items SET state = 'running', attempt = 1, lease_expires_at = now() - interval '1 h', "
                  f"dispatched_at = NULL WHERE session_id = '{session}'")  # fmt: skip
    capsys.readouterr()
    rescue(bench)
    said = lines(capsys)
    retired = [line for line in said if line["message"].startswith("Lease retired")]
    assert [(line[NAMED], line[LOGGED]) for line in retired] == [(str(session), f"projects/test/traces/{trace}")] * 2
    (found,) = [line for line in said if line["message"] == "Rescue found something"]
    assert NAMED not in found
    assert trace not in found[LOGGED]


def test_a_dead_letter_is_told_of_in_the_trace_of_its_message(
    bench: Workbench, capsys: pytest.CaptureFixture[str]
) -> None:
    session = drop(bench, artists_csv(1), "artists/one.csv", traceparent=f"00-{TRACE}-{SENDER}-01")
    (message,) = bench.publisher.take("artists")
    letters = DeadLetters(bench.db, bench.dispatcher)
    pushed(message, "dead-letters", letters.take)
    (given_up,) = [line for line in lines(capsys) if line["message"] == "Message given up"]
    assert (given_up[NAMED], given_up[LOGGED]) == (str(session), f"projects/test/traces/{TRACE}")


def test_spans_of_a_session_hang_together_from_its_upload_to_its_end(bench: Workbench, collector: Collector) -> None:
    failing = Failure(kind=ErrorClass.PERMANENT, code="upstream.refused", message="no", call_state="failed")
    bench.upstream._script = lambda n, prompt: failing if "Fela" in str(prompt) else None
    session = drop(bench, artists_csv(3), "artists/one.csv", traceparent=f"00-{TRACE}-{SENDER}-01")
    other = drop(bench, artists_csv(1, first=50), "artists/two.csv")
    run(bench, session, other)
    own = [one for one in collector.spans if one.trace_id == TRACE]
    by_id = {one.span_id: one for one in own}
    chunk = next(one for one in own if one.name == "ingest chunk")
    settle = next(one for one in own if one.name == "settle")
    calls = [one for one in own if one.name == "upstream call"]
    finalize = next(one for one in own if one.name == "finalize")
    upload, artists, end = (by_id[one.parent_id] for one in (chunk, settle, finalize))
    assert [one.name for one in (upload, artists, end)] == [
        "push rowlift-uploads", "push rowlift-artists", "push rowlift-finalize",
    ]  # fmt: skip
    assert upload.parent_id == SENDER
    assert artists.parent_id == upload.span_id  # whoever sent a message is the parent of what it brings about
    assert end.parent_id == artists.span_id
    assert {one.parent_id for one in calls} == {artists.span_id}
    assert sorted((one.facts["item_no"], one.failed) for one in calls) == [(1, True), (2, False), (3, False)]
    assert (chunk.facts["records"], settle.facts["items"]) == (3, 3)
    assert {one.facts["session_id"] for one in (upload, artists, end)} == {str(session)}
    assert {one.trace_id for one in collector.spans} == {TRACE, bench.facts(other)["trace_id"]}
