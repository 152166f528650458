"""Results of a large session through the API under gunicorn: lines a second, and its memory meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from infra.local.client import Stack
from tests.bench.figure import Figure
from tests.bench.running import rss
from tests.conftest import ROOT
from tests.e2e.stacks import Deck
from tests.workbench import artists_csv

AT_LEAST = 50_000  # lines a second
WAYS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("JSON lines, item order", {}), ("JSON lines, settle order", {"after": "s0"}), ("CSV", {"format": "csv"}),
)  # fmt: skip
INSERTED = 50_000  # rows a statement


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Every way to read a million small lines, one after the other, then the same by `rowlift results --follow`."""
    n = 100_000 if quick else 1_000_000
    with Stack.start(folder / "streaming") as stack:
        deck = Deck(stack)
        session = settled_session(deck, n)
        for _, query in WAYS:  # a page each, so that what they load is there
            read(deck, session, limit=5_000, **query)
        before, figures = rss(stack, "api"), []
        for what, query in WAYS:
            figures.append(_figure(f"{n:,} results as {what}", read(deck, session, **query), n))
        after = rss(stack, "api")
        deck.execute(f"UPDATE sessions SET options = options || '{{\"write_mode\": \"db\"}}' WHERE id = '{session}'")
        figures.append(_figure(f"{n:,} short results (write mode db)", read(deck, session), n))
        figures.append(
            Figure(
                what="  memory of the api function, after / before",
                text=f"{after:.0f} / {before:.0f} MB",
                value=after / before,
                at_most=1.15,
            )
        )
        figures.append(_followed(deck, session, n, folder / "followed.jsonl"))
        deck.api.close()
        deck.db.close()
    return figures


def settled_session(deck: Deck, n: int) -> UUID:
    """A completed session of n artists with short bios, all settled in transactions of their own size."""
    session = deck.drop(artists_csv(1, first=90_000_000), f"artists/streamed-{n}.csv")
    deck.wait(session)
    for first in range(2, n + 1, INSERTED):
        last = min(n, first + INSERTED - 1)
        deck.execute(
            f"""
            INSERT INTO items (session_id, item_no, file, line, key, input, state, outcome, attempt, finalized_at,
                               result)
            SELECT '{session}', i, 1, i + 1, 'streamed-{n}-' || i,
                   jsonb_build_object('artist_id', i::text, 'artist_name', 'Artist ' || i, 'artist_data', ''),
                   'completed', 'enriched', 1, now(),
                   jsonb_build_object('text', 'A bio of artist ' || i, 'response_id', 'r' || i, 'db_status', 'updated')
              FROM generate_series({first}, {last}) i
            """
        )
    deck.execute(f"UPDATE sessions SET next_item_no = {n + 1} WHERE id = '{session}'")
    deck.execute("ANALYZE")
    return session


def read(deck: Deck, session: UUID, **query: Any) -> tuple[float, int]:
    """Seconds an answer takes, and its lines."""
    began, lines = time.perf_counter(), 0
    with httpx.stream(
        "GET", f"{deck.stack.info['api']}/api/session/{session}/results", params=query, timeout=60
    ) as answer:
        answer.raise_for_status()
        for piece in answer.iter_raw(1 << 18):
            lines += piece.count(b"\n")
    return time.perf_counter() - began, lines


def _figure(what: str, found: tuple[float, int], n: int) -> Figure:
    seconds, lines = found
    assert n <= lines <= n + 1, lines
    return Figure(what=what, text=f"{n / seconds:,.0f} lines/s", value=n / seconds, at_least=AT_LEAST)


def _followed(deck: Deck, session: UUID, n: int, output: Path) -> Figure:
    words = ["results", str(session), "--follow", "--output", str(output), "--api", deck.stack.info["api"]]
    program = (
        "from cli.main import main; from tests.bench.memory import peak_mb\n"
        f"assert main({words!r}) == 0\n"
        "print(peak_mb())"
    )
    began = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    with output.open("rb") as file:
        assert sum(1 for _ in file) == n
    peak = float(process.stdout.split()[-1])
    text = f"{seconds:.1f} s, {n / seconds:,.0f} lines/s, {peak:.0f} MB"
    return Figure(what="  followed into a file, checked against the final results", text=text)
