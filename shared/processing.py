"""Process: claim a message's items, admit and make their calls at once, settle what came of them.

No database connection is held while a call or a slot is waited for. Per message, in the steady state: claim, slots,
start, settle: four statements, whatever the number of items.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar, assert_never
from uuid import UUID, uuid4

from shared import items as ledger
from shared.calls import PlannedCall, Verdict, start_calls
from shared.config import Settings
from shared.db import Database
from shared.dispatch import Dispatcher
from shared.errors import LedgerDown, StatementFailed
from shared.items import CallEnd, Claimed, Item, Settlement
from shared.limits import MISSED_AFTER, reserve_slots
from shared.logs import log
from shared.messages import ItemsNotice
from shared.options import Options
from shared.pipelines.base import Pipeline, Settled
from shared.retry import RetryPolicy, next_step
from shared.states import CallState, Hold, Outcome
from shared.upstreams.base import Answer, ErrorClass, Failure

_T = TypeVar("_T")

# A message's answers are settled together when the rest follow this soon after the first, in seconds.
GATHER = 0.25
BUDGET_BUSY_WAIT = 2.0
RATE_LIMITED = "upstream.rate_limited"


class Processor:
    """Processes notices of one pipeline."""

    def __init__(self, db: Database, dispatcher: Dispatcher, pipeline: Pipeline, settings: Settings) -> None:
        self.db, self.pipeline = db, pipeline
        self._dispatcher = dispatcher
        self.settings = settings.pipelines[pipeline.slug]
        self.limits = settings.upstreams.get(self.settings.upstream)
        # As many as calls can be admitted at once: one that waited here could leave after its lease.
        self._workers = settings.threads * self.settings.items_per_message
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._made_by: int | None = None

    def handle(self, notice: ItemsNotice) -> None:
        """Run the notice's items as far as they may run now.

        Everything that can happen to an item is written to the ledger; raises only LedgerDown, for the push to come
        again.
        """
        with self._dispatcher.nudging(notice.session, len(notice.items)):
            deadline = time.monotonic() + self.settings.deadline
            claimed = ledger.claim(
                self.db, notice.session, notice.items, pipeline=self.pipeline.slug, lease=self.settings.lease
            )
            if claimed is not None:
                _Run(self, notice.session, claimed, deadline).go()
        self._dispatcher.linger(until=deadline)

    def due_in(self, session: UUID, seconds: float) -> None:
        """See to it that an item handed back is dispatched when it is due, if that is soon."""
        if 0 < seconds <= self.settings.linger:
            self._dispatcher.due_in(session, seconds)

    def call(self, planned: PlannedCall) -> Future[Answer | Failure]:
        """The call, under way on one of this process's worker threads."""
        with self._lock:
            if self._executor is None or self._made_by != os.getpid():
                self._executor = ThreadPoolExecutor(max_workers=self._workers, thread_name_prefix="call")
                self._made_by = os.getpid()
            executor = self._executor
        return executor.submit(self.pipeline.upstream.call, planned.request, timeout=self.settings.request_timeout)


class _Run:
    """One message's items from claim to settle."""

    def __init__(self, processor: Processor, session: UUID, claimed: Claimed, deadline: float) -> None:
        self._processor, self._session, self._claimed, self._deadline = processor, session, claimed, deadline
        self._db, self._pipeline, self._settings = processor.db, processor.pipeline, processor.settings
        self._calls: dict[Future[Answer | Failure], PlannedCall] = {}
        self._began = time.monotonic()

    def go(self) -> None:
        """Settle what needs no call, then admit and call the rest, settling as answers come."""
        planned = list(self._plan())
        try:
            self._admit(deque(planned))
        finally:  # also when the ledger went away: what was paid for is settled
            while self._calls:
                wait(self._calls, return_when=FIRST_COMPLETED)
                wait(self._calls, timeout=GATHER, return_when=ALL_COMPLETED)
                self._settle_finished()

    def _plan(self) -> Iterator[PlannedCall]:
        """The calls to make; items that need none are settled on the way."""
        options = self._claimed.options
        rows = {item.number: item.input for item in self._claimed.items if item.kept is None}
        done = {number: Settled(outcome=Outcome.SKIPPED, code="dry_run") for number in rows} if options.dry_run else {}
        try:
            done = done or self._pipeline.settle_without_call(self._db, rows, options)
        except StatementFailed as error:  # the domain table is missing, say: found out before anything is paid
            stopped = [_handed_back(item, "held") if item.kept is None else self._without_call(item, None)
                       for item in self._claimed.items]  # fmt: skip
            self._settle([self._refused(one, error) for one in stopped])
            return
        self._settle([self._without_call(item, done.get(item.number)) for item in self._claimed.items
                      if item.number in done or item.kept is not None])  # fmt: skip
        for item in self._claimed.items:
            if item.number not in done and item.kept is None:
                request = self._pipeline.request(item.input)
                estimate = self._pipeline.estimate(request)
                yield PlannedCall(
                    id=uuid4(), item=item, request=request, tokens=estimate.tokens, reserve=estimate.micros
                )

    def _without_call(self, item: Item, settled: Settled | None) -> Settlement:
        if settled is None:  # an earlier attempt paid for the answer and could not write it
            return self._enriched(item, dict(item.kept or {}), call=None)
        return Settlement(
            item=item,
            outcome=settled.outcome,
            code=settled.code,
            error_code=settled.error_code,
            error_message=settled.error_message,
        )

    def _admit(self, waiting: deque[PlannedCall]) -> None:
        """Start every call at its slot; hand back those whose slot is too far away."""
        while waiting:
            patience = min(self._settings.max_wait, self._deadline - time.monotonic() - self._settings.request_timeout)
            slots = reserve_slots(
                self._db,
                self._settings.upstream,
                self._processor.limits,
                n=len(waiting),
                tokens=max(call.tokens for call in waiting),
                max_wait=max(0.0, patience),
            )
            given_at = time.monotonic()
            if not slots.waits:
                self._settle([_handed_back(call.item, "rate_limit", due_in=slots.later) for call in waiting])
                return
            for slot, count in _together(slots.waits):
                self._wait_until(given_at + slot)
                if time.monotonic() - given_at - slot > MISSED_AFTER:
                    break  # these slots are gone; ask for others
                self._start([waiting.popleft() for _ in range(count)])

    def _start(self, planned: Sequence[PlannedCall]) -> None:
        verdicts = start_calls(
            self._db, self._session, planned, upstream=self._settings.upstream, lease=self._settings.lease
        )
        back: list[Settlement] = []
        beyond: list[int] = []
        for call in planned:
            match verdict := verdicts.get(call.item.number, Verdict.SUPERSEDED):
                case Verdict.STARTED:
                    self._calls[self._processor.call(call)] = call
                case Verdict.SUPERSEDED:
                    log("INFO", "Item superseded before its call", **call.item.log_fields())
                case Verdict.HELD:
                    back.append(_handed_back(call.item, "held"))
                case Verdict.BUDGET_BUSY:
                    back.append(_handed_back(call.item, "budget_busy", due_in=BUDGET_BUSY_WAIT))
                case Verdict.BUDGET_GONE:
                    beyond.append(call.reserve)
                    back.append(_handed_back(call.item, "budget"))
                case _:
                    assert_never(verdict)
        if beyond:
            reason = "The next call could pass the budget; resume with a higher one to go on."
            self._hold(Hold.BUDGET, reason, needed=max(beyond))
        self._settle(back)

    def _wait_until(self, moment: float) -> None:
        """Sleep until a slot, settling calls that end meanwhile."""
        while (left := moment - time.monotonic()) > 0:
            if self._calls:
                done, _ = wait(self._calls, timeout=left, return_when=FIRST_COMPLETED)
                if done:
                    self._settle_finished()
            else:
                time.sleep(left)

    def _settle_finished(self) -> None:
        finished = [future for future in self._calls if future.done()]
        self._settle([self._judged(self._calls.pop(future), future) for future in finished])

    def _judged(self, call: PlannedCall, future: Future[Answer | Failure]) -> Settlement:
        """What the end of a call means for its item."""
        answer = _outcome(call, future)
        unknown = isinstance(answer, Failure) and answer.call_state == "unknown"
        end = CallEnd(
            id=call.id,
            state=CallState.SUCCEEDED if isinstance(answer, Answer) else CallState(answer.call_state),
            response_id=answer.response_id,
            model=answer.model,
            tokens_in=answer.usage.input_tokens if answer.usage else None,
            tokens_out=answer.usage.output_tokens if answer.usage else None,
            cost=None if unknown else self._cost(call, answer),
        )
        if isinstance(answer, Answer):
            return self._enriched(call.item, self._pipeline.result(call.item.input, answer), call=end)
        policy = RetryPolicy(max_failures=self._settings.max_failures, base=self._settings.retry_base)
        step = next_step(
            answer.kind,
            failures=call.item.failures,
            policy=policy,
            retry_after=answer.retry_after,
            snoozes=call.item.snoozes if answer.code == RATE_LIMITED else None,
        )
        if step.hold:
            self._hold(Hold.SYSTEMIC, f"{answer.code}: {answer.message}", call=call.id)
        return Settlement(
            item=call.item,
            outcome=Outcome.FAILED if step.wait is None else None,
            code=answer.code,
            counts=step.counts,
            snoozed=answer.code == RATE_LIMITED and not step.counts,
            due_in=step.wait or 0.0,
            error_code=answer.code,
            error_message=answer.message,
            call=end,
        )

    def _cost(self, call: PlannedCall, answer: Answer | Failure) -> int:
        """What the call cost; an answer that does not say what it used is taken to have cost what was reserved."""
        if isinstance(answer, Answer) and not answer.usage.total:
            return call.reserve
        return self._pipeline.cost(answer)

    def _enriched(self, item: Item, result: dict[str, Any], *, call: CallEnd | None) -> Settlement:
        domain = self._pipeline.domain(item.input, result) if self._claimed.options.writes_domain else None
        return Settlement(item=item, outcome=Outcome.ENRICHED, result=result, domain=domain, call=call)

    def _hold(self, hold: Hold, reason: str, *, call: UUID | None = None, needed: int | None = None) -> None:
        held = self._until_deadline(
            "hold_session", session=self._session, hold=hold, reason=reason, call_id=call, needed=needed
        )
        if held:
            log("ERROR", "Session held", session_id=self._session, hold=hold, reason=reason)

    def _until_deadline(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """A statement's rows, asked for until the ledger answers or the handler's deadline comes."""
        return _patiently(lambda: self._db.rows(name, **params), self._deadline)

    def _settle(self, settlements: Sequence[Settlement]) -> None:
        """Write settlements together; one that PostgreSQL refuses for good is found by writing them one by one."""
        if not settlements:
            return
        options, began = self._claimed.options, time.monotonic()
        try:
            verdicts = _patiently(
                lambda: ledger.settle(
                    self._db, self._session, settlements, pipeline=self._pipeline.slug, options=options
                ),
                self._deadline,
            )
        except StatementFailed as error:
            if len(settlements) > 1:
                self._settle_each(settlements)
            elif settlements[0].domain is None:
                raise
            else:
                self._settle([self._refused(settlements[0], error)])
            return
        for one in settlements:
            if one.outcome is None and verdicts.get(one.item.number) == "settled":
                self._processor.due_in(self._session, one.due_in)
            verdict = verdicts.get(one.item.number, "gone")
            _log_outcome(one, verdict, self._claimed, self._pipeline.slug, run_began=self._began, settle_began=began)

    def _settle_each(self, settlements: Sequence[Settlement]) -> None:
        """Write settlements one by one; one that cannot be written keeps none of the others from it."""
        refusals = []
        for one in settlements:
            try:
                self._settle([one])
            except StatementFailed as error:
                refusals.append(error)
        if refusals:
            raise refusals[0]

    def _refused(self, settlement: Settlement, error: StatementFailed) -> Settlement:
        """The settlement without its domain row. The answer stays with the item: it was paid for."""
        systemic = error.sqlstate.startswith(("42", "3F")) or error.sqlstate == "25006"
        if systemic:
            self._hold(Hold.SYSTEMIC, f"{error.code}: {error}. Run the migrations, then resume.")
        return Settlement(
            item=settlement.item,
            outcome=None if systemic else Outcome.FAILED,
            code=error.code if not systemic else "answered" if settlement.result else settlement.code,
            result=settlement.result,
            error_code=error.code,
            error_message=str(error),
            call=settlement.call,
        )


def _handed_back(item: Item, code: str, *, due_in: float = 0.0) -> Settlement:
    return Settlement(item=item, outcome=None, code=code, due_in=due_in)


def _outcome(call: PlannedCall, future: Future[Answer | Failure]) -> Answer | Failure:
    """The call's outcome; what nobody foresaw counts as a retry, and nobody knows whether it was paid."""
    error = future.exception()
    if error is None:
        return future.result()
    log("ERROR", "Unforeseen error in a call", error=error, **call.item.log_fields())
    return Failure(
        kind=ErrorClass.TRANSIENT,
        code="upstream.unexpected",
        message=f"The call broke with {type(error).__name__}; the log has the traceback.",
        call_state="unknown",
    )


def _together(waits: Iterable[float]) -> Iterator[tuple[float, int]]:
    """Slots within 50 ms of each other as one: when the last of them begins, and how many they are."""
    left = list(waits)
    while left:
        together_until = left[0] + MISSED_AFTER
        group = [slot for slot in left if slot <= together_until]
        yield group[-1], len(group)
        left = left[len(group) :]


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
    settlement: Settlement, verdict: str, claimed: Claimed, pipeline: str, *, run_began: float, settle_began: float
) -> None:
    if verdict == "settled" and settlement.outcome is None:
        return
    now = time.monotonic()
    log(
        "WARNING" if settlement.outcome is Outcome.FAILED or verdict != "settled" else "INFO",
        "Item settled" if verdict == "settled" else "Settlement not taken",
        trace=claimed.trace_id,
        pipeline=pipeline,
        outcome=settlement.outcome,
        db_status=_db_status(settlement, claimed.options),
        verdict=None if verdict == "settled" else verdict,
        error_code=settlement.error_code,
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
