"""Where words go: answers, progress and questions, on a screen, in a pipe, without colours, on a dumb terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.terminal import Terminal
from tests.fake_api import FakeApi, FakeBucket, status_of, working
from tests.unit.conftest import LEFT_OUT, Run

REPO = Path(__file__).parents[2]
SAYS = """
from cli.terminal import Terminal
terminal = Terminal(as_json=False)
with terminal.busy("working"):
    terminal.note("aside")
terminal.say("answer", style="red")
print(f"live={terminal.live} drawn={terminal.drawn} asks={terminal.asks}")
"""


def on_screen(code: str, **env: str) -> str:
    """What a program shows on a terminal of its own, raw."""
    clean = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**clean, "PYTHONPATH": str(REPO), "TERM": "xterm", **env},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            fresh = os.read(ours, 65_536)
        except OSError:
            break
        if not fresh:
            break
        seen += fresh
    os.close(ours)
    assert process.wait(30) == 0, seen
    return seen.decode()


def test_a_screen_has_colours_and_a_spinner() -> None:
    seen = on_screen(SAYS)
    assert "live=True drawn=True asks=True" in seen
    assert "\x1b[31manswer" in seen
    assert "working …" not in seen


def test_no_color_is_heeded() -> None:
    seen = on_screen(SAYS, NO_COLOR="1")
    assert re.findall(r"\x1b\[[0-9;]*3[0-7][;m]", seen) == []
    assert "answer" in seen


def test_a_dumb_terminal_gets_lines_only() -> None:
    seen = on_screen(SAYS, TERM="dumb")
    assert "\x1b" not in seen
    assert "working …" in seen
    assert "live=False drawn=False asks=True" in seen


def test_in_a_pipe_the_answer_is_alone_and_progress_goes_beside_it(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [working(1), working(1), working(1), status_of()]
    ran = run("run", "a.csv")
    assert "\x1b" not in ran.out + ran.err
    assert "enriching · 1 of 10" in ran.err
    assert "uploading a.csv" in ran.err
    assert "enriching" not in ran.out
    assert ran.out.splitlines()[0].startswith("list.csv: completed · 10 of 10 (100 %)")
    assert "completed" not in ran.err  # once is enough


@pytest.mark.parametrize(
    ("typed", "default", "answer"),
    [("y\n", False, True), ("No\n", True, False), ("\n", True, True), ("", False, False), ("hm\nyes\n", False, True)],
)
def test_a_question_is_repeated_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, default: bool, answer: bool
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert Terminal(as_json=False).ask("Go on?", default=default) is answer
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("Go on? [Y/n]" if default else "Go on? [y/N]") == max(1, typed.count("\n"))


def test_nobody_is_asked_with_json_or_without_a_keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Terminal(as_json=True).asks
    assert not Terminal(as_json=False).asks
