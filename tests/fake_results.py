"""A session's results as the API serves them while it runs: in settle order behind a cursor, final once it ended."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.fake_api import SESSION, problem, status_of


def line(item: int, text: str = "", size: int = 0) -> bytes:
    """A result line of an item."""
    return json.dumps({"item_no": item, "response_text": text or f"Bio {item}" + "x" * size}).encode() + b"\n"


@dataclass
class FakeResults:
    """Settled lines, an item's newer ones behind its older ones. A cursor is how many of them lie before it."""

    settled: list[tuple[int, bytes]] = field(default_factory=list)
    final: bool = False
    status: str = "enriching"
    before: Callable[[str], httpx.Response | None] = lambda after: None  # may answer instead
    asked: list[str] = field(default_factory=list)  # the cursors

    def settle(self, *items: int, text: str = "", size: int = 0) -> None:
        """Settle items, for the first time or again."""
        self.settled += [(item, line(item, text, size)) for item in items]

    def end(self) -> None:
        """Have the session end."""
        self.final, self.status = True, "completed"

    @property
    def lines(self) -> bytes:
        """results.jsonl: the newest line of every item, in item order."""
        return b"".join(found for _, found in sorted(dict(self.settled).items()))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request."""
        if not request.url.path.endswith("/results"):
            return httpx.Response(200, json=status_of(SESSION, status=self.status, pause_reason="lunch"))
        after = request.url.params.get("after", "")
        self.asked.append(after)
        if instead := self.before(after):
            return instead
        if not after.startswith("s"):
            if after and not self.final:
                return problem(409, "Not final yet.")
            return httpx.Response(200, content=self.lines)
        begin = int(after[1:])
        page = self.settled[begin : begin + int(request.url.params.get("limit", 10**9))]
        end = begin + len(page)
        final = self.final and end == len(self.settled)
        headers = {"Rowlift-Next": f"s{end}", "Rowlift-Final": "true" if final else "false"}
        return httpx.Response(200, content=b"".join(found for _, found in page), headers=headers)

    @contextmanager
    def served(self) -> Iterator[str]:
        """The address of a server that answers so, while the block lasts."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                answer = fake(httpx.Request("GET", f"http://x{url.path}", params=dict(parse_qsl(url.query))))
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked may have been killed
                    self.wfile.write(answer.content)

            def log_message(self, *_: Any) -> None:
                """Nothing: the tests look at what was asked."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


def small_disk(folder: str, size: str) -> bool:
    """Mount a small file system on a folder; False where that is not allowed."""
    return os.geteuid() == 0 and os.system(f"mount -t tmpfs -o size={size} tmpfs {folder} 2>/dev/null") == 0
