"""A stand-in for OpenAI's Responses API that says in every bio that it is simulated.

`python -m infra.local.upstreams.openai --port N [--latency 0.2] [--faults JSON] [--log FILE]` serves
POST /v1/responses, GET /v1/responses/ID for those asked for with `background`, and what `simulation.py` names.

A response in the background is one call, from its POST until it is finished, whether or not anybody waits for it;
looks at it are counted apart, as `fetched` in /control/log. Faults of the POST's reply leave no response behind, those
of a response show when it is finished, `slow` finishes late; looks have faults of their own, `fetch_faults`.

It is a bare asyncio protocol with as little parsing as will do, because it shares its two cores with the system
whose speed is measured: a framework's 0.5 to 1 ms for each request would be counted against Rowlift (figures in
`tests/bench/README.md`). The connection is in `http_server.py`, what is answered is in `openai_answers.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Final

import orjson
from pydantic import Field, field_validator

from infra.local.upstreams import simulation
from infra.local.upstreams.http_server import Answer, Cut, Hang, Reply, Request
from infra.local.upstreams.openai_answers import (
    FAULTS,
    FAULTS_OF_FETCHING,
    Bodies,
    Response,
    error_body,
    misbehaved,
    validate,
    validate_key,
)

KEPT: Final = 50_000  # responses in the background that can still be fetched; 0.5 KB each

_NAME_LINE = re.compile(r'^\{"artist_name":.*\}$', re.MULTILINE)


class Behaviour(simulation.Behaviour):
    """How the stand-in behaves now; names are artists' names."""

    known_faults: ClassVar = FAULTS

    retry_after: int = 1  # seconds in the Retry-After header of a 429
    quota: bool = True  # false: every request is answered 429 insufficient_quota
    limit_requests: int | None = 30_000  # what the rate-limit headers say; null leaves them out
    limit_tokens: int | None = 150_000_000
    accept: float = Field(default=0.02, ge=0)  # seconds until a request in the background is told its id
    fetch_faults: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = {}  # fault -> share of the looks at responses

    @field_validator("fetch_faults")
    @classmethod
    def _known_of_fetching(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        if bad := value.keys() - set(FAULTS_OF_FETCHING):
            raise ValueError(f"unknown: {', '.join(sorted(bad))}; there are {', '.join(FAULTS_OF_FETCHING)}")
        return value


@dataclass(kw_only=True, slots=True)
class Call(simulation.Call):
    """One request for a bio; its key is the artist's name, or the input's digest where there is none."""

    input: str  # digest of the input: tells artists of one name apart
    response_id: str | None = None


class Log(simulation.Log):
    """The calls, and how often responses in the background were looked at."""

    fetched = 0

    def told(self, *, entries: bool) -> dict[str, Any]:
        """What GET /control/log answers."""
        return {"fetched": self.fetched, **super().told(entries=entries)}

    def reset(self) -> None:
        """Forget the calls; responses are kept."""
        super().reset()
        self.fetched = 0


@dataclass(kw_only=True, slots=True)
class _Kept:
    """A response in the background."""

    response: Response
    done: bool = False
    looks: int = 0


class SimulatedOpenAI(simulation.Simulated[Behaviour]):
    """Answers requests for bios."""

    log: Log

    def __init__(self, behaviour: Behaviour, log: Log) -> None:
        super().__init__(behaviour, log)
        self.bodies = Bodies()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def respond(self, request: Request) -> Answer:
        """The reply to a request for a response, or to a look at one in the background."""
        path = request.path.partition("?")[0].removeprefix("/v1")
        if path == "/responses" and request.method == "POST":
            return self._asked(request)
        if path.startswith("/responses/") and request.method == "GET":
            return self._looked_at(path.removeprefix("/responses/"), request)
        wrong = f"Invalid URL ({request.method} {request.path})"
        return simulation.json_answer(404, error_body(wrong, "invalid_request_error"))

    def _asked(self, request: Request) -> Answer:
        behaviour = self.behaviour
        try:
            wanted = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            wanted = None
        name, digest = _who(wanted)
        call = Call(key=name or digest, input=digest)
        tries = self.log.start(call)
        headers = self._headers() + self._limits()
        refusal = self._refused_key(request) or validate(wanted)
        if refusal:
            return self.log.finished(call, Reply(refusal[0], orjson.dumps(refusal[1]), headers), behaviour.latency)
        background = bool(wanted.get("background"))
        fault = call.fault = self._fault(name, tries)
        reply = misbehaved(fault, wanted["model"], headers, behaviour.retry_after)
        if reply is None:
            response = self.bodies.response(wanted, name, digest, fault)
            call.response_id = response.id
            if background and fault not in ("hang", "cut"):
                return self._begun(call, response, headers, behaviour.seconds(name, tries, fault))
            reply = Reply(200, response.encode(), headers, response_id=response.id)
        wait = behaviour.accept if background else behaviour.seconds(name, tries, fault)
        return self.log.finished(call, reply, wait)

    def _begun(self, call: Call, response: Response, headers: bytes, seconds: float) -> Answer:
        """The reply that says so; the response is finished whether or not it can be sent."""
        kept = self._kept[response.id] = _Kept(response=response)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        accept = self.behaviour.accept
        asyncio.get_running_loop().call_later(max(accept, seconds), self._finish, call, kept)
        return Answer(Reply(200, response.encode("queued"), headers), accept, None)

    def _finish(self, call: Call, kept: _Kept) -> None:
        kept.done = True
        self.log.end(call, "answered", 200)

    def _looked_at(self, response_id: str, request: Request) -> Answer:
        self.log.fetched += 1
        refusal = self._refused_key(request)
        if refusal:
            return simulation.json_answer(*refusal)
        kept, fault = self._kept.get(response_id), None
        if kept is not None:
            kept.looks += 1
            fault = self.behaviour.drawn(self.behaviour.fetch_faults, f"look|{kept.response.digest}", kept.looks)
        if kept is None or fault == "404":
            unknown = f"Response with id '{response_id}' not found."
            return simulation.json_answer(404, error_body(unknown, "invalid_request_error"))
        if fault == "hang":
            return Hang(lambda: None)
        headers = self._headers()
        reply = misbehaved(fault, "the model", headers, self.behaviour.retry_after) or Reply(
            200, kept.response.encode(None if kept.done else "in_progress"), headers
        )
        return (Cut if fault == "cut" else Answer)(reply, 0.0, None)

    def _refused_key(self, request: Request) -> tuple[int, dict[str, Any]] | None:
        return validate_key(request.headers.get(b"authorization", b""), key_ok=self.behaviour.key_ok)

    def _fault(self, name: str, tries: int) -> str | None:
        return self.behaviour.fault(name, tries) if self.behaviour.quota else "quota"

    def _headers(self) -> bytes:
        return b"x-request-id: req_sim%x\r\nopenai-version: 2020-10-01\r\nopenai-processing-ms: %d\r\n" % (
            len(self.log.calls), int(self.behaviour.latency * 1000),
        )  # fmt: skip

    def _limits(self) -> bytes:
        """The headers that tell the account's limits; none where they are left out."""
        requests, tokens = self.behaviour.limit_requests, self.behaviour.limit_tokens
        if requests is None or tokens is None:
            return b""
        return (
            b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-requests: %d\r\n"
            b"x-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-requests: 2ms\r\nx-ratelimit-reset-tokens: 0s\r\n"
        ) % (requests, tokens, requests - 1, tokens - 900)


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


def main(arguments: list[str] | None = None) -> None:
    """Read the options, then serve."""
    parser = simulation.parser("openai", "A simulated OpenAI.")
    chosen = parser.parse_args(arguments)
    try:
        behaviour = Behaviour(latency=chosen.latency, faults=chosen.faults, seed=chosen.seed)
    except ValueError as wrong:
        parser.error(str(wrong))
    asyncio.run(simulation.serve(chosen.port, SimulatedOpenAI(behaviour, Log(chosen.log))))


if __name__ == "__main__":
    main()
