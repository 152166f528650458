"""Politeness: how many transfers one process has with one host at once, and how fast it begins others.

Each process keeps to this by itself; a host sees at most this times the instances of the function, which the
topology bounds. What all instances together may begin is the upstream's limit in the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from shared.errors import FetchError
from shared.fetching.causes import Cause

MOST_HOSTS: Final = 500  # remembered


class _Host:
    """One host's transfers under way, and when the next may begin."""

    def __init__(self) -> None:
        self.open, self.waiting, self.next_at = 0, 0, 0.0


class Pace:
    """Turns at hosts; shared by threads."""

    def __init__(self, *, at_once: int, per_second: float) -> None:
        self._at_once, self._apart = at_once, 1 / per_second
        self._changed = threading.Condition()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def turn(self, host: str, *, until: float) -> Iterator[None]:
        """A transfer's turn at a host, while the block lasts; raises FetchError if none came before `until`."""
        group = group_of(host)
        with self._changed:
            mine = self._hosts.setdefault(group, _Host())
            mine.waiting += 1
            try:
                self._wait(mine, host, until)
            finally:
                mine.waiting -= 1
            mine.open += 1
            mine.next_at = max(mine.next_at, time.monotonic()) + self._apart
        try:
            yield
        finally:
            with self._changed:
                mine.open -= 1
                self._forget()
                self._changed.notify_all()

    def _wait(self, mine: _Host, host: str, until: float) -> None:
        while True:
            now = time.monotonic()
            if mine.open < self._at_once and now >= mine.next_at:
                return
            if now >= until:
                raise FetchError(Cause.BUSY, f"too many transfers of our own with {host} at once", retry_after=5.0)
            wake = min(until, mine.next_at) if mine.open < self._at_once else until
            self._changed.wait(max(0.0, wake - now))

    def _forget(self) -> None:
        if len(self._hosts) > MOST_HOSTS:
            now = time.monotonic()
            self._hosts = {
                name: one for name, one in self._hosts.items() if one.open or one.waiting or one.next_at > now
            }


def group_of(host: str) -> str:
    """What counts as one host: everything below the last two labels, so that r1 and r2.googlevideo.com are one."""
    if ":" in host or host.replace(".", "").isdigit():
        return host
    return ".".join(host.split(".")[-2:])
