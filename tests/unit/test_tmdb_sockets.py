"""The client of TMDB on real sockets: connections kept, shared and remade, and servers that fail it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from shared.upstreams.base import ErrorClass, Failure, JsonAnswer
from shared.upstreams.tmdb import Details, Search, TmdbUpstream

T = ErrorClass.TRANSIENT
KEY = "0123456789abcdef0123456789ABCDEF"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
FILM = {"id": 646, "title": "Dr. No"}


class Server(ThreadingHTTPServer):
    """Serves one film however it is told to, and counts connections and requests."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behave: Callable[[Server, BaseHTTPRequestHandler], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behave = behave
        self.connections = 0
        self.requests = 0
        self.release = threading.Event()

    def get_request(self) -> tuple[socket.socket, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.behave(self.server, self)

    def log_message(self, *_args: object) -> None:
        pass


def answers(server: Server, handler: BaseHTTPRequestHandler, content: bytes | None = None) -> None:
    content = orjson.dumps(FILM) if content is None else content
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def never_answers(server: Server, handler: BaseHTTPRequestHandler) -> None:
    server.release.wait(10)
    handler.close_connection = True


def drips(server: Server, handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not server.release.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def hangs_up(server: Server, handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def hangs_up_in_mid_answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": 646,')
    hangs_up(server, handler)


def speaks_no_http(server: Server, handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 mail.test ESMTP\r\n")
    hangs_up(server, handler)


def lies_about_gzip(server: Server, handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", "4")
    handler.end_headers()
    handler.wfile.write(b"oops")


@contextmanager
def serving(behave: Callable[[Server, BaseHTTPRequestHandler], None]) -> Iterator[tuple[Server, TmdbUpstream]]:
    server = Server(behave)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    client = TmdbUpstream(token=KEY, base_url=f"http://127.0.0.1:{server.server_port}/3", request_timeout=5.0)
    try:
        yield server, client
    finally:
        client.close()
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_one_connection_serves_many_requests() -> None:
    with serving(answers) as (server, client):
        outcomes = [client.call(Details(646), timeout=5.0) for _ in range(5)]
        assert all(isinstance(outcome, JsonAnswer) for outcome in outcomes)
        assert (server.requests, server.connections) == (5, 1)


def test_threads_share_it() -> None:
    with serving(answers) as (server, client), ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: client.call(Details(646), timeout=5.0), range(80)))
        assert all(isinstance(outcome, JsonAnswer) for outcome in outcomes)
        assert server.connections <= 8
        assert server.requests == 80


def test_a_child_makes_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answers) as (server, client):
        client.call(Details(646), timeout=5.0)
        inherited = client._connections()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert isinstance(client.call(Details(646), timeout=5.0), JsonAnswer)
        assert client._connections() is not inherited
        assert server.connections == 2
        inherited.close()


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (never_answers, "upstream.timeout"),
        (drips, "upstream.timeout"),  # each read is in time, the whole is not
        (hangs_up, "upstream.cut"),
        (hangs_up_in_mid_answer, "upstream.cut"),
        (speaks_no_http, "upstream.cut"),
        (lies_about_gzip, "upstream.malformed"),
    ],
)
def test_what_goes_wrong_is_transient_and_ends_in_time(
    behave: Callable[[Server, BaseHTTPRequestHandler], None], code: str
) -> None:
    with serving(behave) as (_, client):
        outcome = client.call(Details(646), timeout=0.3)
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code) == (T, code)


def test_after_a_failure_it_goes_on() -> None:
    with serving(hangs_up) as (server, client):
        assert isinstance(client.call(Details(646), timeout=1.0), Failure)
        server.behave = answers
        assert isinstance(client.call(Details(646), timeout=5.0), JsonAnswer)


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/3"
        outcome = TmdbUpstream(token=TOKEN, base_url=address, request_timeout=1.0).call(Details(1), timeout=1.0)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.code) == (T, "upstream.unreachable")


def test_a_proxy_is_asked_with_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[str] = []

    def proxies(server: Server, handler: BaseHTTPRequestHandler) -> None:
        paths.append(handler.path)
        answers(server, handler)

    with serving(proxies) as (server, _):
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "")
        client = TmdbUpstream(token=TOKEN, base_url="http://tmdb.test/3", request_timeout=5.0)
        assert isinstance(client.call(Details(646), timeout=5.0), JsonAnswer)
        client.close()
    assert [path.partition("?")[0] for path in paths] == ["http://tmdb.test/3/movie/646"]


@pytest.mark.parametrize("behave", [answers, never_answers, hangs_up, lies_about_gzip])
@pytest.mark.parametrize("token", [KEY, TOKEN])
def test_no_token_is_seen_anywhere(
    behave: Callable[[Server, BaseHTTPRequestHandler], None], token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(behave) as (_, template):
        client = TmdbUpstream(token=token, base_url=template._base_url, request_timeout=0.3)
        outcome = client.call(Search("Dr. No", 1962), timeout=0.3)
        shown = f"{outcome!r} {client!r} {client} {caplog.text}"
        client.close()
    assert "httpcore2" in caplog.text  # the library does write down what it does
    assert token not in shown
