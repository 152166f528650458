"""kill -9 of every function process at half of 2,000 rows: what is lost, and what is paid for twice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.check import check_calls, check_sessions
from tests.faults.compare import in_flight
from tests.faults.inflict import Inflictor
from tests.faults.person import Watched
from tests.faults.plan import Drop, Fault
from tests.faults.rows import make_file
from tests.faults.stage import open_stage

ROWS = 2_000
LATENCY = 0.3


@dataclass(kw_only=True)
class Crash:
    """The figures."""

    findings: list[str] = field(default_factory=list)
    enriched: int = 0
    in_flight: int = 0
    repeated: int = 0
    unknown: int = 0
    requests: int = 0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{ROWS} rows, kill -9 of all functions at half: {self.enriched} enriched, {self.requests} requests, "
            f"{self.in_flight} in flight at the kill, {self.repeated} repeated, {self.unknown} unknown, "
            f"{self.seconds:.1f} s",
            *(f"  FOUND {finding}" for finding in self.findings),
        ]


def measure(folder: Path, *, options: Mapping[str, str], seed: int) -> Crash:
    """One crash, on a stack of its own."""
    found = Crash()
    drop = Drop(at=0, name=f"crash-{seed}", first=0, unique=ROWS)
    file = make_file(seed, drop)
    with open_stage(folder / "crash", rate=400) as stage:
        deck, began = stage.deck, time.monotonic()
        deck.misbehave(latency=LATENCY)
        session = deck.drop(file.data, f"artists/{drop.name}.csv", **options)
        watched = Watched(session=session, drop=drop, file=file)
        deck.wait(session, until=lambda status: status["enriched"] >= ROWS / 2, timeout=120)
        inflictor = Inflictor(stage, seed)
        kill = inflictor.begin(Fault(at=0, kind="kill_function", target="process-artists"))
        moment = kill.ended or kill.began
        for name in set(stage.stack.info["functions"]) - {"process-artists"}:
            stage.stack.send(name)
        watched.status = deck.wait(session, until=lambda status: status["status"] == "completed", timeout=120)
        found.seconds = time.monotonic() - began
        checked = check_calls(deck, [watched], inflictor.struck)
        comparison, booked = checked.comparison, checked.booked
        found.findings = [*check_sessions(deck, [watched]), *comparison.findings]
        found.enriched, found.requests = watched.status["enriched"], comparison.sent
        found.in_flight, found.repeated = in_flight(booked, moment), comparison.repeated
        found.unknown = comparison.states["unknown"]
        unkept = sum(row.state == "unknown" and not row.response_id for row in booked)
    if found.enriched != ROWS:
        found.findings.append(f"{ROWS - found.enriched} rows are not enriched")
    # In background a call is repeated only if it died before its id was kept: some 40 ms after it left.
    allowed = unkept if options.get("call-mode") == "background" else min(found.in_flight, found.unknown)
    if found.repeated > allowed:
        found.findings.append(f"{found.repeated} calls were repeated; {allowed} may be")
    if found.unknown > found.in_flight:
        found.findings.append("more calls are unknown than were in flight")
    return found
