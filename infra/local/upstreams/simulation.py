"""What the simulated upstreams have in common: their behaviour, their log, /control and the process that serves.

Beside the paths of its upstream each one answers /control (GET shows the behaviour, POST changes it), /control/log
(every call, and counts; with ?entries=0 the counts only), POST /control/reset (forgets the calls) and /health.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import exp
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

from infra.local.upstreams.http_server import Answer, Connection, Cut, Hang, Reply, Request

# "fault=500" in a name makes every try of it fail so, "fault=500:2" the first two.
_NAME_FAULT = re.compile(r"fault=([a-z0-9_]+)(?::(\d+))?")


class Behaviour(BaseModel):
    """How a stand-in behaves now; POST /control changes any of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    known_faults: ClassVar[Collection[str]] = ()  # every misbehaviour there is

    latency: float = Field(default=0.0, ge=0)  # seconds until an answer; their mean where they are spread
    # The standard deviation of their logarithm (lognormal); 0: all take alike long.
    spread: float = Field(default=0.0, ge=0, le=3)
    slow: float = Field(default=5.0, ge=0)  # seconds until an answer under the fault "slow"
    seed: int = 0  # same seed, same faults for the same names and tries
    key_ok: bool = True  # false: every key is answered 401
    faults: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = {}  # fault -> share of the requests
    named: Mapping[str, str] = {}  # part of a name -> fault, or fault:tries

    @field_validator("faults", "named")
    @classmethod
    def _known(cls, value: Mapping[str, Any], info: Any) -> Mapping[str, Any]:
        named = info.field_name == "named"
        bad = {fault.partition(":")[0] for fault in (value.values() if named else value)} - set(cls.known_faults)
        if bad:
            raise ValueError(f"unknown: {', '.join(sorted(bad))}; there are {', '.join(cls.known_faults)}")
        if named and any(tries and not tries.isdecimal() for _, _, tries in (f.partition(":") for f in value.values())):
            raise ValueError("it is fault, or fault:tries")
        return value

    def changed(self, wanted: Mapping[str, Any]) -> Self:
        """The behaviour with what is given; raises ValueError or TypeError where that is wrong."""
        return self.model_validate({**self.model_dump(), **wanted})

    def fault(self, name: str, tries: int, *, whole: bool = False) -> str | None:
        """The fault this try of this name meets, if any; the same for the same seed, name and try.

        `whole`: entries of `named` have to be the name, not only a part of it.
        """
        if "fault=" in name and (found := _NAME_FAULT.search(name)):
            return found[1] if found[1] in self.known_faults and tries <= int(found[2] or tries) else None
        for part, fault in self.named.items():
            if part == name if whole else part in name:
                fault, _, first = fault.partition(":")
                return fault if tries <= int(first or tries) else None
        return self.drawn(self.faults, name, tries)

    def seconds(self, name: str, tries: int, fault: str | None) -> float:
        """Seconds until this try of this name is answered; the same for the same seed, name and try."""
        if fault == "slow":
            return self.slow
        if not self.spread:
            return self.latency
        drawn = random.Random(f"{self.seed}|{name}|{tries}").gauss(0, self.spread)
        return self.latency * exp(drawn - self.spread**2 / 2)

    def drawn(self, shares: Mapping[str, float], name: str, tries: int) -> str | None:
        """The fault this try of this name meets where each has its share."""
        if not shares:
            return None
        digest = blake2b(f"{self.seed}|{name}|{tries}".encode("utf-8", "replace"), digest_size=8).digest()
        point = int.from_bytes(digest, "big") / 2**64
        for fault, share in shares.items():
            if point < share:
                return fault
            point -= share
        return None


@dataclass(kw_only=True, slots=True)
class Call:
    """One request, as /control/log tells it."""

    key: str
    started: float = 0.0
    ended: float | None = None  # null while it is waiting
    state: str = "open"  # open, answered (200), failed, abandoned (the client went away first), cut
    status: int | None = None
    fault: str | None = None


class Log:
    """Every call since the last reset, and counts for each key."""

    def __init__(self, path: str | None = None) -> None:
        self.calls: list[Call] = []
        self.keys: dict[str, dict[str, int]] = {}
        self.open = 0
        self.most_open = 0
        self.per_second_max = 0  # the most calls that arrived in any second, however it is laid
        self._arrived: deque[float] = deque()  # within the last second
        self._file = open(path, "ab", buffering=1 << 16) if path else None  # noqa: SIM115  (lives as long as the process)

    def start(self, call: Call) -> int:
        """Note a call as begun; which try of its key it is, from 1."""
        counts = self.keys.get(call.key)
        if counts is None:
            counts = self.keys[call.key] = {"started": 0, "answered": 0, "failed": 0}
        counts["started"] += 1
        call.started = time.time()
        self.calls.append(call)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        now = time.monotonic()
        self._arrived.append(now)
        while self._arrived[0] <= now - 1.0:
            self._arrived.popleft()
        self.per_second_max = max(self.per_second_max, len(self._arrived))
        return counts["started"]

    def end(self, call: Call, state: str, status: int | None = None) -> None:
        """Note how a call ended; only the first end counts."""
        if call.ended is not None:
            return
        call.ended, call.state, call.status = time.time(), state, status
        self.open -= 1
        self.keys[call.key]["answered" if state == "answered" else "failed"] += 1
        if self._file:
            self._file.write(orjson.dumps(call, option=orjson.OPT_APPEND_NEWLINE))

    def finished(self, call: Call, reply: Reply, wait: float) -> Answer:
        """The answer that sends the reply after `wait` seconds, or misbehaves by the fault, and notes the end."""
        if call.fault == "hang":
            return Hang(lambda: self.end(call, "abandoned"))
        state = "answered" if reply.status == 200 else "failed"

        def ended(sent: bool) -> None:
            self.end(call, ("cut" if call.fault == "cut" else state) if sent else "abandoned", reply.status)

        return (Cut if call.fault == "cut" else Answer)(reply, wait, ended)

    def told(self, *, entries: bool) -> dict[str, Any]:
        """What GET /control/log answers."""
        answered = sum(counts["answered"] for counts in self.keys.values())
        told: dict[str, Any] = {
            "total": len(self.calls), "answered": answered, "open": self.open, "most_open": self.most_open,
            "failed": len(self.calls) - answered - self.open, "per_second_max": self.per_second_max, "keys": self.keys,
        }  # fmt: skip
        if entries:
            told["calls"] = self.calls
        return told

    def reset(self) -> None:
        """Forget everything; calls still open are forgotten too."""
        for call in self.calls:
            call.ended = call.ended or 0.0
        self.calls, self.keys, self.open, self.most_open, self.per_second_max = [], {}, 0, 0, 0
        self._arrived.clear()

    def flush(self) -> None:
        """Write what is buffered to the log file."""
        if self._file:
            self._file.flush()


_Chosen = TypeVar("_Chosen", bound=Behaviour)


class Simulated(ABC, Generic[_Chosen]):
    """An upstream's stand-in: requests in, answers out; knows nothing of sockets."""

    def __init__(self, behaviour: _Chosen, log: Log) -> None:
        self.behaviour = behaviour
        self.log = log

    def answer(self, request: Request) -> Answer:
        """The reply to a request, with how long it is to wait."""
        if request.path == "/health":
            return json_answer(200, {"ok": True, "simulated": True})
        return self._control(request) if request.path.startswith("/control") else self.respond(request)

    @abstractmethod
    def respond(self, request: Request) -> Answer:
        """The reply to a request that is for the upstream."""

    def _control(self, request: Request) -> Answer:
        path, _, query = request.path.partition("?")
        if path == "/control/log":
            return json_answer(200, self.log.told(entries="entries=0" not in query))
        if path == "/control/reset" and request.method == "POST":
            self.log.reset()
            return json_answer(200, {"reset": True})
        if path != "/control":
            return json_answer(404, {"error": "there are /control, /control/log and /control/reset"})
        if request.method == "POST":
            try:
                self.behaviour = self.behaviour.changed(orjson.loads(request.body))
            except (ValueError, TypeError) as error:
                return json_answer(400, {"error": str(error)})
        return json_answer(200, self.behaviour.model_dump())


def json_answer(status: int, value: Any) -> Answer:
    """An answer at once."""
    return Answer(Reply(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), b""), 0.0, None)


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """The options that every stand-in has."""
    options = argparse.ArgumentParser(prog=f"infra.local.upstreams.{module}", description=description)
    options.add_argument("--port", type=int, default=0, help="0 takes a free one; the ready line says which")
    options.add_argument("--latency", type=float, default=0.0, help="seconds until an answer")
    options.add_argument("--faults", type=orjson.loads, default={}, help='share of requests, as {"429": 0.03}')
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--log", help="file that receives one JSON line for each finished call")
    return options


async def serve(port: int, simulated: Simulated[Any]) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT, which end the process at once."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(loop, simulated.answer), "127.0.0.1", port, backlog=1024, reuse_address=True
    )

    def stop() -> None:
        simulated.log.flush()
        # Not loop.stop(): hundreds of held connections and their timers would be wound up one by one.
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    sys.stdout.write(orjson.dumps({"ready": True, "port": server.sockets[0].getsockname()[1]}).decode() + "\n")
    sys.stdout.flush()
    while True:
        await asyncio.sleep(1.0)
        simulated.log.flush()
