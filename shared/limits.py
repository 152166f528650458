"""Admission, first half: time slots of the shared limiter (GCRA in one UPDATE), lowered by what a 429 says.

A reservation is a time, given as a wait. A slot missed by more than the limits' lateness is dropped and asked for anew;
slots of a block nobody uses die with their time.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any, Final

from shared.config import UpstreamLimits
from shared.db import Database, Row
from shared.upstreams.base import RateLimits

# How far ahead a slot should be asked for, in seconds. A slot that is given stays given, so for this long starts go on
# as before after a 429. Simulated with an upstream that allows half the setting: with 20 s the pace swings between all
# and the floor, 21 % of the answers are 429s and 0.6 of what is allowed is used; with 1 s 6 % and all of it.
AHEAD: Final = 1.0
# A longer Retry-After holds an item, not everybody.
LONGEST_STOP: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSlot:
    """What each slot took of the token limit: so many tokens, for so many seconds of everybody's time."""

    tokens: int = 0
    seconds: float = 0.0

    def unused(self, used: int) -> float:
        """The seconds to give back for a call that used less."""
        return self.seconds * (1 - used / self.tokens) if 0 < used < self.tokens else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Waits in seconds until each admitted request may leave, ascending; `later` is when to ask for the rest."""

    waits: tuple[float, ...]
    later: float
    given_at: float  # what the waits count from, by this process's monotonic clock
    lateness: float  # how much later than its slot a request may leave
    tokens: TokenSlot
    tripped: bool = False  # the breaker keeps requests back, all but a probe
    ailing: bool = False  # failures are being counted

    @property
    def again(self) -> float:
        """How long to wait here before asking again when none was given, not the same for everybody who asks."""
        return max(0.0, self.later - random.uniform(0, AHEAD / 2))


def reserve_slots(
    db: Database,
    upstream: str,
    limits: UpstreamLimits | None,
    *,
    n: int,
    tokens: int,
    max_wait: float,
    probe_timeout: float = 60.0,
    returned: float = 0.0,
) -> Slots:
    """Slots for up to `n` requests of at most `tokens` each that begin within `max_wait` seconds.

    `returned` gives back so many seconds of tokens that calls before did not use (`TokenSlot.unused`). While the
    breaker is not closed one slot is given when a probe is due; its end should be noted within `probe_timeout` seconds,
    after which another is.
    """
    limits = limits or UpstreamLimits(requests=None)
    ahead = 0.0
    while True:
        asked_at = time.monotonic()
        found = _row(
            db, "reserve_slots", upstream, limits,
            n=n, each=tokens, max_wait=max_wait, ahead=ahead, probe_timeout=probe_timeout, returned=returned,
        )  # fmt: skip
        returned = 0.0
        answered_at = time.monotonic()
        moment = _moment(found, asked_at, answered_at)
        slots = _slots(found, given_at=moment, lateness=limits.lateness, tokens=tokens)
        late = answered_at - slots.given_at
        if not slots.waits or late <= slots.waits[-1] + slots.lateness:
            return slots
        ahead = 2 * late  # all of them passed while the answer was on its way


def slow_down(
    db: Database,
    upstream: str,
    limits: UpstreamLimits | None,
    *,
    said: RateLimits | None = None,
    retry_after: float | None = None,
) -> float | None:
    """Requests per period now allowed to all instances (None: no limit), lowered for a 429.

    A limit that `said` names takes the place of a higher one and stands for a minute. Otherwise each 429 takes 0.67
    requests per second off, at most a quarter, never below 5 % of the setting; a second gives 2 % of the setting back.
    So up to 3 % of answers may be 429s for no reason without an effect, 5 % leave 0.6 of the pace, 10 % 0.3; a true
    limit of half the setting is found within seconds and kept with 6 % of answers refused. (Simulated, 40 and 167
    requests/s. Three quarters once per 2 s, however many 429s, would leave 0.3 and 0.2 of the pace at 3 %.)
    `retry_after` keeps everybody from new slots for so long.
    """
    limits = limits or UpstreamLimits(requests=None)
    scale = limits.period / said.period if said else 0.0
    found = _row(
        db,
        "slow_down",
        upstream,
        limits,
        said_requests=said.requests * scale if said and said.requests else None,
        said_tokens=said.tokens * scale if said and said.tokens else None,
        retry_after=min(retry_after or 0.0, LONGEST_STOP),
    )
    requests: float | None = found["requests"]
    return requests


def _row(db: Database, name: str, upstream: str, limits: UpstreamLimits, **wanted: Any) -> Row:
    """The answer of a statement on the upstream's row, which is made if there is none yet."""
    known = {"upstream": upstream, "requests": limits.requests, "tokens": limits.tokens, "period": limits.period}
    found = db.row(name, **known, **wanted)
    if found is None:
        db.rows("seed_upstream", upstream=upstream)
        found = db.row(name, **known, **wanted)
        assert found is not None, "the row was just written"  # noqa: S101
    return found


def _slots(found: Row, *, given_at: float, lateness: float, tokens: int) -> Slots:
    waits = tuple(
        max(0.0, *(found[f"{kind}_lead"] + i * found[f"{kind}_step"] - found["burst"] for kind in ("request", "token")))
        for i in range(found["given"])
    )
    return Slots(
        waits=waits,
        later=max(found["wait"], 0.5),
        given_at=given_at,
        lateness=lateness,
        tokens=TokenSlot(tokens=tokens, seconds=found["token_step"]),
        tripped=found["tripped"],
        ailing=found["ailing"],
    )


def _moment(found: Row, asked_at: float, answered_at: float) -> float:
    """The server's moment by our monotonic clock.

    Its clock is believed as far as question and answer allow, so that no request leaves early or late by what either
    took on its way.
    """
    by_its_clock = float(found["at"]) - time.time() + time.monotonic()
    return min(max(by_its_clock, asked_at + float(found["locked"])), answered_at)
