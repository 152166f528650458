"""Keep a session moving: fill its window with due items, and ask for finalize when nothing is open.

`nudge` is the one operation. Every actor calls it after its commit; asked inside the settling statement, "am I the
last?" told nobody in 225 of 300 races.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from shared.config import Settings
from shared.db import Database
from shared.logs import log
from shared.messages import finalize_notice, items_notices
from shared.publisher import Publisher
from shared.tracing import about, traceparent

CLOCK_SLACK = 0.05  # seconds: the ledger's clock decides what is due, not ours


@dataclass(frozen=True, kw_only=True, slots=True)
class Nudged:
    """What a nudge did: how many items went out, and whether finalize was asked for."""

    dispatched: int = 0
    finished: bool = False


class Dispatcher:
    """Fills windows and publishes notices, on behalf of every function."""

    def __init__(self, db: Database, publisher: Publisher, settings: Settings) -> None:
        self._db, self._publisher, self._settings = db, publisher, settings
        self._busy, self._timers = _Busy(), _Timers()

    def nudge(self, session: UUID) -> Nudged:
        """Fill the session's window, or publish its finalize notice when every file is read and nothing is open.

        A session that waits for approval gets its quote by the same notice.
        """
        standing = self._db.row("standing", session=session)
        if standing is None:
            log("ERROR", "No such session, or it has expired", session_id=session, error_code="input.unknown_session")
            return Nudged()
        slug, trace_id = standing["pipeline"], standing["trace_id"]
        with about(session, trace_id=trace_id, pipeline=slug):  # not always that of the push: see `linger`
            if standing["finished"]:
                return Nudged(finished=self._ask_finalize(session, slug, trace_id))
            if slug not in self._settings.pipelines:
                return Nudged()
            if standing["to_quote"]:
                self._ask_finalize(session, slug, trace_id)
                return Nudged()
            return Nudged(dispatched=self._fill(session, slug, trace_id))

    def _ask_finalize(self, session: UUID, slug: str, trace_id: str | None) -> bool:
        """Publish the finalize notice, unless that was done a moment ago."""
        if self._db.row("ask_finalize", session=session) is None:
            return False
        notice = finalize_notice(session, pipeline=slug, traceparent=traceparent(trace_id))
        if self._publisher.publish(self._settings.topic_path("finalize"), [notice]):
            return True
        self._db.rows("unask_finalize", session=session)
        return False

    @contextmanager
    def nudging(self, session: UUID, items: int) -> Iterator[None]:
        """Nudge when the block ends, unless another block of this process has still to end and the window is not low.

        `items` is how many items the block takes off the window; a quarter window of them makes a nudge due.
        """
        pipeline = self._settings.pipeline
        quarter = self._settings.window(pipeline) // 4 if pipeline else 1
        self._busy.enter(session)
        try:
            yield
        finally:
            if self._busy.leave(session, items, quarter):
                self.nudge(session)

    def due_in(self, session: UUID, seconds: float) -> None:
        """Remember that an item of the session is due again then, for whoever lingers."""
        self._timers.add(session, time.monotonic() + seconds + CLOCK_SLACK)

    def linger(self, *, until: float) -> None:
        """Nudge sessions at the moments `due_in` was told of, up to `until` (monotonic); one thread of a process does.

        Rescue would find those items too, but it may be a minute until its next call: a thousand rows of which one in
        twenty failed once took 66 s without this and 12 s with it.
        """
        while sessions := self._timers.wait(until):
            for session in sessions:
                self.nudge(session)

    def _fill(self, session: UUID, slug: str, trace_id: str | None) -> int:
        settings = self._settings.pipelines[slug]
        rows = self._db.rows(
            "fill_window",
            session=session,
            window=self._settings.window(slug),
            upstream=settings.upstream,
            probes=settings.items_per_message,
            token=uuid4(),
        )
        numbers = sorted(row["item_no"] for row in rows)
        if not numbers:
            return 0
        notices = list(
            items_notices(
                session,
                numbers,
                per_message=settings.items_per_message,
                pipeline=slug,
                traceparent=traceparent(trace_id),
            )
        )
        taken = self._publisher.publish(self._settings.topic_path(settings.topic), notices)
        if taken < len(notices):
            unpublished = numbers[taken * settings.items_per_message :]
            self._db.rows("take_back", session=session, item_nos=unpublished)
            log("WARNING", "Pub/Sub did not take every notice", items=len(unpublished))
            return len(numbers) - len(unpublished)
        return len(numbers)


class _Busy:
    """Which sessions this process is working on, and how many of their items it took since the last nudge."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: Counter[UUID] = Counter()
        self._taken: Counter[UUID] = Counter()

    def enter(self, session: UUID) -> None:
        with self._lock:
            self._blocks[session] += 1

    def leave(self, session: UUID, items: int, quarter: int) -> bool:
        """Whether the one who leaves has to nudge."""
        with self._lock:
            self._blocks[session] -= 1
            self._taken[session] += items
            last = self._blocks[session] == 0
            due = last or self._taken[session] >= quarter
            if due:
                del self._taken[session]
            if last:
                del self._blocks[session]
            return due


class _Timers:
    """When items handed back by this process are due again. The thread that may stay longest waits for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._moments: list[tuple[float, UUID]] = []
        self._stays_until: float | None = None  # of the thread that waits

    def add(self, session: UUID, moment: float) -> None:
        with self._changed:
            heapq.heappush(self._moments, (moment, session))
            self._changed.notify_all()

    def wait(self, until: float) -> set[UUID]:
        """Whom to nudge, once the next moment has come; nobody if another may stay longer or none comes in time."""
        with self._changed:
            if self._stays_until is not None and self._stays_until >= until:
                return set()
            self._stays_until = until
            self._changed.notify_all()  # whoever waited so far may go
            try:
                while self._stays_until == until and self._moments and self._moments[0][0] <= until:
                    left = self._moments[0][0] - time.monotonic()
                    if left <= 0:
                        return self._passed()
                    self._changed.wait(left)
                return set()
            finally:
                if self._stays_until == until:
                    self._stays_until = None

    def _passed(self) -> set[UUID]:
        sessions = set()
        while self._moments and self._moments[0][0] <= time.monotonic():
            sessions.add(heapq.heappop(self._moments)[1])
        return sessions
