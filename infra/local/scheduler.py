"""Cloud Scheduler on one machine: `python -m infra.local.scheduler --job NAME --url URL --every SECONDS`.

Calls the URL at once and then at every interval. A call may last longer than the interval, so two can overlap; a
third is left out. A call that finds nobody there is tried again after two seconds, as a job with a retry policy is.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

MOST_AT_ONCE = 2
RETRY_AFTER = 2.0
MOST_TRIES = 5


class Job:
    """One schedule and its calls under way."""

    def __init__(self, *, name: str, url: str, every: float, timeout: float, say: Callable[[str], None]) -> None:
        self.name = name
        self.url = url
        self.every = every
        self.timeout = timeout
        self._say = say
        self._slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def run(self, stop: threading.Event) -> None:
        """Call at every interval until `stop` is set."""
        due = time.monotonic()
        while not stop.is_set():
            self.fire(stop)
            due = max(due + self.every, time.monotonic())
            stop.wait(due - time.monotonic())

    def fire(self, stop: threading.Event) -> threading.Thread | None:
        """Begin one call unless two are under way."""
        if not self._slots.acquire(blocking=False):
            self._say(f"{self.name}: {MOST_AT_ONCE} calls are still under way; this one is left out")
            return None
        scheduled = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        thread = threading.Thread(target=self._call, args=(scheduled, stop), daemon=True)
        thread.start()
        return thread

    def _call(self, scheduled: str, stop: threading.Event) -> None:
        try:
            for _ in range(MOST_TRIES):
                if self._try(scheduled) or stop.wait(RETRY_AFTER):
                    return
        finally:
            self._slots.release()

    def _try(self, scheduled: str) -> bool:
        """Whether the call was answered well, or took so long that trying again makes no sense."""
        request = urllib.request.Request(  # noqa: S310  # the address is our own function's
            self.url,
            data=b"{}",
            method="POST",
            headers={
                "Content-Type": "application/json",
                "User-Agent": "Google-Cloud-Scheduler",
                "X-CloudScheduler": "true",
                "X-CloudScheduler-JobName": self.name,
                "X-CloudScheduler-ScheduleTime": scheduled,
            },
        )
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                answer.read()
        except TimeoutError:
            self._say(f"{self.name}: no answer within {self.timeout:g} s")
        except urllib.error.HTTPError as error:
            with error:
                self._say(f"{self.name}: answered {error.code}")
            return False
        except OSError as error:
            self._say(f"{self.name}: {error}")
            return False
        return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Keep the schedule until killed."""
    parser = argparse.ArgumentParser(description="calls a URL at a fixed interval")
    parser.add_argument("--job", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--every", required=True, type=float, metavar="SECONDS")
    parser.add_argument("--timeout", required=True, type=float, metavar="SECONDS")
    options = parser.parse_args(arguments)
    job = Job(
        name=options.job,
        url=options.url,
        every=options.every,
        timeout=options.timeout,
        say=lambda line: print(line, flush=True),
    )
    print(json.dumps({"ready": True}), flush=True)
    job.run(threading.Event())


if __name__ == "__main__":
    main()
