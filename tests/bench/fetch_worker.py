"""Fetches numbered files by the real upstream, in a process of its own, and prints what it took as JSON."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import psutil

from shared.fetching.settings import FetchSettings
from shared.fetching.wanted import Fetch, What
from shared.links import parse_link
from shared.media import Kept, MediaBucket
from shared.storage import CloudStore
from shared.upstreams.base import JsonAnswer
from shared.upstreams.web import WebUpstream
from tests.bench.memory import peak_mb


class Hashed:
    """Takes files, hashes them and lets them go."""

    def keep(self, pieces: Iterable[bytes], content_type: str) -> Kept:
        """The digest of a file that is then gone."""
        digest, size = hashlib.sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
        return Kept(sha256=digest.hexdigest(), size=size, url="gs://nowhere/x")


def main(origin: str, files: int, at_once: int, bucket: str) -> None:
    """Fetch files 1 to `files` from `origin`; an empty `bucket` keeps none."""
    settings = FetchSettings(test_origins=origin, at_once=at_once, per_second=1e6, max_bytes=10 * 1024**3)
    upstream = WebUpstream(settings, MediaBucket(bucket, CloudStore().client) if bucket else Hashed())
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], psutil.Process().memory_info().rss)

    def fetch(number: int) -> str:
        link = parse_link(f"http://{origin}/{number}")
        answer = upstream.call(Fetch(what=What.FILE, link=link, row_id="1"), timeout=900)
        assert isinstance(answer, JsonAnswer), answer
        return str(answer.body["sha256"])

    fetch(10**9)  # imports and first connections
    watcher = threading.Thread(target=watch)
    watcher.start()
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(at_once) as threads:
        digests = set(threads.map(fetch, range(1, files + 1)))
    took, used = time.perf_counter() - began, time.process_time() - cpu
    over.set()
    watcher.join()
    assert len(digests) == files
    peak = max(most[0] / 2**20, peak_mb())
    print(json.dumps({"seconds": took, "cpu": used, "peak_mb": peak}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "")
