"""What a person does to a session: pause, resume, cancel, redo; tried again until the API answers."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from tests.e2e.stacks import Deck
from tests.faults.plan import Drop
from tests.faults.rows import File

PATIENCE = 25.0  # seconds an action is tried for
ENOUGH = 0.001  # dollars an artist, more than its worst case


@dataclass(kw_only=True)
class Watched:
    """One session of a seed."""

    session: UUID
    drop: Drop | None  # none: an export of films
    file: File | None
    copy: bool = False
    stopped: list[tuple[float, float]] = field(default_factory=list)  # from the answer to a pause to the resume
    redone: bool = False
    reprocessed: int = 0
    budgets: int = 0  # times its budget was raised
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For people."""
        what = "films" if self.drop is None else self.drop.name
        return f"{what}{' again' if self.copy else ''} ({self.session})"


class Person:
    """Acts on sessions through the API, in threads of its own where the seed goes on meanwhile."""

    def __init__(self, deck: Deck) -> None:
        self._deck = deck
        self._threads: list[threading.Thread] = []

    def soon(self, watched: Watched, action: str, **body: Any) -> None:
        """Act beside whatever else happens."""
        thread = threading.Thread(target=self.act, args=(watched, action), kwargs=body, daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self) -> None:
        """Return when all that was begun is done."""
        for thread in self._threads:
            thread.join(PATIENCE + 35)

    def act(self, watched: Watched, action: str, **body: Any) -> bool:
        """Whether the action was taken; false where the session is past it, or nobody answered in time."""
        deadline, asked = time.monotonic() + PATIENCE, time.time()
        while time.monotonic() < deadline:
            status = 0
            with contextlib.suppress(httpx.HTTPError):
                path = f"/api/session/{watched.session}/{action}"
                status = self._deck.api.post(path, json=body, timeout=8).status_code
            if action == "resume":  # whether or not its answer arrives
                _note_end(watched, asked)
            if status in (200, 409) or (status == 400 and action == "resume"):
                if status == 200 and action in ("pause", "cancel"):
                    watched.stopped.append((time.time(), math.inf))
                return status == 200
            time.sleep(0.25)
        return False

    def see_to(self, watched: Watched) -> bool:
        """Whether the session has ended as it should; does what a person would do about it where it has not."""
        try:
            status = self._deck.status(watched.session)
        except httpx.HTTPError:
            return False
        if not status:
            return False
        watched.status = status
        match status["status"]:
            case "paused":
                self._resume(watched, status)
            case "cancelled":
                return bool(status["open"] == 0)
            case "completed":
                return not self._redo(watched, status)
        return False

    def _resume(self, watched: Watched, status: dict[str, Any]) -> None:
        if "budget" in str(status["pause_reason"]).lower() and watched.drop is not None:
            watched.budgets += 1
            more = status["spent_usd"] + status["reserved_usd"] + ENOUGH * watched.drop.rows / 3
            self.act(watched, "resume", budget_usd=round(more, 6))
        else:
            self.act(watched, "resume")

    def _redo(self, watched: Watched, status: dict[str, Any]) -> bool:
        """Whether something of a completed session was opened again."""
        if status["failed"] and watched.reprocessed < 3:
            watched.reprocessed += 1
            return self.act(watched, "reprocess", outcomes=["failed"])
        if watched.drop is not None and watched.drop.redo and not watched.redone and not watched.copy:
            watched.redone = True
            keys = self._deck.execute(
                f"SELECT key FROM items WHERE session_id = '{watched.session}'"
                " AND outcome IN ('enriched', 'unchanged') ORDER BY item_no LIMIT 5"
            )
            answers = [self.act(watched, "reprocess", key=key) for (key,) in keys]
            return any(answers)
        return False


def _note_end(watched: Watched, asked: float) -> None:
    """Remember until when nothing may leave: until somebody first asked for it."""
    if watched.stopped and watched.stopped[-1][1] == math.inf:
        watched.stopped[-1] = (watched.stopped[-1][0], asked)
