"""`rowlift run`: from files to results, on a stack that runs already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import local
from cli.naming import short
from shared.sessions import session_id
from tests.fake_api import (
    LOCAL,
    FakeApi,
    FakeBucket,
    problem,
    status_of,
    working,
)
from tests.unit.conftest import Run


def test_run_writes_the_results_beside_the_file(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [working(1), status_of()]
    ran = run("run", "a.csv", "--pipeline", "artists", "--json")
    assert ran.code == 0
    assert Path("a.csv.results.jsonl").read_bytes() == api.results
    assert ran.answer["status"] == "completed"
    assert ran.answer["output"].endswith("a.csv.results.jsonl")
    assert (ran.answer["lines"], ran.answer["bytes"]) == (2, 28)


def test_run_of_several_files_sums_them(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of()]
    ran = run("run", *files, "--pipeline", "artists", "--output", "all.jsonl", "--json")
    assert ran.code == 0
    assert Path("all.jsonl").read_bytes() == api.results * 2
    assert (ran.answer["total"], ran.answer["enriched"], len(ran.answer["sessions"])) == (20, 20, 2)
    assert "2 sessions: completed" in ran.err
    assert run("run", *files, "--pipeline", "artists").code == 0
    assert Path("a.csv.results.jsonl").exists()
    assert Path("b.csv.results.jsonl").exists()


def test_run_of_a_session_that_pauses_says_how_to_go_on_and_writes_nothing(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of(status="paused", pause_reason="The budget is spent", open=4, budget_usd=0.0125)]
    for words in ([], ["--output", "r.jsonl"]):
        ran = run("run", "a.csv", "--pipeline", "artists", *words, "--json")
        assert ran.code == 1
        assert "rowlift resume" in ran.err
        assert ran.answer["output"] is None
    assert sorted(path.name for path in Path().iterdir()) == files


def test_ctrl_c_during_run_pauses_what_was_uploaded(
    run: Run,
    api: FakeApi,
    stack: dict[str, Any],
    bucket: FakeBucket,
    files: list[str],
    interrupt_at: Callable[[], None],
) -> None:
    interrupt_at()
    api.default = [working(1)]
    ran = run("run", "a.csv", "--pipeline", "artists", "--json")
    assert ran.code == 130
    assert f"rowlift resume {short(bucket.session())}" in ran.answer["error"]["message"]
    assert len(api.sent("POST", f"/api/session/{bucket.session()}/pause")) == 1


def test_ctrl_c_during_run_of_a_session_that_has_ended_meanwhile(
    run: Run,
    api: FakeApi,
    stack: dict[str, Any],
    bucket: FakeBucket,
    files: list[str],
    interrupt_at: Callable[[], None],
) -> None:
    interrupt_at()
    api.default = [working(1)]
    session = session_id("up", "artists/b.csv", 1001)
    api.answers[f"POST /api/session/{session}/pause"] = problem(409, "It is completed.")
    ran = run("run", "b.csv", "--pipeline", "artists")
    assert ran.code == 130
    assert "nothing was left to pause" in ran.err


def test_run_on_a_deployment_starts_nothing_here(
    run: Run, api: FakeApi, bucket: FakeBucket, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "start", lambda *_, **__: pytest.fail("started a stack"))
    api.default = [status_of()]
    assert run("run", "a.csv", "--pipeline", "artists", "--api", LOCAL).code == 0


def test_run_refuses_a_malformed_database_before_it_starts_anything(
    run: Run, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://me:secret@h/d")
    ran = run("run", "a.csv", "--pipeline", "artists")
    assert ran.code == 2
    assert "secret" not in ran.err


def test_results_never_replace_their_input(run: Run, stack: dict[str, Any], files: list[str]) -> None:
    ran = run("run", "a.csv", "--pipeline", "artists", "--output", "./a.csv")
    assert (ran.code, "input files" in ran.err) == (2, True)
