"""Values made ahead of their use, in a thread, while whoever uses them waits for something else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Ahead(Generic[Value]):
    """The values of an iterator, one at most made before it is taken. Leave its block to end the thread."""

    def __init__(self, values: Iterator[Value]) -> None:
        self._values = values
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: Future[Value | None] | None = None

    def __enter__(self) -> Ahead[Value]:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def begin(self) -> None:
        """Have the next value made meanwhile; nothing, if that was said already."""
        if self._next is None:
            context = copy_context()
            self._next = self._thread.submit(lambda: context.run(lambda: next(self._values, None)))

    def take(self) -> Value | None:
        """The next value, or None at the end; raises what making it raised."""
        self.begin()
        made, self._next = self._next, None
        assert made is not None  # noqa: S101
        return made.result()
