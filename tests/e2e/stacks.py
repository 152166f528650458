"""Hands on a running stack: drop a file, wait for its end, read what came out; through the doors users have."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from infra.local.client import Stack
from infra.local.topology import ROOT
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.errors import LedgerDown
from shared.pipelines import PIPELINES
from shared.sessions import export_session_ids, session_id

ENDED = ("completed", "failed", "cancelled", "paused", "quoted")


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """A simulated upstream by its address."""

    url: str

    def misbehave(self, **control: Any) -> None:
        """Tell it how to behave from now on."""
        httpx.post(f"{self.url}/control", json=control).raise_for_status()

    def forget(self) -> None:
        """Have its log begin anew."""
        httpx.post(f"{self.url}/control/reset").raise_for_status()

    def calls(self) -> dict[str, Any]:
        """Its own log, in counts."""
        return dict(httpx.get(f"{self.url}/control/log", params={"entries": 0}).raise_for_status().json())


@dataclass
class Deck:
    """One stack with what tests do to it."""

    stack: Stack

    def __post_init__(self) -> None:
        self.api = httpx.Client(base_url=self.stack.info["api"], timeout=30)
        # stack.json hides the password; the processes' own environment has the address whole.
        self.db = Database(connector(parse_database_url(self.stack.info["environment"]["DATABASE_URL"])), size=2)

    def drop(self, data: bytes, name: str, **options: str) -> UUID:
        """The session of an object put into the upload bucket, as any storage client would; an export's first."""
        bucket = self.stack.info["buckets"]["uploads"]
        answer = httpx.post(
            f"{self.stack.info['storage']}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "multipart", "name": name},
            headers={"Content-Type": "multipart/related; boundary=cut"},
            content=_multipart({"name": name, "metadata": options}, data),
        )
        answer.raise_for_status()
        grouping = PIPELINES[name.partition("/")[0]].grouping
        if grouping is not None:
            return next(export_session_ids(bucket, grouping.export(name)))
        return session_id(bucket, name, int(answer.json()["generation"]))

    def status(self, session: UUID) -> dict[str, Any]:
        """The session's status document; empty until the session exists."""
        answer = self.api.get(f"/api/session/{session}/status")
        return {} if answer.status_code == 404 else dict(answer.raise_for_status().json())

    def wait(self, session: UUID, *, until: Any = None, timeout: float = 90) -> dict[str, Any]:
        """The status once the session has ended, or once `until` holds of it."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                status = self.status(session)
            except httpx.HTTPError:
                status = {}
            if status and (until(status) if until else status["status"] in ENDED):
                return status
            assert time.monotonic() < deadline, f"waited {timeout:g} s in vain: {status}"
            time.sleep(0.1)

    def results(self, session: UUID) -> list[dict[str, Any]]:
        """The lines of results.jsonl in the bucket."""
        return [json.loads(line) for line in self.object(f"{session}/results.jsonl").splitlines()]

    def object(self, name: str) -> bytes:
        """An object of the results bucket."""
        bucket = self.stack.info["buckets"]["results"]
        answer = httpx.get(f"{self.stack.info['storage']}/download/storage/v1/b/{bucket}/o/{name.replace('/', '%2F')}",
                           params={"alt": "media"})  # fmt: skip
        return answer.raise_for_status().content

    def calls_of(self, session: UUID) -> dict[str, int]:
        """How many calls the ledger has for a session, by state."""
        found: dict[str, int] = self.api.get(f"/api/session/{session}/verify").json()["calls"]
        return found

    def verify(self, session: UUID) -> list[dict[str, Any]]:
        """What breaks an invariant."""
        return list(self.api.get(f"/api/session/{session}/verify").raise_for_status().json()["findings"])

    def execute(self, statement: str) -> list[Any]:
        """The rows of any statement, for arranging and looking; asked again where the server was started anew."""
        try:
            return self._executed(statement)
        except LedgerDown:
            return self._executed(statement)

    def _executed(self, statement: str) -> list[Any]:
        with self.db._checked_out() as connection:
            return list(connection.execute_simple(statement).rows or [])

    def misbehave(self, **control: Any) -> None:
        """Tell the simulated OpenAI how to behave from now on."""
        self.openai.misbehave(**control)

    def calls(self) -> dict[str, Any]:
        """The simulated OpenAI's own log, in counts."""
        return self.openai.calls()

    @property
    def openai(self) -> Simulated:
        """The simulated OpenAI."""
        return Simulated(url=str(self.stack.info["openai"]).removesuffix("/v1"))

    @property
    def tmdb(self) -> Simulated:
        """The simulated TMDB."""
        return Simulated(url=str(self.stack.info["tmdb"]).removesuffix("/3"))

    @property
    def web(self) -> Simulated:
        """The simulated web."""
        return Simulated(url=str(self.stack.info["web"]))


def topology(folder: Path, **changes: Any) -> Path:
    """A copy of infra/topology.yaml with the settings of every pipeline changed."""
    import yaml

    content = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
    for slug, settings in content["pipelines"].items():
        settings.update(changes)
        if "lease" in changes:  # deadline < ack deadline <= lease; Pub/Sub knows none below 10 s
            content["subscriptions"][slug]["ack_deadline"] = 10
    content["schedules"]["rescue"]["every"] = 5  # a minute would be most of a test
    path = folder / "topology.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _multipart(resource: Mapping[str, Any], data: bytes) -> bytes:
    head = b"--cut\r\nContent-Type: application/json\r\n\r\n" + json.dumps(resource).encode()
    return head + b"\r\n--cut\r\nContent-Type: text/csv\r\n\r\n" + data + b"\r\n--cut--\r\n"
