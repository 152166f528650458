"""Spans, as a collector gets them: names, parents, the session's trace; and what a bad collector may cost a push."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any
from uuid import UUID

import google.auth
import pytest
from flask import Request
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2.credentials import Credentials
from werkzeug.test import EnvironBuilder

from shared import otlp, spans, tracing
from shared.errors import LedgerDown
from shared.events import Push
from shared.serving import AGAIN, DONE, answer_push
from shared.spans import Destination, span
from tests.collector import Collector, collecting

TRACE, SENDER = "ab" * 16, "12" * 8


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that every session's spans go to."""
    monkeypatch.setattr(spans, "_outboxes", {})
    with collecting() as one:
        spans.set_up(Destination(project="p", service="rowlift-x", version="1", endpoint=one.url), 1.0)
        yield one
    tracing.sample(0)


def push(handle: Callable[[Push], None], **attributes: str) -> tuple[str, int]:
    body = {"message": {"data": base64.b64encode(b"{}").decode(), "attributes": attributes},
            "subscription": "projects/p/subscriptions/rowlift-artists"}  # fmt: skip
    return answer_push(Request(EnvironBuilder(method="POST", data=json.dumps(body)).get_environ()), handle)


def nothing(_: Push) -> None:
    pass


def test_a_push_is_the_parent_of_what_is_done_in_it(collector: Collector) -> None:
    def handle(_: Push) -> None:
        tracing.adopt(session=UUID(int=3), trace_id=TRACE)
        with span("settle", items=4, none=None), span("deeper"):
            pass
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, call).result()

    def call() -> None:
        with span("upstream call") as recorded:
            recorded.note(failed="upstream.timeout", item_no=7)

    assert push(handle, traceparent=f"00-{TRACE}-{SENDER}-01", pipeline="artists") == DONE
    assert len(collector.requests) == 1
    whole = collector.one("push rowlift-artists")
    assert (whole.trace_id, whole.parent_id, whole.service) == (TRACE, SENDER, "rowlift-x")
    assert whole.facts == {"pipeline": "artists", "session_id": str(UUID(int=3))}
    settle, deeper, called = collector.one("settle"), collector.one("deeper"), collector.one("upstream call")
    assert {one.trace_id for one in collector.spans} == {TRACE}
    assert (settle.parent_id, called.parent_id) == (whole.span_id, whole.span_id)
    assert deeper.parent_id == settle.span_id
    assert (settle.facts, called.facts) == ({"items": 4}, {"item_no": 7})
    assert [one.failed for one in (whole, settle, called)] == [False, False, True]
    assert 0 <= deeper.seconds <= settle.seconds <= whole.seconds


def test_spans_are_of_the_session_s_trace_also_where_that_is_known_late(collector: Collector) -> None:
    def handle(_: Push) -> None:
        with span("early"):
            tracing.adopt(trace_id=TRACE)

    assert push(handle) == DONE
    assert collector.one("push rowlift-artists").trace_id == TRACE
    assert {one.trace_id for one in collector.spans} == {TRACE}


def test_lines_of_a_span_name_it(collector: Collector, capsys: pytest.CaptureFixture[str]) -> None:
    from shared.logs import log

    def handle(_: Push) -> None:
        with span("settle"):
            log("INFO", "Within")
        log("INFO", "Behind")

    push(handle)
    said = [json.loads(line)["logging.googleapis.com/spanId"] for line in capsys.readouterr().out.splitlines()]
    assert said == [collector.one("settle").span_id, collector.one("push rowlift-artists").span_id]


def test_a_push_that_is_refused_is_told_of_too(collector: Collector) -> None:
    def handle(_: Push) -> None:
        with span("settle"):
            raise LedgerDown

    assert push(handle) == AGAIN
    assert collector.one("settle").failed


def test_a_session_that_is_not_sampled_costs_no_request(collector: Collector) -> None:
    tracing.sample(0.5)
    taken = []

    def handle(_: Push) -> None:
        with span("settle") as recorded:
            recorded.note(items=1)
            taken.append(tracing.trace_here())

    for high in ("0", "f"):
        push(handle, traceparent=f"00-{'1' * 16}{high * 15}1-{SENDER}-01")
    assert len(taken) == 2
    assert {one.trace_id for one in collector.spans} == {f"{'1' * 16}{'0' * 15}1"}


class TestABadCollector:
    def test_one_that_refuses_fails_no_push_and_is_left_alone_for_a_while(
        self, collector: Collector, capsys: pytest.CaptureFixture[str]
    ) -> None:
        collector.status = 400
        assert [push(nothing), push(nothing)] == [DONE, DONE]
        assert len(collector.requests) == 1
        (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
        assert (line["severity"], line["message"], line["spans"]) == ("WARNING", "Spans could not be exported", 1)

    def test_after_that_while_it_is_asked_again(self, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spans, "QUIET_AFTER_FAILURE", 0.0)
        collector.status = 400
        push(nothing)
        collector.status = 200
        push(nothing)
        assert len(collector.named("push rowlift-artists")) == 1

    def test_one_that_never_answers_is_not_waited_for(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spans, "PATIENCE", 0.1)
        collector.answers.clear()
        assert push(nothing) == DONE  # it has no answer yet, and the push has
        assert collector.requests == []

    def test_one_that_is_not_there_fails_no_push(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spans, "_outboxes", {})
        monkeypatch.setattr(spans, "PATIENCE", 0.5)
        spans.set_up(Destination(project="p", service="x", version="1", endpoint="http://127.0.0.1:1"), 1.0)
        assert push(nothing) == DONE
        tracing.sample(0)

    def test_one_thread_waits_for_another_s_export_and_then_leaves_its_spans_to_the_next(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spans, "PATIENCE", 0.05)
        outbox = spans._outbox(os.getpid(), Destination(project="p", service="x", version="1", endpoint=collector.url))
        monkeypatch.setattr(spans, "_outbox", lambda *_: outbox)
        with outbox._exporting:  # another thread is at it
            done = threading.Thread(target=lambda: push(nothing))
            done.start()
            done.join(10)
            assert not done.is_alive()
        assert collector.spans == []
        monkeypatch.setattr(spans, "PATIENCE", 5.0)
        push(nothing)
        assert len(collector.named("push rowlift-artists")) == 2


def test_a_process_after_a_fork_has_an_outbox_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "_outboxes", {})
    where = Destination(project="p", service="x", version="1")
    first = spans._outbox(1, where)
    assert spans._outbox(1, where) is first
    assert spans._outbox(2, where) is not first


class TestCloudTrace:
    @pytest.fixture
    def google(self, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Collector:
        monkeypatch.setattr(otlp, "_GOOGLE", collector.url)
        spans.set_up(Destination(project="p", service="x", version="1"), 1.0)
        return collector

    def test_it_is_shown_the_function_s_own_credentials(
        self, google: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(google_auth(), "default", lambda scopes: (asked.append(scopes), (_credentials(), "p"))[1])
        assert push(nothing) == DONE
        assert google.requests[0]["authorization"] == "Bearer t0ken"
        assert asked == [["https://www.googleapis.com/auth/trace.append"]]

    def test_without_credentials_the_push_goes_well(
        self, google: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refuse(scopes: Any) -> Any:
            raise DefaultCredentialsError("none were found")

        monkeypatch.setattr(google_auth(), "default", refuse)
        assert push(nothing) == DONE
        assert "none were found" in json.loads(capsys.readouterr().out)["reason"]


def google_auth() -> Any:
    return google.auth


def _credentials() -> Credentials:
    return Credentials(token="t0ken")
