"""HTTP/1.1 for the simulated upstreams: one asyncio protocol object per connection, keep-alive, no framework.

It reads what the clients used here send: a request line, headers, and a body of known length. Requests of one
connection are answered one after another; what arrives in between waits in the buffer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

_REASONS: Final = {
    200: b"OK", 206: b"Partial Content", 303: b"See Other", 400: b"Bad Request", 401: b"Unauthorized",
    403: b"Forbidden", 404: b"Not Found", 411: b"Length Required", 416: b"Range Not Satisfiable",
    422: b"Unprocessable Content", 429: b"Too Many Requests", 500: b"Internal Server Error",
    503: b"Service Unavailable", 504: b"Gateway Timeout",
}  # fmt: skip


class Request:
    """One request as it was read; header names are lower case."""

    __slots__ = ("body", "headers", "method", "path")

    def __init__(self, method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body


class Reply:
    """One reply; `headers` are whole lines, each ended by CRLF."""

    __slots__ = ("body", "content_type", "headers", "response_id", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: bytes,
        content_type: bytes = b"application/json",
        response_id: str | None = None,
    ) -> None:
        self.status, self.body, self.headers = status, body, headers
        self.content_type, self.response_id = content_type, response_id

    def encode(self) -> bytes:
        """Head and body as they go over the wire; the head says that the answer is simulated."""
        return b"HTTP/1.1 %d %s\r\nx-simulated: rowlift\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n%s" % (
            self.status, _REASONS.get(self.status, b""), self.content_type, len(self.body), self.headers, self.body,
        )  # fmt: skip


class Answer:
    """A reply and the seconds it waits; `ended` is told whether it could be sent."""

    __slots__ = ("ended", "reply", "wait")

    def __init__(self, reply: Reply, wait: float, ended: Callable[[bool], None] | None) -> None:
        self.reply, self.wait, self.ended = reply, wait, ended

    def send(self, transport: asyncio.Transport) -> None:
        """Write the whole reply."""
        transport.write(self.reply.encode())


class Cut(Answer):
    """A reply of which half is sent before the connection closes."""

    __slots__ = ()

    def send(self, transport: asyncio.Transport) -> None:
        """Write the head and half of the body, then close."""
        whole = self.reply.encode()
        transport.write(whole[: len(whole) - len(self.reply.body) // 2])
        transport.close()


class Hang(Answer):
    """No reply ever; `abandoned` is called when the client goes away."""

    __slots__ = ()

    def __init__(self, abandoned: Callable[[], None]) -> None:
        super().__init__(Reply(200, b"", b""), -1.0, lambda _sent: abandoned())


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: Callable[[Request], Answer]) -> None:
        self._loop = loop
        self._answer = answer
        self._buffer = b""
        self._pending: Answer | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (asyncio's types cannot say it)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._pending is None:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._pending is not None and self._pending.ended is not None:
            self._pending.ended(False)

    def _next(self) -> None:
        """Answer the buffered requests until one has to wait or the rest is incomplete."""
        while self._pending is None:
            request = self._read()
            if request is None:
                return
            answer = self._pending = self._answer(request)
            if answer.wait > 0:
                self._timer = self._loop.call_later(answer.wait, self._reply)
            elif answer.wait == 0:
                self._send()

    def _reply(self) -> None:
        self._send()
        self._next()

    def _send(self) -> None:
        answer, self._pending, self._timer = self._pending, None, None
        if answer is None:
            return
        if self._transport.is_closing():
            if answer.ended is not None:
                answer.ended(False)
            return
        answer.send(self._transport)
        if answer.ended is not None:
            answer.ended(True)

    def _read(self) -> Request | None:
        """The next whole request, or nothing while bytes are missing."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = buffer[:end].split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        if b"transfer-encoding" in headers:
            self._transport.write(Reply(411, b'{"error": "send a Content-Length"}', b"").encode())
            self._transport.close()
            self._buffer = b""
            return None
        stop = end + 4 + int(headers.get(b"content-length", b"0"))
        if len(buffer) < stop:
            return None
        self._buffer = buffer[stop:]
        method, path, _ = first.split(b" ", 2)
        return Request(method.decode("ascii"), path.decode("ascii", "replace"), headers, buffer[end + 4 : stop])
