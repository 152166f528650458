"""Why a request that may be charged has no success booked: what was done to it, or nothing, which is a finding. Pure.

An outage of PostgreSQL is no reason: what cannot be written is put aside. Reasons are a process that pays killed or
stopped while it may have held the call or its answer, an answer the upstream spoiled, and one that came when the caller
no longer waited for it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.faults.compare import CLOCKS, Booked, Sent
from tests.faults.inflict import Struck
from tests.faults.stage import DEADLINE, REQUEST_TIMEOUT

PAYING = "process-artists"
SPOILING = ("cut", "malformed", "hang")
GIVEN_UP = ("upstream.timeout", "upstream.unfinished")
NEAR = 1.0  # seconds by which a busy machine may be late to see a timeout or a closed connection
WRITTEN = 3.0  # seconds after an answer within which it is written while PostgreSQL is there
SILENT = 6.0  # seconds a statement may hang beyond the handler's deadline, in a fault's silence
AFTERMATH = 12.0  # seconds after a fault of PostgreSQL in which connections may still be missing
_LEDGER = ("postgres", "cut", "cut_answers", "refuse", "away", "delay", "silence")

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """When something happened that may explain a loss, and when PostgreSQL was not itself."""

    kills: tuple[Span, ...] = ()  # of processes that pay
    stops: tuple[Span, ...] = ()
    troubles: tuple[Span, ...] = ()

    @classmethod
    def of(cls, struck: Iterable[Struck]) -> Moments:
        """The moments among what was inflicted."""
        kills, stops, troubles = [], [], []
        for one in struck:
            span = one.began, math.inf if one.ended is None else one.ended
            if one.fault.kind in ("kill_worker", "kill_function") and one.fault.target == PAYING:
                kills.append(span)
            elif one.fault.kind == "stop_worker":
                stops.append(span)
            elif one.fault.kind in _LEDGER:
                troubles.append((span[0], span[1] + AFTERMATH))
        return cls(kills=tuple(kills), stops=tuple(stops), troubles=tuple(troubles))

    def stopped(self, first: float, last: float) -> bool:
        """Whether a process was stopped at any time between two moments."""
        return _meets(self.stops, first, last)


def losses(sent: Sequence[Sent], booked: Sequence[Booked], moments: Moments) -> tuple[Counter[str], list[str]]:
    """How many requests have no success booked, by the reason; and those for which there is none."""
    rows: dict[str, list[Booked]] = defaultdict(list)
    for call in booked:
        rows[call.key].append(call)
    kept = {row.response_id for row in booked if row.state == "succeeded"}
    reasons: Counter[str] = Counter()
    findings = []
    for one in sent:
        if not one.charged or (one.response_id in kept and one.response_id):
            continue
        reason = _reason(one, rows[one.key], moments)
        reasons[reason or "unexplained"] += 1
        if reason is None:
            findings.append(f"{one.key}: {_told(one, rows[one.key])}, and nothing was done to its caller")
    return reasons, findings


def _reason(one: Sent, rows: Sequence[Booked], moments: Moments) -> str | None:
    ended = math.inf if one.ended is None else one.ended
    if one.fault in SPOILING:
        return "spoiled"
    if _given_up(one, ended, rows):
        return "given up"
    if one.state == "abandoned":  # its connection was closed just then
        first, last = ended - NEAR, ended
    else:
        first, last = one.started - NEAR, ended + WRITTEN
        if _meets(moments.troubles, one.started, last):
            last = max(last, one.started + DEADLINE + SILENT)
    if _meets(moments.kills, first, last):
        return "killed"
    return "stopped" if _meets(moments.stops, first, last) else None


def _given_up(one: Sent, ended: float, rows: Sequence[Booked]) -> bool:
    """Whether the caller had waited as long as it waits."""
    if one.state == "abandoned":
        return ended - one.started >= REQUEST_TIMEOUT - NEAR
    return any(
        row.error_code in GIVEN_UP
        and row.started <= one.started + CLOCKS
        and ended - row.started >= REQUEST_TIMEOUT - NEAR
        for row in rows
        if row.state == "unknown"
    )


def _told(one: Sent, rows: Sequence[Booked]) -> str:
    ended = "" if one.ended is None else f" at {one.ended:.3f}"
    calls = ", ".join(f"{row.state} ({row.error_code}) from {row.started:.3f}" for row in rows)
    return f"the request of {one.started:.3f} was {one.state}{ended}, its calls are {calls or 'none'}"


def _meets(spans: Iterable[Span], first: float, last: float) -> bool:
    return any(begun <= last and first <= ended for begun, ended in spans)
