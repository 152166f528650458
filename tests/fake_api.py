"""A stand-in for a deployment as the command sees it: its HTTP API, and the bucket files are uploaded to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from cli.inputs import Input
from cli.uploading import Uploaded
from shared.sessions import session_id
from shared.states import Outcome

LOCAL = "http://127.0.0.1:9"
CLOUD = "https://api-x.a.run.app"
SESSION = UUID("2f1c3b9e-5a0d-5d57-9c1e-8f4f5a1b7c11")


def status_of(session: UUID = SESSION, **changes: Any) -> dict[str, Any]:
    """A status document as the API answers it; a session of ten completed items unless changed."""
    return {
        "session_id": str(session), "pipeline": "artists", "source": "gs://up/artists/list.csv", "status": "completed",
        "pause_reason": None, "error_code": None, "error_message": None, "total": 10, "open": 0, "running": 0,
        **{outcome.value: 0 for outcome in Outcome}, "enriched": 10, "progress_percent": 100.0, "spent_usd": 0.0125,
        "reserved_usd": 0.0, "budget_usd": None, "calls": {"succeeded": 10}, "items_per_second": 0.0,
        "eta_seconds": 0.0, "bound_by": None, "trace_id": "ab" * 16, "created_at": "2026-11-21T00:00:00+00:00",
        "completed_at": "2026-11-21T00:00:09+00:00", "expires_at": "2126-12-21T00:00:00+00:00", **changes,
    }  # fmt: skip


def payment_of(**changes: Any) -> dict[str, Any]:
    """A proof of payment as the API answers it; of ten succeeded calls unless changed."""
    model = {"model": "gpt-5-mini", "calls": 10, "tokens_in": 1_000, "tokens_out": 2_000, "cost_usd": 0.0125}
    return {
        "session_id": str(SESSION), "started": 0, "succeeded": 10, "failed": 0, "unknown": 0, "duplicates_absorbed": 0,
        "items_paid_more_than_once": 0, "repeated": 0, "by_model": [model], "spent_usd": 0.0125, "reserved_usd": 0.0,
        "budget_usd": None, **changes,
    }  # fmt: skip


def quote_of(**changes: Any) -> dict[str, Any]:
    """A quote of ten rows as the API answers it."""
    return {
        "rows": 12, "rejected": 1, "duplicates": 1, "to_run": 10, "reusable": 0, "free": 0,
        "requests": {"low": 10, "likely": 10, "high": 10}, "tokens_in": {"low": 2_700, "likely": 3_600, "high": 14_000},
        "tokens_out": {"low": 600, "likely": 3_000, "high": 12_000},
        "usd": {"low": 0.000581, "likely": 0.001867, "high": 0.007778},
        "duration_seconds": 64.0, "bound_by": "requests",
        "limits": {"requests": 10.0, "tokens": None, "period": 60.0, "concurrency": 128}, "basis": "no history yet",
        "model": "gpt-6-luna", "prompt": "artist-bio/1", "prices_read_on": "2026-11-20", "budget_usd": None,
        "budget_holds_likely": None, "budget_holds_high": None, "approve_above_usd": None, "waits_because": None,
        **changes,
    }  # fmt: skip


def working(done: int, total: int = 10, **changes: Any) -> dict[str, Any]:
    """The status of a session in mid-run."""
    left = total - done
    progress = {"total": total, "open": left, "enriched": done, "progress_percent": 100 * done / total}
    pace = {"items_per_second": 2.0, "eta_seconds": left / 2}
    return status_of(**{"status": "enriching", "completed_at": None, **progress, **pace, **changes})


@dataclass
class FakeApi:
    """Answers from `statuses` (per session its documents one after the other, the last one again and again)."""

    statuses: dict[UUID, list[Any]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)  # "METHOD /path" -> what to answer instead
    results: bytes = b'{"item_no":1}\n{"item_no":2}\n'
    requests: list[httpx.Request] = field(default_factory=list)
    default: list[Any] | None = None  # statuses of sessions not named
    options: dict[str, Any] = field(default_factory=dict)  # of every session
    items: list[dict[str, Any]] = field(default_factory=list)  # of every session
    found: dict[str, Any] = field(default_factory=dict)  # in the earlier results of every session
    bucket: FakeBucket = field(default_factory=lambda: FakeBucket())  # its uploads are heard of at once

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        key = f"{request.method} {request.url.path}"
        if key in self.answers:
            return self._made(self.answers[key])
        match request.url.path.strip("/").split("/"):
            case ["api", "health"]:
                return self._made(
                    {
                        "status": "ok",
                        "version": "0.1.0",
                        "upload_bucket": "up",
                        "results_bucket": "out",
                        "media_bucket": "media",
                    }
                )
            case ["api", "sessions"]:
                return self._made({"sessions": [status_of()], "next": None})
            case ["api", "session", session, "status"]:
                return self._status(UUID(session))
            case ["api", "session", session]:
                return self._session(UUID(session))
            case ["api", "session", _, "items"]:
                return self._items(request.url.params)
            case ["api", "session", _, "resumed"]:
                return self._made(self.found)
            case ["api", "session", _, "results"]:
                return httpx.Response(200, content=self.results)
            case ["api", "session", _, "rejects"]:
                return httpx.Response(200, content=b"artist_id,reason\r\n,empty\r\n")
            case ["api", "session", session, _] if request.method == "POST":
                return self._status(UUID(session))
        return problem(404, "There is nothing here.")

    def sent(self, method: str, path: str) -> list[Any]:
        """The bodies sent to a path."""
        return [
            json.loads(request.content or b"null")
            for request in self.requests
            if (request.method, request.url.path) == (method, path)
        ]

    def _status(self, session: UUID) -> httpx.Response:
        coming = self.statuses.get(session)
        if coming is None and self.default is not None:
            coming = self.statuses[session] = [
                {**each, "session_id": str(session)} if isinstance(each, dict) else each for each in self.default
            ]
        if not coming:
            return problem(404, f"There is no session {session}.")
        return self._made(coming.pop(0) if len(coming) > 1 else coming[0])

    def _session(self, session: UUID) -> httpx.Response:
        answer = self._status(session)
        if not answer.is_success:
            return answer
        return self._made({**answer.json(), "options": self.options, "files": self.bucket.files()})

    def _items(self, params: httpx.QueryParams) -> httpx.Response:
        wanted, after, limit = params.get("outcome"), int(params.get("after", 0)), int(params.get("limit", 100))
        found = [each for each in self.items if each["item_no"] > after and wanted in (None, each["outcome"])]
        return self._made({"items": found[:limit], "next": found[limit - 1]["item_no"] if found[limit:] else None})

    @staticmethod
    def _made(what: Any) -> httpx.Response:
        if isinstance(what, Exception):
            raise what
        return what if isinstance(what, httpx.Response) else httpx.Response(200, json=what)


def film_status(session: UUID = SESSION, **changes: Any) -> dict[str, Any]:
    """A status document of an export: 12 films of 29 records, one of them to be looked at unless changed."""
    films = {"total": 29, "enriched": 11, "skipped": 2, "merged": 15, "needs_review": 1, "spent_usd": 0.0, "calls": {}}
    source = "gs://up/movies/letterboxd-me-0123abcd/watched.csv"
    of_films = {"pipeline": "movies", "source": source, "total_movies": 12, "enriched_count": 11}
    return status_of(session, **{**films, **of_films, **changes})


def film_line(title: str, **changes: Any) -> dict[str, Any]:
    """A result line of an enriched film."""
    return {
        "item_no": 1, "kind": "watched", "title": title, "year": 1999, "outcome": "enriched", "tmdb_id": 603,
        "genres": ["Action", "Science Fiction"], "directors": ["Lilly Wachowski", "Lana Wachowski"], **changes,
    }  # fmt: skip


def uploaded(name: str = "artists/list.csv", session: UUID = SESSION) -> Uploaded:
    """The first upload into the bucket."""
    one = Input(file=Path("list.csv"), object=name, title="list.csv", results=Path("list.csv.results.jsonl"))
    return Uploaded(input=one, object=f"gs://up/{name}", generation=1001, bytes=7, session=session)


def problem(status: int, detail: str) -> httpx.Response:
    """A problem document."""
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


@dataclass
class FakeBucket:
    """The client library's client, bucket and blob in one, as far as an upload needs them."""

    uploaded: list[dict[str, Any]] = field(default_factory=list)
    error: BaseException | None = None
    generation: int = 1000
    _bucket: str = ""
    heard: int | None = None  # of how many uploads the notification has arrived; None: of all

    def bucket(self, name: str) -> FakeBucket:
        self._bucket = name
        return self

    def blob(self, name: str) -> FakeBucket:
        self._name, self.metadata = name, None
        return self

    def upload_from_filename(self, path: str, *, content_type: str, timeout: float) -> None:
        if self.error is not None:
            raise self.error
        self.generation += 1
        self.size = Path(path).stat().st_size
        self.uploaded.append({"name": self._name, "metadata": self.metadata, "type": content_type})

    def files(self) -> list[dict[str, Any]]:
        """What was uploaded, as a session tells of its files."""
        return [
            {"object": f"gs://{self._bucket}/{each['name']}", "generation": str(1001 + index), "state": "read"}
            for index, each in enumerate(self.uploaded[: self.heard])
        ]

    @classmethod
    def holding(cls, *names: str) -> FakeBucket:
        """The upload bucket with objects of these names in it."""
        return cls(uploaded=[{"name": name} for name in names], _bucket="up")

    def session(self, index: int = 0) -> UUID:
        """The session of the nth upload."""
        return session_id(self._bucket, self.uploaded[index]["name"], 1001 + index)
