"""CPU seconds of processes, by a clock that is fine enough for many short ones."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

import psutil


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and all it started, those that have ended included."""
    process = psutil.Process(pid)
    used = _own_cpu(process) + sum(process.cpu_times()[2:4])
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess, OSError):  # ended meanwhile, as PostgreSQL's autovacuum does
            used += _own_cpu(child) + sum(child.cpu_times()[2:4])
    return used


def _own_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process itself.

    On Linux from its CPU clock: /proc counts hundredths, and of 1,500 UPDATEs by 80 connections it saw 0.02 s of 0.2.
    """
    if sys.platform == "linux":
        return time.clock_gettime((~process.pid << 3) | 2)  # what clock_getcpuclockid(3) answers
    return sum(process.cpu_times()[:2])
