"""The most memory this process ever had."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """In megabytes.

    Not from getrusage where /proc has it: that begins with what the process that started this one had.
    """
    if sys.platform == "linux":
        (line,) = (one for one in Path("/proc/self/status").read_text("utf-8").splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
