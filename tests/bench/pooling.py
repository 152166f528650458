"""Memory of a full connection pool, every statement of the process function prepared on every connection."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psutil

from tests.bench.figure import Figure
from tests.conftest import ROOT, running_server

SIZE = 20


def fill(url: str) -> float:
    """Megabytes that `SIZE` open connections add to this process."""
    from shared.config import parse_database_url
    from shared.db import Database, connector

    database = Database(connector(parse_database_url(url)), size=SIZE)
    with database._checked_out():
        pass  # what opening the first one imports is not the pool's
    process = psutil.Process()
    before = process.memory_info().rss
    held = [database._checked_out() for _ in range(SIZE)]
    connections = [context.__enter__() for context in held]
    for context, connection in zip(held, connections, strict=True):
        assert connection is not None
        context.__exit__(None, None, None)
    for _ in range(SIZE):
        database.rows("standing", session=uuid4())
        database.rows(
            "claim_items", session=uuid4(), item_nos=[1], pipeline="artists", configuration="", lease=1, claim=uuid4()
        )
    megabytes = (process.memory_info().rss - before) / 2**20
    database.close()
    return megabytes


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """In a process of its own."""
    with running_server() as url:
        run = [sys.executable, "-m", "tests.bench.pooling", url]
        megabytes = json.loads(subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    what = f"memory of a pool of {SIZE} connections"
    return [Figure(what=what, text=f"{megabytes:.1f} MB", value=megabytes, at_most=50)]


if __name__ == "__main__":
    print(json.dumps(fill(sys.argv[1])))
