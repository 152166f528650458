"""The rights a deployment gives: each function does all its work with its own, and can do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import Client

from cli.faults import Failed, Unreachable, WrongUsage
from infra.deploy.grants import PRIVILEGES, Rights
from infra.deploy.ledger import Ledger
from infra.local.topology import Topology
from shared.api.routing import Api
from shared.db import Database
from shared.dead_lettering import DeadLetters
from shared.dispatch import Dispatcher
from shared.errors import LedgerDown, StatementFailed
from shared.messages import ItemsNotice
from tests.fakes import FakeTmdb
from tests.functions.asking import client_of
from tests.integration.test_dead_letters import notice
from tests.integration.test_put_aside import away, settles
from tests.movies import diary, drop_files, ratings, watched
from tests.resumption import keep, results
from tests.roles import as_functions, functions_users
from tests.workbench import Workbench, artists_csv

RIGHTS = Rights.load(Topology.load())
FORBIDDEN = (
    "DROP TABLE sessions", "TRUNCATE items", "CREATE TABLE mine (x int)", "ALTER TABLE items DROP COLUMN input",
    "DELETE FROM sessions", "DELETE FROM calls", "DELETE FROM audit_log", "SELECT FROM alembic_version",
    "DROP FUNCTION stamp_settled() CASCADE", "CREATE ROLE mine", "ALTER TABLE items DISABLE TRIGGER ALL",
    "SET ROLE postgres", "COPY items TO PROGRAM 'cat'",
)  # fmt: skip


@pytest.fixture
def users(database_url: str) -> Iterator[dict[str, Database]]:
    """The ledger as each function has it."""
    with as_functions(database_url) as opened:
        yield opened


def bench_of(slug: str, db: Database, url: str, users: dict[str, Database], **more: Any) -> Workbench:
    """A whole Rowlift whose functions are the users that a deployment makes them."""
    return Workbench(db=db, url=url, slug=slug, users={**users, "process": users[f"process-{slug}"]}, **more)


@pytest.fixture
def artists(db: Database, database_url: str, users: dict[str, Database]) -> Workbench:
    return bench_of("artists", db, database_url, users)


@pytest.fixture
def films(db: Database, database_url: str, users: dict[str, Database]) -> Workbench:
    made = bench_of("movies", db, database_url, users, upstream=FakeTmdb())
    made.store.checksums = True
    return made


def api_of(bench: Workbench) -> Client:
    """The API, as its own user."""
    return client_of(Api(bench.users["api"], bench.sessions, bench.store, bench.settings))


class TestEachFunctionCanDoItsWork:
    def test_artists_from_upload_to_results_and_again(self, artists: Workbench) -> None:
        session = artists.drop(artists_csv(5) + b"no id,Nobody,\r\n" + artists_csv(1).splitlines()[1])
        status = artists.run(session)
        assert (status["enriched"], status["rejected"], status["duplicate"]) == (5, 1, 1)
        again = artists.drop(artists_csv(5), "artists/again.csv")
        assert artists.run(again)["unchanged"] == 5
        assert artists.sessions.reprocess(session, outcomes=["enriched"])
        assert artists.run(session)["enriched"] == 5
        artists.assert_sound(session)
        name = keep(artists, results(artists, session))
        resumed = artists.drop(artists_csv(5), "artists/more.csv", reuse="never", resume=name)
        assert artists.run(resumed)["skipped"] == 5

    def test_people_quote_approve_pause_resume_and_cancel(self, artists: Workbench) -> None:
        session = artists.drop(artists_csv(30), approve="ask")
        assert artists.run(session)["status"] == "quoted"
        artists.sessions.approve(session)
        artists.sessions.pause(session)
        assert artists.run(session)["status"] == "paused"
        artists.sessions.resume(session)
        artists.sessions.cancel(session)
        assert artists.run(session)["status"] == "cancelled"

    def test_answers_put_aside_are_taken_in_and_what_expired_goes(
        self, db: Database, database_url: str, users: dict[str, Database], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hasty = {"deadline": 1.0, "request_timeout": 0.2, "max_wait": 0}  # it waits for the ledger no longer
        artists = bench_of("artists", db, database_url, users, pipeline_changes=hasty)
        session = artists.drop(artists_csv(3))
        with away(monkeypatch, settles), pytest.raises(LedgerDown):
            artists.processor.handle(ItemsNotice(session=session, items=(1, 2, 3)))
        artists.publisher.take("artists")
        artists.pass_time(600)
        artists.rescuer.round()  # as rescue's own user, who writes what process would have
        assert artists.run(session)["enriched"] == 3
        assert len(artists.calls(session)) == 3
        artists.execute(f"UPDATE sessions SET expires_at = now() WHERE id = '{session}'")
        assert artists.rescuer.round().expired == 1

    def test_dead_letters_are_put_back(self, artists: Workbench) -> None:
        session = artists.drop(artists_csv(3))
        artists.publisher.take("artists")
        db = artists.users["dead-letters"]
        letters = DeadLetters(db, Dispatcher(db, artists.publisher, artists.settings))
        for _ in range(3):
            letters.take(notice(session, 1))
            artists.pass_time(600)
            with suppress(IndexError):
                artists.publisher.take("artists")
        assert artists.item(session)["dead_lettered"] == 3

    def test_films_of_an_export_and_a_decision_about_one(self, films: Workbench) -> None:
        files = {"watched.csv": watched(1, 2, 3), "ratings.csv": ratings(1, 2), "diary.csv": diary(1, 7)}
        session = drop_files(films, files)
        status = films.run(session)
        assert status["status"] == "completed"
        assert status["enriched"] >= 3
        number = films.value(f"SELECT item_no FROM movies WHERE session_id = '{session}' LIMIT 1")
        http = api_of(films)
        answer = http.post(f"/api/session/{session}/items/{number}/match", json={"tmdb_id": 593})
        assert answer.status_code in (200, 202, 204), answer.text
        assert films.run(session)["status"] == "completed"
        again = drop_files(films, {"watched.csv": watched(1, 2, 4)}, export="other")
        assert films.run(again)["status"] == "completed"
        films.assert_sound(session)
        assert films.rescuer.round().expired == 0

    def test_everything_of_the_api_can_be_asked(self, artists: Workbench) -> None:
        session = artists.drop(artists_csv(3))
        artists.run(session)
        http = api_of(artists)
        description = http.get("/openapi.json").json
        asked = 0
        for path, methods in description["paths"].items():
            for method in methods:
                at = path.replace("{session_id}", str(session)).replace("{id}", str(session))
                at = at.replace("{item_no}", "1").replace("{row_id}", str(UUID(int=1)))
                answer = http.open(at, method=method.upper(), json={} if method == "post" else None)
                assert answer.status_code < 500, (method, at, answer.text)
                asked += 1
        assert asked > 15


class TestAndNothingElse:
    def test_the_database_holds_exactly_the_rights_that_are_written_down(self, database_url: str, db: Database) -> None:
        with functions_users(database_url) as users, db._checked_out() as connection:
            found = connection.execute_simple(
                "SELECT rolname::text, relname::text, lower(privilege_type) FROM pg_class "
                "CROSS JOIN LATERAL aclexplode(relacl) JOIN pg_roles ON pg_roles.oid = grantee "
                "WHERE relnamespace = 'public'::regnamespace AND rolname LIKE '%@rowlift-test.iam'"
            ).rows
            wanted = {
                (users[function], table, privilege)
                for function, tables in RIGHTS.of.items()
                for table, privileges in tables.items()
                for privilege in privileges
            }
            assert {tuple(row) for row in found} == wanted

    @pytest.mark.parametrize("function", Topology.load().functions)
    def test_no_function_can(self, shared_users: dict[str, Database], function: str) -> None:
        for statement in FORBIDDEN:
            with pytest.raises(StatementFailed) as caught, shared_users[function]._checked_out() as connection:
                connection.execute_simple(statement)
            assert caught.value.sqlstate == "42501", statement

    @pytest.mark.parametrize(
        ("function", "statement"),
        [
            ("process-artists", "SELECT FROM tmdb_answers"),
            ("process-artists", "INSERT INTO movies DEFAULT VALUES"),
            ("process-movies", "UPDATE artists SET bio = 'x'"),
            ("process-movies", "DELETE FROM items"),
            ("ingest", "UPDATE artists SET bio = 'x'"),
            ("ingest", "INSERT INTO calls DEFAULT VALUES"),
            ("api", "DELETE FROM items"),
            ("api", "UPDATE calls SET cost = 0"),
            ("api", "UPDATE artists SET bio = 'x'"),
            ("dead-letters", "SELECT FROM calls"),
            ("dead-letters", "SELECT FROM artists"),
            ("finalize", "DELETE FROM items"),
            ("rescue", "SELECT FROM audit_log"),
        ],
    )
    def test_a_function_cannot_do_what_is_anothers(
        self, shared_users: dict[str, Database], function: str, statement: str
    ) -> None:
        with pytest.raises(StatementFailed) as caught, shared_users[function]._checked_out() as connection:
            connection.execute_simple(statement)
        assert caught.value.sqlstate == "42501"


@pytest.fixture(scope="module")
def shared_users(server: str) -> Iterator[dict[str, Database]]:
    """The functions' users in a database that nothing changes."""
    from tests.conftest import _administer

    _administer(server, "CREATE DATABASE of_grants TEMPLATE template")
    with as_functions(server.replace("/template", "/of_grants")) as opened:
        yield opened
    _administer(server, "DROP DATABASE of_grants WITH (FORCE)")


def may(ledger: Ledger, user: str, privilege: str) -> bool:
    """Whether a user has a privilege on table items."""
    with ledger._cursor() as cursor:
        cursor.execute("SELECT has_table_privilege(%s, 'items', %s)", (user, privilege))
        return bool(cursor.fetchone()[0])


class TestGivingThem:
    def test_every_table_is_somebodys(self, db: Database, database_url: str) -> None:
        with db._checked_out() as connection:
            found = connection.execute_simple(
                "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'"
            ).rows
        there = {name for (name,) in found}
        unnamed = there - RIGHTS.tables - {"alembic_version"}
        assert unnamed == set(), "name them in infra/deploy/grants.yaml, or in `tables` of the pipeline's function"
        assert RIGHTS.tables <= there

    def test_giving_them_again_changes_nothing_and_takes_away_what_crept_in(self, database_url: str) -> None:
        ledger = Ledger(name="the test's", environment={"DATABASE_URL": database_url})
        with functions_users(database_url) as users:
            prefix = users["api"].removesuffix("api@rowlift-test.iam")
            with ledger._cursor() as cursor:
                cursor.execute(f'GRANT DELETE ON items TO "{users["api"]}"')
            for given in (users, {name: user for name, user in users.items() if name != "rescue"}):
                assert ledger.grant(RIGHTS, given, deployment=prefix) == []
                assert not may(ledger, users["api"], "DELETE")
                assert may(ledger, users["rescue"], "DELETE") == ("rescue" in given)  # who is gone has nothing left

    def test_tables_that_are_not_there_yet_are_told_and_the_rest_given(self, database_url: str) -> None:
        ledger = Ledger(name="the test's", environment={"DATABASE_URL": database_url})
        more = Rights(
            of={**RIGHTS.of, "api": {**RIGHTS.of["api"], "songs": PRIVILEGES}}, tables=RIGHTS.tables | {"songs"}
        )
        with functions_users(database_url) as users:
            assert ledger.grant(more, users, deployment="nobody-else") == ["songs"]

    def test_users_that_are_not_there_yet_are_left_out(self, database_url: str) -> None:
        ledger = Ledger(name="the test's", environment={"DATABASE_URL": database_url})
        assert ledger.grant(RIGHTS, {"api": "nobody-api@p.iam"}, deployment="nobody-") == []

    def test_a_refusal_is_told_in_postgresqls_words_and_leaves_everything_as_it_was(self, database_url: str) -> None:
        ledger = Ledger(name="the test's", environment={"DATABASE_URL": database_url})
        wrong = Rights(of={**RIGHTS.of, "api": {"items": frozenset({"connect"})}}, tables=RIGHTS.tables)
        with functions_users(database_url) as users:
            with pytest.raises(Failed, match=r"Rights in the test's cannot be given: invalid privilege type"):
                ledger.grant(wrong, users, deployment=users["api"].removesuffix("api@rowlift-test.iam"))
            assert may(ledger, users["api"], "SELECT")

    def test_a_ledger_that_is_away_is_told(self, database_url: str) -> None:
        ledger = Ledger(name="the ledger", environment={"DATABASE_URL": database_url + "_gone"})
        with pytest.raises(Unreachable, match=r"Cannot reach the ledger the ledger: .*does not exist"):
            ledger.revision()

    def test_revisions_are_read_and_reached(self, database_url: str, server: str) -> None:
        from cli.migrating import newest_revision
        from tests.conftest import _administer

        assert Ledger(name="x", environment={"DATABASE_URL": database_url}).revision() == newest_revision()
        name = f"{database_url.rpartition('/')[2]}_empty"
        _administer(server, f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            empty = Ledger(name="x", environment={"DATABASE_URL": f"{database_url}_empty"})
            assert empty.revision() is None
            empty.upgrade("0002")
            assert empty.revision() == "0002"
        finally:
            _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("items: {api: select drop}", "items: api: drop is no privilege"),
        ("items: {nobody: select}", "there is no function nobody"),
    ],
)
def test_rights_that_are_wrongly_written_are_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "grants.yaml").write_text(text)
    with pytest.raises(WrongUsage, match=words):
        Rights.load(Topology.load(), tmp_path / "grants.yaml")
