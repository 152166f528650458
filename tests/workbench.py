"""A whole Rowlift in one process on a real ledger: its parts wired to fakes at the edges, driven by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from infra.local.topology import Topology
from shared.audio.prober import Prober
from shared.config import PipelineSettings, Settings, UpstreamLimits, parse_database_url
from shared.db import Database, Row
from shared.dispatch import Dispatcher
from shared.finalizing import Finalizer
from shared.ingest import Ingest
from shared.messages import ItemsNotice, decode_continuation, decode_finalize
from shared.pending import Pending
from shared.pipelines import pipeline
from shared.processing import Processor
from shared.rescuing import Rescuer
from shared.sessions import Sessions
from shared.upstreams.sound import SoundUpstream
from tests.fakes import FakePublisher, FakeStore, FakeUpstream

PROBER = Prober()  # one for all tests: its processes are kept
NAMES = ["Nina Simone", "Fela Kuti", "Björk", "Мумий Тролль", "坂本龍一", 'Guns "N" Roses', "AC/DC", "Sigur Rós"]


def artists_csv(n: int, *, first: int = 1) -> bytes:
    """A file of n artists, the ids counting from `first`."""
    lines = [f'{artist_id(i)},"{NAMES[i % len(NAMES)].replace(chr(34), chr(34) * 2)} {i}",type: Person'
             for i in range(first, first + n)]  # fmt: skip
    return ("artist_id,artist_name,artist_data\r\n" + "\r\n".join(lines) + "\r\n").encode()


def artist_id(i: int) -> str:
    """The id of the ith artist of `artists_csv`."""
    return f"00000000-0000-4000-8000-{i:012d}"


_MOMENTS = {
    "sessions": ("worked_at", "resumed_at", "created_at", "updated_at", "expires_at"),
    "files": ("lease_expires_at", "updated_at"),
    "items": ("lease_expires_at", "due_at", "dispatched_at", "finalized_at"),
    "calls": ("started_at", "finished_at"),
    "upstreams": ("requests_tat", "tokens_tat", "recovers_at", "next_probe_at", "opened_at", "reset_at"),
}


@dataclass
class Workbench:
    """The parts, and hands to drive them with."""

    db: Database
    url: str
    changes: dict[str, Any] = field(default_factory=dict)
    pipeline_changes: dict[str, Any] = field(default_factory=dict)
    upstream: Any = field(default_factory=FakeUpstream)
    limits: dict[str, UpstreamLimits] = field(default_factory=dict)
    slug: str = "artists"
    topology: Topology = field(default_factory=Topology.load)
    users: Mapping[str, Database] = field(
        default_factory=dict
    )  # the ledger as each function's user; else all have `db`

    def __post_init__(self) -> None:
        self.publisher, self.store = FakePublisher(), FakeStore()
        pipelines: dict[str, PipelineSettings] = {
            slug: PipelineSettings.model_validate({**about, "linger": 0, **self.pipeline_changes})
            for slug, about in self.topology.pipelines.items()
        }
        values: dict[str, Any] = {
            "upload_bucket": "up", "results_bucket": "out", "media_bucket": "media",
            "pipeline": self.slug, "lease_grace": 0,
            "notice_lost_after": 30, "threads": 4, **self.changes,
        }  # fmt: skip
        self.settings = Settings(
            connection=parse_database_url(self.url),
            project="test",
            pipelines=pipelines,
            upstreams=self.limits,
            **values,
        )
        self.dispatcher = Dispatcher(self.db, self.publisher, self.settings)
        self.sessions = Sessions(*self._ledger("api"), self.settings)
        self.ingest = self._ingest("ingest")
        self.pipeline = pipeline(self.slug, self.settings)
        if self.slug == "artists":
            self.pipeline.__dict__["_openai"] = _Priced(self.upstream)
        elif self.slug == "audio":
            self.pipeline.__dict__["_sound"] = SoundUpstream(self.store, "media", PROBER)
        else:
            self.pipeline.__dict__[{"movies": "_tmdb"}.get(self.slug, "_web")] = self.upstream
        self.pending = Pending(self.store, "out")
        self.processor = Processor(*self._ledger("process"), self.pipeline, self.settings, self.pending)
        db, dispatcher = self._ledger("finalize")
        self.finalizer = Finalizer(db, self.store, dispatcher, self.settings)
        db, dispatcher = self._ledger("rescue")
        sessions = Sessions(db, dispatcher, self.settings) if self.users else self.sessions
        reader = self._ingest("rescue") if self.users else self.ingest
        self.rescuer = Rescuer(db, self.store, dispatcher, reader, sessions, self.settings)

    def _ledger(self, function: str) -> tuple[Database, Dispatcher]:
        """The ledger and the dispatcher of a function."""
        if function not in self.users:
            return self.db, self.dispatcher
        return self.users[function], Dispatcher(self.users[function], self.publisher, self.settings)

    def _ingest(self, function: str) -> Ingest:
        db, dispatcher = self._ledger(function)
        return Ingest(db, self.store, dispatcher, self.publisher, self.settings)

    def drop(self, data: bytes, name: str | None = None, **options: str) -> UUID:
        """The session of a file that was dropped and ingested."""
        return self.ingest.take(self.store.put("up", name or f"{self.slug}/list.csv", data, **options))

    def deliver(self) -> int:
        """Deliver every message that is out, once; answers how many."""
        items = self.publisher.take(self.slug)
        files = self.publisher.take("uploads")
        ends = self.publisher.take("finalize")
        for message in files:
            self.ingest.go_on(decode_continuation(message.data) or 0)
        for message in items:
            self.processor.handle(ItemsNotice.decode(message.data))
        for message in ends:
            self.finalizer.finalize(decode_finalize(message.data))
        return len(items) + len(files) + len(ends)

    def run(self, session: UUID, *, rounds: int = 200) -> Row:
        """Deliver and rescue until the session has ended; its status then."""
        for _ in range(rounds):
            if not self.deliver():
                status = self.sessions.status(session)
                if (
                    status["status"] in ("completed", "failed", "cancelled", "paused", "quoted")
                    and not self.publisher.messages
                ):
                    return status
                self.make_due(session)
                self.rescuer.round()
        raise AssertionError(f"the session did not end: {self.sessions.status(session)}")

    def make_due(self, session: UUID) -> None:
        """Let the time pass that items and upstreams wait for."""
        self.execute(
            "UPDATE upstreams SET requests_tat = now(), tokens_tat = now(), next_probe_at = least(next_probe_at, now())"
        )
        self.execute(f"UPDATE items SET due_at = now() WHERE session_id = '{session}' AND due_at > now()")

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everything the ledger waits for: every moment it remembers lies that much further back."""
        for table, columns in _MOMENTS.items():
            moved = ", ".join(f"{column} = {column} - interval '{seconds} s'" for column in columns)
            self.execute(f"UPDATE {table} SET {moved}")

    def facts(self, session: UUID) -> Row:
        """The session's own facts."""
        return self.sessions.get(session)

    def item(self, session: UUID, number: int = 1) -> Row:
        """One item as people see it, `lost_leases` and the like beside it."""
        names = (
            "state", "outcome", "code", "attempt", "failures", "round", "lost_leases", "dispatches", "dead_lettered",
            "error_code", "error_message", "result",
        )  # fmt: skip
        listed = ", ".join(names)
        found = self.execute(f"SELECT {listed} FROM items WHERE session_id = '{session}' AND item_no = {number}")
        return dict(zip(names, found[0], strict=True))

    def calls(self, session: UUID) -> list[tuple[int, int, str, int, int | None]]:
        """Item, attempt, state, reserved and cost of every call, in the order they were started."""
        found = self.execute(
            f"SELECT item_no, attempt, state, reserved, cost FROM calls WHERE session_id = '{session}' "
            "ORDER BY started_at, item_no"
        )
        return [tuple(row) for row in found]

    def assert_sound(self, session: UUID) -> None:
        """Fail naming every invariant the session breaks."""
        findings = self.sessions.verify(session)["findings"]
        assert findings == [], findings

    def execute(self, statement: str) -> list[Any]:
        """The rows of any statement, for arranging and looking."""
        with self.db._checked_out() as connection:
            return list(connection.execute_simple(statement).rows or [])

    def value(self, statement: str) -> Any:
        """The single value a statement answers."""
        return self.execute(statement)[0][0]


class _Priced:
    """A fake upstream with the worst case of the real one."""

    def __init__(self, upstream: Any) -> None:
        self._upstream, self.name = upstream, upstream.name

    def call(self, request: Any, *, timeout: float) -> Any:
        return self._upstream.call(request, timeout=timeout)

    def worst_case(self, request: Any) -> Any:
        from shared.upstreams.base import Usage

        return Usage(input_tokens=100, output_tokens=1000)
