"""Answers that many ask for at once, made once: kept for as long as each asker allows, a second or a few."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

MOST: Final = 256  # answers, of 100 KB at most
LONGEST: Final = 5.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept(Generic[_T]):
    """An answer that is being made or was made."""

    begun: float
    answer: Future[_T]


class Freshness(Generic[_T]):
    """Answers of this process by key. Whoever asks for one that is being made waits for it instead of asking again."""

    def __init__(self, *, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept[_T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _T], *, max_age: float) -> _T:
        """The answer under a key, begun no more than `max_age` seconds ago or being made now.

        What `make` raises is raised to all who wait for it, and not kept.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is None or (found.answer.done() and self._clock() - found.begun > min(max_age, LONGEST)):
                made: Future[_T] = Future()
                mine = _Kept(begun=self._clock(), answer=made)
                self._kept[key] = mine
                self._kept.move_to_end(key)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            else:
                mine, made = None, found.answer
        if mine is not None:
            try:
                made.set_result(make())
            except BaseException as error:
                self._drop(key, mine)
                made.set_exception(error)
        return made.result()

    def forget(self) -> None:
        """Everything is made anew from now on, what is being made now included."""
        with self._lock:
            self._kept.clear()

    def _drop(self, key: Hashable, mine: _Kept[_T]) -> None:
        with self._lock:
            if self._kept.get(key) is mine:
                del self._kept[key]
