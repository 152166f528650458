"""A resumable upload of Cloud Storage, one object, whose connection breaks once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "PUT",
    "Access-Control-Allow-Headers": "content-range,content-type,x-kept",
    "Access-Control-Expose-Headers": "Range",
}


class Bucket:
    """What has arrived, and what was asked: the ranges, and the header every part of the upload carries."""

    def __init__(self, *, breaks_after: int) -> None:
        self.kept = b""
        self.asked: list[tuple[str | None, str | None]] = []
        self.breaks_after = breaks_after
        self.address = ""

    @classmethod
    @contextmanager
    def serving(cls, *, breaks_after: int) -> Iterator[Bucket]:
        """A bucket that answers while the block lasts."""
        bucket = cls(breaks_after=breaks_after)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
        bucket.address = f"http://127.0.0.1:{server.server_address[1]}/upload"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket

    def do_OPTIONS(self) -> None:
        self._answer(204)

    def do_PUT(self) -> None:
        asked, size = self.headers["Content-Range"], int(self.headers["Content-Length"] or 0)
        self.bucket.asked.append((asked, self.headers["X-Kept"]))
        if not self.bucket.kept:
            self.bucket.kept = self.rfile.read(self.bucket.breaks_after)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif asked.startswith("bytes */"):
            self._answer(308, Range=f"bytes=0-{len(self.bucket.kept) - 1}")
        else:
            self.bucket.kept += self.rfile.read(size)
            self._answer(200)

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**ALLOWED, **headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""
