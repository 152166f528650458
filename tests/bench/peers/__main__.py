"""`make bench-peers`: Rowlift beside what one would use instead, the same rows in one run."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

import psutil
from rich.console import Console

from infra.local.client import Stack
from tests.bench.peers.figures import kept, table
from tests.bench.peers.peer import ALL
from tests.bench.peers.running import Bench
from tests.bench.running import bench_topology


def main() -> None:
    """Measure everyone and print a table."""
    quick = "--quick" in sys.argv[1:]
    n, n_slow = (500, 800) if quick else (2_000, 4_000)
    console = Console()
    memory = psutil.virtual_memory().total / 2**30
    console.print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}; "
        f"{n:,} rows at 0 ms, {n_slow:,} at 200 ms"
    )
    found = []
    with tempfile.TemporaryDirectory(prefix="rowlift-peers-") as name:
        folder = Path(name)
        with Stack.start(folder / "run", "--topology", str(bench_topology(folder))) as stack:
            bench = Bench(stack, folder)
            for peer in ALL:
                console.print(f"... {peer.name}, {peer.at_once} at once", style="dim")
                found.append(bench.measured(peer, n, n_slow))
            bench.close()
    console.print(table(found))
    console.print("\nWhat is kept after kill -9:")
    for line in kept(found):
        console.print(f"  {line}")


if __name__ == "__main__":
    main()
