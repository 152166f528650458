"""`make bench`: what Rowlift costs in time and memory here, on simulated upstreams; ratios are measured in one run.

Prints each figure with how far it is beyond its bar, and appends them to history.jsonl. Name parts to measure only
those: `make bench ARGS="running cold"`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench import matching
from tests.bench.figure import Figure

PARTS = (
    "ingesting", "finalizing", "round_trips", "running", "cold", "growth", "films", "watching", "streaming", "pooling",
    "tracks", "fetching",
)  # fmt: skip
HISTORY = Path(__file__).with_name("history.jsonl")


def main() -> None:
    """Measure everything, or the parts named on the command line, and print a table."""
    words = sys.argv[1:]
    quick = "--quick" in words
    chosen = [word for word in words if not word.startswith("-")]
    if unknown := set(chosen) - set(PARTS):
        raise SystemExit(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")
    console, began = Console(), time.monotonic()
    console.print(_machine())
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="rowlift-bench-") as folder:
        for name in chosen or PARTS:
            part = import_module(f"tests.bench.{name}")
            started = time.monotonic()
            console.print(f"... {part.__doc__.splitlines()[0]}", style="dim", end=" ")
            figures += part.measure(Path(folder), quick=quick)
            console.print(f"{time.monotonic() - started:.0f} s", style="dim")
    console.print(_table(figures))
    if not chosen:
        for found in matching.measured():
            console.print("\n".join(found.lines()))
    _remember(figures, quick=quick)
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes; appended to {HISTORY.name}")


def _table(figures: list[Figure]) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("what", "measured", "bar", "times the bar"):
        table.add_column(column)
    for figure in figures:
        beyond = "" if figure.ratio is None else f"{figure.ratio:.2f}{'' if figure.met else '  BELOW'}"
        table.add_row(figure.what, figure.text, figure.bar, beyond)
    return table


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}"


def _remember(figures: list[Figure], *, quick: bool) -> None:
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, cwd=HISTORY.parent, capture_output=True, text=True, check=False).stdout.strip()
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit, "machine": _machine(), "quick": quick,
        "figures": [figure.to_dict() for figure in figures],
    }  # fmt: skip
    with HISTORY.open("a", encoding="utf-8") as history:
        history.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
