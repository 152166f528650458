"""POST requests over keep-alive connections, one status code for each: what a push needs and no more.

A general client parses every header into objects; this one reads the status line and the length, which is most of
what a push costs the pusher.
"""

import asyncio
import re
from urllib.parse import urlsplit

# gunicorn closes a connection idle for 2 s; a request sent in that moment would be lost. Be first.
MAX_IDLE = 1.0

LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._status = 0  # of an answer whose body is still coming
        self._missing = 0  # bytes of that body
        self._answer: asyncio.Future[int] | None = None
        self.reusable = True
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    async def post(self, request: bytes) -> int:
        """The status of the answer. Raises ConnectionError when the other side closes first."""
        if self._transport is None or not self.reusable:
            raise ConnectionResetError("closed before the request")
        self._answer = self._loop.create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Closes at once, also in the middle of a request."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # bytes nobody asked for
            return
        self._buffer += data
        if not self._status and not self._read_head():
            return
        self._missing -= len(self._buffer)
        self._buffer.clear()
        if self._missing <= 0:
            self.reusable = self.reusable and self._missing == 0
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed before the answer"))

    def _read_head(self) -> bool:
        """Whether the head of the final answer is read; 100 and 103 only announce one, 102 counts as an answer."""
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            try:
                status = int(head[9:12])
            except ValueError:
                status = 0  # not HTTP; no acknowledgement either
            if status in (100, 103):
                continue
            self._status = status
            self._judge_body(head, status)
            return True
        return False

    def _judge_body(self, head: bytes, status: int) -> None:
        length = LENGTH.search(head)
        if status in (204, 304):
            self._missing = len(self._buffer)
        elif length and status >= 200:
            self._missing = int(length[1])
        else:  # the end of the body shows only by reading it: cheaper to drop the connection
            self._missing = len(self._buffer)
            self.reusable = False
        if CLOSE.search(head) or CHUNKED.search(head) or head.startswith(b"HTTP/1.0"):
            self.reusable = False

    def _finish(self) -> None:
        status, self._status, self._missing = self._status, 0, 0
        if not self.reusable:
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class Endpoint:
    """One address and the idle connections to it."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http:// address: {url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
        self._head = ("\r\n".join(lines) + "\r\nContent-Length: ").encode()
        self._idle: list[Connection] = []

    async def post(self, body: bytes, timeout: float) -> int:
        """The status of the answer. Raises TimeoutError, with the connection closed, or another OSError."""
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout):
                connection = self._take() or await self._connect()
                status = await connection.post(request)
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        return status

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return connection

    def _take(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - MAX_IDLE
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None
