"""A handle on a running local stack, for tests and tools: start it, find things in it, break it, stop it.

with Stack.start(tmp_path / "stack") as stack:
    httpx.get(stack.info["api"] + "/health")
    stack.restart("process-artists")        # SIGKILL, and wait until it is back
    with stack.held("postgres"):            # down as long as the block lasts
        ...
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from infra.local.topology import ROOT

START_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0


class StackError(Exception):
    """The stack did not do what was asked; `status` is its exit status where it ended."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def find(state_dir: Path) -> dict[str, Any] | None:
    """What stack.json says of the stack running on this directory; None if none runs, whatever a crash left there."""
    try:
        with (state_dir / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                info: dict[str, Any] = json.loads((state_dir / "stack.json").read_text(encoding="utf-8"))
                os.kill(info["pid"], 0)
                return info
    except (OSError, ValueError, KeyError):
        pass
    return None


class Stack:
    """A stack this process started."""

    def __init__(self, state_dir: Path, process: subprocess.Popen[str]) -> None:
        self.state_dir = state_dir
        self.process = process
        self._said: deque[str] = deque(maxlen=200)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls,
        state_dir: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float = START_TIMEOUT,
    ) -> Self:
        """A stack that answers; it ends with this process. `arguments` are those of infra.local.stack.

        `env` is the environment it sees (default: this process's). Raises StackError.
        """
        ours: Sequence[str] = ("--state-dir", str(state_dir), "--parent-pid", str(os.getpid()))
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.stack", *ours, *arguments],
            cwd=ROOT,
            env=dict(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C reaches the tests, and they stop the stack
        )
        stack = cls(state_dir, process)
        try:
            stack.wait_until(lambda: stack._exists() or process.poll() is not None, "the stack is ready", timeout)
        except BaseException:
            stack.stop()
            raise
        if process.poll() is not None:
            stack._reader.join(2)
            raise StackError(stack.said, status=process.returncode)
        return stack

    def _exists(self) -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return bool(self.info["pid"] == self.process.pid)
        return False

    def _listen(self) -> None:
        stream: IO[str] | None = self.process.stderr
        if stream is not None:
            with stream:
                self._said.extend(line.rstrip("\n") for line in stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def info(self) -> dict[str, Any]:
        """What stack.json says now."""
        told: dict[str, Any] = json.loads((self.state_dir / "stack.json").read_text(encoding="utf-8"))
        return told

    @property
    def said(self) -> str:
        """The last of its progress lines."""
        return "\n".join(self._said)

    @property
    def log(self) -> str:
        """All lines of all processes so far, each behind its process's name."""
        return (self.state_dir / "log").read_text(encoding="utf-8")

    def pid_of(self, name: str) -> int | None:
        """The pid of a process (for a function: gunicorn's master); None while it is down."""
        pid: int | None = self.info["processes"][name]["pid"]
        return pid

    def send(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a process and those it started; the pid it had. Raises StackError if it is down."""
        pid = self.pid_of(name)
        if pid is None:
            raise StackError(f"{name} is down")
        os.killpg(pid, number)
        return pid

    def restart(self, name: str, number: int = signal.SIGKILL, *, timeout: float = 30) -> None:
        """End a process by a signal and return when its successor is ready."""
        before = self.send(name, number)
        self.wait_until(lambda: self.pid_of(name) not in (None, before), f"{name} is started again", timeout)
        self.wait_ready(name, timeout=timeout)

    def wait_ready(self, name: str, *, timeout: float = 30) -> None:
        """Return when a process is ready."""
        self.wait_until(lambda: self.info["processes"][name]["state"] == "running", f"{name} is ready", timeout)

    def hold(self, name: str, *, timeout: float = 30) -> None:
        """Stop a process in an orderly way and keep it down."""
        (self.state_dir / "hold" / name).touch()
        self.wait_until(lambda: self.info["processes"][name]["state"] == "held", f"{name} is down", timeout)

    def release(self, name: str, *, timeout: float = 30) -> None:
        """Start a held process and return when it is ready."""
        (self.state_dir / "hold" / name).unlink(missing_ok=True)
        self.wait_ready(name, timeout=timeout)

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """A process kept down for as long as a block lasts."""
        self.hold(name)
        try:
            yield
        finally:
            self.release(name)

    def set_push_faults(self, **faults: float) -> None:
        """Have the pusher misbehave (`Faults` of infra/local/push_config.py); nothing given: behave. It restarts."""
        path = self.state_dir / "pusher.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**config, "faults": faults}, indent=2), encoding="utf-8")
        self.restart("pusher", signal.SIGTERM)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Return when the condition holds; raises StackError when it does not in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise StackError(f"waited {timeout:g} s in vain until {what}\n{self.said}")
            time.sleep(0.02)

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """End the stack; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()  # the watchdog ends the rest
                self.process.wait()
        self._reader.join(5)
        return self.process.returncode
