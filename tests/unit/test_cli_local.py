"""Finding, starting and stopping a local stack, on a small program that behaves as the real one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import local, main
from cli.faults import Failed, Unreachable, WrongUsage
from cli.terminal import Terminal
from tests.unit.conftest import CSV, Run

REPO = Path(__file__).parent.parent.parent

# Locks its directory, says what it does, writes stack.json, and ends on SIGTERM; `--set` makes it misbehave.
PROGRAM = """
import argparse, fcntl, json, os, signal, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--state-dir", type=Path)
parser.add_argument("--parent-pid", type=int)
parser.add_argument("--pubsub", default="embedded")
parser.add_argument("--port-base", type=int, default=9000)
fault = os.environ.get("FAULT", "")
options = parser.parse_args()
options.state_dir.mkdir(exist_ok=True)
lock = open(options.state_dir / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
ended = []
signal.signal(signal.SIGTERM, signal.SIG_IGN if fault == "deaf" else lambda *_: ended.append(1))
print("postgres: up", file=sys.stderr, flush=True)
if fault.startswith("exit"):
    print("stopping", file=sys.stderr)
    print("the port is taken", file=sys.stderr)
    sys.exit(int(fault.removeprefix("exit")))
while fault == "slow" and not ended:
    time.sleep(0.01)
file = options.state_dir / "stack.json"
url = os.environ.get("DATABASE_URL", "postgresql://me:secret@127.0.0.1:5/d")
info = {
    "pid": os.getpid(), "api": f"http://127.0.0.1:{options.port_base}", "state_dir": str(options.state_dir),
    "log": str(options.state_dir / "log"), "broker": options.pubsub, "database_url": url, "parent": options.parent_pid,
    "storage": "http://127.0.0.1:1", "openai": "http://127.0.0.1:2/v1", "arguments": sys.argv,
}
file.with_name("new").write_text(json.dumps(info))
file.with_name("new").replace(file)
deadline = time.monotonic() + 60
while not ended and time.monotonic() < deadline and fault != "dies":
    time.sleep(0.01)
if fault == "lingers":
    file.write_text(json.dumps({**info, "stopping": True}))
    time.sleep(0.5)
file.unlink()
sys.exit(1 if fault == "dies" else 0)
"""


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory on which `python -m infra.local.stack` starts the program above."""
    package = tmp_path / "root" / "infra" / "local"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "stack.py").write_text(PROGRAM)
    monkeypatch.setattr(local, "ROOT", tmp_path / "root")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("FAULT", raising=False)
    folder = tmp_path / "state"
    yield folder
    info = local.find(folder)
    if info is not None:
        os.kill(info["pid"], signal.SIGKILL)


@pytest.fixture
def terminal() -> Terminal:
    return Terminal(as_json=False)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def test_a_stack_is_started_found_and_stopped(state_dir: Path, terminal: Terminal) -> None:
    assert local.find(state_dir) is None
    stack = local.start(state_dir, ["--pubsub", "gcloud"], terminal=terminal, parent=os.getpid())
    assert stack.info["broker"] == "gcloud"
    assert stack.info["parent"] == os.getpid()
    assert stack.news() in (["postgres: up"], [])
    stack.stop()
    assert stack.status == 0
    assert local.find(state_dir) is None
    stack.stop()


def test_what_a_crash_left_behind_is_no_stack(state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "lock").touch()
    (state_dir / "stack.json").write_text(json.dumps({"pid": os.getpid(), "api": "http://127.0.0.1:1"}))
    assert local.find(state_dir) is None
    with pytest.raises(Unreachable, match="rowlift up"):
        local.require(state_dir)


@pytest.mark.parametrize(("code", "kind"), [(1, Failed), (2, WrongUsage), (3, Unreachable)])
def test_a_stack_that_does_not_start_says_why_with_its_own_status(
    state_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    monkeypatch.setenv("FAULT", f"exit{code}")
    with pytest.raises(kind, match=r"did not start: the port is taken\. Its log"):
        local.start(state_dir, terminal=terminal)


def test_a_stack_that_is_never_ready_is_ended(
    state_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "slow")
    monkeypatch.setattr(local, "START_TIMEOUT", 0.5)
    with pytest.raises(Failed, match="not ready after"):
        local.start(state_dir, terminal=terminal)
    assert local.find(state_dir) is None


def test_a_stack_that_does_not_listen_is_killed(
    state_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "deaf")
    monkeypatch.setattr(local, "STOP_TIMEOUT", 0.1)
    monkeypatch.setattr(local, "HURRIED_TIMEOUT", 0.5)
    stack = local.start(state_dir, terminal=terminal)
    stack.stop()
    assert stack.status == -signal.SIGKILL


def test_a_stack_that_cannot_be_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "STOP_TIMEOUT", 0.05)
    monkeypatch.setattr(local, "HURRIED_TIMEOUT", 0.05)
    monkeypatch.setattr(local, "find", lambda state_dir: {"pid": 1})
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(Failed, match="does not end"):
        local.stop({"pid": gone.pid}, tmp_path)


def test_a_state_directory_that_cannot_be_is_wrong_usage(tmp_path: Path, terminal: Terminal) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WrongUsage, match="as state directory"):
        local.start(tmp_path / "file" / "state", terminal=terminal)


def test_a_stack_is_borrowed_where_one_runs_and_ended_only_where_it_was_started(
    state_dir: Path, terminal: Terminal
) -> None:
    with local.running(state_dir, terminal=terminal) as (info, started):
        assert started
        with local.running(state_dir, terminal=terminal) as (same, started_again):
            assert (same["pid"], started_again) == (info["pid"], False)
        assert local.find(state_dir) is not None
    assert local.find(state_dir) is None


def test_one_that_is_ending_is_not_borrowed_but_waited_for(
    state_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "lingers")
    stack = local.start(state_dir, terminal=terminal)
    before = stack.info
    os.kill(before["pid"], signal.SIGTERM)
    assert local._comes_true(lambda: bool((local.find(state_dir) or {}).get("stopping")), 5)
    monkeypatch.delenv("FAULT")
    with local.running(state_dir, terminal=terminal) as (info, started):
        assert (started, info["pid"] != before["pid"]) == (True, True)
    stack.stop()


def test_one_that_another_command_starts_meanwhile_is_borrowed(
    state_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: Any, **__: Any) -> Any:
        others.append(began(state_dir, terminal=terminal))
        raise WrongUsage("The local stack did not start: another stack holds the folder.")

    began, others = local.start, list[local.LocalStack]()
    monkeypatch.setattr(local, "start", too_late)
    with local.running(state_dir, terminal=terminal) as (info, started):
        assert (info["pid"], started) == (others[0].info["pid"], False)
    assert local.find(state_dir) is not None
    others[0].stop()


@pytest.mark.parametrize(("status", "stays"), [("enriching", True), ("paused", False), ("completed", False)])
def test_it_stays_up_while_sessions_of_others_work_on_it(
    state_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: Any, status: str, stays: bool
) -> None:
    found = {"sessions": [{"session_id": "5e07b76c", "status": status}]}
    monkeypatch.setattr(local.Api, "sessions", lambda self, limit: found)
    with local.running(state_dir, terminal=terminal) as (info, _):
        pass
    assert (local.find(state_dir) is not None) == stays
    assert ("Session 5e07b76c still works" in capsys.readouterr().err) == stays
    if stays:
        local.stop(info, state_dir)


def test_a_screen_shows_how_far_the_start_is(state_dir: Path, terminal: Terminal, capsys: Any) -> None:
    from rich.console import Console

    terminal.progress = Console(force_terminal=True, width=100)
    local.start(state_dir, terminal=terminal).stop()
    assert "starting the local stack" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:p:w@h:5/d", "postgresql://me:***@h:5/d"),
        ("postgresql://me@h/d", "postgresql://me@h/d"),
        ("postgresql://h:5/d", "postgresql://h:5/d"),
        ("postgresql://me:p@/d?host=/run/x", "postgresql://me:***@/d?host=/run/x"),
        ("postgresql://me:a/b@c@h/d", "postgresql://me:***@h/d"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert local.masked(url) == shown


def rowlift(state_dir: Path, *words: str, **env: str) -> subprocess.Popen[str]:
    """The command as a process of its own, speaking to the program above."""
    place = f"local.ROOT = pathlib.Path({str(local.ROOT)!r})"
    code = f"import sys, pathlib; from cli import local, main; {place}; sys.exit(main.main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words, "--state-dir", str(state_dir)],
        env={**os.environ, "PYTHONPATH": str(REPO), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stays_until_it_is_told_to_stop(state_dir: Path, number: signal.Signals) -> None:
    process = rowlift(state_dir, "up", "--json", DATABASE_URL="postgresql://me:secret@127.0.0.1:5/mine")
    assert process.stdout is not None
    answer = json.loads(process.stdout.readline())
    assert answer["running"] is True
    assert answer["api"] == "http://127.0.0.1:9000"
    assert answer["database"] == "postgresql://me:***@127.0.0.1:5/mine"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Ctrl-C stops it" in err
    assert "secret" not in out + err
    assert local.find(state_dir) is None


def test_a_stack_that_ends_by_itself_ends_up_with_status_1(state_dir: Path) -> None:
    process = rowlift(state_dir, "up", FAULT="dies")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "ended with status 1" in err or "did not start" in err


def test_ctrl_c_while_it_starts_leaves_nothing_behind(state_dir: Path) -> None:
    process = rowlift(state_dir, "up", "--json", FAULT="slow")
    wait_until(lambda: (state_dir / "start.log").exists() and (state_dir / "start.log").read_text(), "it starts")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["error"]["message"] == "Stopped."
    assert local.find(state_dir) is None


def test_up_detached_is_found_again_and_down_ends_it(
    state_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWLIFT_STATE_DIR", str(state_dir))
    out, err = rowlift(state_dir, "up", "--detach", "--port-base", "9100", "--json").communicate(timeout=20)
    assert json.loads(out)["api"] == "http://127.0.0.1:9100"
    assert "rowlift down" in err
    info = local.require(state_dir)
    assert info["parent"] is None
    assert "secret" not in " ".join(info["arguments"])
    assert main.main(["up", "--detach", "--port-base", "9100"]) == 0
    assert "It runs already." in capsys.readouterr().out
    assert main.main(["up", "--pubsub", "gcloud", "--db-url", "postgresql://h/d"]) == 2
    assert "another --pubsub and --db-url" in capsys.readouterr().err
    assert main.main(["down", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["running"], answer["stopped"]) == (False, True)
    assert local.find(state_dir) is None
    assert main.main(["down"]) == 0
    assert "No stack runs" in capsys.readouterr().out


# A stack that `run` started


RUN = """
import os, pathlib, signal, sys
from cli import local
from cli.faults import Interrupted
from cli.terminal import Terminal
from tests.unit.conftest import CSV, Run
local.ROOT = pathlib.Path(sys.argv[1])
try:
    with local.running(pathlib.Path(sys.argv[2]), terminal=Terminal(as_json=False)) as (info, started):
        print(started, flush=True)
        sys.stdin.readline()
        raise Interrupted("Left.", goes_on=sys.argv[3] == "goes on")
except Interrupted:
    pass
"""


def running(state_dir: Path, how: str) -> subprocess.Popen[str]:
    """A process inside `local.running`, which leaves it when it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(local.ROOT), str(state_dir), how],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_stack_stays_up_under_work_that_goes_on_and_its_keeper_goes_with_it(state_dir: Path) -> None:
    process = running(state_dir, "goes on")
    process.communicate("\n", timeout=20)  # which returns: nothing holds its output open
    assert process.returncode == 0
    info = local.require(state_dir)
    keeper = info["parent"]
    os.kill(keeper, 0)
    local.stop(info, state_dir)
    wait_until(lambda: not _lives(keeper), "the keeper is gone")


@pytest.mark.parametrize("number", [None, signal.SIGKILL, signal.SIGHUP])
def test_a_stack_ends_with_a_run_that_is_left_for_good_or_killed(
    state_dir: Path, number: signal.Signals | None
) -> None:
    process = running(state_dir, "ends")
    info = local.require(state_dir)
    if number is not None:
        process.send_signal(number)
    process.communicate(None if number else "\n", timeout=20)
    wait_until(lambda: not _lives(info["parent"]), "the keeper is gone")
    if number is None:
        assert local.find(state_dir) is None
    else:  # the real stack looks after its parent; this one is told
        local.stop(info, state_dir)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_who_does_not_wait_for_the_end_of_a_stack_is_told_that_it_ends(
    state_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = local.start(state_dir, terminal=terminal, parent=os.getpid())

    def press() -> None:
        raise KeyboardInterrupt

    real = stack.stop
    monkeypatch.setattr(stack, "stop", press)
    local._end(stack, terminal)
    assert "ends by itself in a moment" in capsys.readouterr().err
    real()


# The environment of a stack


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("APPROVE_ABOVE_USD", "abc", "APPROVE_ABOVE_USD: Input should be a valid number"),
        ("OPENAI_MAX_OUTPUT_TOKENS", "-4", "OPENAI_MAX_OUTPUT_TOKENS: Input should be greater than 0"),
        ("PROMPT", "artist-bio/99", "There is no prompt 'artist-bio/99'. PROMPT can be: artist-bio/1"),
        ("DATABASE_URL", "mysql://me:secret@h/d", "it does not begin with postgresql://"),
    ],
)
@pytest.mark.parametrize("words", [["up", "--detach"], ["run", "a.csv", "--pipeline", "artists"]])
def test_a_variable_that_is_wrong_is_told_before_anything_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str, value: str, said: str
) -> None:
    Path("a.csv").write_bytes(CSV)
    monkeypatch.setenv(name, value)
    ran = run(*words)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert "secret" not in ran.err
    assert not Path(".rowlift").exists()


def test_what_the_stack_sets_itself_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.environment import stack_settings

    monkeypatch.setenv("PIPELINES", "{")
    monkeypatch.setenv("THREADS", "many")
    assert stack_settings().threads == 16


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (["--port-base 80: port 80 is in use"], "--port-base 80: port 80 is in use"),
        (
            ["ingest ended:", "Traceback (most recent call last):", '  File "x.py", line 1', "    raise It",
             "shared.errors.ConfigError: Settings are incomplete or wrong:", "  THREADS: too many"],
            "THREADS: too many",
        ),
        (["Traceback (most recent call last):", '  File "x.py"', "OSError: no space left"], "OSError: no space left"),
        ([], ""),
    ],
)  # fmt: skip
def test_of_the_last_words_of_a_stack_only_the_reason_is_told(last: list[str], said: str) -> None:
    assert local._essence(last) == said
