"""What follows a failed attempt: error class, failures so far and policy in, next step out. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from shared.upstreams.base import ErrorClass

MAX_BACKOFF = 300.0
MAX_WAIT = 86_400.0  # whatever an upstream asks for
MAX_SNOOZE, MAX_SNOOZES = 60.0, 20


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often and how far apart an item is tried.

    By default three failures with waits of 2 s and 4 s between them, each up to a quarter longer, then `failed`.
    """

    max_failures: int = 3
    base: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NextStep:
    """What becomes of the item: run again in `wait` seconds, or settle as failed (`wait` is None).

    `counts` says whether the failure uses up one of the tries; `hold` whether the whole session stops.
    """

    wait: float | None
    counts: bool = True
    hold: bool = False


def next_step(
    kind: ErrorClass,
    *,
    failures: int,
    policy: RetryPolicy,
    retry_after: float | None = None,
    snoozes: int | None = None,
    jitter: Callable[[], float] = random.random,
) -> NextStep:
    """The step after a failure of class `kind`, `failures` being those before it.

    A transient failure waits base * 2**failures plus up to 25 %, and no less than the upstream asked for. One that only
    asks for patience (a rate limit; `snoozes` is how often it did before) uses up no try until the twentieth; it waits
    base * 2**snoozes, a minute at most.
    """
    if snoozes is not None and snoozes < MAX_SNOOZES:
        pause = min(MAX_SNOOZE, policy.base * 2**snoozes) * (1 + jitter() / 4)
        return NextStep(wait=min(MAX_WAIT, max(pause, retry_after or 0.0)), counts=False)
    match kind:
        case ErrorClass.SYSTEMIC:
            return NextStep(wait=0.0, counts=False, hold=True)
        case ErrorClass.PERMANENT:
            return NextStep(wait=None)
        case ErrorClass.TRANSIENT:
            if failures + 1 >= policy.max_failures:
                return NextStep(wait=None)
            backoff = min(MAX_BACKOFF, policy.base * 2**failures) * (1 + jitter() / 4)
            return NextStep(wait=min(MAX_WAIT, max(backoff, retry_after or 0.0)))
    assert_never(kind)
