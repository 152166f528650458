"""A stand-in for OpenAI's Responses API that says in every bio that it is simulated.

`python -m infra.local.upstreams.openai --port N [--latency 0.2] [--faults JSON] [--log FILE]` serves
POST /v1/responses and, beside it, /control (GET shows, POST changes the behaviour), /control/log and /control/reset.

It is a bare asyncio protocol with as little parsing as will do, because it shares its two cores with the system
whose speed is measured: a framework's 0.5 to 1 ms for each request would be counted against Rowlift (figures in
`tests/bench/README.md`). The connection is in `http_server.py`, what is answered is in `openai_answers.py`.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar

import orjson

from infra.local.upstreams import simulation
from infra.local.upstreams.http_server import Answer, Reply, Request
from infra.local.upstreams.openai_answers import FAULTS, Bodies, error_body, validate

_NAME_LINE = re.compile(r'^\{"artist_name":.*\}$', re.MULTILINE)


class Behaviour(simulation.Behaviour):
    """How the stand-in behaves now; names are artists' names."""

    known_faults: ClassVar = FAULTS

    retry_after: int = 1  # seconds in the Retry-After header of a 429
    quota: bool = True  # false: every request is answered 429 insufficient_quota
    limit_requests: int | None = 30_000  # what the rate-limit headers say; null leaves them out
    limit_tokens: int | None = 150_000_000


@dataclass(kw_only=True, slots=True)
class Call(simulation.Call):
    """One request for a bio; its key is the artist's name, or the input's digest where there is none."""

    input: str  # digest of the input: tells artists of one name apart
    response_id: str | None = None


class SimulatedOpenAI(simulation.Simulated[Behaviour]):
    """Answers requests for bios."""

    def __init__(self, behaviour: Behaviour, log: simulation.Log) -> None:
        super().__init__(behaviour, log)
        self.bodies = Bodies()

    def respond(self, request: Request) -> Answer:
        """The reply to a request; POST /v1/responses is all there is."""
        if request.path not in ("/v1/responses", "/responses") or request.method != "POST":
            wrong = f"Invalid URL ({request.method} {request.path})"
            return simulation.json_answer(404, error_body(wrong, "invalid_request_error"))
        behaviour = self.behaviour
        try:
            wanted = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            wanted = None
        name, digest = _who(wanted)
        call = Call(key=name or digest, input=digest)
        tries = self.log.start(call)
        refusal = validate(wanted, request.headers.get(b"authorization", b""), key_ok=behaviour.key_ok)
        fault = None if refusal else self._fault(name, tries)
        call.fault = fault
        headers = self._headers()
        if refusal:
            reply = Reply(refusal[0], orjson.dumps(refusal[1]), headers)
        else:
            reply = self.bodies.build(wanted, name, digest, tries, fault, headers, behaviour.retry_after)
            call.response_id = reply.response_id
        return self.log.finished(call, reply, behaviour.slow if fault == "slow" else behaviour.latency)

    def _fault(self, name: str, tries: int) -> str | None:
        return self.behaviour.fault(name, tries) if self.behaviour.quota else "quota"

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
    asyncio.run(simulation.serve(chosen.port, SimulatedOpenAI(behaviour, simulation.Log(chosen.log))))


if __name__ == "__main__":
    main()
