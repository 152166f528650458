"""One seed from its first file to its last check, and many seeds on one stack."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import httpx

from infra.local.client import StackError
from infra.local.topology import ROOT
from shared.errors import RowliftError
from tests.faults.check import answers_logged, check_calls, check_sessions, pending_objects
from tests.faults.compare import in_flight, most_in
from tests.faults.inflict import Inflictor
from tests.faults.person import Person, Watched
from tests.faults.plan import Drop, Fault, Plan, make_plan
from tests.faults.report import Report, told
from tests.faults.rows import make_file
from tests.faults.stage import CONCURRENT, RATE, Stage, open_stage

PATIENCE = 90.0  # seconds after the last fault within which every session has to have ended
UPSTREAM_PATIENCE = 4.0
FILMS = ROOT / "examples/letterboxd-demo"
ALWAYS: Mapping[str, str] = {"max-failed": "100%"}  # failures of a storm are redone, they end no session
PUT_ASIDE, TAKEN_IN = "Paid answers put aside", "Answers put aside were taken in"  # as the functions log it
DEADLY = ("kill_worker", "kill_function", "stop_worker")


class Seed:
    """One plan played on a stage."""

    def __init__(self, stage: Stage, plan: Plan, options: Mapping[str, str]) -> None:
        self.stage, self.plan, self.deck = stage, plan, stage.deck
        self._log_from = len(stage.stack.log)
        self._inflictor = Inflictor(stage, plan.seed, latency=plan.latency)
        self.report = Report(plan=plan, options=options, struck=self._inflictor.struck)
        self.sessions: list[Watched] = []
        self._options = {**ALWAYS, **options}
        self._person = Person(self.deck)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._began = 0.0  # by the monotonic clock

    def play(self) -> Report:
        """Everything the plan says, then every check."""
        began = time.monotonic()
        self._prepare()
        self._schedule()
        self._run()
        self._inflictor.calm()
        self._person.wait()
        if waiting := self._wait_for_the_end():
            self.report.findings.append(f"not ended {PATIENCE:g} s after the last fault: {', '.join(waiting)}")
        self._check()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _prepare(self) -> None:
        self.deck.openai.misbehave(latency=self.plan.latency, faults={}, key_ok=True, quota=True, seed=self.plan.seed)
        self.deck.tmdb.misbehave(latency=0.05, faults={}, seed=self.plan.seed)
        self.deck.openai.forget()
        self.stage.stack.set_push_faults(duplicate=self.plan.duplicate, late=self.plan.late, seed=self.plan.seed)

    def _at(self, moment: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), do))

    def _schedule(self) -> None:
        for drop in self.plan.drops:
            self._at(drop.at, partial(self._drop, drop))
        if self.plan.films_at is not None:
            self._at(self.plan.films_at, self._drop_films)
        for fault in self.plan.faults:
            self._at(fault.at, partial(self._strike, fault))

    def _strike(self, fault: Fault) -> None:
        struck = self._inflictor.begin(fault)
        if fault.lasts:
            self._at(time.monotonic() - self._began + fault.lasts, partial(self._inflictor.end, struck))

    def _drop(self, drop: Drop, *, copy: bool = False) -> None:
        file = make_file(self.plan.seed, drop)
        options = dict(self._options)
        if drop.budget is not None:
            options["budget"] = f"{drop.budget * drop.unique:.4f}"
        session = self.deck.drop(file.data, f"artists/{drop.name}{'-again' if copy else ''}.csv", **options)
        watched = Watched(session=session, drop=drop, file=file, copy=copy)
        self.sessions.append(watched)
        if copy:
            return
        if drop.again_at is not None:
            self._at(drop.again_at, lambda: self._drop(drop, copy=True))
        if drop.pause is not None:
            self._at(drop.pause[0], lambda: self._person.soon(watched, "pause"))
            self._at(drop.pause[1], lambda: self._person.soon(watched, "resume"))
        if drop.cancel_at is not None:
            self._at(drop.cancel_at, lambda: self._person.soon(watched, "cancel"))

    def _drop_films(self) -> None:
        for path in sorted(FILMS.rglob("*.csv")):
            name = f"movies/seed-{self.plan.seed}/{path.relative_to(FILMS)}"
            session = self.deck.drop(path.read_bytes(), name)
        self.sessions.append(Watched(session=session, drop=None, file=None))

    def _run(self) -> None:
        self._began = time.monotonic()
        while self._events:
            moment, _, do = heapq.heappop(self._events)
            time.sleep(max(0.0, self._began + moment - time.monotonic()))
            do()

    def _wait_for_the_end(self) -> list[str]:
        """What has not ended in time, by name."""
        deadline = time.monotonic() + PATIENCE
        waiting, calls_open = list(self.sessions), True
        while (waiting or calls_open) and time.monotonic() < deadline:
            waiting = [one for one in waiting if not self._ended(one)]
            calls_open = bool(waiting) or self._calls_open()
            time.sleep(0.15)
        self._wait_for_the_upstream()
        return [one.name for one in waiting] or (["calls"] if calls_open else [])

    def _wait_for_the_upstream(self) -> None:
        """Until the upstream has noticed who went away; its log is not whole before."""
        deadline = time.monotonic() + UPSTREAM_PATIENCE
        while self.deck.calls()["open"] and time.monotonic() < deadline:
            time.sleep(0.1)

    def _ended(self, one: Watched) -> bool:
        try:
            return self._person.see_to(one)
        except RowliftError:  # PostgreSQL is still coming up
            return False

    def _calls_open(self) -> bool:
        ids = ", ".join(f"'{one.session}'" for one in self.sessions)
        try:
            return bool(
                self.deck.execute(f"SELECT 1 FROM calls WHERE session_id IN ({ids}) AND state = 'started' LIMIT 1")
            )
        except RowliftError:
            return True

    def _check(self) -> None:
        report = self.report
        checked = check_calls(self.deck, self.sessions, report.struck)
        comparison, sent, booked = checked.comparison, checked.sent, checked.booked
        report.findings += check_sessions(self.deck, self.sessions)
        report.findings += comparison.findings
        self._check_put_aside()
        report.calls, report.unknown = comparison.booked, comparison.unknown
        report.lost, report.repeated, report.losses = comparison.lost, comparison.repeated, checked.losses
        report.busiest = most_in(sent, 1.0)
        if report.busiest > RATE + CONCURRENT:
            report.findings.append(f"I8: {report.busiest} requests within a second; {RATE} are allowed")
        last = max((call.started for call in booked), default=0.0)
        report.idle = sum(one.began > last for one in self._inflictor.struck)
        report.raised = sum(one.budgets for one in self.sessions)
        report.redone = sum(one.reprocessed > 0 for one in self.sessions)
        report.items = sum(one.status.get("total", 0) for one in self.sessions)
        report.in_flight = sum(
            in_flight(booked, one.began)
            for one in self._inflictor.struck
            if one.fault.kind in DEADLY and one.fault.target == "process-artists"
        )

    def _check_put_aside(self) -> None:
        report, log = self.report, self.stage.stack.log[self._log_from :]
        report.put_aside = answers_logged(log, PUT_ASIDE)
        report.taken_in = answers_logged(log, TAKEN_IN)
        report.left_aside = pending_objects(self.deck, self.sessions)
        # A worker that was stopped may put aside what nobody waits for any more.
        if report.left_aside and not any(one.fault.kind == "stop_worker" for one in report.struck):
            report.findings.append(f"{report.left_aside} objects with answers put aside were never taken in")


def play(stage: Stage, plan: Plan, options: Mapping[str, str], folder: Path) -> Report:
    """A seed's report; the evidence of a failed one is written to `folder`."""
    log_from = len(stage.stack.log)
    seed = Seed(stage, plan, options)
    try:
        report = seed.play()
    except (StackError, RowliftError, httpx.HTTPError, AssertionError) as error:
        report = seed.report
        report.findings.append(f"the campaign itself could not go on: {type(error).__name__}: {error}")
    if report.findings:
        _keep_evidence(seed, report, folder, log_from)
    return report


def _keep_evidence(seed: Seed, report: Report, folder: Path, log_from: int) -> None:
    """The log, and the rows and requests findings speak of."""
    place = folder / f"seed-{report.plan.seed}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "log").write_text(seed.stage.stack.log[log_from:], encoding="utf-8")
    (place / "report").write_text("\n".join(told(report)) + "\n", encoding="utf-8")
    ids = ", ".join(f"'{one.session}'" for one in seed.sessions)
    with contextlib.suppress(RowliftError, httpx.HTTPError):
        for table in ("sessions", "files", "items", "calls"):
            key = "id" if table == "sessions" else "session_id"
            rows = seed.deck.execute(f"SELECT row_to_json(t)::text FROM {table} t WHERE {key} IN ({ids})")
            (place / f"{table}.jsonl").write_text("\n".join(row[0] for row in rows), encoding="utf-8")
        sent = httpx.get(f"{seed.deck.openai.url}/control/log", timeout=30).json()["calls"]
        (place / "requests.jsonl").write_text("\n".join(map(json.dumps, sent)), encoding="utf-8")


def run(seeds: Sequence[int], *, folder: Path, seconds: float, options: Mapping[str, str]) -> Iterator[Report]:
    """The report of each seed, on one stack as long as no seed breaks it."""
    waiting = list(seeds)
    for life in itertools.count(1):
        with open_stage(folder / f"stack-{life}") as stage:
            while waiting:
                report = play(stage, make_plan(waiting.pop(0), seconds), options, folder)
                yield report
                if report.findings:  # what it left behind must not be the next one's
                    break
        if not waiting:
            return
