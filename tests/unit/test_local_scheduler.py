"""The ticker against a small local server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.local import scheduler
from infra.local.scheduler import Job


class Target(ThreadingHTTPServer):
    """Counts calls; each waits for `open` and answers the next of `statuses`, else 204."""

    daemon_threads = True

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.arrived = threading.Semaphore(0)
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Answer(BaseHTTPRequestHandler):
    server: Target

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.arrived.release()
        self.server.open.wait(10)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.open.set()
        server.shutdown()
        thread.join()


def job(target: Target, said: list[str], every: float = 60, timeout: float = 10) -> Job:
    return Job(name="rescue", url=target.url, every=every, timeout=timeout, say=said.append)


def test_calls_at_once_and_at_every_interval_as_cloud_scheduler_does(target: Target) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=job(target, [], every=0.05).run, args=(stop,))
    thread.start()
    arrived = [target.arrived.acquire(timeout=5) for _ in range(3)]
    stop.set()
    thread.join()
    assert arrived == [True] * 3
    assert target.headers[0]["x-cloudscheduler-jobname"] == "rescue"
    assert target.headers[0]["user-agent"] == "Google-Cloud-Scheduler"


def test_two_calls_may_overlap_a_third_is_left_out(target: Target) -> None:
    said: list[str] = []
    under_test, stop = job(target, said), threading.Event()
    target.open.clear()
    first, second = under_test.fire(stop), under_test.fire(stop)
    assert target.arrived.acquire(timeout=5)
    assert target.arrived.acquire(timeout=5)
    assert under_test.fire(stop) is None
    assert said == ["rescue: 2 calls are still under way; this one is left out"]
    target.open.set()
    for thread in (first, second):
        assert thread is not None
        thread.join(5)
    third = under_test.fire(stop)
    assert third is not None
    third.join(5)
    assert len(target.headers) == 3


def test_a_failed_call_is_tried_again(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "RETRY_AFTER", 0.01)
    target.statuses = [503, 500]
    said: list[str] = []
    thread = job(target, said).fire(threading.Event())
    assert thread is not None
    thread.join(5)
    assert said == ["rescue: answered 503", "rescue: answered 500"]
    assert len(target.headers) == 3


def test_a_call_without_an_answer_is_given_up_and_not_repeated(target: Target) -> None:
    said: list[str] = []
    target.open.clear()
    began = time.monotonic()
    thread = job(target, said, timeout=0.1).fire(threading.Event())
    assert thread is not None
    thread.join(5)
    assert time.monotonic() - began < 2
    assert said == ["rescue: no answer within 0.1 s"]
    assert len(target.headers) == 1
