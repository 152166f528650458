"""`rowlift migrate` on a real PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import main, migrating


def test_it_brings_a_database_to_the_newest_revision(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["migrate", "--db-url", database_url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["revision"] == migrating.newest_revision()


def test_a_database_that_does_not_exist_ends_with_status_3_in_the_servers_words(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["migrate", "--db-url", database_url + "x"]) == 3
    assert "does not exist" in capsys.readouterr().err


def test_a_migration_that_fails_ends_with_status_1(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "INI", Path("none.ini"))
    assert main.main(["migrate", "--db-url", database_url]) == 1
    assert "was undone" in capsys.readouterr().err
