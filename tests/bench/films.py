"""Films: ingest of an export against a bare COPY of the same rows, and how much of TMDB's limit an enrichment uses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from infra.local.client import Stack
from infra.local.upstreams.tmdb_catalogue import Catalogue
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.sessions import export_session_ids
from tests.bench.figure import Figure
from tests.bench.ingesting import bare_copy, streamed
from tests.bench.memory import peak_mb
from tests.conftest import ROOT, running_server
from tests.e2e.stacks import Deck
from tests.workbench import Workbench

HEADER = "Date,Name,Year,Letterboxd URI\r\n"
LIMIT = 40  # requests a second, as infra/topology.yaml has it


def watched(n: int) -> Iterator[bytes]:
    """A watched.csv of n films in pieces."""
    yield HEADER.encode()
    for first in range(0, n, 5_000):
        rows = (f"2024-01-{i % 28 + 1:02d},Film {i},{1900 + i % 120},https://boxd.it/f{i}" for i in
                range(first, min(first + 5_000, n)))  # fmt: skip
        yield ("\r\n".join(rows) + "\r\n").encode()


def ingest(url: str, n: int) -> dict[str, Any]:
    """Ingest an export of n films in this process; rows a second and peak memory."""
    bench = Workbench(db=Database(connector(parse_database_url(url)), size=4), url=url, slug="movies")
    uploaded = streamed(bench, f"movies/{n}/watched.csv", lambda: watched(n))
    began = time.perf_counter()
    session = bench.ingest.take(uploaded)
    seconds = time.perf_counter() - began
    assert bench.value(f"SELECT count(*) FROM movies WHERE session_id = '{session}'") == n
    return {"rows_per_second": n / seconds, "peak_mb": peak_mb()}


def known_films(n: int) -> bytes:
    """A watched.csv of up to n films that the simulated TMDB has."""
    rows = []
    for film in Catalogue.load().records():
        title, year = film["title"], film["release_date"][:4]
        if year and not {'"', "\n"} & set(title):
            rows.append(f'2024-01-01,"{title}",{year},https://boxd.it/k{film["id"]}')
        if len(rows) == n:
            break
    return (HEADER + "\r\n".join(rows) + "\r\n").encode()


def run(deck: Deck, data: bytes, export: str) -> dict[str, Any]:
    """Drop an export and wait for its end; seconds, and what the simulated TMDB was asked."""
    control = str(deck.stack.info["tmdb"]).removesuffix("/3") + "/control"
    httpx.post(f"{control}/reset").raise_for_status()
    name = f"movies/{export}/watched.csv"
    began = time.monotonic()
    deck.drop(data, name)
    session = next(export_session_ids(deck.stack.info["buckets"]["uploads"], f"movies/{export}"))
    status = deck.wait(session, timeout=900)
    seconds = time.monotonic() - began
    assert status["status"] == "completed", status
    log = httpx.get(f"{control}/log", timeout=60).raise_for_status().json()
    started = sorted(call["started"] for call in log["calls"])
    spread = started[-1] - started[0] if started else 0.0
    return {
        "seconds": seconds, "requests": log["total"], "films": status["total_movies"],
        "used": log["total"] / (LIMIT * spread) if spread else 0.0, "per_second_max": log["per_second_max"],
    }  # fmt: skip


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Ingest in processes of their own, then enrichment on a stack."""
    figures = _ingest_figures(quick=quick)
    stack = Stack.start(folder / "films")
    try:
        deck = Deck(stack)
        run(deck, known_films(10), "warm")
        for export, n in (("hundred", 100), ("many", 500 if quick else 2_000)):
            data = known_films(n)
            found = run(deck, data, export)
            ideal = found["requests"] / LIMIT
            ratio = found["seconds"] / ideal
            figures.append(
                Figure(
                    what=f"{found['films']:,} films, drop to completed",
                    text=f"{found['seconds']:.1f} s, {found['requests']:,} requests, {ratio:.2f} of the ideal",
                    value=ratio if n == 100 else None,
                    at_most=1.3 if n == 100 else None,
                )
            )
            figures.append(
                Figure(
                    what="  of the limit used while work waits",
                    text=f"{found['used']:.1%}, at most {found['per_second_max']} arrived in a second",
                    value=found["used"] if n > 100 else None,
                    at_least=0.95 if n > 100 else None,
                )
            )
            again = run(deck, data, f"{export}-again")
            figures.append(
                Figure(
                    what="  the same films in another export",
                    text=f"{again['requests']} requests, {again['seconds']:.1f} s",
                    value=again["requests"],
                    at_most=0,
                )
            )
    finally:
        stack.stop()
    return figures


def _ingest_figures(*, quick: bool) -> list[Figure]:
    figures, peaks = [], []
    with running_server() as url:
        for n in (50, 10_000, 300_000 if quick else 1_000_000):
            command = [sys.executable, "-m", "tests.bench.films", url, str(n)]
            out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            found = json.loads(out.splitlines()[-1])
            peaks.append(found["peak_mb"])
            figures.append(
                Figure(
                    what=f"ingest of {n:,} films",
                    text=f"{found['rows_per_second']:,.0f} rows/s, {found['peak_mb']:.0f} MB",
                )
            )
        bare = bare_copy(url)
        ratio = found["rows_per_second"] / bare
    figures.append(Figure(what="  bare COPY of the same rows", text=f"{bare:,.0f} rows/s"))
    figures.append(Figure(what="  ingest / bare COPY", text=f"{ratio:.2f}", value=ratio, at_least=0.2))
    growth = peaks[-1] / peaks[1]
    figures.append(Figure(what="  memory, largest / 10,000 rows", text=f"{growth:.2f}", value=growth, at_most=1.15))
    figures.append(Figure(what="  memory, at most", text=f"{max(peaks):.0f} MB", value=max(peaks), at_most=150))
    return figures


if __name__ == "__main__":
    print(json.dumps(ingest(sys.argv[1], int(sys.argv[2]))))
