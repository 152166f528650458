"""The migrations and schema.sql build the same database, adopt what is there, and can be undone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from cli.faults import Failed
from cli.migrating import migrate_database
from shared.config import parse_database_url
from shared.db import connector
from shared.states import CallState, FileState, Hold, ItemState, Outcome
from tests.workbench import Workbench, artist_id, artists_csv

ROOT = Path(__file__).parents[2]

CATALOG = {
    "columns": """SELECT table_name, column_name, data_type, udt_name, collation_name, column_default, is_nullable,
                         is_identity, identity_generation, generation_expression,
                         row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position)
                    FROM information_schema.columns WHERE table_schema = 'public'""",
    "constraints": """SELECT conrelid::regclass::text, conname, contype::text, condeferrable, condeferred,
                             pg_get_constraintdef(oid)
                        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "tables": """SELECT relname, relkind::text, reloptions::text FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')""",
    "triggers": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
}


@pytest.fixture
def empty(server: str, database_url: str) -> Iterator[str]:
    """The address of a database with nothing in it."""
    name = database_url.rsplit("/", 1)[1] + "_empty"
    run(database_url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield database_url.rsplit("/", 1)[0] + f"/{name}"
    run(database_url, f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, statement: str) -> list[Any]:
    """The rows of a statement, or of the last of several."""
    connection = connector(parse_database_url(url))()
    try:
        rows = None
        rows = connection.execute_simple(statement).rows
        return list(rows or [])
    finally:
        connection.close()


def alembic(url: str, *words: str) -> None:
    """Run Alembic as `make migrate` does."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(ROOT / "migrations/alembic.ini"), *words],
        env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def catalog(url: str) -> dict[str, list[str]]:
    """Everything the database is made of, Alembic's own table aside."""
    return {
        name: sorted(str(list(row)) for row in run(url, query) if "alembic_version" not in str(row))
        for name, query in CATALOG.items()
    }


@pytest.mark.parametrize("part", sorted(CATALOG))
def test_both_roads_build_the_same_database(database_url: str, empty: str, part: str) -> None:
    run(empty, (ROOT / "migrations/schema.sql").read_text("utf-8"))
    query = CATALOG[part]
    by_migrations, by_schema = (
        sorted(str(list(row)) for row in run(url, query) if "alembic_version" not in str(row))
        for url in (database_url, empty)
    )
    assert by_migrations == by_schema
    assert by_schema or part == "triggers"


def test_every_version_can_be_undone_and_done_again(empty: str) -> None:
    alembic(empty, "upgrade", "head")
    before = catalog(empty)
    run(empty, f"INSERT INTO artists (id, name, bio) VALUES ('{artist_id(1)}', 'Nina', 'A bio')")
    run(empty, "INSERT INTO upstreams (name, requests_limit) VALUES ('tmdb', 0.4), ('openai', NULL)")
    alembic(empty, "downgrade", "0002")
    assert run(empty, "SELECT name, requests_limit FROM upstreams ORDER BY name") == [["openai", None], ["tmdb", 1]]
    alembic(empty, "downgrade", "base")
    assert run(empty, "SELECT to_regclass('items'), to_regclass('sessions')") == [[None, None]]
    assert run(empty, "SELECT id::text, name, bio FROM artists") == [[artist_id(1), "Nina", "A bio"]]
    alembic(empty, "upgrade", "head")
    assert catalog(empty) == before
    assert run(empty, "SELECT bio FROM artists") == [["A bio"]]


@pytest.mark.parametrize(
    "columns",
    [
        "id uuid PRIMARY KEY, name text, bio text",
        "id uuid PRIMARY KEY, name varchar(200) NOT NULL, bio text",
        "id text PRIMARY KEY, name text, bio text",
        "id text, name text, bio text",
        "id uuid UNIQUE, name text, bio text, born integer DEFAULT 1900",
        "id character varying(36) NOT NULL, name text, bio text",
    ],
)
def test_an_artists_table_that_is_there_is_adopted_with_its_rows(empty: str, columns: str) -> None:
    run(empty, f"CREATE TABLE artists ({columns})")
    rows = ", ".join(f"('{artist_id(i)}', 'Artist {i}', {'NULL' if i == 1 else repr('Mine.')})" for i in (1, 2))
    run(empty, f"INSERT INTO artists (id, name, bio) VALUES {rows}")
    alembic(empty, "upgrade", "head")
    assert run(empty, "SELECT id::text, name, bio FROM artists ORDER BY id") == [
        [artist_id(1), "Artist 1", None],
        [artist_id(2), "Artist 2", "Mine."],
    ]
    from shared.db import Database

    database = Database(connector(parse_database_url(empty)), size=4)
    bench = Workbench(db=database, url=empty)
    session = bench.drop(artists_csv(3), skip_existing="true")
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["skipped"]) == ("completed", 2, 1)
    database.close()


def test_a_status_can_be_asked_for_by_name_and_never_set(database_url: str) -> None:
    run(database_url, "INSERT INTO sessions (id, pipeline, source) VALUES (gen_random_uuid(), 'artists', 's')")
    assert run(database_url, "SELECT status FROM sessions") == [["uploading"]]
    with pytest.raises(Exception, match="generated column"):
        run(database_url, "UPDATE sessions SET status = 'completed'")


def _words(url: str, constraint: str) -> set[str]:
    ((definition,),) = run(url, f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{constraint}'")
    return set(re.findall(r"'(\w+)'::text", definition))


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("items_state_is_known", ItemState),
        ("calls_state_is_known", CallState),
        ("sessions_hold_is_known", Hold),
        ("files_state_is_known", FileState),
    ],
)
def test_the_words_of_the_code_are_those_of_the_database(
    database_url: str, constraint: str, words: type[StrEnum]
) -> None:
    assert _words(database_url, constraint) == set(words)


def test_every_outcome_stands_beside_its_state(database_url: str) -> None:
    assert _words(database_url, "items_outcome_agrees_with_state") == {
        *Outcome, *(outcome.state for outcome in Outcome)
    }  # fmt: skip
    session = artist_id(9)
    insert: Callable[[int, str, str], str] = lambda n, state, outcome: (  # noqa: E731
        "INSERT INTO items (session_id, item_no, file, line, input, state, outcome, finalized_at) "
        f"VALUES ('{session}', {n}, 1, 1, '{{}}', '{state}', '{outcome}', now())"
    )
    for n, outcome in enumerate(Outcome):
        run(database_url, insert(n, outcome.state, outcome))
        wrong = next(other.state for other in Outcome if other.state != outcome.state)
        with pytest.raises(Exception, match="items_outcome_agrees_with_state"):
            run(database_url, insert(100 + n, wrong, outcome))


def test_every_status_has_its_facts(database_url: str) -> None:
    from shared.states import SessionStatus

    seen = run(
        database_url,
        "SELECT DISTINCT session_status(known, open, approval, hold, c, f, 1, done) FROM "
        "unnest(ARRAY[0, 1]) known, unnest(ARRAY[0, 1]) open, unnest(ARRAY['none', 'awaited']) approval, "
        "unnest(ARRAY[NULL, 'person']) hold, unnest(ARRAY[NULL, now()]) c, unnest(ARRAY[NULL, now()]) f, "
        "unnest(ARRAY[NULL, 1]) done",
    )
    assert {row[0] for row in seen} == set(SessionStatus)


def test_an_artists_table_of_another_kind_is_refused_in_words(empty: str) -> None:
    run(empty, "CREATE TABLE artists (id serial PRIMARY KEY, name text)")
    with pytest.raises(Failed, match=r"artists\.id must hold UUIDs"):
        migrate_database(empty)


def test_an_adopted_table_gets_the_columns_it_lacks(empty: str) -> None:
    run(empty, "CREATE TABLE artists (id uuid PRIMARY KEY, title text)")
    alembic(empty, "upgrade", "head")
    run(empty, "INSERT INTO artists (id, title, name, bio) VALUES (gen_random_uuid(), 't', 'n', 'b')")
