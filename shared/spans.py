"""Spans of sampled sessions: recorded while a push is handled, exported before it is answered.

Off unless TRACE_SAMPLE says otherwise; then `span` costs a call and nothing of OpenTelemetry is imported. Nothing may
run after the response (platform facts §1), so there is no exporting thread: who answers a push exports, within
`PATIENCE`, and a push is never refused for a span's sake.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from shared import tracing
from shared.logs import bound, log

PATIENCE: Final = 2.0  # seconds an export may keep the answer to a push waiting
QUIET_AFTER_FAILURE: Final = 30.0  # seconds in which nothing is exported after an export that failed
MOST_WAITING: Final = 4_096  # spans that wait for another thread's export; the oldest are dropped


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A span that is over."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    began: int  # nanoseconds of the calendar, as its end
    ended: int
    facts: dict[str, Any]
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Whom spans are sent to, and as whose."""

    project: str
    service: str
    version: str
    endpoint: str | None = None  # of an OTLP collector; None: Google Cloud Trace


class Span(AbstractContextManager["Span"]):
    """A block whose time is recorded; what is thrown in it marks it as failed."""

    __slots__ = ("_began", "_facts", "_failed", "_handling", "_id", "_lines", "_name", "_parent", "_token")

    def __init__(self, name: str, handling: tracing.Handling, facts: dict[str, Any]) -> None:
        self._name, self._handling, self._facts = name, handling, facts
        self._id, self._failed = tracing.new_span_id(), ""

    def note(self, *, failed: str = "", **facts: Any) -> None:
        """Record more about it."""
        self._facts |= facts
        self._failed = self._failed or failed

    def __enter__(self) -> Span:
        self._parent = _inside.get() or self._handling.span_id
        self._lines = bound(**{tracing.SPAN: self._id})
        self._lines.__enter__()
        self._token = _inside.set(self._id)
        self._began = time.time_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = time.time_ns()
        _inside.reset(self._token)
        self._lines.__exit__(None, None, None)
        self._handling.spans.append(
            Ended(
                name=self._name,
                trace_id=self._handling.trace_id,
                span_id=self._id,
                parent_id=self._parent,
                began=self._began,
                ended=ended,
                facts={name: value for name, value in self._facts.items() if value is not None},
                error=type(error).__name__ if error else self._failed or None,
            )
        )


class _Nothing:
    """Stands for the spans of what is not traced."""

    __slots__ = ()

    def note(self, *, failed: str = "", **facts: Any) -> None:
        pass

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def span(name: str, **facts: Any) -> Span | _Nothing:
    """A block to be recorded as a span of what this thread handles, where that is traced."""
    if not tracing.is_on():
        return _NOTHING
    handling = tracing.handling()
    if handling is None or not tracing.is_sampled(handling.trace_id):
        return _NOTHING
    return Span(name, handling, facts)


def set_up(destination: Destination, share: float) -> None:
    """Trace this share of all sessions. Connections are made with the first span, in the process that has it."""
    global _destination
    _destination = destination
    tracing.sample(share)


def hand_in() -> None:
    """End what this thread handles, and export its spans; returns in time whatever becomes of them."""
    if not tracing.is_on():
        return
    handling = tracing.handling()
    if handling is None or _destination is None or not tracing.is_sampled(handling.trace_id):
        return
    whole = Ended(
        name=handling.name,
        trace_id=handling.trace_id,
        span_id=handling.span_id,
        parent_id=handling.parent_id,
        began=handling.began,
        ended=time.time_ns(),
        facts=handling.facts,
    )
    _outbox(os.getpid(), _destination).send([*handling.spans, whole])


class _Outbox:
    """The spans of one process on their way out, those of all its threads in one request where they meet."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._exporting, self._waiting = threading.Lock(), deque[Ended](maxlen=MOST_WAITING)
        self._exporter: Any = None
        self._quiet_until = 0.0

    def send(self, spans: Sequence[Ended]) -> None:
        """Export these and what waits, unless another thread has them or the destination failed a moment ago."""
        if time.monotonic() < self._quiet_until:
            return
        self._waiting.extend(spans)
        if not self._exporting.acquire(timeout=PATIENCE):
            return  # whoever comes next takes them along
        try:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if batch:
                self._export(batch)
        finally:
            self._exporting.release()

    def _export(self, batch: Sequence[Ended]) -> None:
        try:
            from shared import otlp

            self._exporter = self._exporter or otlp.exporter(self._destination, timeout=PATIENCE)
            reason = otlp.export(self._exporter, self._destination, batch)
        except Exception as error:  # no credentials, say; the push itself went well
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            self._quiet_until = time.monotonic() + QUIET_AFTER_FAILURE
            log("WARNING", "Spans could not be exported", spans=len(batch), reason=reason)


def _outbox(pid: int, destination: Destination) -> _Outbox:
    """The outbox of this process: never one that was made before gunicorn forked."""
    with _making:
        if pid not in _outboxes:
            _outboxes.clear()
            _outboxes[pid] = _Outbox(destination)
        return _outboxes[pid]


_NOTHING: Final = _Nothing()
_inside: ContextVar[str | None] = ContextVar("inside", default=None)
_destination: Destination | None = None
_outboxes: dict[int, _Outbox] = {}
_making = threading.Lock()
