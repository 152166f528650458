"""A stand-in for OpenAI's Responses API that says in every bio that it is simulated.

`python -m infra.local.upstreams.openai --port N [--latency 0.2] [--faults JSON] [--log FILE]` serves
POST /v1/responses and, beside it, /control (GET shows, POST changes the behaviour), /control/log and /control/reset.

It is a bare asyncio protocol with as little parsing as will do, because it shares its two cores with the system
whose speed is measured: a framework's 0.5 to 1 ms for each request would be counted against Rowlift (figures in
`tests/bench/README.md`). The connection is in `http_server.py`, what is answered is in `openai_answers.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from infra.local.upstreams.http_server import Answer, Connection, Cut, Hang, Reply, Request
from infra.local.upstreams.openai_answers import FAULTS, Bodies, error_body, validate

_NAME_LINE = re.compile(r'^\{"artist_name":.*\}$', re.MULTILINE)
# "fault=500" in a name makes every try of that artist fail so, "fault=500:2" the first two.
_NAME_FAULT = re.compile(r"fault=([a-z0-9_]+)(?::(\d+))?")


@dataclass(kw_only=True, slots=True)
class Behaviour:
    """How the stand-in behaves now; POST /control changes any of it."""

    latency: float = 0.0  # seconds until an answer
    slow: float = 5.0  # seconds until an answer under the fault "slow"
    retry_after: int = 1  # seconds in the Retry-After header of a 429
    seed: int = 0  # same seed, same faults for the same artists and tries
    key_ok: bool = True  # false: every key is answered 401
    quota: bool = True  # false: every request is answered 429 insufficient_quota
    faults: dict[str, float] = field(default_factory=dict)  # fault -> share of the requests
    named: dict[str, str] = field(default_factory=dict)  # part of an artist's name -> fault, or fault:tries
    limit_requests: int | None = 30_000  # what the rate-limit headers say; null leaves them out
    limit_tokens: int | None = 150_000_000

    def change(self, wanted: dict[str, Any]) -> str | None:
        """Take over what is given; answers what is wrong with it, or nothing."""
        unknown = set(wanted) - set(self.__slots__)
        if unknown:
            return f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(self.__slots__)}"
        named = [fault.partition(":")[0] for fault in wanted.get("named", {}).values()]
        bad = {*wanted.get("faults", {}), *named} - set(FAULTS)
        if bad:
            return f"unknown faults: {', '.join(sorted(bad))}; there are {', '.join(FAULTS)}"
        for name, value in wanted.items():
            setattr(self, name, value)
        return None

    def fault(self, name: str, tries: int) -> str | None:
        """The fault this try of this artist meets, if any; the same for the same seed, name and try."""
        if "fault=" in name and (found := _NAME_FAULT.search(name)):
            return found[1] if found[1] in FAULTS and tries <= int(found[2] or tries) else None
        for part, fault in self.named.items():
            if part in name:
                fault, _, first = fault.partition(":")
                return fault if tries <= int(first or tries) else None
        if not self.faults:
            return None
        digest = blake2b(f"{self.seed}|{name}|{tries}".encode("utf-8", "replace"), digest_size=8).digest()
        point = int.from_bytes(digest, "big") / 2**64
        for fault, share in self.faults.items():
            if point < share:
                return fault
            point -= share
        return None


@dataclass(kw_only=True, slots=True)
class Call:
    """One request for an answer, as /control/log tells it."""

    key: str  # the artist's name, or the input's digest where there is none
    input: str  # digest of the input: tells artists of one name apart
    started: float
    ended: float | None = None  # null while it is waiting
    state: str = "open"  # open, answered (200), failed, abandoned (the client went away first), cut
    status: int | None = None
    fault: str | None = None
    response_id: str | None = None


class Log:
    """Every call since the last reset, and counts for each artist."""

    def __init__(self, path: str | None) -> None:
        self.calls: list[Call] = []
        self.keys: dict[str, dict[str, int]] = {}
        self.open = 0
        self.most_open = 0
        self._file = open(path, "ab", buffering=1 << 16) if path else None  # noqa: SIM115  (lives as long as the process)

    def start(self, key: str, digest: str) -> tuple[Call, int]:
        """A new call and which try of its artist it is, from 1."""
        counts = self.keys.get(key)
        if counts is None:
            counts = self.keys[key] = {"started": 0, "answered": 0, "failed": 0}
        counts["started"] += 1
        call = Call(key=key, input=digest, started=time.time())
        self.calls.append(call)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        return call, counts["started"]

    def end(self, call: Call, state: str, status: int | None = None) -> None:
        """Note how a call ended; only the first end counts."""
        if call.ended is not None:
            return
        call.ended, call.state, call.status = time.time(), state, status
        self.open -= 1
        self.keys[call.key]["answered" if state == "answered" else "failed"] += 1
        if self._file:
            self._file.write(orjson.dumps(call, option=orjson.OPT_APPEND_NEWLINE))

    def told(self, *, entries: bool) -> dict[str, Any]:
        """What GET /control/log answers."""
        answered = sum(counts["answered"] for counts in self.keys.values())
        told: dict[str, Any] = {
            "total": len(self.calls), "answered": answered, "open": self.open, "most_open": self.most_open,
            "failed": len(self.calls) - answered - self.open, "keys": self.keys,
        }  # fmt: skip
        if entries:
            told["calls"] = self.calls
        return told

    def reset(self) -> None:
        """Forget everything; calls still open are forgotten too."""
        for call in self.calls:
            call.ended = call.ended or 0.0
        self.calls, self.keys, self.open, self.most_open = [], {}, 0, 0

    def flush(self) -> None:
        """Write what is buffered to the log file."""
        if self._file:
            self._file.flush()


class SimulatedOpenAI:
    """Turns requests into replies; knows nothing of sockets."""

    def __init__(self, behaviour: Behaviour, log: Log) -> None:
        self.behaviour = behaviour
        self.log = log
        self.bodies = Bodies()

    def answer(self, request: Request) -> Answer:
        """The reply to a request, with how long it is to wait."""
        if request.path in ("/v1/responses", "/responses") and request.method == "POST":
            return self._respond(request)
        if request.path.startswith("/control"):
            return self._control(request)
        if request.path == "/health":
            return _json(200, {"ok": True, "simulated": True})
        return _json(404, error_body(f"Invalid URL ({request.method} {request.path})", "invalid_request_error"))

    def _control(self, request: Request) -> Answer:
        path, _, query = request.path.partition("?")
        if path == "/control/log":
            return _json(200, self.log.told(entries="entries=0" not in query))
        if path == "/control/reset" and request.method == "POST":
            self.log.reset()
            return _json(200, {"reset": True})
        if path != "/control":
            return _json(404, {"error": "there are /control, /control/log and /control/reset"})
        if request.method == "POST":
            try:
                wrong = self.behaviour.change(orjson.loads(request.body))
            except (ValueError, AttributeError, TypeError) as error:
                wrong = str(error)
            if wrong:
                return _json(400, {"error": wrong})
        return _json(200, self.behaviour)

    def _respond(self, request: Request) -> Answer:
        behaviour = self.behaviour
        try:
            wanted = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            wanted = None
        name, digest = _who(wanted)
        call, tries = self.log.start(name or digest, digest)
        refusal = validate(wanted, request.headers.get(b"authorization", b""), key_ok=behaviour.key_ok)
        fault = None if refusal else self._fault(name, tries)
        call.fault = fault
        wait = behaviour.slow if fault == "slow" else behaviour.latency
        if fault == "hang":
            return Hang(lambda: self.log.end(call, "abandoned"))
        headers = self._headers()
        if refusal:
            reply = Reply(refusal[0], orjson.dumps(refusal[1]), headers)
        else:
            reply = self.bodies.build(wanted, name, digest, tries, fault, headers, behaviour.retry_after)
        return self._finished(call, reply, wait, fault)

    def _fault(self, name: str, tries: int) -> str | None:
        return self.behaviour.fault(name, tries) if self.behaviour.quota else "quota"

    def _finished(self, call: Call, reply: Reply, wait: float, fault: str | None) -> Answer:
        if reply.status == 200:
            call.response_id = reply.response_id

        def ended(sent: bool) -> None:
            state = "answered" if reply.status == 200 else "failed"
            self.log.end(call, ("cut" if fault == "cut" else state) if sent else "abandoned", reply.status)

        if fault == "cut":
            return Cut(reply, wait, ended)
        return Answer(reply, wait, ended)

    def _headers(self) -> bytes:
        behaviour = self.behaviour
        request_id = b"x-request-id: req_sim%x\r\nopenai-version: 2020-10-01\r\nopenai-processing-ms: %d\r\n" % (
            len(self.log.calls), int(behaviour.latency * 1000),
        )  # fmt: skip
        if behaviour.limit_requests is None or behaviour.limit_tokens is None:
            return request_id
        return request_id + (
            b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-requests: %d\r\n"
            b"x-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-requests: 2ms\r\nx-ratelimit-reset-tokens: 0s\r\n"
            % (
                behaviour.limit_requests,
                behaviour.limit_tokens,
                behaviour.limit_requests - 1,
                behaviour.limit_tokens - 900,
            )
        )


def _json(status: int, value: Any) -> Answer:
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return Answer(Reply(status, body, b""), 0.0, None)


def _who(wanted: Any) -> tuple[str, str]:
    """The artist's name, empty where none is found, and a digest of the input."""
    text = wanted.get("input") if isinstance(wanted, dict) else None
    if not isinstance(text, str):
        text = "" if text is None else orjson.dumps(text).decode()
    digest = blake2b(text.encode(), digest_size=12).hexdigest()
    found = _NAME_LINE.search(text)
    if found is None:
        return "", digest
    try:
        return str(orjson.loads(found[0])["artist_name"]), digest
    except ValueError:
        return "", digest


async def serve(port: int, simulated: SimulatedOpenAI) -> None:
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


def main(arguments: list[str] | None = None) -> None:
    """Read the options, then serve."""
    parser = argparse.ArgumentParser(prog="infra.local.upstreams.openai", description="A simulated OpenAI.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; the ready line says which")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds until an answer")
    parser.add_argument("--faults", type=orjson.loads, default={}, help='share of requests, as {"429": 0.03}')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", help="file that receives one JSON line for each finished call")
    chosen = parser.parse_args(arguments)
    behaviour = Behaviour()
    wrong = behaviour.change({"latency": chosen.latency, "faults": chosen.faults, "seed": chosen.seed})
    if wrong:
        parser.error(wrong)
    asyncio.run(serve(chosen.port, SimulatedOpenAI(behaviour, Log(chosen.log))))


if __name__ == "__main__":
    main()
