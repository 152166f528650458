"""The simulated web as its own process, and an upstream that asks it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import httpx

from infra.local.topology import ROOT
from shared.fetching.settings import FetchSettings
from shared.fetching.wanted import Fetch, What
from shared.links import parse_link
from shared.media import Kept
from shared.upstreams.base import Failure, JsonAnswer
from shared.upstreams.web import WebUpstream


class MemoryMedia:
    """Keeps files in a dictionary, under their digests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def keep(self, pieces: Iterable[bytes], content_type: str) -> Kept:
        body = b"".join(pieces)
        digest = hashlib.sha256(body).hexdigest()
        self.files[digest] = body
        return Kept(sha256=digest, size=len(body), url=f"gs://media/sha256/{digest}")


class SimulatedWebServer:
    """The process, its control, and fetches from it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "infra.local.upstreams.web"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"
        self._control = httpx.Client(base_url=self.url, trust_env=False)
        self.media = MemoryMedia()
        self._upstreams: dict[tuple[tuple[str, Any], ...], WebUpstream] = {}

    def stop(self) -> None:
        for upstream in self._upstreams.values():
            upstream.close()
        self._control.close()
        self._process.terminate()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait(10)

    def reset(self) -> None:
        """Well-behaved, and with no memory of calls."""
        self.behave(faults={}, named={}, ranges=True, slow=5.0)
        self._control.post("/control/reset").raise_for_status()

    def behave(self, **behaviour: Any) -> None:
        self._control.post("/control", json=behaviour).raise_for_status()

    def asked(self) -> dict[str, int]:
        """How often each address was asked for."""
        keys = self._control.get("/control/log?entries=0").json()["keys"]
        return {key: counts["started"] for key, counts in keys.items()}

    def get(self, url: str) -> httpx.Response:
        """An answer of its own, unguarded."""
        return self._control.get(url)

    def call(
        self, what: What, url: str, *, row_id: str = "7", timeout: float = 30.0, **settings: Any
    ) -> JsonAnswer | Failure:
        """What a fetch comes to; every host may be asked unless `settings` say otherwise."""
        fetch = Fetch(what=what, link=parse_link(url), row_id=row_id)
        return self.upstream(**settings).call(fetch, timeout=timeout)

    def upstream(self, **settings: Any) -> WebUpstream:
        """The upstream with these settings."""
        chosen = {"hosts": "*", "per_second": 1_000.0, **settings}
        key = tuple(sorted(chosen.items()))
        if key not in self._upstreams:
            made = FetchSettings(stand_in=self.url, **chosen)
            self._upstreams[key] = WebUpstream(made, self.media)
        return self._upstreams[key]

    def body(self, what: What, url: str, **rest: Any) -> dict[str, Any]:
        """What a good fetch answers."""
        answer = self.call(what, url, **rest)
        assert isinstance(answer, JsonAnswer), answer
        return answer.body

    def failure(self, what: What, url: str, **rest: Any) -> Failure:
        """Why there is no answer."""
        answer = self.call(what, url, **rest)
        assert isinstance(answer, Failure), answer
        return answer
