"""One trace id from upload to finalize, carried as a W3C `traceparent`, and what this thread is at work on.

What is bound here is on every line shared/logs.py writes until the push, call or request is answered.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from shared.logs import bind, bound

_T = TypeVar("_T")

_TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?$")
TRACE, SPAN = "logging.googleapis.com/trace", "logging.googleapis.com/spanId"


@dataclass(kw_only=True, slots=True)
class Handling:
    """One push, call or request while it is handled; its trace is its session's as soon as that is known."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None  # the span that sent it
    began: int = field(default_factory=time.time_ns)
    facts: dict[str, Any] = field(default_factory=dict)
    spans: list[Any] = field(default_factory=list)  # of shared/spans.py, in the order they ended


_handling: ContextVar[Handling | None] = ContextVar("handling", default=None)
_share = 0.0


def new_trace_id() -> str:
    """A fresh trace id, 32 hexadecimal digits."""
    return secrets.token_hex(16)


def new_span_id() -> str:
    """A fresh span id, 16 hexadecimal digits."""
    return secrets.token_hex(8)


def traceparent(trace_id: str | None) -> str | None:
    """The attribute that carries a trace id on a message sent from here."""
    if not trace_id:
        return None
    here = _handling.get()
    span_id = here.span_id if here is not None and here.trace_id == trace_id else new_span_id()
    return f"00-{trace_id}-{span_id}-{'01' if is_sampled(trace_id) else '00'}"


def sample(share: float) -> None:
    """Have this share of all sessions traced with spans."""
    global _share
    _share = share


def is_on() -> bool:
    """Whether any session is traced with spans."""
    return _share > 0


def is_sampled(trace_id: str) -> bool:
    """Whether the trace is one whose spans are recorded: its id decides, alike in every function."""
    return _share > 0 and int(trace_id[16:], 16) < _share * 2**64


def apart(work: Callable[..., _T], *arguments: Any) -> _T:
    """What `work` returns; nothing that it binds stays behind on this thread."""
    return copy_context().run(work, *arguments)


def begin(name: str, traceparent: str | None = None) -> Handling:
    """This thread handles something new from here on: a span of its own in the trace it came with, or in a new one."""
    found = _TRACEPARENT.match(traceparent or "")
    one = Handling(
        name=name,
        trace_id=found[1] if found else new_trace_id(),
        span_id=new_span_id(),
        parent_id=found[2] if found else None,
    )
    _handling.set(one)
    bind(**{TRACE: _resource(one.trace_id), SPAN: one.span_id})
    return one


def handling() -> Handling | None:
    """What this thread handles now."""
    return _handling.get()


def trace_here() -> str | None:
    """The trace of what this thread handles, if it handles anything."""
    here = _handling.get()
    return here.trace_id if here is not None else None


def follow(traceparent: str | None) -> None:
    """Have what is handled go on in the trace that its object came with, if it came with one."""
    found = _TRACEPARENT.match(traceparent or "")
    if found:
        adopt(trace_id=found[1])
        if (here := _handling.get()) is not None:
            here.parent_id = found[2]


def adopt(*, session: UUID | None = None, trace_id: str | None = None, pipeline: str | None = None) -> None:
    """Say what is known by now of that which is handled; it stays bound until the answer."""
    here = _handling.get()
    known = _fields(session, trace_id, pipeline)
    bind(**known)
    if here is None:
        return
    here.facts |= {name: str(value) for name, value in known.items() if name != TRACE}
    if trace_id and trace_id != here.trace_id:
        here.trace_id, here.parent_id = trace_id, None  # the sender's span is in the other trace


def about(session: UUID, *, trace_id: str | None = None, pipeline: str | None = None) -> AbstractContextManager[None]:
    """A block that is about one session among others."""
    return bound(**_fields(session, trace_id, pipeline))


def _fields(session: UUID | None, trace_id: str | None, pipeline: str | None) -> dict[str, Any]:
    named = {"session_id": session, TRACE: _resource(trace_id) if trace_id else None, "pipeline": pipeline}
    return {name: value for name, value in named.items() if value is not None}


def _resource(trace_id: str) -> str | None:
    """The trace's name in Cloud Logging."""
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    return f"projects/{project}/traces/{trace_id}" if project else None
