"""Watching sessions until they end: a live picture on a screen, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from rich.live import Live
from rich.spinner import Spinner

from cli.client import Api, Document, NoSuchSession
from cli.faults import Unreachable
from cli.showing import line_of, picture, work
from cli.terminal import Terminal
from cli.uploading import Uploaded, version

ENDED = ("completed", "failed", "cancelled")
HALTED = (*ENDED, "paused", "quoted")

LOCAL_INTERVAL, CLOUD_INTERVAL = 0.25, 1.0  # seconds between looks
SLOWEST_INTERVAL = 10.0
LOAD = 5  # a look that takes long is repeated after this many times its length, so that watching costs a sixth at most
APPEARS_WITHIN = 60.0  # a notification travels until a fresh upload is a session
CLOSES_WITHIN = 10.0  # an ended session's last items and its results are still written
UNREACHABLE_FOR = 30.0  # an API that restarts does not end a watch
PACE_OVER, PACE_AFTER = 10.0, 0.5  # seconds the shown pace is taken over, at most and at least
PLAIN_EVERY = 5.0  # seconds between lines where there is no screen
SAME_EVERY = 60.0  # seconds between two that say the same

Show = Callable[[list[Document]], None]


class Pace:
    """The pace of a session as it was seen from here: the API's own is an average that begins too low."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def seen(self, status: Document, now: float) -> Document:
        """The status with rate and remaining time of the last seconds, where enough was seen to tell."""
        if not (units := work(status)):
            return status
        settled = units.done
        if not settled:
            self._seen.clear()  # the clock starts with the last look at which nothing was done
        self._seen.append((now, settled))
        while now - self._seen[0][0] > PACE_OVER and len(self._seen) > 2:
            self._seen.popleft()
        began, before = self._seen[0]
        if settled <= before or now - began < PACE_AFTER:
            return status
        rate = (settled - before) / (now - began)
        return {**status, "items_per_second": rate, "eta_seconds": (units.total - units.done) / rate}


class Watcher:
    """Looks at sessions until nothing more happens to them without a person."""

    def __init__(
        self,
        api: Api,
        terminal: Terminal,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._terminal = api, terminal
        self._clock, self._sleep = clock, sleep
        self._interval = LOCAL_INTERVAL if api.local else CLOUD_INTERVAL
        self._answered = clock()
        self._ended_at: dict[UUID, float] = {}
        self._paces: dict[UUID, Pace] = {}
        self._awaited: dict[UUID, set[str]] = {}

    def watch(
        self,
        sessions: Sequence[UUID],
        *,
        uploads: Sequence[Uploaded] = (),
        names: Mapping[UUID, str] | None = None,
    ) -> list[Document]:
        """The sessions' status documents once all have ended, paused or wait for approval.

        Those of the `uploads` of just now may not be known yet, or stand as they ended before. Raises Fault.
        """
        began = self._clock()
        for each in uploads:
            self._awaited.setdefault(each.session, set()).add(each.version)
        found = {session: self._first_look(session) for session in sessions}
        with self._display(names or {}) as show:
            while True:
                show(
                    [
                        self._paces.setdefault(session, Pace()).seen(each, self._clock())
                        for session, each in found.items()
                    ]
                )
                waiting = [session for session in sessions if not self._is_over(session, found[session])]
                if not waiting:
                    return list(found.values())
                self._sleep(self._interval)
                for session in waiting:
                    found[session] = self._look(session, found[session], appears_until=began + APPEARS_WITHIN)

    def _first_look(self, session: UUID) -> Document:
        try:
            return self._timed(session)
        except NoSuchSession:
            if session not in self._awaited:
                raise
            return _uploading(session)

    def _look(self, session: UUID, before: Document, *, appears_until: float) -> Document:
        try:
            found = self._timed(session)
        except NoSuchSession:
            if not self._awaited.get(session):
                raise
            found = before
        except Unreachable:
            if self._clock() - self._answered > UNREACHABLE_FOR:
                raise
            return before
        if self._awaited.get(session) and self._clock() > appears_until:
            missing = min(self._awaited[session]).rpartition("#")[0]
            raise Unreachable(
                f"Session {session} has not taken up {missing}: the notification of the upload has not arrived. "
                f"Look at the log of function ingest, then `rowlift watch {session}`."
            )
        return found

    def _timed(self, session: UUID) -> Document:
        began = self._clock()
        found = self._status(session)
        self._answered = self._clock()
        least = LOCAL_INTERVAL if self._api.local else CLOUD_INTERVAL
        self._interval = min(SLOWEST_INTERVAL, max(least, LOAD * (self._answered - began)))
        return found

    def _status(self, session: UUID) -> Document:
        """How the session stands, which says nothing until it has taken up what was uploaded into it."""
        awaited = self._awaited.get(session)
        if not awaited:
            return self._api.status(session)
        awaited -= files_of(self._api.session(session))
        return _uploading(session) if awaited else self._api.status(session)

    def _is_over(self, session: UUID, found: Document) -> bool:
        status = found["status"]
        if status not in HALTED:
            self._ended_at.pop(session, None)
            return False
        if status not in ENDED or found.get("completed_at"):
            return True
        return self._clock() - self._ended_at.setdefault(session, self._clock()) > CLOSES_WITHIN

    @contextmanager
    def _display(self, names: Mapping[UUID, str]) -> Iterator[Show]:
        if self._terminal.live:
            with Live(console=self._terminal.progress, refresh_per_second=12) as live:
                spinner = Spinner("dots", style="cyan")
                yield lambda found: live.update(picture(found, names, spinner=spinner))
        else:
            yield self._plain(names)

    def _plain(self, names: Mapping[UUID, str]) -> Show:
        """Shows a line per session when its status has changed, and every few seconds; the end is the answer's."""
        said: dict[str, tuple[str, str, float]] = {}

        def show(found: list[Document]) -> None:
            for status in found:
                if len(found) == 1 and status["status"] in HALTED:
                    continue
                key, now = status["session_id"], self._clock()
                last, line, at = said.get(key, ("", "", now))
                fresh = line_of(status, names)
                if status["status"] != last or now - at >= (SAME_EVERY if fresh == line else PLAIN_EVERY):
                    said[key] = (status["status"], fresh, now)
                    self._terminal.note(fresh)

        return show


def files_of(session: Document) -> set[str]:
    """The objects a session has taken up, as `Uploaded.version` names them."""
    return {version(file["object"], file["generation"]) for file in session["files"]}


def _uploading(session: UUID) -> Document:
    return {"session_id": str(session), "status": "uploading"}


def summed(found: Sequence[Document]) -> Document:
    """The status of several sessions as one: counts and money added up, the status the worst of them."""
    if len(found) == 1:
        return found[0]
    added = {
        key: sum(each.get(key) or 0 for each in found)
        for key, value in found[0].items()
        if isinstance(value, int | float) and key not in ("progress_percent", "eta_seconds", "budget_usd")
    }
    budgets = [each.get("budget_usd") for each in found]
    total, opened = added.get("total", 0), added.get("open", 0)
    reasons = [str(reason) for each in found if (reason := each.get("error_message") or each.get("pause_reason"))]
    return {
        "session_id": None,
        "session_ids": [each["session_id"] for each in found],
        "pipeline": found[0].get("pipeline"),
        "status": _worst([each["status"] for each in found]),
        "pause_reason": next((each["pause_reason"] for each in found if each.get("pause_reason")), None),
        "error_message": "; ".join(reasons) or None,
        **added,
        "progress_percent": round(100 * (total - opened) / total, 1) if total else 100.0,
        "budget_usd": None if None in budgets else sum(budget for budget in budgets if budget is not None),
        "eta_seconds": max(
            (each["eta_seconds"] for each in found if each.get("eta_seconds") is not None), default=None
        ),
        "bound_by": next((each["bound_by"] for each in found if each.get("bound_by")), None),
        "sessions": list(found),
    }


_WORST_FIRST = ("failed", "cancelled", "paused", "quoted", "uploading", "processing", "enriching", "completed")


def _worst(statuses: Sequence[str]) -> str:
    return min(statuses, key=lambda status: _WORST_FIRST.index(status) if status in _WORST_FIRST else 0)
