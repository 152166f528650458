"""The command line itself: help, wrong usage, where options may stand, and what each error becomes."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from cli import main
from cli.main import command_first
from shared.errors import LedgerDown, RowliftError, StorageDown
from shared.errors import UsageError as OurUsageError
from tests.fake_api import (
    FakeApi,
    status_of,
)
from tests.unit.conftest import CSV, ID, Run


def test_without_a_command_it_shows_its_help(run: Run) -> None:
    ran = run()
    assert ran.code == 0
    assert "reprocess" in ran.out
    assert "\x1b" not in ran.out


def test_it_tells_its_version(run: Run) -> None:
    assert run("--version").out.startswith("rowlift 0.")


@pytest.mark.parametrize("command", [main._name(command) for _, command, _ in main._COMMANDS])
def test_every_command_has_help_with_an_example_and_knows_json_and_state_dir(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert re.search(rf"Examples?: +rowlift {command}\b", " ".join(ran.out.split()))
    assert "--json" in ran.out
    assert "--state-dir" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zzz"], "No such command 'zzz'. `rowlift --help`"),
        (["verfy"], "No such command 'verfy'. Did you mean 'verify'? `rowlift --help`"),
        (["status", "--bogus"], "No such option: --bogus. `rowlift status --help`"),
        (["watch"], "Missing argument 'SESSION'. `rowlift watch --help`"),
        (["watch", "nine"], "'nine' is not a session id"),
        (["up", "--pubsub", "kafka"], "choose embedded or gcloud"),
        (["up", "--port-base", "0"], "--port-base"),
        (["up", "--db-url", "mysql://me:secret@h/d"], "begin with postgresql://"),
        (["migrate", "--db-url", "postgresql://me:secret@h:port/d"], "DATABASE_URL must read"),
        (["migrate"], "No database is named"),
        (["reprocess", ID, "--outcome", ","], "--outcome names none"),
        (["resume", ID, "--budget", "lots"], "'lots'; give an amount of dollars"),
        (["resume", ID, "--budget", "-1"], "give an amount of dollars"),
        (["upload", "none.csv", "--pipeline", "artists"], "none.csv does not exist"),
        (["upload", ".", "--pipeline", "artists"], "is a folder"),
        (["upload", ".", "--pipeline", "audio"], "without a file that is read"),
        (["upload", "odd.csv"], "its first line reads “name,born”"),
        (["upload", "a.csv", "--pipeline", "poets"], "no pipeline 'poets'; choose from artists"),
        (["upload", "a.csv", "--pipeline", "artists", "--write-mode", "dbx"], "'db', 'file' or 'both'"),
        (["upload", "a.csv", "--pipeline", "artists", "--on-missing", "x"], "'create' or 'error'"),
        (["upload", "a.csv", "--pipeline", "artists", "--approve", "x"], "'auto' or 'ask'"),
        (["upload", "a.csv", "--pipeline", "artists", "--budget", "much"], "an amount of dollars"),
        (["upload", "a.csv", "--pipeline", "artists", "--max-failed", "few"], "a share such as 5%"),
        (["run", "a.csv", "--pipeline", "artists", "--session", "x"], "Option 'session' is 'x'"),
        (["run", "a.csv", "--pipeline", "artists", "--output", "no/where"], "there is no folder"),
        (["status", "--api", "http://example.com"], "not encrypted"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_what_is_right(run: Run, words: list[str], said: str) -> None:
    Path("a.csv").write_bytes(CSV)
    Path("odd.csv").write_text("name,born\n")
    ran = run(*words, "--json")
    assert ran.code == 2
    assert said in ran.err
    assert ran.answer["error"]["exit_status"] == 2
    assert said in ran.answer["error"]["message"]
    assert "secret" not in ran.out + ran.err


def test_options_may_stand_before_the_command_before_and_behind_its_arguments(
    run: Run, api: FakeApi, stack: dict[str, Any]
) -> None:
    for words in (["--json", "status", ID], ["status", "--json", ID], ["status", ID, "--json"]):
        assert run(*words).answer == status_of()


@pytest.mark.parametrize(
    ("words", "in_order"),
    [
        ([], []),
        (["--json"], ["--json"]),
        (["--state-dir", "d", "--json", "watch", "x"], ["watch", "--state-dir", "d", "--json", "x"]),
        (["--api=u", "--state-dir=d", "status"], ["status", "--api=u", "--state-dir=d"]),
        (["--version"], ["--version"]),
        (["--state-dir"], ["--state-dir"]),
    ],
)
def test_what_every_command_takes_is_moved_behind_its_name(words: list[str], in_order: list[str]) -> None:
    assert command_first(words) == in_order


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["watch", ID],
        ["results", ID],
        ["pause", ID],
        ["verify", ID],
        ["upload", "a.csv", "--pipeline", "artists"],
    ],
)
def test_without_a_stack_the_way_to_one_is_named(run: Run, words: list[str]) -> None:
    Path("a.csv").write_bytes(CSV)
    ran = run(*words, "--json")
    assert ran.code == 3
    assert "rowlift up" in ran.err
    assert ran.answer["error"]["exit_status"] == 3


def test_a_deployment_that_is_away_ends_with_status_3(run: Run) -> None:
    ran = run("status", "--api", "http://127.0.0.1:1")
    assert ran.code == 3
    assert "Cannot reach http://127.0.0.1:1" in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageDown(), 3),
        (LedgerDown(), 3),
        (OurUsageError("No."), 2),
        (RowliftError("Hm."), 1),
        (ZeroDivisionError("0"), 1),
    ],
)
def test_every_error_becomes_a_sentence_and_a_status(
    run: Run, api: FakeApi, stack: dict[str, Any], error: Exception, code: int
) -> None:
    api.answers["GET /api/health"] = error
    ran = run("status", "--json")
    assert ran.code == code
    assert ran.answer["error"]["message"] == ran.err.strip()


def test_debugging_shows_where_an_error_comes_from(
    run: Run, api: FakeApi, stack: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWLIFT_DEBUG", "1")
    api.answers["GET /api/health"] = ZeroDivisionError("0")
    with pytest.raises(ZeroDivisionError):
        run("status")


def test_commands_may_run_in_a_thread_where_no_signal_can_be_caught(run: Run) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main.main(["--version"])))
    thread.start()
    thread.join(10)
    assert codes == [0]


def test_suggested_commands_reach_the_stack_that_was_meant() -> None:
    from cli.terminal import hinted, speak_of

    text = "`rowlift resume 7` goes on; `rowlift demo` shows all; `rowlift up --state-dir x` too"
    speak_of(["run", "a.csv", "--state-dir", "my dir", "--api=http://h"])
    assert hinted(text) == (
        "`rowlift resume 7 --state-dir 'my dir' --api http://h` goes on; `rowlift demo` shows all; "
        "`rowlift up --state-dir x` too"
    )
    speak_of(["status", "--api", "http://h"])
    assert hinted("Start one with `rowlift up`; `rowlift status S` shows it.") == (
        "Start one with `rowlift up`; `rowlift status S --api http://h` shows it."
    )
    speak_of([])
    assert hinted(text) == text
