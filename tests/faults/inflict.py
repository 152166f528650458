"""Does to the stage what the plan says, and remembers when."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from infra.local.client import StackError
from tests.faults.plan import Fault
from tests.faults.stage import Stage

AWAITED, UNDER_WAY = 8.0, 8  # seconds, calls
LATE, TOO_LATE = 1.8, 5.0  # seconds a slow answer takes: the caller waits 3
POSTGRES = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}


@dataclass(kw_only=True, slots=True)
class Struck:
    """A fault that was inflicted, by the calendar."""

    fault: Fault
    began: float
    ended: float | None = None
    reached: str = ""  # whom


class Inflictor:
    """Begins and ends faults on one stage."""

    def __init__(self, stage: Stage, seed: int, *, latency: float = 0.0) -> None:
        self._stage, self._random, self._latency = stage, random.Random(f"whom {seed}"), latency
        self._storms: dict[int, Fault] = {}
        self.struck: list[Struck] = []
        self._begin: Mapping[str, Callable[[Fault], str]] = {
            "kill_worker": self._kill_worker,
            "kill_function": self._kill_group,
            "stop_worker": self._stop_worker,
            "postgres": self._postgres,
            "cut": self._cut,
            "cut_answers": self._cut_answers,
            "refuse": self._refuse,
            "away": self._go_away,
            "delay": self._delay,
            "silence": self._silence,
            "broker": self._kill_group,
            "pusher": self._kill_group,
            "storm": self._storm,
            "films_storm": self._storm,
            "systemic": self._storm,
        }
        self._stopped: dict[int, psutil.Process] = {}

    def begin(self, fault: Fault) -> Struck:
        """Inflict a fault; one that finds nobody to hit says so."""
        struck = Struck(fault=fault, began=time.time())
        self.struck.append(struck)
        try:
            struck.reached = self._begin[fault.kind](fault)
        except (psutil.Error, StackError, ProcessLookupError, httpx.HTTPError) as error:
            struck.reached = f"nobody ({type(error).__name__})"
        if not fault.lasts:
            struck.ended = time.time()
        return struck

    def end(self, struck: Struck) -> None:
        """Let a fault that lasts be over."""
        proxy, fault = self._stage.proxy, struck.fault
        match fault.kind:
            case "stop_worker":
                self._go_on(fault)
            case "refuse":
                proxy.refusing = False
            case "away":
                proxy.refusing = False
                self._storms.pop(id(fault), None)
                self._weather()
            case "delay":
                proxy.delay = 0.0
            case "silence":
                proxy.speak()
            case _:
                self._storms.pop(id(fault), None)
                self._weather()
        struck.ended = time.time()

    def calm(self) -> None:
        """Let everything that lasts be over."""
        for struck in self.struck:
            if struck.ended is None:
                self.end(struck)
        self._stage.proxy.answers_to_lose = 0

    def _kill_worker(self, fault: Fault) -> str:
        workers = self._stage.workers(fault.target)
        if not workers:
            return "nobody"
        victim = self._random.choice(workers)
        victim.kill()
        return f"pid {victim.pid}"

    def _kill_group(self, fault: Fault) -> str:
        return f"pid {self._stage.stack.send(fault.target)}"

    def _stop_worker(self, fault: Fault) -> str:
        workers = self._stage.workers(fault.target)
        if not workers:
            return "nobody"
        victim = self._random.choice(workers)
        victim.suspend()
        self._stopped[id(fault)] = victim
        return f"pid {victim.pid}"

    def _go_on(self, fault: Fault) -> None:
        with contextlib.suppress(KeyError, psutil.NoSuchProcess):
            self._stopped.pop(id(fault)).resume()

    def _postgres(self, fault: Fault) -> str:
        pid = self._stage.stack.pid_of("postgres")
        if pid is None:
            return "nobody"
        server = psutil.Process(pid)
        if fault.target == "backend":  # one that serves a connection: the server starts all of them anew
            serving = [child for child in server.children() if "rowlift" in " ".join(child.cmdline())]
            if not serving:
                return "nobody"
            server = self._random.choice(serving)
        server.send_signal(POSTGRES.get(fault.target, signal.SIGKILL))
        return f"pid {server.pid}"

    def _cut(self, fault: Fault) -> str:
        self._stage.proxy.cut()
        return "every connection"

    def _cut_answers(self, fault: Fault) -> str:
        self._stage.proxy.answers_to_lose += round(fault.details["answers"])
        return "the next answers"

    def _refuse(self, fault: Fault) -> str:
        self._stage.proxy.refusing = True
        self._stage.proxy.cut()
        return "every connection"

    def _go_away(self, fault: Fault) -> str:
        """Once answers are under way, those of one message some time apart: it is they that shall find nobody."""
        self._storm(fault)
        time.sleep(LATE / 3)
        deadline = time.monotonic() + AWAITED
        while (open_ := self._stage.deck.calls()["open"]) < UNDER_WAY and time.monotonic() < deadline:
            time.sleep(0.05)
        return f"{self._refuse(fault)}, with {open_} calls under way"

    def _delay(self, fault: Fault) -> str:
        self._stage.proxy.delay = fault.details["by"]
        return "every block"

    def _silence(self, fault: Fault) -> str:
        self._stage.proxy.fall_silent()
        return "every connection"

    def _storm(self, fault: Fault) -> str:
        self._storms[id(fault)] = fault
        self._weather()
        return fault.target

    def _weather(self) -> None:
        """Tell the upstreams of all storms there are now."""
        storms = list(self._storms.values())
        shares: dict[str, dict[str, float]] = {"openai": {}, "tmdb": {}}
        for storm in (one for one in storms if one.kind != "systemic"):
            shares[storm.target] |= storm.details
        systemic: dict[str, Any] = {
            name: not any(one.kind == "systemic" and one.target == name for one in storms)
            for name in ("quota", "key_ok")
        }
        slow = LATE if any(one.kind == "away" for one in storms) else TOO_LATE
        openai = {"faults": _at_most_all(shares["openai"]), "latency": self._latency, "slow": slow}
        self._stage.deck.openai.misbehave(**openai, **systemic)
        self._stage.deck.tmdb.misbehave(faults=_at_most_all(shares["tmdb"]))


def _at_most_all(shares: Mapping[str, float]) -> dict[str, float]:
    whole = max(1.0, sum(shares.values()))
    return {name: share / whole for name, share in shares.items()}
