"""The campaign's proxy passes on what it should and breaks what it is told to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxy


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    """A server that answers every block with itself."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        yield "127.0.0.1", listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)  # closing alone would leave accept waiting


def _accept(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while block := connection.recv(1000):
                connection.sendall(block)
        except OSError:
            return


def connect(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    connection.settimeout(5)
    return connection


def asked(connection: socket.socket, what: bytes = b"x") -> bytes:
    connection.sendall(what)
    return connection.recv(1000)


def lost(connection: socket.socket) -> bool:
    try:
        return asked(connection) == b""
    except ConnectionError:
        return True


def test_it_passes_on_both_ways_also_large_blocks(server: tuple[str, int]) -> None:
    with Proxy(lambda: server) as proxy, connect(proxy) as connection:
        assert asked(connection, b"hello") == b"hello"
        data = bytes(range(256)) * 4_000
        threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
        got = b""
        while len(got) < len(data):
            got += connection.recv(1 << 16)
        assert got == data


def test_a_cut_ends_every_connection_and_new_ones_work(server: tuple[str, int]) -> None:
    with Proxy(lambda: server) as proxy:
        with connect(proxy) as one, connect(proxy) as two:
            assert asked(one) == asked(two) == b"x"
            proxy.cut()
            assert lost(one)
            assert lost(two)
        with connect(proxy) as three:
            assert asked(three) == b"x"


def test_an_answer_is_lost_with_its_connection_and_only_as_many_as_wanted(server: tuple[str, int]) -> None:
    with Proxy(lambda: server) as proxy, connect(proxy) as one, connect(proxy) as two:
        assert asked(one) == asked(two) == b"x"
        proxy.answers_to_lose = 1
        assert lost(one)
        assert asked(two) == b"x"
        assert (proxy.answers_to_lose, proxy.cuts) == (0, 1)


def test_delay_and_silence_hold_back_and_lose_nothing(server: tuple[str, int]) -> None:
    with Proxy(lambda: server) as proxy, connect(proxy) as connection:
        proxy.delay = 0.1
        began = time.monotonic()
        assert asked(connection) == b"x"
        assert time.monotonic() - began >= 0.2, "each way"
        proxy.delay = 0.0
        proxy.fall_silent()
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            asked(connection, b"kept")
        connection.settimeout(5)
        proxy.speak()
        assert connection.recv(1000) == b"kept"


def test_refused_and_nobody_behind_it(server: tuple[str, int]) -> None:
    def nobody() -> tuple[str, int]:
        raise ConnectionRefusedError

    with Proxy(lambda: server) as proxy:
        proxy.refusing = True
        with connect(proxy) as connection:
            assert lost(connection)
        proxy.refusing = False
        with connect(proxy) as connection:
            assert asked(connection) == b"x"
    with Proxy(nobody) as proxy, connect(proxy) as connection:
        assert lost(connection)
