"""Process: claim a message's items, admit and make their calls at once, settle what came of them.

Each item is enriched by a dialogue with its upstream: the pipeline yields requests, this drives them, many at once. No
database connection is held while a call or a slot is waited for. Per message of a pipeline that asks once, in the
steady state: claim, slots, start, settle: four statements, whatever the number of items.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, assert_never
from uuid import UUID, uuid4

from shared import items as ledger
from shared import tracing
from shared.calling import Caller, unexpected
from shared.calls import PlannedCall, Verdict, let_go, request_digest, start_calls
from shared.config import Settings
from shared.db import Database
from shared.dispatch import Dispatcher
from shared.errors import DatabaseError, LedgerDown, StatementFailed
from shared.health import AWAY, RATE_LIMITED, UNFINISHED, Heard, Standing, UpstreamHealth
from shared.items import CallEnd, Claimed, Item, Settlement
from shared.limits import AHEAD, TokenSlot, reserve_slots
from shared.logs import log
from shared.messages import ItemsNotice
from shared.pending import Pending
from shared.pipelines.base import Dialogue, Pipeline, Settled
from shared.places import Places
from shared.retry import RetryPolicy, next_step
from shared.settling import Settler
from shared.states import CallState, Hold, Outcome
from shared.upstreams.base import Answer, ErrorClass, Failure

# A message's items are settled together when the rest follow this soon after the first, in seconds. What was paid
# for is not kept waiting; the rest may be, so that ten films are one transaction.
GATHER, GATHER_UNPAID = 0.25, 10.0
BUDGET_BUSY_WAIT = 2.0
# How much longer than its request a probe may take until it is noted; then another is made.
PROBE_SLACK = 5.0
_CUT = "It expands into more items than MAX_EXPANSION allows: the first {most:,} were made, {cut:,} were not."
YIELDS = (4.0, 6.0)  # seconds; rescue hands out rows of other sessions every 2


class Processor:
    """Processes notices of one pipeline."""

    def __init__(
        self,
        db: Database,
        dispatcher: Dispatcher,
        pipeline: Pipeline,
        settings: Settings,
        pending: Pending | None = None,
    ) -> None:
        self.db, self.pipeline = db, pipeline
        self.dispatcher, self.pending = dispatcher, pending
        self.settings, self.max_expansion = settings.pipelines[pipeline.slug], settings.max_expansion
        self.limits = settings.upstreams.get(self.settings.upstream)
        self.health = UpstreamHealth(db, settings, self.settings.upstream)
        calls = self.settings.calls_of(settings.threads)
        self.places = Places(calls)  # one for each item that is in dialogue with the upstream
        # As many workers as calls can be admitted at once: one that waited for one could leave after its lease.
        self.caller = Caller(db, pipeline, request_timeout=self.settings.request_timeout, workers=calls)

    def handle(self, notice: ItemsNotice) -> None:
        """Run the notice's items as far as they may run now.

        Everything that can happen to an item is written to the ledger; raises only LedgerDown, for the push to come
        again.
        """
        tracing.adopt(session=notice.session, pipeline=self.pipeline.slug)
        with self.dispatcher.nudging(notice.session, len(notice.items)):
            deadline = time.monotonic() + self.settings.deadline
            claimed = ledger.claim(
                self.db,
                notice.session,
                notice.items,
                pipeline=self.pipeline.slug,
                lease=self.settings.lease,
                configuration=self.pipeline.configuration,
            )
            if claimed is not None:
                tracing.adopt(trace_id=claimed.trace_id)
                _Run(self, notice.session, claimed, deadline).go()
            taken = {item.number for item in claimed.items} if claimed else set()
            if missed := [number for number in notice.items if number not in taken]:
                self.db.rows("note_absorbed", session=notice.session, item_nos=missed)
        self.dispatcher.linger(until=deadline)


@dataclass(kw_only=True, slots=True)
class _Talk:
    """One item's dialogue with the upstream, as far as it has come."""

    item: Item
    dialogue: Dialogue
    asked: bool = False  # whether any request left; what is remembered needs none
    paid: CallEnd | None = None  # the end of its one paid call


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flight:
    """A call under way: when it left, and what its slot took of the token limit."""

    call: PlannedCall
    left_at: float
    slot: TokenSlot


class _Run:
    """One message's items from claim to settle."""

    def __init__(self, processor: Processor, session: UUID, claimed: Claimed, deadline: float) -> None:
        self._processor, self._session, self._claimed, self._deadline = processor, session, claimed, deadline
        self._db, self._pipeline, self._settings = processor.db, processor.pipeline, processor.settings
        self._waiting: deque[PlannedCall] = deque()
        self._calls: dict[Future[Answer | Failure], _Flight] = {}
        self._standing: Standing | None = Standing()  # of the upstream as last heard; None: not known
        self._open = {item.number: item for item in claimed.items}  # neither ended nor handed back
        self._late: set[UUID] = set()  # calls that once missed their slot while they were started
        self._talks: dict[int, _Talk] = {}
        self._places = 0  # that this run has, one for each of its talks
        self._ended: list[Settlement] = []
        self._settle_at = 0.0
        self._patient_until: float | None = None  # when waiting calls are handed back unless slots were given
        self._began = time.monotonic()
        self._settler = Settler(
            processor.db, processor.dispatcher, processor.pipeline, session, claimed,
            deadline=deadline, linger=self._settings.linger, pending=processor.pending,
        )  # fmt: skip

    def go(self) -> None:
        """Settle what needs no call, then admit and call the rest, settling as they end."""
        try:
            self._begin()
            self._take_places()
            while self._waiting or self._calls:
                if self._waiting:
                    self._admit()
                else:
                    self._wait()
        except Exception as error:
            self._hear_the_rest()
            if isinstance(error, LedgerDown):  # the message comes again, and finds them once the ledger is back
                for item in list(self._open.values()):
                    self._end(_handed_back(item, "ledger_away"))
            raise
        finally:
            self._processor.places.give_back(self._places)
            self._settle_ended()
        try:
            self._processor.health.give_back_unused(at_once=not self._processor.places.taken)
        except DatabaseError as error:  # time brings them back
            log("WARNING", "Unused tokens could not be given back", reason=str(error))

    def _take_places(self) -> None:
        """Wait until the process has room for the calls of all items; hand back those that would leave too late."""
        if not self._talks:
            return
        left = self._deadline - self._settings.request_timeout - time.monotonic()
        self._places = self._processor.places.take(len(self._talks), within=max(0.0, left))
        if not self._places:
            self._give_back_waiting("deadline")

    def _end_talk(self, number: int) -> None:
        """Forget a dialogue, and let others have its place."""
        del self._talks[number]
        if self._places:
            self._places -= 1
            self._processor.places.give_back()

    def _hear_the_rest(self) -> None:
        """Take in every call under way before anything is written: a ledger that is away must not lose the others."""
        while self._calls:
            wait(self._calls, return_when=FIRST_COMPLETED)
            self._hear(learn=False)
        self._give_back_waiting("ledger_away")

    def _begin(self) -> None:
        """Start the items' dialogues; items that need none end."""
        options = self._claimed.options
        fresh = [item for item in self._claimed.items if item.kept is None]
        try:
            begun: Mapping[int, Settled | Dialogue] = (
                {item.number: Settled(outcome=Outcome.SKIPPED, code="dry_run") for item in fresh}
                if options.dry_run
                else self._pipeline.begin(self._db, fresh, options)
            )
        except StatementFailed as error:  # the domain table is missing, say: found out before anything is paid
            stopped = [_handed_back(item, "held") if item.kept is None else self._kept(item)
                       for item in self._claimed.items]  # fmt: skip
            self._open.clear()
            self._settler.settle([self._settler.refused(one, error) for one in stopped])
            return
        talks = []
        for item in self._claimed.items:
            if item.kept is not None:
                self._end(self._kept(item))
            elif isinstance(start := begun[item.number], Settled):
                self._end(self._settlement(item, start))
            elif item.reusable is not None:
                self._end(self._settlement(item, Settled(outcome=Outcome.UNCHANGED, result=dict(item.reusable))))
            else:
                talk = self._talks[item.number] = _Talk(item=item, dialogue=start)
                talks.append((talk, None))
        self._settle_ended()
        if talks:
            _ = self._pipeline.upstream  # made before slots are given: they would be gone when it is
        self._advance(talks)

    def _kept(self, item: Item) -> Settlement:
        """An earlier attempt paid for the answer and could not write it."""
        return self._settlement(item, Settled(outcome=Outcome.ENRICHED, result=dict(item.kept or {})))

    def _advance(self, heard: Sequence[tuple[_Talk, Answer | Failure | None]]) -> None:
        """Tell dialogues what they were answered, until each has ended or waits for a request to leave."""
        while heard:
            requests = [(talk, said[0]) for talk, answer in heard if (said := self._tell(talk, answer)) is not None]
            # Whoever has an item run again wants to know anew.
            old = [request for talk, request in requests if self._pipeline.caches and talk.item.round == 1]
            known = self._recalled(old) if old else {}
            heard = []
            for talk, request in requests:
                if request in old and request in known:
                    heard.append((talk, known[request]))
                else:
                    self._waiting.append(self._planned(talk.item, request))

    def _recalled(self, requests: Sequence[Any]) -> Mapping[Any, Answer]:
        try:
            return self._pipeline.recall(self._db, requests)
        except DatabaseError as error:  # they can be asked again
            log("WARNING", "What is remembered could not be read", reason=str(error))
            return {}

    def _tell(self, talk: _Talk, answer: Answer | Failure | None) -> tuple[Any] | None:
        """The dialogue's next request; None if it has ended."""
        try:
            return (talk.dialogue.send(answer),)  # type: ignore[arg-type]  # None starts it
        except StopIteration as end:
            ending: Settled | Failure = end.value
            if self._pipeline.paid and isinstance(ending, Settled) and ending.children:
                ending = unexpected(TypeError("Items of paid pipelines do not expand."), ErrorClass.PERMANENT)
        except Exception as error:  # a fault of ours that one item brought to light; its neighbours go on
            log("ERROR", "Unforeseen error in a dialogue", error=error, **talk.item.log_fields())
            ending = unexpected(error, ErrorClass.PERMANENT if talk.paid else ErrorClass.TRANSIENT)
        self._end_talk(talk.item.number)
        self._end(self._judged(talk, ending))
        return None

    def _planned(self, item: Item, request: Any) -> PlannedCall:
        digest, asked = request_digest(request, self._pipeline.configuration), item.asked
        if asked is not None and asked.digest == digest:  # else prompt or model are others now
            return PlannedCall(
                id=asked.call,
                item=item,
                request=request,
                digest=digest,
                tokens=0,
                reserve=asked.reserved,
                response_id=asked.response_id,
            )
        estimate = self._pipeline.estimate(request)
        return PlannedCall(
            id=uuid4(), item=item, request=request, digest=digest, tokens=estimate.tokens, reserve=estimate.micros
        )

    def _admit(self) -> None:
        """Start waiting calls at their slots; hand back those whose slot is too far away."""
        now, latest = time.monotonic(), self._deadline - self._settings.request_timeout
        if now > latest:  # a request could outlive the handler
            return self._give_back_waiting("deadline")
        if self._patient_until is None:
            self._patient_until = min(now + self._settings.max_wait, latest)
        left = max(0.0, self._patient_until - now)
        slots = reserve_slots(
            self._db,
            self._settings.upstream,
            self._processor.limits,
            n=len(self._waiting),
            tokens=max(call.tokens for call in self._waiting),
            max_wait=min(left, AHEAD),
            probe_timeout=self._settings.request_timeout + PROBE_SLACK,
            returned=self._processor.health.unused(),
        )
        self._processor.health.ailing = slots.ailing
        if slots.tripped:
            self._waiting = deque(sorted(self._waiting, key=lambda call: call.item.last_error in AWAY))
        if slots.waits:
            self._patient_until = None
        elif slots.again < left:
            self._wait(time.monotonic() + slots.again)
        else:
            return self._give_back_waiting("breaker" if slots.tripped else "rate_limit", due_in=slots.later)
        for first, last, count in _together(slots.waits, slots.lateness):
            while time.monotonic() < slots.given_at + last:
                self._wait(slots.given_at + last)
            gone_at = slots.given_at + first + slots.lateness
            if time.monotonic() <= gone_at:
                self._start([self._waiting.popleft() for _ in range(count)], gone_at, slots.tokens)
            # else these slots are gone, and their calls ask for others
        if slots.tripped and slots.waits and not self._calls:  # the probe was not made after all
            self._db.rows("release_probe", upstream=self._settings.upstream)
        return None

    def _start(self, planned: Sequence[PlannedCall], gone_at: float, slot: TokenSlot) -> None:
        if self._pipeline.paid:
            for call in planned:  # should the ledger go away now, nobody knows whether the calls are booked:
                del self._open[call.item.number]  # their leases end, and rescue says so of them
            verdicts = self._start_paid(planned)
            self._open |= {call.item.number: call.item for call in planned}
        else:
            verdicts = let_go(self._db, self._session, planned)  # no lease to renew: it outlives the handler
        missed = time.monotonic() > gone_at
        late: list[PlannedCall] = []
        beyond: list[int] = []
        for call in planned:
            match verdict := verdicts.get(call.item.number, Verdict.SUPERSEDED):
                case Verdict.STARTED if missed and call.id not in self._late:  # once: a slow ledger must not stop all
                    late.append(call)
                case Verdict.STARTED:
                    self._talks[call.item.number].asked = True
                    flight = _Flight(call=call, left_at=time.monotonic(), slot=slot)
                    future = self._processor.caller.call(call, self._claimed.options.call_mode)
                    self._calls[future] = flight
                case Verdict.SUPERSEDED:
                    log("INFO", "Item superseded before its call", **call.item.log_fields())
                    self._end_talk(call.item.number)
                    del self._open[call.item.number]
                case Verdict.HELD:
                    self._give_back(call, "held")
                case Verdict.BUDGET_BUSY:
                    self._give_back(call, "budget_busy", due_in=BUDGET_BUSY_WAIT)
                case Verdict.BUDGET_GONE:
                    beyond.append(call.reserve)
                    self._give_back(call, "budget")
                case _:
                    assert_never(verdict)
        self._late |= {call.id for call in late}
        self._waiting.extendleft(reversed(late))  # they ask for other slots, and are started anew under their ids
        if beyond:
            reason = "The next call could pass the budget; resume with a higher one to go on."
            self._settler.hold(Hold.BUDGET, reason, needed=max(beyond))

    def _start_paid(self, planned: Sequence[PlannedCall]) -> dict[int, Verdict]:
        new = [call for call in planned if call.response_id is None]
        begun = [call for call in planned if call.response_id is not None]  # paid for when they began
        verdicts = let_go(self._db, self._session, begun) if begun else {}
        if new:
            verdicts |= start_calls(
                self._db, self._session, new, upstream=self._settings.upstream, lease=self._settings.lease
            )
        return verdicts

    def _give_back_waiting(self, code: str, *, due_in: float = 0.0) -> None:
        self._patient_until = None
        while self._waiting:
            self._give_back(self._waiting.popleft(), code, due_in=due_in)

    def _give_back(self, call: PlannedCall, code: str, *, due_in: float = 0.0) -> None:
        self._end_talk(call.item.number)
        booked = self._pipeline.paid and call.response_id is None  # or never was; it has not left in any case
        unsent = CallEnd(id=call.id, state=CallState.FAILED, cost=0) if booked else None
        self._end(_handed_back(call.item, code, due_in=due_in, call=unsent))

    def _wait(self, until: float | None = None) -> None:
        """Wait until a call has ended or the moment has come, and do what follows from it."""
        moments = [until] if until is not None else []
        if self._ended:
            moments.append(self._settle_at)
        left = max(0.0, min(moments) - time.monotonic()) if moments else None
        if self._calls:
            done, _ = wait(self._calls, timeout=left, return_when=FIRST_COMPLETED)
            if done:
                self._hear()
        elif left:
            time.sleep(left)
        if self._ended and time.monotonic() >= self._settle_at:
            self._settle_ended()

    def _hear(self, *, learn: bool = True) -> None:
        """Pass on the answers that have come."""
        ended = [(self._calls.pop(future), future.result()) for future in list(self._calls) if future.done()]
        if self._pipeline.paid:
            for flight, answer in ended:
                self._talks[flight.call.item.number].paid = self._call_end(flight.call, answer)
        if learn:
            self._learn(ended)
        self._advance([(self._talks[flight.call.item.number], answer) for flight, answer in ended])

    def _learn(self, ended: Sequence[tuple[_Flight, Answer | Failure]]) -> None:
        """Keep what the answers say of the upstream, and themselves for other sessions."""
        self._standing = None
        try:
            self._standing = self._processor.health.hear(
                [
                    Heard(
                        answer=answer,
                        left_at=flight.left_at,
                        slot=flight.slot,
                        again=flight.call.item.last_error in AWAY,
                    )
                    for flight, answer in ended
                ]
            )
            if self._pipeline.caches:
                good = {flight.call.request: answer for flight, answer in ended if isinstance(answer, Answer)}
                self._pipeline.remember(self._db, good)
        except DatabaseError as error:  # the answers themselves are what matters
            log("WARNING", "What answers teach could not be kept", reason=str(error))

    def _call_end(self, call: PlannedCall, answer: Answer | Failure) -> CallEnd:
        unknown = isinstance(answer, Failure) and answer.call_state == "unknown"
        return CallEnd(
            id=call.id,
            state=CallState.SUCCEEDED if isinstance(answer, Answer) else CallState(answer.call_state),
            response_id=answer.response_id,
            model=answer.model,
            tokens_in=answer.usage.input_tokens if answer.usage else None,
            tokens_out=answer.usage.output_tokens if answer.usage else None,
            cost=None if unknown else self._cost(call, answer),
        )

    def _judged(self, talk: _Talk, ending: Settled | Failure) -> Settlement:
        """What the end of a dialogue means for its item."""
        if isinstance(ending, Settled):
            if self._pipeline.caches and ending.result is not None:
                ending.result["from_cache"] = not talk.asked
            return self._settlement(talk.item, ending, call=talk.paid)
        policy = RetryPolicy(max_failures=self._settings.max_failures, base=self._settings.retry_base)
        patient = self._asks_for_patience(ending)
        step = next_step(
            ending.kind,
            failures=talk.item.failures,
            policy=policy,
            retry_after=max(ending.retry_after or 0.0, self._after_the_probe()),
            snoozes=talk.item.snoozes if patient else None,
        )
        if step.hold:
            self._settler.hold(Hold.SYSTEMIC, f"{ending.code}: {ending.message}", since=self._began)
        if step.wait is None:
            end = self._pipeline.given_up(talk.item, ending, self._claimed.options)
            return self._settlement(talk.item, end, call=talk.paid, counts=step.counts)
        return Settlement(
            item=talk.item,
            outcome=None,
            code=ending.code,
            counts=step.counts,
            snoozed=patient and not step.counts,
            due_in=step.wait,
            error_code=ending.code,
            error_message=ending.message,
            call=talk.paid,
        )

    def _after_the_probe(self) -> float:
        """Seconds a failed item leaves the next probe to others: were it the row, it would keep the breaker open."""
        if self._standing is None or not self._standing.tripped:
            return 0.0
        return self._standing.probe_in + random.uniform(*YIELDS)

    def _asks_for_patience(self, ending: Failure) -> bool:
        """Whether the item is not to blame, nor yet the session: it may go well for it soon, without using up a try."""
        if ending.code in (RATE_LIMITED, UNFINISHED):
            return True
        if self._standing is None:
            return False
        if ending.kind is ErrorClass.SYSTEMIC:
            return not self._standing.dominates
        return ending.code in AWAY and self._standing.tripped

    def _cost(self, call: PlannedCall, answer: Answer | Failure) -> int:
        """What the call cost; an answer that does not say what it used is taken to have cost what was reserved."""
        if isinstance(answer, Answer) and not (answer.usage and answer.usage.total):
            return call.reserve
        return self._pipeline.cost(answer)

    def _settlement(
        self, item: Item, settled: Settled, *, call: CallEnd | None = None, counts: bool = False
    ) -> Settlement:
        writes, most = self._claimed.options.writes_domain, self._processor.max_expansion
        kept, cut = settled.children[:most], max(0, len(settled.children) - most)
        if cut:
            log("WARNING", "An item expands into too many", made=most, cut=cut, **item.log_fields())
        return Settlement(
            item=item,
            outcome=settled.outcome,
            code=settled.code or ("expansion_cut" if cut else None),
            counts=counts,
            result=settled.result,
            domain=self._pipeline.domain(item.input, settled) if writes else None,
            error_code=settled.error_code,
            error_message=settled.error_message or (_CUT.format(most=most, cut=cut) if cut else None),
            call=call,
            children=kept,
            cut=cut,
        )

    def _end(self, settlement: Settlement) -> None:
        """Have the settlement written with those that follow soon; never later than its kind allows."""
        if not self._ended:
            self._settle_at = time.monotonic() + (GATHER if self._pipeline.paid else GATHER_UNPAID)
        self._open.pop(settlement.item.number, None)
        self._ended.append(settlement)

    def _settle_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._settler.settle(ended)


def _handed_back(item: Item, code: str, *, due_in: float = 0.0, call: CallEnd | None = None) -> Settlement:
    return Settlement(item=item, outcome=None, code=code, due_in=due_in, call=call)


def _together(waits: Iterable[float], lateness: float) -> Iterator[tuple[float, float, int]]:
    """Slots so near that all may wait for the last as one: when the first and the last begin, and how many they are."""
    left = list(waits)
    while left:
        group = [slot for slot in left if slot <= left[0] + lateness / 2]  # the other half is for being late
        yield group[0], group[-1], len(group)
        left = left[len(group) :]
