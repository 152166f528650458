"""Items by the million, made in a few statements: what a ledger looks like that has been used for months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from shared.config import parse_database_url
from shared.db import connector
from tests.factories import ARTIST_KEY, TERMS

# Rows of about 300 bytes, settled or not: what an artist takes before its answer.
_INPUT = f"('{{\"artist_id\": \"' || {ARTIST_KEY} || '\", \"artist_name\": \"An artist\", \"artist_data\": \"\"}}')::jsonb"
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
                   CASE WHEN i <= {self.settled} THEN 'completed' ELSE 'available' END,
                   CASE WHEN i <= {self.settled} THEN 'enriched' END, (i <= {self.settled})::integer,
                   CASE WHEN i <= {self.settled} THEN now() END, CASE WHEN i <= {self.settled} THEN jsonb '{_RESULT}' END
              FROM generate_series(1, {self.items}) i
            """,
            f"INSERT INTO tallies (session_id, at, outcome, items) "
            f"SELECT '{self.session}', now() - interval '1 day', 'enriched', {self.settled} WHERE {self.settled} > 0",
        ]

    def paid(self, calls: int) -> list[str]:
        """The statements that make a call, and an answer to be used again, for the first so many items."""
        return [
            f"""
            INSERT INTO calls (id, session_id, item_no, attempt, round, try, upstream, reserved, state, finished_at, cost)
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


def gather(url: str, crowds: Sequence[Crowd], *, calls: int = 0) -> None:
    """Make the sessions in a database that has none, `calls` of each session's items paid for; nothing is analysed.

    Seven million items a minute: without triggers, with the indexes made afterwards, and unlogged where the server's
    `wal_level` is minimal.
    """
    connection: Any = connector(parse_database_url(url), autocommit=False)()
    run = connection.execute_simple
    try:
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
    finally:
        connection.close()
