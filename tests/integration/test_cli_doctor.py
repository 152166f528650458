"""`rowlift doctor` on a real PostgreSQL: without tables, behind, too old, and as it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pg8000.dbapi
import pytest

from cli import checks, main
from cli.migrating import migrate_database, newest_revision
from shared.config import parse_database_url
from shared.db import connector


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "TMDB_API_TOKEN", "CLOUD_SQL_INSTANCE"):
        monkeypatch.delenv(name, raising=False)


def postgres(url: str, capsys: pytest.CaptureFixture[str], *, code: int = 0) -> dict[str, str]:
    """What the doctor says of a database."""
    capsys.readouterr()
    assert main.main(["doctor", "--db-url", url, "--json"]) == code
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    found: dict[str, str] = next(each for each in answer["checks"] if each["name"] == "postgres")
    return found


def test_a_database_is_looked_at_from_nothing_to_the_newest_revision(
    server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.rpartition('/')[0]}/for_the_doctor"
    _run(server, "CREATE DATABASE for_the_doctor")
    try:
        found = postgres(url, capsys)
        assert (found["level"], "without tables of Rowlift" in found["found"]) == ("warning", True)
        assert "`rowlift migrate` brings it to" in found["remedy"]
        migrate_database(url)
        assert postgres(url, capsys)["level"] == "ok"
        _run(url, "UPDATE alembic_version SET version_num = '0001'")
        found = postgres(url, capsys)
        assert (found["level"], "at revision 0001" in found["found"]) == ("warning", True)
        assert newest_revision() in found["remedy"]
        monkeypatch.setattr(checks, "OLDEST_POSTGRES", 99)
        found = postgres(url, capsys, code=1)
        assert (found["level"], "99 or later" in found["remedy"]) == ("wrong", True)
    finally:
        _run(server, "DROP DATABASE for_the_doctor")


def _run(url: str, statement: str) -> None:
    connection: pg8000.dbapi.Connection = connector(parse_database_url(url))()
    try:
        connection.execute_simple(statement)
    finally:
        connection.close()
