"""Dashboards that watch one session, as the page polls: `python -m tests.bench.watchers API SESSION NUMBER`.

Prints a line once all of them have polled, and polls until its standard input is closed.
"""

from __future__ import annotations

import http.client
import random
import sys
import threading
from urllib.parse import urlsplit

FRESH = {"Cache-Control": "max-age=1"}
EVERY = 1.0  # seconds between a page's polls of the status; it asks for the others less often
OTHERS_EVERY = 5  # polls


class Dashboard(threading.Thread):
    """One open page."""

    def __init__(self, address: str, session: str, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self._address, self._session, self._ended = address, session, ended
        self.polled = threading.Event()

    def run(self) -> None:
        """Poll until the end."""
        connection = http.client.HTTPConnection(self._address, timeout=30)
        self._ended.wait(random.random() * EVERY)
        polls = 0
        while not self._ended.is_set():
            paths = ["status"] + (["progress", "errors"] if polls % OTHERS_EVERY == 0 else [])
            for path in paths:
                connection.request("GET", f"/api/session/{self._session}/{path}", headers=FRESH)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise SystemExit(f"{path}: {answer.status}")
            polls += 1
            self.polled.set()
            self._ended.wait(EVERY)
        connection.close()


def main(api: str, session: str, number: str) -> None:
    """Open the pages and keep them open."""
    ended = threading.Event()
    pages = [Dashboard(urlsplit(api).netloc, session, ended) for _ in range(int(number))]
    for page in pages:
        page.start()
    for page in pages:
        page.polled.wait(30)
    print("watching", flush=True)
    sys.stdin.read()
    ended.set()
    for page in pages:
        page.join(30)


if __name__ == "__main__":
    main(*sys.argv[1:])
