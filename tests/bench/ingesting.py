"""Ingest: rows a second against a bare COPY of the same rows, and memory at 10,000 and 1,000,000 rows."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.config import parse_database_url
from shared.db import Database, connector
from shared.events import UploadedObject
from tests.bench.figure import Figure
from tests.bench.memory import peak_mb
from tests.conftest import ROOT, running_server
from tests.workbench import Workbench, artists_csv

STEP = 5_000


class Made(io.RawIOBase):
    """An object that is made while it is read: its size is not in memory."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._buffer = pieces, b""

    def read(self, size: int = -1) -> bytes:
        if not self._buffer:
            self._buffer = next(self._pieces, b"")
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def streamed(bench: Workbench, name: str, pieces: Callable[[], Iterator[bytes]]) -> UploadedObject:
    """What announces an object whose content `pieces` makes, each time it is opened."""

    def opened(*_: object, offset: int, size: int) -> Made:
        stream = Made(pieces())
        while offset > 0 and (block := stream.read(min(offset, 1 << 20))):
            offset -= len(block)
        return stream

    bench.store.open = opened  # type: ignore[method-assign,assignment]
    return replace(bench.store.put("up", name, b""), size=sum(map(len, pieces())))


def artists(n: int) -> Iterator[bytes]:
    """A file of n artists in pieces."""
    yield b"artist_id,artist_name,artist_data\r\n"
    for first in range(1, n + 1, STEP):
        yield artists_csv(min(STEP, n + 1 - first), first=first).split(b"\r\n", 1)[1]


def ingest(url: str, n: int) -> dict[str, Any]:
    """Ingest n rows in this process; rows a second and peak memory."""
    bench = Workbench(db=Database(connector(parse_database_url(url)), size=4), url=url)
    uploaded = streamed(bench, f"artists/{n}.csv", lambda: artists(n))
    began = time.perf_counter()
    bench.ingest.take(uploaded)
    seconds = time.perf_counter() - began
    assert bench.value("SELECT count(*) FROM items WHERE state = 'available'") >= n
    return {"rows_per_second": n / seconds, "peak_mb": peak_mb()}


def bare_copy(url: str) -> float:
    """Rows a second of COPY alone, of the rows that are there into a table of the same shape."""
    database = Database(connector(parse_database_url(url)), size=1)
    with database._checked_out() as connection:
        connection.execute_simple("CREATE TABLE bare (LIKE items INCLUDING ALL)")
        connection.execute_simple("SET statement_timeout = 0")
        with CopyText(connection) as (path, rows):
            began = time.perf_counter()
            with path.open("rb") as copied:
                connection.execute_unnamed("COPY bare FROM STDIN", stream=iter(lambda: copied.read(65_536), b""))
            seconds = time.perf_counter() - began
        connection.execute_simple("DROP TABLE bare")
    database.close()
    return rows / seconds


class CopyText:
    """The items table as a file of COPY text."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> tuple[Path, int]:
        import tempfile

        self._path = Path(tempfile.mkstemp(prefix="rowlift-copy-")[1])
        with self._path.open("wb") as out:
            context = self._connection.execute_unnamed("COPY items TO STDOUT", stream=out)
        return self._path, context.row_count

    def __exit__(self, *_: object) -> None:
        self._path.unlink()


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Both sizes, each in a process of its own, then the bare COPY beside the larger one."""
    large = 100_000 if quick else 1_000_000
    figures, peaks = [], []
    with running_server() as url:
        for n in (10_000, large):
            run = [sys.executable, "-m", "tests.bench.ingesting", url, str(n)]
            out = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            found = json.loads(out.splitlines()[-1])
            peaks.append(found["peak_mb"])
            figures.append(
                Figure(
                    what=f"ingest of {n:,} rows",
                    text=f"{found['rows_per_second']:,.0f} rows/s, {found['peak_mb']:.0f} MB",
                )
            )
        bare = bare_copy(url)
        ratio = found["rows_per_second"] / bare
    figures.append(Figure(what="  bare COPY of the same rows", text=f"{bare:,.0f} rows/s"))
    figures.append(Figure(what="  ingest / bare COPY", text=f"{ratio:.2f}", value=ratio, at_least=0.35))
    growth = peaks[1] / peaks[0]
    figures.append(Figure(what="  memory, large / small", text=f"{growth:.2f}", value=growth, at_most=1.15))
    return figures


if __name__ == "__main__":
    print(json.dumps(ingest(sys.argv[1], int(sys.argv[2]))))
