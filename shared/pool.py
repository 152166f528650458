"""A pool of connections: so many at most, the one used last first, none older than it may be.

Our own, because SQLAlchemy's costs a tenth of a second at every cold start: with any part of it comes all of it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.places import Places


class PoolBusy(Exception):
    """No connection came free in time."""


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """A connection and when it was opened (monotonic)."""

    connection: Any
    opened_at: float


class Pool:
    """Up to `size` connections, shared by the threads of one process; each is used by one thread at a time.

    `patience` is how long, in seconds, a thread waits for one to come free, `oldest` the age at which one is replaced.
    """

    def __init__(self, connect: Callable[[], Any], *, size: int, patience: float, oldest: float) -> None:
        self._connect, self._patience, self._oldest = connect, patience, oldest
        self._places = Places(size)
        self._idle: deque[Pooled] = deque()  # the one used last at the end; append and pop are atomic
        self._valid_since = 0.0
        self._counting = threading.Lock()
        self.opened = self.closed = 0

    @property
    def in_use(self) -> int:
        """How many connections threads have now."""
        return self._places.taken

    def take(self) -> Pooled:
        """A connection for this thread, opened if none is idle; give it back, or throw it away.

        Raises PoolBusy, and whatever opening one raises.
        """
        if not self._places.take(1, within=self._patience):
            raise PoolBusy
        try:
            while (idle := self._newest_idle()) is not None:
                if self._is_good(idle):
                    return idle
                self._close(idle)
            # Its age counts from before: a server that fails while it is opened makes it one of those cut off.
            opened_at = time.monotonic()
            opened = Pooled(self._connect(), opened_at)
        except BaseException:
            self._places.give_back()
            raise
        with self._counting:
            self.opened += 1
        return opened

    def give_back(self, one: Pooled) -> None:
        """Let another thread have a connection."""
        self._idle.append(one)  # before its place is free: whoever takes that finds it, and opens no other
        self._places.give_back()

    def throw_away(self, one: Pooled) -> None:
        """Close a connection that nobody should use again."""
        self._close(one)
        self._places.give_back()

    def renew(self) -> None:
        """Have every connection that is open now replaced before it is used again."""
        self._valid_since = time.monotonic()

    def close_idle(self) -> None:
        """Close what no thread has."""
        while (idle := self._newest_idle()) is not None:
            self._close(idle)

    def _newest_idle(self) -> Pooled | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _is_good(self, one: Pooled) -> bool:
        return one.opened_at > self._valid_since and time.monotonic() - one.opened_at < self._oldest

    def _close(self, one: Pooled) -> None:
        with self._counting:
            self.closed += 1
        with contextlib.suppress(Exception):  # one that is lost cannot say goodbye
            one.connection.close()
