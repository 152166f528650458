"""Items by the million, made in a few statements: what a ledger looks like that has been used for months."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from shared.config import UpstreamLimits, parse_database_url
from shared.db import connector
from shared.limits import reserve_slots
from tests.factories import ARTIST_KEY, TERMS, claim, enriched, planned, settle, start
from tests.workbench import Workbench

# Rows of about 300 bytes, settled or not: what an artist takes before its answer.
_INPUT = f'(\'{{"artist_id": "\' || {ARTIST_KEY} || \'", "artist_name": "An artist", "artist_data": ""}}\')::jsonb'
_RESULT = '{"text": "A bio.", "db_status": "updated"}'


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A session of which the first `settled` items have ended and those up to `items` wait."""

    items: int
    settled: int
    session: UUID = field(default_factory=uuid4)

    def inserts(self) -> list[str]:
        """The statements that make it; triggers are expected to be off, so counters are made, too."""
        return [
            f"INSERT INTO sessions (id, pipeline, source, files_known, epoch, next_item_no) "
            f"VALUES ('{self.session}', 'artists', 'gs://up/artists/{self.session}.csv', 1, 1, {self.items + 1})",
            f"""
            INSERT INTO items (session_id, item_no, file, line, key, input, input_hash, state, outcome, attempt,
                               finalized_at, result)
            SELECT '{self.session}', i, 1, i + 1, {ARTIST_KEY}, {_INPUT}, '\\x00',
                   CASE WHEN ended THEN 'completed' ELSE 'available' END, CASE WHEN ended THEN 'enriched' END,
                   ended::integer, CASE WHEN ended THEN now() END, CASE WHEN ended THEN jsonb '{_RESULT}' END
              FROM (SELECT i, i <= {self.settled} AS ended FROM generate_series(1, {self.items}) i) numbers
            """,
            f"INSERT INTO tallies (session_id, at, outcome, items) "
            f"SELECT '{self.session}', now() - interval '1 day', 'enriched', {self.settled} WHERE {self.settled} > 0",
        ]

    def paid(self, calls: int) -> list[str]:
        """The statements that make a call, and an answer to be used again, for the first so many items."""
        return [
            f"""
            INSERT INTO calls (id, session_id, item_no, attempt, round, try, upstream, reserved, state, finished_at,
                               cost)
            SELECT gen_random_uuid(), '{self.session}', i, 1, 1, 1, 'openai', 1000, 'succeeded', now(), 300
              FROM generate_series(1, {calls}) i
            """,
            f"""
            INSERT INTO answers (pipeline, key, input_hash, configuration, result, session_id, item_no)
            SELECT '{TERMS.pipeline}', '{self.session.hex[:8]}' || i, '\\x00', '{TERMS.configuration}', '{_RESULT}',
                   '{self.session}', i
              FROM generate_series(1, {calls}) i
            """,
        ]

    def join(self, url: str, *, calls: int = 0) -> None:
        """Make it in a database that is in use; indexes stay, and so do the plans that connections keep."""
        with closing(connector(parse_database_url(url), autocommit=False)()) as connection:
            connection.execute_simple("SET session_replication_role = replica")
            for statement in self.inserts() + self.paid(calls):
                connection.execute_simple(statement)


def gather(url: str, crowds: Sequence[Crowd], *, calls: int = 0, vacuum: bool = False) -> None:
    """Make the sessions in a database that has none, `calls` of each session's items paid for.

    Seven million items a minute: without triggers, with the indexes made afterwards, and unlogged where the server's
    `wal_level` is minimal.
    """
    with closing(connector(parse_database_url(url), autocommit=False)()) as connection:
        run: Any = connection.execute_simple
        run("BEGIN")
        run("TRUNCATE items, calls, answers CASCADE")
        run("SET LOCAL session_replication_role = replica")
        run("SET LOCAL maintenance_work_mem = '512MB'")
        indexes = run(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid IN ('items'::regclass, 'calls'::regclass) AND NOT indisprimary"
        ).rows
        for name, _ in indexes:
            run(f"DROP INDEX {name}")
        for crowd in crowds:
            for statement in crowd.inserts() + crowd.paid(calls):
                run(statement)
        for _, definition in indexes:
            run(definition)
        run("COMMIT")
        if vacuum:
            run("VACUUM ANALYZE")


def run_message(bench: Workbench, session: UUID, numbers: Sequence[int], *, window: int) -> None:
    """Run the statements of a message's life, and of a look at the status: a nudge, claim, slots, start, settle."""
    assert bench.db.row("standing", session=session) is not None
    fill(bench, session, window=window)
    live(bench, session, numbers)
    bench.db.row("session_stands", session=session)


def live(bench: Workbench, session: UUID, numbers: Sequence[int], bio: str = "A bio.") -> None:
    """Claim items, get slots, start their calls and settle them: the four statements of a message."""
    items = claim(bench, session, numbers)
    assert len(items) == len(numbers), f"{len(items)} of {len(numbers)} items were claimed"
    reserve_slots(bench.db, "openai", UpstreamLimits(requests=10_000_000), n=len(items), tokens=0, max_wait=20)
    calls = [planned(item) for item in items]
    start(bench, *calls)
    settle(bench, *(enriched(call, bio) for call in calls))


def fill(bench: Workbench, session: UUID, *, window: int) -> int:
    """Fill the window as the dispatcher does; how many were put out."""
    return len(bench.db.rows("fill_window", session=session, window=window, upstream="openai", probes=8, token=uuid4()))
