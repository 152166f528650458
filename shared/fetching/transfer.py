"""A file on its way: opened once, its pieces read on over cut connections, its size and time bounded.

Nothing of it is kept here; whoever takes the pieces has them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.pace import Pace
from shared.fetching.web import PLAIN, Ask, Reply, Web
from shared.upstreams.verdicts import retry_after

MOST_RESUMED: Final = 10  # cuts in one file that are read on over
GRACE: Final = 20.0  # seconds before the slowest pace counts
SLOWEST: Final = 16_384  # bytes a second
HEAD: Final = 1_024
_DAY: Final = 86_400.0
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)").fullmatch
_BY_STATUS: Final[Mapping[int, Cause]] = {
    401: Cause.PRIVATE, 402: Cause.PRIVATE, 403: Cause.PRIVATE, 404: Cause.DELETED, 408: Cause.BUSY,
    410: Cause.DELETED, 425: Cause.BUSY, 429: Cause.BUSY, 451: Cause.NETWORK_RESTRICTED,
}  # fmt: skip


class File:
    """A file that was opened: what its host says of it, and its pieces."""

    def __init__(self, fetcher: Fetcher, reply: Reply, until: float, most: int, stack: ExitStack) -> None:
        self._fetcher, self._until, self._most, self._stack = fetcher, until, most, stack
        self._reply, self._ask = reply, reply.asked
        self.address = reply.address
        self.status, self.headers, self.set_cookies = reply.status, reply.headers, reply.set_cookies
        self.content_type, self.length = reply.content_type, reply.length
        self._pieces = self._read_on()
        self._head: bytes | None = None
        self.received = 0

    def head(self) -> bytes:
        """Its first bytes, which `pieces` gives again."""
        if self._head is None:
            self._head = b""
            for piece in self._pieces:
                self._head += piece
                if len(self._head) >= HEAD:
                    break
        return self._head

    def pieces(self) -> Iterator[bytes]:
        """All of it, once; raises FetchError."""
        if head := self.head():
            yield head
        yield from self._pieces

    def text(self, most: int) -> str:
        """The first `most` bytes as text."""
        found = bytearray()
        for piece in self.pieces():
            found += piece
            if len(found) >= most:
                break
        return bytes(found[:most]).decode("utf-8", "replace")

    def is_page(self) -> bool:
        """Whether it is a web page in place of a file: one that is not sent to be saved."""
        return self.looks_like_html() and not self.headers.get("content-disposition", "").lower().startswith("attach")

    def looks_like_html(self) -> bool:
        """Whether it is a web page, by what it says of itself or by how it begins."""
        if self.content_type in ("text/html", "application/xhtml+xml"):
            return True
        begin = self.head()[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        return begin.startswith((b"<!doctype html", b"<html"))

    def _read_on(self) -> Iterator[bytes]:
        began, resumed, reply = time.monotonic(), 0, self._reply
        whole = reply.length
        while True:
            before = self.received
            try:
                for piece in reply.pieces():
                    self.received += len(piece)
                    self._bounded(began)
                    yield piece
            except FetchError as error:
                if not self._may_go_on(error, resumed, gained=self.received > before):
                    raise
                resumed += 1
                reply = self._reopened(error)
                continue
            if whole is not None and self.received != whole:
                raise FetchError(Cause.NETWORK, f"{self.address.host} sent {self.received} of {whole} bytes")
            return

    def _bounded(self, began: float) -> None:
        if self.received > self._most:
            raise FetchError(Cause.TOO_LARGE, f"more than {self._most} bytes came")
        took = time.monotonic() - began
        if took > GRACE and self.received < SLOWEST * (took - GRACE):
            raise FetchError(Cause.TOO_SLOW, f"{self.address.host} sent {self.received} bytes in {took:.0f} s")

    def _may_go_on(self, error: FetchError, resumed: int, *, gained: bool) -> bool:
        broke = error.__cause__ is not None and error.cause in (Cause.NETWORK, Cause.TOO_SLOW)
        if not broke or resumed >= MOST_RESUMED:  # what dripped too slowly would go on to
            return False
        return gained and self._validator is not None and time.monotonic() < self._until and self._ask.method == "GET"

    @property
    def _validator(self) -> str | None:
        """What tells that the file is still the same; a weak ETag does not, and without ranges nothing helps."""
        if self.headers.get("accept-ranges", "").lower() == "none":
            return None
        tag = self.headers.get("etag", "")
        return tag if tag.startswith('"') else self.headers.get("last-modified")

    def _reopened(self, error: FetchError) -> Reply:
        """The rest of the file; raises the error that made it necessary if it cannot be had."""
        self._stack.close()
        wanted = {"Range": f"bytes={self.received}-", "If-Range": self._validator or ""}
        ask = replace(self._ask, headers={**(self._ask.headers or {}), **wanted})
        reply = self._stack.enter_context(self._fetcher.web.ask(self.address, ask, until=self._until))
        found = _RANGE(reply.headers.get("content-range", ""))
        if reply.status != 206 or found is None or int(found[1]) != self.received:
            raise error
        if self.length is not None and found[3] != "*" and int(found[3]) != self.length:
            raise error
        return reply


class Fetcher:
    """Opens files at a polite pace."""

    def __init__(self, web: Web, pace: Pace, *, most_bytes: int) -> None:
        self.web, self.pace, self.most_bytes = web, pace, most_bytes

    @contextmanager
    def open(self, url: str, ask: Ask = PLAIN, *, until: float, any_status: bool = False) -> Iterator[File]:
        """A file at its host; raises FetchError for an answer that is none (unless `any_status`) or is too large."""
        host = self.web.hosts.read(url).host
        with self.pace.turn(host, until=until), ExitStack() as stack:
            reply = stack.enter_context(self.web.ask(url, ask, until=until))
            if not any_status:
                check_status(reply)
            if packed := reply.headers.get("content-encoding", "").lower().replace("identity", ""):
                raise FetchError(Cause.REJECTED, f"{reply.address.host} sends it packed ({packed[:20]}), unasked")
            if reply.length is not None and reply.length > self.most_bytes:
                raise FetchError(Cause.TOO_LARGE, f"it has {reply.length} bytes, {self.most_bytes} are allowed")
            yield File(self, reply, until, self.most_bytes, stack)


def check_status(reply: Reply | File) -> None:
    """Nothing for a good answer; raises FetchError with what any other status means."""
    if reply.status != 200:
        raise status_error(reply)


def status_error(reply: Reply | File) -> FetchError:
    """The error that a status stands for."""
    wait = retry_after(reply.headers)
    return FetchError(
        _BY_STATUS.get(reply.status) or (Cause.SERVER if reply.status >= 500 else Cause.REJECTED),
        f"{reply.address.host} answers {reply.status}",
        retry_after=None if wait is None else min(wait, _DAY),
    )
