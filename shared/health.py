"""What the ends of calls teach about their upstream: its pace, its account's limits, and whether it is away at all.

The breaker is a row that all instances obey. It opens when nearly every call fails because the upstream is away, lets
one probe through now and then, and closes with the first call that goes well. Causes that a person has to mend hold the
session instead, once they dominate.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.config import Settings, UpstreamLimits
from shared.db import Database
from shared.limits import TokenSlot, slow_down
from shared.logs import log
from shared.upstreams.base import Answer, ErrorClass, Failure

RATE_LIMITED: Final = "upstream.rate_limited"
UNFINISHED: Final = "upstream.unfinished"  # the next attempt fetches the answer by its id
# Failures that say nothing about the row: the upstream, or the way to it, is broken.
AWAY: Final = frozenset(
    f"upstream.{code}"
    for code in ("unreachable", "timeout", "cut", "server_error", "malformed", "unexpected", "storage")
)
AWAY_SIGN: Final = "away"  # all of them alike
KEPT: Final = 1.0  # seconds that unused tokens may wait for a request for slots to take them along


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """How one call ended: what came, when it had left (monotonic), and what it was admitted for."""

    answer: Answer | Failure
    left_at: float
    slot: TokenSlot
    again: bool = False  # whether its item had failed like that before: it may be the row


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What the ledger makes of it: whether the breaker keeps calls back, and whether what failed is what all meet."""

    tripped: bool = False
    dominates: bool = False
    probe_in: float = 0.0  # seconds until the next probe may be made


class UpstreamHealth:
    """One process's ear for one upstream; what it hears is kept for all in the upstream's row."""

    def __init__(self, db: Database, settings: Settings, upstream: str) -> None:
        self._db, self._upstream = db, upstream
        self._pipelines = [slug for slug, one in settings.pipelines.items() if one.upstream == upstream]
        limits = settings.upstreams.get(upstream)
        self._limits = limits or UpstreamLimits(requests=None)
        self._said: tuple[float | None, float | None] = (None, None)  # requests and tokens, as told last
        self._lock = threading.Lock()
        self._unused, self._returned_at = 0.0, time.monotonic()
        self.ailing = False  # whether the ledger counts failures now, so that it wants to hear of good answers too

    def hear(self, ended: Sequence[Heard]) -> Standing:
        """Take in the ends of calls, and answer how the upstream stands.

        An upstream that is well costs no statement; raises DatabaseError.
        """
        standing = self._note(ended)
        for one in ended:
            if isinstance(one.answer, Failure) and one.answer.code == RATE_LIMITED:
                slow_down(
                    self._db, self._upstream, self._limits, said=one.answer.limits, retry_after=one.answer.retry_after
                )
        self._learn_limits(ended)
        self._note_unused(ended)
        return standing

    def unused(self) -> float:
        """The seconds of tokens that calls did not use since this was last asked, for `reserve_slots` to give back."""
        with self._lock:
            seconds, self._unused = self._unused, 0.0
            self._returned_at = time.monotonic()
        return seconds

    def give_back_unused(self, *, at_once: bool) -> None:
        """Give unused tokens back without asking for slots; unless `at_once`, only what nobody did for a second."""
        if self._unused and (at_once or time.monotonic() - self._returned_at > KEPT):
            self._db.rows("give_back_tokens", upstream=self._upstream, seconds=self.unused())

    def _note(self, ended: Sequence[Heard]) -> Standing:
        """Have failures counted, and good answers while failures are."""
        signs = Counter(sign for one in ended if (sign := _sign(one.answer)) is not None)
        fine = [one for one in ended if _is_fine(one.answer)]
        if not signs and not (fine and self.ailing):
            return Standing()
        (signature, failed), *_ = signs.most_common(1) or [("", 0)]
        failures = [one for one in ended if _sign(one.answer) == signature]
        away = signature == AWAY_SIGN
        counts = sum(not one.again for one in failures) if away else failed
        found = self._db.row(
            "note_health",
            upstream=self._upstream,
            signature=signature,
            down=away,
            failed=failed,
            counts=counts,
            failed_age=_age(failures),
            fine=len(fine),
            fine_age=_age(fine),
            reason=failures[-1].answer.message if failures and isinstance(failures[-1].answer, Failure) else "",
            threshold=self._limits.down_failures if away else self._limits.systemic_failures,
            probe_wait=self._limits.probe_wait,
            probe_wait_max=self._limits.probe_wait_max,
        )
        if found is None:
            return Standing()
        self.ailing = found["ailing"]
        if found["opened"]:
            log(
                "WARNING",
                "Breaker opened: the upstream is away",
                upstream=self._upstream,
                reason=failures[-1].answer.message if isinstance(failures[-1].answer, Failure) else None,
                tries_handed_back=self._hand_tries_back(),
            )
        elif found["closed"]:
            log("INFO", "Breaker closed: the upstream answers again", upstream=self._upstream)
        return Standing(
            tripped=found["tripped"],
            dominates=bool(signs) and found["dominates"],
            probe_in=found["probe_in"] or 0.0,
        )

    def _hand_tries_back(self) -> int:
        """How many waiting rows got back the tries they had lost to the outage."""
        items = 0
        while (row := self._db.row("hand_tries_back", pipelines=self._pipelines, codes=sorted(AWAY))) and row["items"]:
            items += row["items"]
        return items

    def _learn_limits(self, ended: Sequence[Heard]) -> None:
        """Keep what good answers say of the account's limits, whenever it is something else than before."""
        told = [one.answer.limits for one in ended if isinstance(one.answer, Answer) and one.answer.limits]
        if not told:
            return
        scale = self._limits.period / told[-1].period
        said = (
            told[-1].requests * scale if told[-1].requests else None,
            told[-1].tokens * scale if told[-1].tokens else None,
        )
        if said != self._said and any(said):
            self._db.rows("learn_limits", upstream=self._upstream, requests=said[0], tokens=said[1])
            self._said = said

    def _note_unused(self, ended: Sequence[Heard]) -> None:
        """Remember what calls were admitted for and did not use, where tokens are paced.

        It goes back with the next request for slots: given back as each answer came, it cost as many statements as
        calls.
        """
        seconds = sum(one.slot.unused(one.answer.usage.total) for one in ended if one.answer.usage)
        with self._lock:
            self._unused += seconds


def _sign(answer: Answer | Failure) -> str | None:
    """What a failure looks like, for telling whether many fail alike; None for what concerns its own row only."""
    if isinstance(answer, Answer):
        return None
    if answer.kind is ErrorClass.SYSTEMIC:
        return answer.code
    return AWAY_SIGN if answer.code in AWAY else None


def _is_fine(answer: Answer | Failure) -> bool:
    """Whether it shows that the upstream is there: an answer, or a refusal that is about the row or the pace."""
    return isinstance(answer, Answer) or (_sign(answer) is None and answer.code != UNFINISHED)


def _age(ended: Sequence[Heard]) -> float:
    """How long ago the last of them left."""
    return time.monotonic() - max((one.left_at for one in ended), default=time.monotonic())
