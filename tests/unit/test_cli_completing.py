"""What Tab offers, asked as the shells ask: by the variables of typer's completion protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import main
from shared.pipelines import PIPELINES
from tests.fake_api import LOCAL, FakeApi, status_of
from tests.unit.conftest import ID, LEFT_OUT

OTHER = "00000000-0000-4000-8000-000000000002"
ROWLIFT = Path(sys.executable).parent / "rowlift"
Ask = Callable[[str, str], str]


def question(shell: str, line: str) -> dict[str, str]:
    """The variables by which a shell asks what may stand at the end of a line."""
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }
    return {"_ROWLIFT_COMPLETE": f"complete_{shell}", **asked[shell]}


@pytest.fixture
def ask(run: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Asks as a shell does, in an empty folder; nothing may be said beside the answer."""

    def ask(shell: str, line: str) -> str:
        for name, value in question(shell, line).items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        with pytest.raises(SystemExit):
            main.main([])
        out, err = capfd.readouterr()
        assert err == ""
        return out

    return ask


@pytest.fixture
def two(api: FakeApi) -> None:
    """A deployment of two sessions."""
    sessions = [status_of(), {**status_of(), "session_id": OTHER}]
    api.answers["GET /api/sessions"] = {"sessions": sessions, "next": None}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.usefixtures("two")
def test_commands_options_and_sessions_are_offered(ask: Ask, shell: str) -> None:
    assert "reprocess" in ask(shell, "rowlift re")
    assert "--write-mode" in ask(shell, "rowlift run --wr")
    offered = ask(shell, f"rowlift watch --api {LOCAL} ")
    assert ID in offered
    assert OTHER in offered
    if shell != "bash":  # it has no room for more than the words themselves
        assert "completed, list.csv" in offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("run --pipeline ", sorted(PIPELINES)),
        ("run --pipeline m", ["movies"]),
        ("upload --write-mode ", ["db", "file", "both"]),
        ("upload --approve a", ["auto", "ask"]),
        ("up --pubsub ", ["embedded", "gcloud"]),
        ("reprocess 1234 --outcome failed,not", ["failed,not_found"]),
        ("reprocess 1234 --outcome failed,fai", []),
    ],
)
def test_values_of_options_are_offered(ask: Ask, line: str, offered: list[str]) -> None:
    assert ask("bash", f"rowlift {line}").split() == offered


@pytest.mark.usefixtures("two")
def test_only_sessions_that_begin_so_are_offered(ask: Ask, stack: dict[str, Any]) -> None:
    assert ask("bash", "rowlift status 2f1").split() == [ID]
    assert ask("bash", "rowlift run --session 000").split() == [OTHER]
    assert ask("bash", f"rowlift match --api {LOCAL} 2").split() == [ID]


@pytest.mark.parametrize("place", ["", " --state-dir nowhere", " --api http://127.0.0.1:1", " --api nonsense"])
def test_nothing_is_offered_or_said_where_no_session_is_known(ask: Ask, place: str) -> None:
    assert ask("bash", f"rowlift watch{place} ").strip() == ""


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o"), ("zsh", "#compdef rowlift"), ("fish", "complete ")]
)
def test_each_shell_is_shown_its_script(
    run: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], shell: str, sign: str
) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    with pytest.raises(SystemExit):
        main.main(["--show-completion"])
    assert sign in capfd.readouterr().out


def test_the_installed_command_answers_a_shell(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    done = subprocess.run(
        [ROWLIFT], env={**env, **question("bash", "rowlift doc")}, cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("doctor", "")
