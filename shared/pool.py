"""A pool of connections: so many at most, the one used last first, none older than it may be.

Our own, because SQLAlchemy's costs a tenth of a second at every cold start: with any part of it comes all of it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
        self._connect, self._size, self._patience, self._oldest = connect, size, patience, oldest
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[Pooled] = []  # the one used last at the end; with those in use never more than `size`
        self._in_use = 0
        self._valid_since = 0.0
        self.opened = self.closed = 0

    @property
    def in_use(self) -> int:
        """How many connections threads have now."""
        return self._in_use

    def take(self) -> Pooled:
        """A connection for this thread, opened if none is idle; give it back, or throw it away.

        Raises PoolBusy, and whatever opening one raises.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._in_use < self._size, self._patience):
                raise PoolBusy
            self._in_use += 1
        try:
            while (idle := self._newest_idle()) is not None:
                if self._is_good(idle):
                    return idle
                self._close(idle)
            # Its age counts from before: a server that fails while it is opened makes it one of those cut off.
            opened_at = time.monotonic()
            opened = Pooled(self._connect(), opened_at)
        except BaseException:
            self._leave(None)
            raise
        with self._changed:
            self.opened += 1
        return opened

    def give_back(self, one: Pooled) -> None:
        """Let another thread have a connection."""
        self._leave(one)

    def throw_away(self, one: Pooled) -> None:
        """Close a connection that nobody should use again."""
        self._close(one)
        self._leave(None)

    def renew(self) -> None:
        """Have every connection that is open now replaced before it is used again."""
        self._valid_since = time.monotonic()

    def close_idle(self) -> None:
        """Close what no thread has."""
        while (idle := self._newest_idle()) is not None:
            self._close(idle)

    def _leave(self, idle: Pooled | None) -> None:
        with self._changed:
            self._in_use -= 1
            if idle is not None:
                self._idle.append(idle)
            self._changed.notify()

    def _newest_idle(self) -> Pooled | None:
        with self._changed:
            return self._idle.pop() if self._idle else None

    def _is_good(self, one: Pooled) -> bool:
        return one.opened_at > self._valid_since and time.monotonic() - one.opened_at < self._oldest

    def _close(self, one: Pooled) -> None:
        with self._changed:
            self.closed += 1
        with contextlib.suppress(Exception):  # one that is lost cannot say goodbye
            one.connection.close()
