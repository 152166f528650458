"""Ctrl-C at a real terminal: what becomes of the session, and of the stack that `run` had started."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cli import local
from tests.e2e.test_cli import ROWLIFT, environment, ran, wait_until
from tests.workbench import artists_csv

pytestmark = pytest.mark.slow
CTRL_C = "\x03"


class Person:
    """Somebody who runs `rowlift` in a terminal of 80 columns."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self._seen = b""
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(ROWLIFT, [str(ROWLIFT), *words], environment(TERM="xterm"))
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    @property
    def seen(self) -> str:
        """What stood on the screen so far, without its control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self._seen.decode("utf-8", "replace"))

    def _look(self) -> bool:
        """Whether there may be more to see."""
        if select.select([self._screen], [], [], 0.1)[0]:
            try:
                fresh = os.read(self._screen, 1 << 16)
            except OSError:  # nobody holds the other end any more
                return False
            self._seen += fresh
            return bool(fresh)
        return True

    def waits_for(self, text: str, *, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            assert self._look(), f"it ended before {text!r}:\n{self.seen}"
            assert time.monotonic() < deadline, f"waited in vain for {text!r}:\n{self.seen}"

    def types(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def leaves(self, *, timeout: float = 60) -> int:
        """The exit status, once the terminal is nobody's any more."""
        deadline = time.monotonic() + timeout
        while self._look():
            assert time.monotonic() < deadline, f"it does not end:\n{self.seen}"
        os.close(self._screen)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file that takes long, and no stack left in it afterwards."""
    (tmp_path / "long.csv").write_bytes(artists_csv(8_000))
    yield tmp_path
    if local.find(tmp_path / ".rowlift"):
        ran("down", cwd=tmp_path)


def newest(folder: Path) -> dict[str, Any]:
    """The status of the newest session, asked without the command's start: that is most of its time."""
    api = local.require(folder / ".rowlift")["api"]
    session = httpx.get(f"{api}/api/sessions").raise_for_status().json()["sessions"][0]["session_id"]
    return dict(httpx.get(f"{api}/api/session/{session}/status").raise_for_status().json())


def test_what_is_left_to_go_on_keeps_its_stack_and_what_is_paused_does_not(folder: Path) -> None:
    words = ("run", "long.csv", "--reuse", "never")
    person = Person(*words, cwd=folder)
    person.waits_for("enriched")
    person.types(CTRL_C)
    person.waits_for("Pause the session? It goes on in the background otherwise")
    person.types("n\n")
    assert person.leaves() == 130
    assert "The stack that was started for this stays up: `rowlift down` stops it" in person.seen.replace("\n", "")
    left = newest(folder)
    wait_until(lambda: newest(folder)["enriched"] > left["enriched"], "it goes on")

    watching = Person("watch", left["session_id"][:8], cwd=folder)
    watching.waits_for("enriched")
    watching.types(CTRL_C)
    assert watching.leaves() == 130
    assert f"No longer watching; session {left['session_id']} goes on." in watching.seen.replace("\n", "")
    assert newest(folder)["status"] == "enriching"
    ran("cancel", left["session_id"][:8], cwd=folder)

    hasty = Person(*words, cwd=folder)
    hasty.waits_for("enriched")
    hasty.types(CTRL_C)
    hasty.waits_for("[Y/n]")
    hasty.types(CTRL_C)
    assert hasty.leaves() == 130
    assert "Left at once. Nothing was paused." in hasty.seen.replace("\n", "")
    second = newest(folder)
    assert (second["status"], second["session_id"] != left["session_id"]) == ("enriching", True)
    ran("cancel", second["session_id"][:8], cwd=folder)
    wait_until(lambda: not newest(folder)["running"], "no call is under way")

    family = psutil.Process(local.require(folder / ".rowlift")["pid"]).children(recursive=True)
    ran("down", cwd=folder)
    wait_until(lambda: not any(each.is_running() for each in family), "the stack is gone")

    person = Person(*words, cwd=folder)
    person.waits_for("enriched")
    person.types(CTRL_C)
    person.waits_for("[Y/n]")
    person.types("\n")
    assert person.leaves() == 130
    said = person.seen.replace("\n", "")
    assert "is paused and loses nothing" in said
    assert "The stack that was started for this has stopped; `rowlift up --detach` brings it back" in said
    assert local.find(folder / ".rowlift") is None
