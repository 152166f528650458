"""Admission, first half: time slots of the shared limiter (GCRA in one UPDATE).

A reservation is a time, given as a wait. A slot missed by more than 50 ms is dropped and asked for anew; slots of a
block nobody uses die with their time.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.config import UpstreamLimits
from shared.db import Database

MISSED_AFTER = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Waits in seconds until each admitted request may leave, ascending; `later` is when to ask for the rest."""

    waits: tuple[float, ...]
    later: float


def reserve_slots(
    db: Database, upstream: str, limits: UpstreamLimits | None, *, n: int, tokens: int, max_wait: float
) -> Slots:
    """Slots for up to `n` requests of at most `tokens` each that begin within `max_wait` seconds."""
    limits = limits or UpstreamLimits(requests=None)
    wanted = {"n": n, "each": tokens, "max_wait": max_wait}
    known = {"upstream": upstream, "requests": limits.requests, "tokens": limits.tokens, "period": limits.period}
    found = db.row("reserve_slots", **known, **wanted)
    if found is None:
        db.rows("seed_upstream", upstream=upstream)
        found = db.row("reserve_slots", **known, **wanted)
        assert found is not None, "the row was just written"  # noqa: S101
    waits = tuple(
        max(
            0.0,
            float(found["request_lead"]) + i * float(found["request_step"]) - float(found["burst"]),
            float(found["token_lead"]) + i * float(found["token_step"]) - float(found["burst"]),
        )
        for i in range(found["given"])
    )
    return Slots(waits=waits, later=max(float(found["wait"]), 0.5))
