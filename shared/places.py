"""Places for what may go on at once in this process, given in the order they were asked for (a bulkhead)."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A thread that waits for some places."""

    places: int
    admitted: threading.Event = field(default_factory=threading.Event)


class Places:
    """So many places, shared by threads: a thread takes all it needs together, and gives them back one by one."""

    def __init__(self, number: int) -> None:
        self._number = self._free = number
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()

    @property
    def taken(self) -> int:
        """How many places somebody has now."""
        return self._number - self._free

    def take(self, places: int, *, within: float) -> int:
        """How many were taken: those asked for (all there are, if that is fewer) or, not in so many seconds, none.

        Nobody is given places before somebody who asked earlier.
        """
        waiting = _Waiting(min(places, self._number))
        with self._lock:
            self._queue.append(waiting)
            self._admit()
        if waiting.admitted.wait(within):
            return waiting.places
        with self._lock:
            if waiting.admitted.is_set():  # in the moment the wait ended
                return waiting.places
            self._queue.remove(waiting)
            self._admit()  # whoever stood behind may need fewer
        return 0

    def give_back(self, places: int = 1) -> None:
        """Let others have some of the places that were taken."""
        with self._lock:
            self._free += places
            self._admit()

    def _admit(self) -> None:
        while self._queue and self._queue[0].places <= self._free:
            waiting = self._queue.popleft()
            self._free -= waiting.places
            waiting.admitted.set()
