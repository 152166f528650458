"""Places: never more than there are, first come first served, nobody is forgotten."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

from shared.places import Places
from tests.factories import until


def test_places_are_taken_and_given_back() -> None:
    places = Places(8)
    assert places.take(8, within=0) == 8
    assert places.taken == 8
    assert places.take(1, within=0) == 0
    places.give_back(3)
    assert places.take(3, within=0) == 3
    places.give_back(8)
    assert not places.taken


def test_who_needs_more_than_there_are_gets_all_of_them() -> None:
    places = Places(4)
    assert places.take(10, within=0) == 4
    places.give_back(4)
    assert not places.taken


def test_who_came_first_is_served_first() -> None:
    places, order = Places(4), []
    places.take(4, within=0)

    def take(places_wanted: int) -> None:
        assert places.take(places_wanted, within=10)
        order.append(places_wanted)

    threads = []
    for count, wanted in enumerate((4, 1), start=1):
        threads.append(threading.Thread(target=take, args=(wanted,)))
        threads[-1].start()
        until(lambda n=count: len(places._queue) == n)
    places.give_back(1)  # enough for the second, who waits behind the first
    assert order == []
    places.give_back(3)
    until(lambda: order == [4])
    places.give_back(4)
    until(lambda: order == [4, 1])
    for thread in threads:
        thread.join()


def test_who_gives_up_lets_those_behind_through() -> None:
    places = Places(4)
    places.take(3, within=0)
    with ThreadPoolExecutor(2) as threads:
        large = threads.submit(places.take, 4, within=0.1)
        until(lambda: len(places._queue) == 1)
        small = threads.submit(places.take, 1, within=10)
        assert large.result() == 0
        assert small.result() == 1


def test_many_threads_never_have_more_than_there_are() -> None:
    places, lock, taken, most = Places(10), threading.Lock(), [0], [0]

    def use(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(50):
            got = places.take(draw.randint(1, 6), within=draw.choice((0, 0.001, 5)))
            with lock:
                taken[0] += got
                most[0] = max(most[0], taken[0])
            for _ in range(got):
                with lock:
                    taken[0] -= 1
                places.give_back()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(use, range(16)))
    assert 0 < most[0] <= 10
    assert not places.taken
    assert not places._queue
