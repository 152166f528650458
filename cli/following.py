"""Following a session: every line into a file as its row settles, until the results are final."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from cli.client import Api, Document
from cli.faults import Interrupted, Unreachable, WrongUsage
from cli.followed import Followed, followed
from cli.line_sets import LineSet
from cli.terminal import Terminal
from cli.verdict import advice_on
from cli.watching import CLOUD_INTERVAL, LOCAL_INTERVAL

LINES = 5_000  # of one answer, after which the file's place may be remembered
SLOWEST = 30.0  # seconds between two tries of an API that is away
LOOK_EVERY = 5.0  # seconds between two looks at whether a session waits for a person
WAITS = ("paused", "quoted")

T = TypeVar("T")


class Follower:
    """Follows sessions of one API."""

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

    def follow(self, session: UUID, output: Path) -> Document:
        """How the session ended, its final lines in the file: with `output`, `lines`, `bytes`, and how many `differed`.

        Raises Fault; the file then has whole lines, and following it again goes on.
        """
        self._api.status(session)  # a session nobody knows gets no file
        with followed(output, session, clock=self._clock) as file:
            if file.foreign:
                self._check_complete(session, file)
                differed = 0
            else:
                differed = self._to_the_end(session, file)
            written = {"output": str(file.path), "lines": file.lines, "bytes": file.size, "differed": differed}
            return {**self._api.status(session), **written}

    def _to_the_end(self, session: UUID, file: Followed) -> int:
        """Follow until nothing more can come; how many lines were not the final ones."""
        differed, checked = 0, False
        with self._stopped_well(file), self._terminal.busy(f"following session {session} into {file.path}") as tell:
            waiting = _Waiting(self._api, self._terminal, session, self._clock)
            while True:
                lines, final = self._patiently(lambda: self._taken(session, file))
                tell(f"{file.lines:,} lines")
                if final and checked and not lines:
                    file.finish()
                    return differed
                if final:  # it may be opened again meanwhile: the check counts once nothing has come after it
                    found = self._patiently(lambda: self._final(session, file))
                    checked = found is not None
                    differed = found or differed
                elif lines < LINES:
                    self._patiently(waiting.look)
                    file.sync_if_due()
                    self._sleep(self._interval)

    def _taken(self, session: UUID, file: Followed) -> tuple[int, bool]:
        """Append what has settled; how many lines, and whether the results are final behind them."""
        with self._api.settled(session, after=file.cursor, limit=LINES) as found:
            return file.take(found.pieces, found.next), found.final

    def _final(self, session: UUID, file: Followed) -> int | None:
        """Have the final lines in the file; how many differed, None if they are not final any more."""
        try:
            with self._api.results(session, after=0) as pieces:
                differ = LineSet().add(file.content()).add(pieces, -1).left
            if differ:
                with self._api.results(session, after=0) as pieces:
                    file.rewrite(pieces)
        except WrongUsage as error:
            if _code(error) != HTTPStatus.CONFLICT:
                raise
            return None
        return differ

    def _check_complete(self, session: UUID, file: Followed) -> None:
        """Raise WrongUsage unless a file without a mark holds the session's final lines: it was finished before."""
        try:
            with self._api.results(session, after=0) as pieces:
                complete = not LineSet().add(file.content()).add(pieces, -1).left
        except WrongUsage as error:
            if _code(error) != HTTPStatus.CONFLICT:
                raise
            complete = False
        if not complete:
            raise WrongUsage(
                f"{file.path} is there, and --follow did not write it for session {session}: it stays as it is. "
                "Name another file, or remove it."
            )

    def _patiently(self, ask: Callable[[], T]) -> T:
        """What an API answers, however long it is away."""
        wait, said = self._interval, False
        while True:
            try:
                answer = ask()
            except Unreachable as error:
                if not said:
                    self._terminal.note(f"{error} Still trying; Ctrl-C stops, and the same command goes on later.")
                    said = True
                self._sleep(wait)
                wait = min(SLOWEST, 2 * wait)
                continue
            if said:
                self._terminal.note("Reached again.")
            return answer

    @contextmanager
    def _stopped_well(self, file: Followed) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"No longer following; {file.path} has {file.lines:,} whole lines. The same command goes on with it."
            ) from error


class _Waiting:
    """Says once when a session comes to wait for a person."""

    def __init__(self, api: Api, terminal: Terminal, session: UUID, clock: Callable[[], float]) -> None:
        self._api, self._terminal, self._session, self._clock = api, terminal, session, clock
        self._looked, self._told = float("-inf"), ""

    def look(self) -> None:
        """Look now and then."""
        if self._clock() - self._looked < LOOK_EVERY:
            return
        status = self._api.status(self._session)
        self._looked = self._clock()
        if status["status"] != self._told and status["status"] in WAITS:
            self._terminal.note(f"{advice_on(status)} Still following.")
        self._told = status["status"]


def _code(error: WrongUsage) -> int | None:
    return (error.problem or {}).get("status")
