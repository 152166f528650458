"""What becomes of the sessions of a `run` that a person leaves: paused, or left to go on in the background."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

from cli.client import Api, NoSuchSession
from cli.faults import Fault, Interrupted, Terminated, Unreachable
from cli.naming import short
from cli.terminal import Terminal
from cli.uploading import Uploaded
from cli.watching import files_of

KNOWN_WITHIN = 10.0  # seconds until what was uploaded can be asked about; an upload waits no longer


class Leaving:
    """One leave-taking. `started`: the stack was started for the run, and ends with it unless work goes on."""

    def __init__(self, service: Api, uploads: Sequence[Uploaded], terminal: Terminal, *, started: bool) -> None:
        self._service, self._uploads, self._terminal, self._started = service, uploads, terminal, started
        self._sessions = list(dict.fromkeys(each.session for each in uploads))
        self._paused: list[UUID] = []

    def taken(self, error: KeyboardInterrupt, *, ask: bool) -> Interrupted:
        """How the run ends. A person is asked once; a second Ctrl-C ends it at once, and what works goes on."""
        if not self._sessions:
            return Interrupted("Stopped before anything was uploaded. `rowlift status` lists the sessions.")
        try:
            if ask and self._terminal.asks and not isinstance(error, Terminated) and not self._wants_pause():
                return self._going_on("")
            return self._pause()
        except KeyboardInterrupt:
            done = f"{_named(self._paused)} paused. " if self._paused else "Nothing was paused. "
            return self._going_on(f"Left at once. {done}")

    def _wants_pause(self) -> bool:
        many = len(self._sessions) > 1
        what = "the sessions? They go" if many else "the session? It goes"
        self._terminal.note("")
        return self._terminal.ask(
            f"Pause {what} on in the background otherwise; Ctrl-C again leaves at once.", default=True
        )

    def _pause(self) -> Interrupted:
        """Pause the sessions, and tell how to go on with them."""
        wait_until_known(self._service, self._uploads)
        busy = []
        for session in self._sessions:
            try:
                self._service.act(session, "pause")
                self._paused.append(session)
            except Unreachable:  # the ledger may be busy with the very file
                busy.append(session)
            except Fault:  # it has ended meanwhile, or nothing of it is known yet
                continue
        if busy:
            return Interrupted(
                f"No longer watching, but {_named(busy)} not paused, because it could not be reached, and "
                f"goes on; try again: {_each('pause', busy)}.",
                goes_on=True,
            )
        if not self._paused:
            return Interrupted("Stopped; nothing was left to pause. `rowlift status` lists the sessions.")
        return Interrupted(
            f"Stopped. {_named(self._paused)} paused and loses nothing; {_each('resume', self._paused)} goes on."
        )

    def _going_on(self, begin: str) -> Interrupted:
        """What is not paused works on, and so does the stack it works on."""
        going = [session for session in self._sessions if session not in self._paused]
        if not going:
            return Interrupted(f"{begin}{_each('resume', self._paused)} goes on.")
        stack = (
            " The stack that was started for this stays up: `rowlift down` stops it, and all work until the next "
            "`rowlift up`."
            if self._started
            else ""
        )
        whose = "Session " + " and ".join(map(str, going))
        return Interrupted(
            f"{begin}{whose} goes on in the background: {_each('watch', going)} comes back to it, "
            f"{_each('pause', going)} pauses it.{stack}",
            goes_on=True,
        )


def _named(sessions: Sequence[UUID]) -> str:
    names = " and ".join(map(str, sessions))
    return f"Session {names} is" if len(sessions) == 1 else f"Sessions {names} are"


def _each(command: str, sessions: Sequence[UUID]) -> str:
    return " and ".join(f"`rowlift {command} {short(session)}`" for session in sessions)


def wait_until_known(service: Api, uploads: Sequence[Uploaded]) -> None:
    """Return when the API knows what was uploaded, or after a while: the upload itself is done."""
    deadline = time.monotonic() + KNOWN_WITHIN
    for session in dict.fromkeys(each.session for each in uploads):
        awaited = {each.version for each in uploads if each.session == session}
        while time.monotonic() < deadline:
            try:
                if awaited <= files_of(service.session(session)):
                    break
            except NoSuchSession:
                pass
            except Fault:
                return
            time.sleep(0.1)
