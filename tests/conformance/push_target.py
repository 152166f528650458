"""A small HTTP server that notes every push and answers as a test tells it to."""

import contextlib
import json
import select
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.conformance.brokers import until


@dataclass(kw_only=True, eq=False)
class Push:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    count: int  # of pushes of this message to this path so far, this one included
    came: float  # monotonic
    connection: socket.socket = field(repr=False)
    left: float | None = None  # when the pusher closed the connection under it

    @property
    def message_id(self) -> str:
        return str(self.body["message"]["messageId"])

    def wait_for_cancel(self, timeout: float = 15.0) -> int:
        """Holds the request until the pusher gives it up; the status nobody will read."""
        readable, _, _ = select.select([self.connection], [], [], timeout)
        if readable and self.connection.recv(1, socket.MSG_PEEK) == b"":
            self.left = time.monotonic()
        return 200


Answer = Callable[[Push], int]


class Target:
    """Pushes by path, and the answer each path gives."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self._pushes: list[Push] = []
        self._counts: dict[tuple[str, str], int] = defaultdict(int)
        self._lock = threading.Lock()
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def pushes(self, path: str) -> list[Push]:
        with self._lock:
            return [push for push in self._pushes if push.path == path]

    def wait_for(self, path: str, count: int, timeout: float = 10.0) -> list[Push]:
        """The pushes to the path once there are that many."""
        until(lambda: len(self.pushes(path)) >= count, f"{count} pushes to {path}", timeout)
        return self.pushes(path)

    def take(self, handler: BaseHTTPRequestHandler) -> int:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        key = (handler.path, body["message"]["messageId"])
        with self._lock:
            self._counts[key] += 1
            push = Push(
                path=handler.path,
                headers=dict(handler.headers),
                body=body,
                count=self._counts[key],
                came=time.monotonic(),
                connection=handler.connection,
            )
            self._pushes.append(push)
        return self.answers.get(handler.path, lambda _: 204)(push)


@contextlib.contextmanager
def listening(port: int = 0) -> Iterator[Target]:
    target = Target()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            status = target.take(self)
            with contextlib.suppress(OSError):  # the pusher may be gone
                self.send_response(status)
                if status not in (102, 204):
                    self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"" if status in (102, 204) else b"ok")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", port), Handler) as server:
        target.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield target
        finally:
            server.shutdown()
            thread.join()
