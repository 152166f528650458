"""One trace from message to message: what is taken over, what is sent on, and which traces have spans."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from shared import tracing
from shared.logs import log
from shared.tracing import about, adopt, apart, begin, follow, is_sampled, trace_here, traceparent

ROOT = Path(__file__).parents[2]
TRACE, OTHER, SPAN = "ab" * 16, "cd" * 16, "12" * 8
SESSION = UUID(int=9)


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    yield
    tracing.sample(0)


def lines_of(capsys: pytest.CaptureFixture[str], work: Callable[[], None]) -> list[dict[str, Any]]:
    apart(work)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("value", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-more"])
def test_a_traceparent_is_understood(value: str) -> None:
    assert apart(lambda: begin("push", value).trace_id) == TRACE


@pytest.mark.parametrize("value", [
    None, "", "x", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
])  # fmt: skip
def test_what_is_none_is_not_taken_for_one(value: str | None) -> None:
    assert apart(lambda: begin("push", value).parent_id) is None


def test_a_push_goes_on_in_its_trace_with_a_span_id_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        here = begin("push", f"00-{TRACE}-{SPAN}-01")
        assert (here.trace_id, here.parent_id) == (TRACE, SPAN)
        assert here.span_id != SPAN
        assert traceparent(TRACE) == f"00-{TRACE}-{here.span_id}-00"
        assert here.span_id not in str(traceparent(OTHER))  # of another session: not sent from this span
        log("INFO", "Here", span=here.span_id)

    (line,) = lines_of(capsys, work)
    assert line["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
    assert line["logging.googleapis.com/spanId"] == line["span"]


def test_what_came_without_one_begins_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        begin("push")
        log("INFO", "Here", trace=trace_here())

    (line,) = lines_of(capsys, work)
    assert line["logging.googleapis.com/trace"] == f"projects/p/traces/{line['trace']}"
    assert trace_here() is None


def test_the_session_s_own_trace_wins_and_stays_bound(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        begin("push", f"00-{TRACE}-{SPAN}-01")
        adopt(session=SESSION, pipeline="artists")
        adopt(trace_id=OTHER)
        log("INFO", "Own")
        here = tracing.handling()
        assert here is not None
        assert (here.trace_id, here.parent_id) == (OTHER, None)
        with about(UUID(int=1), trace_id=TRACE, pipeline="movies"):
            log("INFO", "Another's")
        log("INFO", "Own again")

    lines = lines_of(capsys, work)
    own = (str(SESSION), "artists", f"projects/p/traces/{OTHER}")
    others = (str(UUID(int=1)), "movies", f"projects/p/traces/{TRACE}")
    names = ("session_id", "pipeline", "logging.googleapis.com/trace")
    assert [tuple(line[name] for name in names) for line in lines] == [own, others, own]


def test_an_object_brings_its_trace_with_it() -> None:
    def work() -> None:
        here = begin("push")
        follow("nonsense")
        own = here.trace_id
        follow(f"00-{TRACE}-{SPAN}-01")
        assert own != TRACE
        assert (here.trace_id, here.parent_id) == (TRACE, SPAN)

    apart(work)


def test_a_share_of_traces_is_sampled_by_their_ids_as_opentelemetry_does() -> None:
    ids = [tracing.new_trace_id() for _ in range(2_000)]
    for share in (0.0, 0.1, 0.9, 1.0):
        tracing.sample(share)
        theirs = TraceIdRatioBased(share)
        decided = [theirs.should_sample(None, int(one, 16), "x").decision is Decision.RECORD_AND_SAMPLE for one in ids]
        assert [is_sampled(one) for one in ids] == decided
    assert str(traceparent(ids[0])).endswith("-01")


def test_nothing_of_opentelemetry_is_imported_while_spans_are_off() -> None:
    code = """
import sys, types
from shared import spans, tracing
from shared.app import App
from shared.config import Settings
from shared.processing import Processor
from shared.ingest import Ingest
from shared.finalizing import Finalizer
from shared.serving import answer_push
own = {"GOOGLE_CLOUD_PROJECT": "p", "DATABASE_URL": "postgresql://u:p@h/d", "PIPELINES": "{}", "UPSTREAMS": "{}"}
App(Settings.from_env(env={**own, **EXTRA}), name="x")
def handle(push):
    with spans.span("settle", items=1):
        pass
body = b'{"message": {"data": "e30=", "attributes": {}}, "subscription": "s"}'
request = types.SimpleNamespace(method="POST", get_data=lambda: body)
assert answer_push(request, handle) == ("", 204)
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""

    def loaded(extra: dict[str, str]) -> str:
        program = code.replace("**EXTRA", f"**{extra!r}")
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert loaded({}) == "[]"
    # The same program does import them when they are on, or this test would show nothing.
    assert "otlp" in loaded({"TRACE_SAMPLE": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
