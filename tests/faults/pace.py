"""How long the same file takes undisturbed, and with 5 % of notices twice and a kill every two seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.check import check_calls, check_sessions
from tests.faults.compare import most_in
from tests.faults.inflict import Inflictor, Struck
from tests.faults.person import Watched
from tests.faults.plan import Drop, Fault
from tests.faults.rows import make_file
from tests.faults.stage import Stage, open_stage

ROWS = 6_000
RATE = 150
KILL_EVERY = 2.0
BAR = 2.0
LATENCY = 0.3


@dataclass(kw_only=True)
class Pace:
    """The figures."""

    findings: list[str] = field(default_factory=list)
    undisturbed: float = 0.0
    disturbed: float = 0.0
    kills: int = 0
    repeated: int = 0
    unknown: int = 0
    busiest: list[int] = field(default_factory=list)  # requests in any second, of each run

    @property
    def ratio(self) -> float:
        """Disturbed to undisturbed."""
        return self.disturbed / self.undisturbed

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{ROWS} rows at {RATE} a second: {self.undisturbed:.1f} s undisturbed, {self.disturbed:.1f} s with 5 % of "
            f"notices twice and {self.kills} kills: ratio {self.ratio:.2f} (bar {BAR:g}); {self.repeated} calls "
            f"repeated, {self.unknown} unknown; at most {' and '.join(map(str, self.busiest))} requests in a second",
            *(f"  FOUND {finding}" for finding in self.findings),
        ]


def measure(folder: Path, *, options: Mapping[str, str], seed: int) -> Pace:
    """Both runs on one stack."""
    found = Pace()
    with open_stage(folder / "pace", rate=RATE) as stage:
        stage.deck.misbehave(latency=LATENCY)
        found.undisturbed = _run(stage, found, seed, options)
        stage.stack.set_push_faults(duplicate=0.05, seed=seed)
        over = threading.Event()
        inflictor = Inflictor(stage, seed)
        killer = threading.Thread(target=_kill, args=(inflictor, found, over), daemon=True)
        killer.start()
        try:
            found.disturbed = _run(stage, found, seed + 1_000_000, options, inflictor.struck)
        finally:
            over.set()
            killer.join(30)
    if found.ratio > BAR:
        found.findings.append(f"the ratio is above {BAR:g}")
    return found


def _kill(inflictor: Inflictor, found: Pace, over: threading.Event) -> None:
    while not over.wait(KILL_EVERY):
        reached = inflictor.begin(Fault(at=0, kind="kill_worker", target="process-artists")).reached
        found.kills += reached.startswith("pid")


def _run(stage: Stage, found: Pace, seed: int, options: Mapping[str, str], struck: Sequence[Struck] = ()) -> float:
    drop = Drop(at=0, name=f"pace-{seed}", first=0, unique=ROWS)
    file = make_file(seed, drop)
    stage.deck.openai.forget()
    began = time.monotonic()
    session = stage.deck.drop(file.data, f"artists/{drop.name}.csv", **options)
    watched = Watched(session=session, drop=drop, file=file)
    watched.status = stage.deck.wait(session, until=lambda s: s["status"] == "completed", timeout=300)
    seconds = time.monotonic() - began
    checked = check_calls(stage.deck, [watched], struck)
    comparison = checked.comparison
    found.busiest.append(most_in(checked.sent, 1.0))
    found.findings += [*check_sessions(stage.deck, [watched]), *comparison.findings]
    found.repeated, found.unknown = comparison.repeated, comparison.states["unknown"]
    return seconds
