"""A sound file behind a link, read a range at a time; all of it where its host knows no ranges, if it is not long."""

from __future__ import annotations

import re
from typing import Final

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.transfer import status_error
from shared.fetching.web import Ask, Reply, Web

FIRST: Final = 64 << 10  # bytes asked for at first; all that most files need
WHOLE: Final = 16 << 20  # bytes of a file that comes whole
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class LinkRanges:
    """The bytes behind a link, the same file from the first range to the last. Raises FetchError throughout."""

    def __init__(self, web: Web, url: str, *, until: float) -> None:
        self._web, self._url, self._until = web, url, until
        self._version: str | None = None
        self._start, self.size = b"", 0
        self._start = self._asked(0, FIRST)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range within the file."""
        if offset + length <= len(self._start):
            return self._start[offset : offset + length]
        return self._asked(offset, length)

    def _asked(self, offset: int, length: int) -> bytes:
        headers = {"range": f"bytes={offset}-{offset + length - 1}", "accept-encoding": "identity"}
        with self._web.ask(self._url, Ask(headers=headers), until=self._until) as reply:
            if reply.status == 200:
                return self._whole(reply)[offset : offset + length]
            if reply.status != 206:
                raise status_error(reply)
            told = _RANGE.fullmatch(reply.headers.get("content-range", ""))
            if told is None or int(told[1]) != offset:
                raise FetchError(Cause.REJECTED, f"{reply.address.host} sends another range than it was asked for")
            self._same(reply, int(told[3]))
            return reply.read(length)

    def _whole(self, reply: Reply) -> bytes:
        """All of a file whose host gives no part of it; it is kept, and asked for once."""
        self._start = reply.read(WHOLE + 1)
        if len(self._start) > WHOLE:
            raise FetchError(
                Cause.TOO_LARGE, f"{reply.address.host} gives no parts of it, and it is over {WHOLE:,} bytes"
            )
        self._same(reply, len(self._start))
        return self._start

    def _same(self, reply: Reply, size: int) -> None:
        """Hold that the file is the one it was at first."""
        version = reply.headers.get("etag") or reply.headers.get("last-modified") or ""
        if self._version is not None and (version, size) != (self._version, self.size):
            raise FetchError(Cause.NETWORK, "it changed while it was read")
        self._version, self.size = version, size
