"""Child processes of the local stack: started in groups of their own, logged, restarted, ended without remains."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from infra.local.watchdog import group_exists, send

RESTART_AFTER = 0.5  # seconds; doubled for each death within QUICK_DEATH, to at most SLOWEST_RESTART
QUICK_DEATH = 2.0
SLOWEST_RESTART = 5.0
STOP_GRACE = 5.0  # seconds between a child's stop signal and SIGKILL

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# The shell tells the watchdog its own pid, which is the program's as soon as it has become it.
_ANNOUNCE = 'echo "+$$ $0" >&0; exec "$@" </dev/null'


class ChildFailedError(Exception):
    """A child ended before it was ready."""


class StoppedError(Exception):
    """The stack was told to stop while it waited for something."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """How one child is run."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    port: int | None = None  # where it will listen
    user: tuple[int, int] | None = None  # uid and gid to run as, where not our own
    stop_signal: int = signal.SIGTERM
    orphan_signal: int = signal.SIGKILL  # what the watchdog sends it
    announces: bool = False  # prints {"ready": true} when it is
    probe: Callable[[], bool] | None = None  # else: asked until it says yes
    followers: tuple[str, ...] = ()  # restarted with it, because what they had set up in it is lost


class Log:
    """One file of all children's lines, each behind its process's name."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            path.replace(path.with_name(path.name + ".1"))
        self.path = path
        self._file: IO[str] = path.open("a", encoding="utf-8", errors="replace")
        self._lock = threading.Lock()

    def write(self, name: str, line: str) -> None:
        """Add one line, free of colour codes."""
        with self._lock:
            self._file.write(f"{name} | {_COLOUR.sub('', line)}\n")
            self._file.flush()

    def close(self) -> None:
        with self._lock:
            self._file.close()


class Watchdog:
    """The process that ends everything if this one is killed; see infra/local/watchdog.py."""

    def __init__(self, stack_json: Path, lock_fd: int) -> None:
        self._command = [sys.executable, "-m", "infra.local.watchdog", str(stack_json)]
        self._lock_fd = lock_fd
        self._start()

    def _start(self) -> None:
        reading, self.pipe = os.pipe()
        self.process = subprocess.Popen(
            self._command,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            pass_fds=(self._lock_fd,),
            start_new_session=True,
        )
        os.close(reading)

    def buried(self, pid: int) -> None:
        """Forget a child that has ended."""
        self._tell(f"-{pid}")

    def revive(self, children: Iterable[Child]) -> bool:
        """Start a new watchdog in the place of one that died; whether that was needed."""
        if self.process.poll() is None:
            return False
        os.close(self.pipe)
        self._start()
        for child in children:
            if child.process is not None:
                self._tell(f"+{child.process.pid} {int(child.spec.orphan_signal)}")
        return True

    def dismiss(self) -> None:
        """Let it go: nothing is left to watch."""
        self._tell("bye")
        os.close(self.pipe)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.pipe, f"{line}\n".encode())


@dataclass(kw_only=True)
class Child:
    """One child over all its lives."""

    spec: Spec
    process: subprocess.Popen[str] | None = None
    ready: bool = False
    held: bool = False  # kept down on request
    restarts: int = 0
    delay: float = RESTART_AFTER
    started: float = 0.0  # on the monotonic clock
    since: float = 0.0  # the same on the calendar
    due: float | None = None  # when to start it again
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=15))
    announced: dict[str, Any] | None = None
    reader: threading.Thread | None = None

    @property
    def state(self) -> str:
        """running, starting, restarting, held or down."""
        if self.held:
            return "held"
        if self.process is None:
            return "restarting" if self.due is not None else "down"
        return "running" if self.ready else "starting"

    def facts(self) -> dict[str, Any]:
        """What stack.json says about it."""
        pid = self.process.pid if self.process else None
        return {
            "pid": pid,
            "port": self.spec.port,
            "state": self.state,
            "restarts": self.restarts,
            "since": self.since,
        }


class Family:
    """All children of one stack. Not for use by several threads."""

    def __init__(self, log: Log, watchdog: Watchdog) -> None:
        self.children: dict[str, Child] = {}
        self._log = log
        self._watchdog = watchdog
        self.changed = True  # since stack.json was last written

    def start(self, spec: Spec) -> Child:
        """Run a new child."""
        child = self.children[spec.name] = Child(spec=spec)
        self._launch(child)
        return child

    def _launch(self, child: Child) -> None:
        spec = child.spec
        identity: dict[str, Any] = {}
        if spec.user is not None:
            identity = {"user": spec.user[0], "group": spec.user[1], "extra_groups": []}
        child.ready, child.announced, child.due = False, None, None
        child.started, child.since = time.monotonic(), time.time()
        child.process = subprocess.Popen(
            ["/bin/sh", "-c", _ANNOUNCE, str(int(spec.orphan_signal)), *spec.argv],
            stdin=self._watchdog.pipe,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(spec.env),
            cwd=spec.cwd,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            **identity,
        )
        child.reader = threading.Thread(target=self._read, args=(child, child.process), daemon=True)
        child.reader.start()
        self.changed = True

    def _read(self, child: Child, process: subprocess.Popen[str]) -> None:
        stream = process.stdout
        if stream is None:
            return
        with stream:
            for raw in stream:
                line = raw.rstrip("\n")
                self._log.write(child.spec.name, line)
                child.tail.append(line)
                if child.announced is None and child.spec.announces and line.startswith("{") and '"ready"' in line:
                    with contextlib.suppress(ValueError):
                        child.announced = json.loads(line)

    def tick(self) -> None:
        """Notice deaths and readiness, restart what is due. Call it several times a second."""
        if self._watchdog.revive(self.children.values()):
            self._log.write("stack", "the watchdog had died and was started again")
        now = time.monotonic()
        for child in list(self.children.values()):
            if child.process is not None:
                if child.process.poll() is not None:
                    self._died(child, now)
                elif not child.ready and self._is_ready(child):
                    child.ready = True
                    self.changed = True
            elif child.due is not None and now >= child.due and not child.held and self._leaders_ready(child):
                child.restarts += 1
                self._launch(child)

    def _leaders_ready(self, child: Child) -> bool:
        return all(leader.ready for leader in self.children.values() if child.spec.name in leader.spec.followers)

    def _died(self, child: Child, now: float) -> None:
        if child.process is None:
            return
        code = child.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        quick = now - child.started < QUICK_DEATH
        child.delay = min(child.delay * 2, SLOWEST_RESTART) if quick and child.restarts else RESTART_AFTER
        self._log.write("stack", f"{child.spec.name} {how}; starting it again in {child.delay:g} s")
        self._bury(child)
        child.due = now + child.delay
        self._restart_followers(child)

    def _restart_followers(self, child: Child) -> None:
        for name in child.spec.followers:
            follower = self.children.get(name)
            if follower is not None and follower.process is not None:
                self._end([follower], grace=1)
                follower.due = time.monotonic() + child.delay

    def _bury(self, child: Child) -> None:
        """Remove what is left of a dead child's group; its port is free afterwards."""
        if child.process is None:
            return
        group = child.process.pid
        send(group, signal.SIGKILL)
        deadline = time.monotonic() + 1
        while group_exists(group) and time.monotonic() < deadline:
            time.sleep(0.01)
        if child.reader is not None:
            child.reader.join(1)
        self._watchdog.buried(group)
        child.process, child.ready = None, False
        self.changed = True

    def _is_ready(self, child: Child) -> bool:
        if child.spec.announces:
            return bool(child.announced and child.announced.get("ready"))
        return child.spec.probe is None or child.spec.probe()

    def wait(self, names: Iterable[str], *, timeout: float, stopping: Callable[[], bool]) -> None:
        """Return when all are ready; raises ChildFailedError if one ends or is late, StoppedError if told to stop."""
        deadline = time.monotonic() + timeout
        waiting = [self.children[name] for name in names]
        while waiting := [child for child in waiting if not self._now_ready(child)]:
            if stopping():
                raise StoppedError
            if time.monotonic() > deadline:
                raise ChildFailedError(
                    f"{waiting[0].spec.name} was not ready after {timeout:g} s{_last_words(waiting[0])}"
                )
            time.sleep(0.02)

    def run(self, spec: Spec, *, timeout: float, stopping: Callable[[], bool]) -> None:
        """Run a child to its end; raises ChildFailedError unless it ends well in time, StoppedError if told to stop."""
        child = self.start(spec)
        deadline = time.monotonic() + timeout
        try:
            while child.process is not None and child.process.poll() is None:
                if stopping():
                    raise StoppedError
                if time.monotonic() > deadline:
                    raise ChildFailedError(f"{spec.name} did not end within {timeout:g} s{_last_words(child)}")
                time.sleep(0.02)
            code = child.process.returncode if child.process else 0
        finally:
            self._end([child])
            del self.children[spec.name]
        if code:
            raise ChildFailedError(f"{spec.name} ended with status {code}{_last_words(child)}")

    def _now_ready(self, child: Child) -> bool:
        if child.process is None or child.process.poll() is not None:
            if child.reader is not None:
                child.reader.join(1)
            raise ChildFailedError(f"{child.spec.name} ended before it was ready{_last_words(child)}")
        if not child.ready and self._is_ready(child):
            child.ready = True
            self.changed = True
        return child.ready

    def hold(self, name: str) -> None:
        """Stop one child and keep it down until `release`."""
        child = self.children[name]
        child.held, child.due = True, None
        self._log.write("stack", f"{name} is held down on request")
        self._end([child])
        self.changed = True

    def release(self, name: str) -> None:
        """Start a held child again."""
        child = self.children[name]
        child.held, child.due = False, time.monotonic()
        self._log.write("stack", f"{name} is released")
        self._restart_followers(child)
        self.changed = True

    def stop(self, names: Iterable[str] | None = None, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """End these children, or all: their stop signal, SIGKILL after five seconds or when `hurry` says so."""
        chosen = [self.children[name] for name in names if name in self.children] if names else self.children.values()
        self._end([child for child in chosen if child.process is not None], hurry=hurry)
        for child in chosen:
            child.due = None

    def _end(
        self, children: list[Child], *, grace: float = STOP_GRACE, hurry: Callable[[], bool] = lambda: False
    ) -> None:
        alive = [child.process for child in children if child.process is not None]
        for child in children:
            if child.process is not None:
                send(child.process.pid, child.spec.stop_signal)
        deadline = time.monotonic() + grace
        while any(p.poll() is None for p in alive) and time.monotonic() < deadline and not hurry():
            time.sleep(0.02)
        for process in alive:
            if process.poll() is None:
                send(process.pid, signal.SIGKILL)
        for process in alive:
            process.wait()
        for child in children:
            self._bury(child)


def _last_words(child: Child) -> str:
    if not child.tail:
        return ""
    return "; its last lines:\n" + "\n".join(f"  {line}" for line in child.tail)
