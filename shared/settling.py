"""Settle: write what became of a message's items, all or nothing where that goes, each alone where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from shared import items as ledger
from shared.db import Database
from shared.dispatch import Dispatcher
from shared.errors import DatabaseError, LedgerDown, StatementFailed, StorageError
from shared.items import Claimed, Settlement, Terms
from shared.logs import log
from shared.options import Options
from shared.pending import Pending
from shared.pipelines.base import Pipeline
from shared.spans import span
from shared.states import Hold, Outcome

_T = TypeVar("_T")

# Failed items are counted with every message that adds to them up to here; beyond that rescue counts, every 2 s.
COUNTED_AT_ONCE = 2_000
# Items of one message that expand into more than this are settled one by one: 10,000 take half a second, in which the
# session's row is held, 80,000 would take five.
MADE_AT_ONCE = 10_000


class Settler:
    """Writes the settlements of one message, patiently until its handler's deadline."""

    def __init__(
        self,
        db: Database,
        dispatcher: Dispatcher,
        pipeline: Pipeline,
        session: UUID,
        claimed: Claimed,
        *,
        deadline: float,
        linger: float,
        pending: Pending | None = None,
    ) -> None:
        self._db, self._dispatcher, self._pipeline = db, dispatcher, pipeline
        self._session, self._claimed, self._pending = session, claimed, pending
        self._terms = Terms(
            pipeline=pipeline.slug,
            configuration=pipeline.configuration,
            skip_existing=claimed.options.skip_existing,
        )
        self._deadline, self._linger = deadline, linger
        self._began = time.monotonic()

    def hold(self, hold: Hold, reason: str, *, since: float | None = None, needed: int | None = None) -> None:
        """Hold the session; `since` is when (monotonic) that began which speaks for it: a later resume outweighs it."""
        age = None if since is None else time.monotonic() - since
        try:
            held = self._until_deadline(
                "hold_session", session=self._session, hold=hold, reason=reason, age=age, needed=needed
            )
        except DatabaseError as error:  # the next call that meets the same holds it; first comes what was paid for
            log("WARNING", "Session could not be held", hold=hold, reason=str(error))
            return
        if held:
            log("ERROR", "Session held", hold=hold, reason=reason)

    def _until_deadline(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """A statement's rows, asked for until the ledger answers or the handler's deadline comes."""
        return _patiently(lambda: self._db.rows(name, **params), self._deadline)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write settlements together; one that PostgreSQL refuses for good is found by writing them one by one.

        What was paid for and cannot be written before the handler's deadline is put aside; then raises LedgerDown.
        """
        if not settlements:
            return
        if len(settlements) > 1 and sum(len(one.children) for one in settlements) > MADE_AT_ONCE:
            self._settle_each(settlements)
            return
        began = time.monotonic()
        try:
            with span("settle", items=len(settlements)):
                verdicts = _patiently(
                    lambda: ledger.settle(self._db, self._session, settlements, terms=self._terms), self._deadline
                )
        except LedgerDown:
            self._put_aside(settlements)
            raise
        except StatementFailed as error:
            if len(settlements) > 1:
                self._settle_each(settlements)
            elif settlements[0].domain is None:
                raise
            else:
                self.settle([self.refused(settlements[0], error)])
            return
        for one in settlements:
            if one.outcome is None and verdicts.get(one.item.number) == "settled" and 0 < one.due_in <= self._linger:
                self._dispatcher.due_in(self._session, one.due_in)  # dispatched when it is due, if that is soon
            verdict = verdicts.get(one.item.number, "gone")
            _log_outcome(one, verdict, self._claimed.options, run_began=self._began, settle_began=began)
        if any(one.outcome is Outcome.FAILED for one in settlements):
            try:
                stop_if_too_many_failed(self._db, self._session, most=COUNTED_AT_ONCE)
            except DatabaseError as error:  # rescue counts again
                log("WARNING", "Failed items could not be counted", reason=str(error))

    def _put_aside(self, settlements: Sequence[Settlement]) -> None:
        """Keep paid answers in the results bucket until the ledger is back."""
        if self._pending is None:
            return
        try:
            kept = self._pending.put(self._session, settlements, terms=self._terms)
        except StorageError as error:
            log("ERROR", "Paid answers are lost: neither ledger nor bucket took them", reason=str(error),
                items=[one.item.number for one in settlements if one.call])  # fmt: skip
            return
        if kept:
            log("WARNING", "Paid answers put aside: the ledger is away", answers=kept)

    def _settle_each(self, settlements: Sequence[Settlement]) -> None:
        """Write settlements one by one; one that cannot be written keeps none of the others from it."""
        refusals = []
        for number, one in enumerate(settlements, start=1):
            try:
                self.settle([one])
            except StatementFailed as error:
                refusals.append(error)
            except LedgerDown:
                self._put_aside(settlements[number:])
                raise
        if refusals:
            raise refusals[0]

    def refused(self, settlement: Settlement, error: StatementFailed) -> Settlement:
        """The settlement without its domain row. The answer stays with the item: it was paid for."""
        systemic = error.systemic
        if systemic:
            self.hold(Hold.SYSTEMIC, error.advice)
        return Settlement(
            item=settlement.item,
            outcome=None if systemic else Outcome.FAILED,
            code=error.code if not systemic else "answered" if settlement.result else settlement.code,
            result=settlement.result if self._pipeline.paid else None,
            error_code=error.code,
            error_message=str(error),
            call=settlement.call,
        )


def stop_if_too_many_failed(db: Database, session: UUID, *, most: int) -> bool:
    """Whether the session stops now, having more failed items than its option max-failed tolerates.

    Counts up to `most` of them; what is never run stays available, and resume begins the count anew.
    """
    stopped = db.row("stop_too_many_failed", session=session, most=most)
    if stopped is not None:
        log("ERROR", "Session stopped: too many items failed", reason=stopped["error_message"])
    return stopped is not None


def _patiently(write: Callable[[], _T], deadline: float) -> _T:
    """What `write` returns, repeated while the ledger is away until the deadline; then LedgerDown."""
    pause = 0.1
    while True:
        try:
            return write()
        except LedgerDown:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause = min(2.0, pause * 2)


def _log_outcome(
    settlement: Settlement, verdict: str, options: Options, *, run_began: float, settle_began: float
) -> None:
    if verdict == "settled" and settlement.outcome is None:
        return
    now = time.monotonic()
    log(
        "WARNING" if settlement.outcome is Outcome.FAILED or verdict != "settled" else "INFO",
        "Item settled" if verdict == "settled" else "Settlement not taken",
        outcome=settlement.outcome,
        db_status=_db_status(settlement, options),
        verdict=None if verdict == "settled" else verdict,
        error_code=settlement.error_code,
        cost=settlement.call.cost if settlement.call else None,
        duration_ms=round((now - run_began) * 1000),
        settle_ms=round((now - settle_began) * 1000, 1),
        **settlement.item.log_fields(),
    )


def _db_status(settlement: Settlement, options: Options) -> str | None:
    if settlement.outcome is Outcome.FAILED:
        return "error"
    if settlement.code == "skip_existing":
        return "skipped"
    return "updated" if settlement.domain is not None and options.writes_domain else None
