"""The pool: how many there are, which is used, and what is thrown away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.pool import Pool, PoolBusy


class Connection:
    def __init__(self, server: Server) -> None:
        self._server = server
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self._server.open -= 1
        if self._server.rude:
            raise OSError("no goodbye")


class Server:
    """Counts what is open."""

    def __init__(self) -> None:
        self.open = self.most = 0
        self.rude = False
        self.away: Exception | None = None

    def connect(self) -> Connection:
        if self.away:
            raise self.away
        self.open += 1
        self.most = max(self.most, self.open)
        return Connection(self)


@pytest.fixture
def server() -> Server:
    return Server()


def pool_of(server: Server, size: int = 3, *, patience: float = 10.0, oldest: float = 1_000.0) -> Pool:
    return Pool(server.connect, size=size, patience=patience, oldest=oldest)


def test_nothing_is_opened_before_it_is_needed(server: Server) -> None:
    pool = pool_of(server)
    assert server.open == 0
    pool.give_back(pool.take())
    assert (server.open, pool.in_use, pool.opened) == (1, 0, 1)


def test_the_one_used_last_is_used_next(server: Server) -> None:
    pool = pool_of(server)
    first, second = pool.take(), pool.take()
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take() is second
    assert pool.take() is first
    assert server.open == 2


def test_who_waits_too_long_is_told(server: Server) -> None:
    pool = pool_of(server, 1, patience=0.05)
    held = pool.take()
    with pytest.raises(PoolBusy):
        pool.take()
    pool.give_back(held)
    assert pool.take() is held


def test_many_threads_never_have_more_than_there_are(server: Server) -> None:
    pool, in_hands, most = pool_of(server, 4), [0], [0]
    lock = threading.Lock()

    def use(_: int) -> None:
        one = pool.take()
        with lock:
            in_hands[0] += 1
            most[0] = max(most[0], in_hands[0])
        with lock:
            in_hands[0] -= 1
        pool.throw_away(one) if _ % 7 == 0 else pool.give_back(one)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(use, range(2_000)))
    assert most[0] <= 4
    assert server.most <= 4
    assert pool.in_use == 0
    assert pool.opened - pool.closed == server.open


def test_one_that_is_thrown_away_makes_room(server: Server) -> None:
    pool = pool_of(server, 1)
    one = pool.take()
    server.rude = True  # a lost connection cannot say goodbye
    pool.throw_away(one)
    assert one.connection.closed
    assert pool.take() is not one
    assert (pool.opened, pool.closed) == (2, 1)


def test_a_connect_that_fails_takes_no_place(server: Server) -> None:
    pool = pool_of(server, 1, patience=0.05)
    server.away = ConnectionRefusedError()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            pool.take()
    server.away = None
    assert pool.take().connection is not None
    assert pool.opened == 1


def test_after_a_renewal_no_connection_of_before_is_used(server: Server) -> None:
    pool = pool_of(server)
    idle, in_use = pool.take(), pool.take()
    pool.give_back(idle)
    pool.renew()
    fresh = pool.take()
    assert fresh is not idle
    assert idle.connection.closed
    pool.give_back(in_use)  # it was open then, too
    assert pool.take() not in (in_use, idle)
    assert in_use.connection.closed


def test_old_ones_are_replaced(server: Server) -> None:
    pool = pool_of(server, oldest=0.0)
    one = pool.take()
    pool.give_back(one)
    assert pool.take() is not one
    assert one.connection.closed


def test_idle_ones_can_be_closed(server: Server) -> None:
    pool = pool_of(server)
    kept, idle = pool.take(), pool.take()
    pool.give_back(idle)
    pool.close_idle()
    assert (idle.connection.closed, kept.connection.closed) == (True, False)
