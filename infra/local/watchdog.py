"""Ends the children of a supervisor that was killed: `python -m infra.local.watchdog STACK_JSON`.

Standard input is a pipe whose other end only the supervisor keeps. Each child writes `+PID SIGNAL` to it before it
becomes its program, so that no moment is left in which a child is unknown here; the supervisor writes `-PID` once it
has buried one, and `bye` before it leaves by itself. End of file without `bye` means that the supervisor is gone:
every process group still known gets its signal (PostgreSQL one that lets it remove its shared memory), then SIGKILL,
and STACK_JSON is removed. It keeps the supervisor's lock file open meanwhile, so that no new stack starts on a
directory still in use.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE = 3.0  # seconds between a child's own signal and SIGKILL


def main() -> None:
    """Wait for the supervisor's end; clean up behind it unless it said goodbye."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children, goodbye = listen(sys.stdin)
    if goodbye:
        return
    end(children)
    for path in sys.argv[1:]:
        Path(path).unlink(missing_ok=True)


def listen(lines: Iterable[str]) -> tuple[dict[int, int], bool]:
    """The children alive when the lines end (leader -> signal), and whether the supervisor said goodbye."""
    children: dict[int, int] = {}
    for line in lines:
        word = line.strip()
        if word == "bye":
            return {}, True
        with contextlib.suppress(ValueError, IndexError):
            if word.startswith("+"):
                pid, number = word[1:].split()
                children[int(pid)] = int(number)
            elif word.startswith("-"):
                children.pop(int(word[1:]), None)
    return children, False


def end(children: dict[int, int]) -> None:
    """Signal every group, then kill what is left of them."""
    for pid, number in children.items():
        send(pid, number)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(group_exists(pid) for pid in children):
        time.sleep(0.02)
    for pid in children:
        send(pid, signal.SIGKILL)


def send(group: int, number: int) -> None:
    """Signal a process group, gone or not."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def group_exists(group: int) -> bool:
    """Whether a process group has a member (a zombie counts until it is buried)."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
