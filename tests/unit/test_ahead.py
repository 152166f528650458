"""Values made ahead: in order, one at most before it is taken, errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from shared.ahead import Ahead


def test_the_values_come_in_order_and_then_none() -> None:
    with Ahead(iter([1, 2])) as ahead:
        assert [ahead.take(), ahead.take(), ahead.take(), ahead.take()] == [1, 2, None, None]


def test_the_next_is_made_meanwhile_in_another_thread_and_no_more_than_that() -> None:
    made: list[int] = []
    second = threading.Event()

    def values() -> Iterator[int]:
        for n in range(1, 5):
            made.append(threading.get_ident())
            if n == 2:
                second.set()
            yield n

    with Ahead(values()) as ahead:
        assert ahead.take() == 1
        ahead.begin()
        ahead.begin()
        assert second.wait(10)
        assert ahead.take() == 2
    assert len(made) == 2
    assert threading.get_ident() not in made


def test_an_error_is_raised_where_its_value_would_be_taken() -> None:
    def values() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    with Ahead(values()) as ahead:
        assert ahead.take() == 1
        ahead.begin()
        with pytest.raises(ValueError, match="second"):
            ahead.take()


def test_whoever_leaves_early_leaves_no_thread() -> None:
    with Ahead(iter(range(10))) as ahead:
        ahead.take()
        ahead.begin()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
