"""`rowlift migrate`: which database it takes, and what it says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.conftest import Run


def test_migrate_takes_the_stacks_database(run: Run, stack: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("cli.stack_commands.migrate_database", lambda url: asked.append(url) or "0002")
    ran = run("migrate")
    assert asked == [stack["database_url"]]
    assert "me:***@127.0.0.1" in ran.out
    assert "secret" not in ran.out


def test_a_database_that_is_away_ends_with_status_3(run: Run) -> None:
    ran = run("migrate", "--db-url", "postgresql://me:secret@127.0.0.1:1/d")
    assert ran.code == 3
    assert "me:***@127.0.0.1:1/d" in ran.err
    assert "secret" not in ran.err
