"""The upstream's own log against the calls table: all that was sent is booked, as what it was. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

CLOCKS = 0.005  # seconds by which the upstream's clock and PostgreSQL's, on one machine, may seem to differ


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One request as the upstream saw it."""

    key: str
    started: float
    state: str  # answered (200), failed, cut, abandoned, open
    response_id: str | None = None
    ended: float | None = None
    fault: str | None = None  # what the upstream was told to spoil it with

    @property
    def charged(self) -> bool:
        """Whether a real upstream may have charged for it."""
        return self.state != "failed"

    @classmethod
    def from_log(cls, entry: dict[str, Any]) -> Sent:
        """An entry of /control/log."""
        return cls(
            key=entry["key"],
            started=entry["started"],
            state=entry["state"],
            response_id=entry.get("response_id"),
            ended=entry["ended"],
            fault=entry["fault"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Booked:
    """One row of calls with the key of its item."""

    key: str
    session: str
    item_no: int
    round: int
    state: str  # started, succeeded, failed, unknown
    started: float
    finished: float | None
    response_id: str | None = None
    error_code: str | None = None
    cost: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What does not agree, and the numbers."""

    findings: list[str]
    sent: int
    booked: int
    states: Counter[str]
    unknown: Counter[str]  # by error code
    lost: int  # good answers that no succeeded call has
    repeated: int  # requests that may have been charged beyond the first of their item's round


def compare(sent: Sequence[Sent], booked: Sequence[Booked]) -> Comparison:
    """Both logs laid side by side, key by key."""
    by_key: dict[str, tuple[list[Sent], list[Booked]]] = defaultdict(lambda: ([], []))
    for one in sorted(sent, key=lambda entry: entry.started):
        by_key[one.key][0].append(one)
    for call in sorted(booked, key=lambda row: row.started):
        by_key[call.key][1].append(call)
    findings: list[str] = []
    lost = repeated = 0
    for key, (seen, rows) in by_key.items():
        findings += [f"{key}: {fault}" for fault in _faults(seen, rows)]
        used = {row.response_id for row in rows if row.state == "succeeded"}
        lost += sum(
            one.state == "answered" and one.response_id is not None and one.response_id not in used for one in seen
        )
        rounds = {(row.session, row.item_no, row.round) for row in rows}
        repeated += max(0, sum(one.charged for one in seen) - len(rounds))
    return Comparison(
        findings=findings,
        sent=len(sent),
        booked=len(booked),
        states=Counter(row.state for row in booked),
        unknown=Counter(row.error_code or "none" for row in booked if row.state == "unknown"),
        lost=lost,
        repeated=repeated,
    )


def _faults(sent: Sequence[Sent], booked: Sequence[Booked]) -> Iterable[str]:
    if len(sent) > len(booked):
        yield f"the upstream saw {len(sent)} requests, {len(booked)} are booked"
    for number, one in enumerate(sent, start=1):
        if sum(row.started <= one.started + CLOCKS for row in booked) < number:
            yield f"request {number} left at {one.started:.3f}, before its call was booked"
            break
    if open_ := [row for row in booked if row.state == "started"]:
        yield f"{len(open_)} calls have no end"
    answers = Counter(one.response_id for one in sent if one.response_id)
    told = Counter(row.response_id for row in booked if row.response_id)
    for response_id, times in (told - answers).items():
        yield f"answer {response_id} is booked {times} times more than it was given"
    for row in booked:
        if row.state == "succeeded" and not row.response_id:
            yield f"item {row.item_no} of {row.session} has a succeeded call without an answer"
    unheard = sum(one.charged and told[one.response_id or ""] == 0 for one in sent)
    unknown = sum(row.state == "unknown" and not row.response_id for row in booked)
    if unheard > unknown:
        yield f"{unheard} requests that may be charged have no answer booked, {unknown} calls are unknown"
    paid = Counter((row.session, row.item_no, row.round) for row in booked if row.state == "succeeded" and row.cost)
    for (session, item_no, round_), times in paid.items():
        if times > 1:
            yield f"item {item_no} of {session} was paid for {times} times in round {round_}"


def in_flight(booked: Sequence[Booked], moment: float) -> int:
    """Calls that had begun and not ended at a moment, as the ledger tells it afterwards."""
    return sum(row.started <= moment and (row.finished is None or row.finished > moment) for row in booked)


def most_in(sent: Sequence[Sent], seconds: float) -> int:
    """The most requests that arrived within any window of so many seconds."""
    times = sorted(one.started for one in sent)
    most = first = 0
    for last, moment in enumerate(times):
        while times[first] <= moment - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
