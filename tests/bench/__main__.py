"""`make bench`: what Rowlift costs in time and memory here, on simulated upstreams; ratios are measured in one run."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench import (
    admission,
    cold,
    fetching,
    films,
    growth,
    ingesting,
    matching,
    pooling,
    running,
    streaming,
    tracks,
    watching,
)
from tests.bench.figure import Figure

QUICK = "--quick" in sys.argv[1:]


def main() -> None:
    """Measure everything and print a table."""
    console = Console()
    memory = psutil.virtual_memory().total / 2**30
    console.print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}"
    )
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="rowlift-bench-") as folder:
        for part in (
            ingesting,
            pooling,
            admission,
            growth,
            cold,
            running,
            watching,
            streaming,
            films,
            tracks,
            fetching,
        ):
            console.print(f"... {part.__doc__.splitlines()[0]}", style="dim")
            figures += part.measure(Path(folder), quick=QUICK)
    table = Table(box=None, header_style="bold")
    for column in ("what", "measured", "bar", ""):
        table.add_column(column)
    for figure in figures:
        table.add_row(figure.what, figure.text, figure.bar, {True: "ok", False: "BELOW", None: ""}[figure.met])
    console.print(table)
    for found in matching.measured():
        console.print("\n".join(found.lines()))


main()
