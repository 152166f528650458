"""The local stack of a state directory, from outside: is it there, start it, stop it.

The stack is a program of its own (`python -m infra.local.stack`); what it tells of itself is DIR/stack.json.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from cli.client import Api
from cli.faults import Failed, Fault, Interrupted, Unreachable, WrongUsage
from cli.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 120.0
STOP_TIMEOUT = 20.0
HURRIED_TIMEOUT = 10.0
ANSWER_TIMEOUT = 5.0
OTHERS_TIMEOUT = 60.0  # seconds another command's stack may take to start
LOOK_EVERY = 0.05
NO_ROOM, FULL = 1 << 20, "its disk is full; free some space, or name another folder with --state-dir"

Info = dict[str, Any]


def find(state_dir: Path) -> Info | None:
    """What the stack running on this directory tells of itself; None if none runs, whatever a crash left there."""
    if not is_locked(state_dir):
        return None
    try:
        info: Info = json.loads((state_dir / "stack.json").read_text(encoding="utf-8"))
        os.kill(info["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return info


def is_locked(state_dir: Path) -> bool:
    """Whether a stack holds this directory: one that runs, starts, or ends."""
    try:
        with (state_dir / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def present(state_dir: Path) -> Info | None:
    """The stack to work with; one that is ending is waited for, so that another can take its place."""
    _comes_true(lambda: not (find(state_dir) or {}).get("stopping"), STOP_TIMEOUT)
    return find(state_dir)


def require(state_dir: Path) -> Info:
    """The stack running on this directory; raises Unreachable."""
    info = find(state_dir)
    if info is None:
        raise Unreachable(
            f"No stack runs on {state_dir}. Start one with `rowlift up`, or name a deployment with --api URL."
        )
    return info


def masked(url: str) -> str:
    """A database's address without its password."""
    return re.sub(r"(//[^:/@]*):.*@", r"\1:***@", url)


class Keeper:
    """A process that ends when this one does, however that happens, unless it is let go first.

    A stack whose parent it is ends with it. Let go it lives as long as the stack does, which then outlives us.
    """

    def __init__(self, state_dir: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own program, no shell
            [sys.executable, "-c", _KEEPER, str(state_dir / "lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # whoever reads ours must see it end
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C does not reach it
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def let_go(self) -> None:
        """Have it outlive us."""
        self._tell(b"stay")
        self._process.returncode = 0  # nobody waits for it any more

    def end(self) -> None:
        """End it."""
        self._tell(b"")
        self._process.wait()

    def _tell(self, word: bytes) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(word)
                self._process.stdin.close()


# The end of its input is our end; a word in it means that it stays for as long as the stack holds its lock.
_KEEPER = """
import fcntl, sys
if sys.stdin.buffer.read(4):
    fcntl.flock(open(sys.argv[1], "rb"), fcntl.LOCK_SH)
"""


class LocalStack:
    """A stack this process started."""

    def __init__(self, state_dir: Path, process: subprocess.Popen[bytes], said: Path) -> None:
        self.state_dir = state_dir
        self._process = process
        self._said = said
        self._heard = 0

    @property
    def info(self) -> Info:
        """What it tells of itself."""
        return require(self.state_dir)

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def news(self) -> list[str]:
        """The progress lines it said since the last call."""
        with self._said.open("rb") as file:
            file.seek(self._heard)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._heard += len(whole)
        return whole.decode("utf-8", "replace").splitlines()

    def ready(self) -> bool:
        """Whether it answers."""
        info = find(self.state_dir)
        return info is not None and info["pid"] == self._process.pid

    def refusal(self) -> Fault:
        """Why it ended before it was ready."""
        lines = [line for line in self._said.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        last = lines[lines.index("stopping") + 1 :] if "stopping" in lines else lines[-1:]
        reason = _essence(last) or (FULL if self._disk_is_full() else f"it ended with status {self.status}")
        kind = {2: WrongUsage, 3: Unreachable}.get(self.status or 1, Failed)
        return kind(f"The local stack did not start: {reason.rstrip('.')}. Its log is {self.state_dir / 'log'}.")

    def _disk_is_full(self) -> bool:
        return shutil.disk_usage(self.state_dir).free < NO_ROOM

    def let_go(self) -> None:
        """Have it outlive us."""
        self._process.returncode = 0  # nobody waits for it any more

    def stop(self) -> None:
        """End it and return when everything of it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            _wait_or_hurry(self._gone, self._process.pid)
        self._process.wait()

    def _gone(self) -> bool:
        return self._process.poll() is not None


def start(
    state_dir: Path,
    arguments: Sequence[str] = (),
    *,
    terminal: Terminal,
    env: Mapping[str, str] | None = None,
    parent: int | None = None,
) -> LocalStack:
    """A stack that answers; it ends with the process `parent`, or by itself never. Raises Fault."""
    state_dir = state_dir.absolute()
    said = state_dir / "start.log"
    ends_with = () if parent is None else ("--parent-pid", str(parent))
    with _opened(said) as file:
        process = subprocess.Popen(  # noqa: S603  # our own program, no shell
            [sys.executable, "-m", "infra.local.stack", "--state-dir", str(state_dir), *ends_with, *arguments],
            cwd=ROOT,
            env=dict(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,  # so that Ctrl-C reaches this command, and it decides what happens
        )
    stack = LocalStack(state_dir, process, said)
    try:
        _wait_until_ready(stack, terminal)
    except BaseException:
        stack.stop()
        raise
    return stack


def _opened(said: Path) -> IO[bytes]:
    """The file that is to hold what a stack says while it starts; raises WrongUsage."""
    folder = said.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return said.open("wb")
    except OSError as error:
        raise WrongUsage(
            f"Cannot use {folder} as state directory: {error.strerror}. Name another with --state-dir."
        ) from error


def _essence(lines: Sequence[str]) -> str:
    """What a stack's last words come to: of a traceback only the error, of settings only their faults."""
    text = "\n".join(line.strip() for line in lines)
    if SETTINGS in text:
        return " ".join(text.rpartition(SETTINGS)[2].split("\n")).strip()
    if "Traceback" in text or '\nFile "' in text:
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return text.replace("\n", " ")


SETTINGS = "Settings are incomplete or wrong:"  # how shared.config begins when a variable is


def _wait_until_ready(stack: LocalStack, terminal: Terminal) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    with terminal.busy("starting the local stack") as progress:
        while not stack.ready():
            for line in stack.news():
                progress(line)
            if stack.status is not None:
                raise stack.refusal()
            if time.monotonic() > deadline:
                raise Failed(
                    f"The local stack was not ready after {START_TIMEOUT:g} s. Its log is {stack.state_dir / 'log'}."
                )
            time.sleep(LOOK_EVERY)


@contextlib.contextmanager
def running(
    state_dir: Path, arguments: Sequence[str] = (), *, terminal: Terminal, env: Mapping[str, str] | None = None
) -> Iterator[tuple[Info, bool]]:
    """A stack for as long as a block lasts: the one that runs already, or one that is started and stopped again.

    Says with it whether it was started here. Left by an Interrupted whose work goes on, it stays; killed, it ends.
    """
    info = present(state_dir)
    if info is not None:
        yield info, False
        return
    state_dir = state_dir.absolute()
    _opened(state_dir / "start.log").close()
    keeper, stays = Keeper(state_dir), False
    try:
        try:
            stack = start(state_dir, arguments, terminal=terminal, env=env, parent=keeper.pid)
        except Fault:
            if not _comes_true(lambda: find(state_dir) is not None, OTHERS_TIMEOUT if is_locked(state_dir) else 0):
                raise
            yield require(state_dir), False  # another command was quicker
            return
        try:
            yield stack.info, True
        except Interrupted as left:
            stays = left.goes_on
            raise
        finally:
            stays = stays or _others_work(stack.info, terminal)
            if stays:
                stack.let_go()
            else:
                _end(stack, terminal)
    finally:
        if stays:
            keeper.let_go()
        else:
            keeper.end()


def _others_work(info: Info, terminal: Terminal) -> bool:
    """Whether sessions of others are at work on a stack that would end now; then it stays, and that is said."""
    try:
        found = Api(str(info["api"]), timeout=ANSWER_TIMEOUT).sessions(limit=100)["sessions"]
    except Fault:
        return False
    working = [one["session_id"] for one in found if one["status"] in ("processing", "enriching")]
    if working:
        terminal.note(
            f"Session {working[0]} still works, so the stack stays up; `rowlift down` stops it, and all work until the "
            "next `rowlift up`."
        )
    return bool(working)


def _end(stack: LocalStack, terminal: Terminal) -> None:
    """Stop a stack; whoever does not want to wait for that need not."""
    try:
        with terminal.busy("stopping the local stack"):
            stack.stop()
    except KeyboardInterrupt:
        terminal.note("The local stack ends by itself in a moment.")


def stop(info: Info, state_dir: Path) -> None:
    """End a stack that some other process started; return when everything of it is gone. Raises Failed."""
    pid = int(info["pid"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not _wait_or_hurry(lambda: find(state_dir) is None, pid):
        raise Failed(f"The stack on {state_dir} (pid {pid}) does not end. Its log is {state_dir / 'log'}.")


def _wait_or_hurry(gone: Callable[[], bool], pid: int) -> bool:
    """Whether a stack that was asked to end did: it is asked twice, then killed, and its watchdog ends the rest."""
    for number, patience in (
        (signal.SIGTERM, STOP_TIMEOUT),
        (signal.SIGKILL, HURRIED_TIMEOUT),
        (None, HURRIED_TIMEOUT),
    ):
        if _comes_true(gone, patience):
            return True
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    return False


def _comes_true(condition: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True
