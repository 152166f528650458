"""Finalize: results of a million items written to the bucket, and what that takes of memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from shared.config import parse_database_url
from shared.db import Database, connector
from tests.bench.figure import Figure
from tests.bench.memory import peak_mb
from tests.conftest import ROOT, running_server
from tests.factories import make_session
from tests.fakes import FakeStore
from tests.workbench import Workbench

AT_LEAST = 100_000  # lines a second
BIO = 500  # characters
BATCH = 200_000  # items settled by one statement


class Folder(FakeStore):
    """A store whose objects are files, so that a large one takes no memory."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @contextmanager
    def write(self, bucket: str, name: str, content_type: str, **_: object) -> Iterator[BinaryIO]:
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            yield file


def finalize(url: str, folder: str, n: int) -> dict[str, Any]:
    """Finalize a session of n enriched artists in this process; seconds and peak memory."""
    bench = Workbench(db=Database(connector(parse_database_url(url)), size=2), url=url)
    session = make_session(bench, n)
    for first in range(1, n + 1, BATCH):
        bench.execute(
            "UPDATE items SET state = 'completed', outcome = 'enriched', finalized_at = now(), attempt = 1, result = "
            f"jsonb_build_object('text', repeat('y', {BIO}), 'db_status', 'updated', 'response_id', 'resp_' || item_no,"
            " 'model', 'm', 'prompt', 'p', 'usage', jsonb_build_object('input_tokens', 1, 'output_tokens', 1))"
            f" WHERE session_id = '{session}' AND item_no >= {first} AND item_no < {first + BATCH}"
        )
    bench.execute("VACUUM ANALYZE items")
    bench.finalizer._store = Folder(Path(folder))
    began = time.perf_counter()
    status = bench.finalizer.finalize(session)
    seconds = time.perf_counter() - began
    results = Path(folder) / str(session) / "results.jsonl"
    with results.open("rb") as lines:
        assert (status, sum(1 for _ in lines)) == ("completed", n)
    megabytes, peak = results.stat().st_size / 1e6, peak_mb()
    return {"seconds": seconds, "megabytes": megabytes, "peak_mb": peak}


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """In a process of its own, beside a PostgreSQL of its own."""
    n = 200_000 if quick else 1_000_000
    (folder / "results").mkdir()
    with running_server() as url:
        run = [sys.executable, "-m", "tests.bench.finalizing", url, str(folder / "results"), str(n)]
        out = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = json.loads(out.splitlines()[-1])
    rate = n / found["seconds"]
    return [
        Figure(what=f"finalize of {n:,} items", text=f"{rate:,.0f} lines/s, {found['megabytes']:,.0f} MB written",
               value=rate, at_least=AT_LEAST),
        Figure(what="  memory, at most", text=f"{found['peak_mb']:.0f} MB", value=found["peak_mb"], at_most=150),
    ]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(finalize(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
