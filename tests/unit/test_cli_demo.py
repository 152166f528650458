"""`rowlift demo`, on a fake deployment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from cli import demo
from cli.inputs import inputs_of
from cli.naming import short
from shared.sessions import export_session_ids
from tests.fake_api import (
    LOCAL,
    FakeApi,
    FakeBucket,
    film_line,
    film_status,
    problem,
    status_of,
    working,
)
from tests.unit.conftest import Run


def test_the_demo_shows_bios_films_counts_cost_and_books(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    api.default = [working(5), status_of()]
    bio = {"outcome": "enriched", "db_status": "updated", "artist_name": "Nina Simone", "response_text": "A pianist."}
    api.results = json.dumps(bio).encode() + b"\n"
    [first, *_], _ = inputs_of([demo.EXPORT], "movies")
    films = next(export_session_ids("up", str(first.export)))
    api.statuses[films] = [problem(404, "Not yet."), film_status(films)]
    lines = [film_line("The Matrix"), film_line("Solaris", outcome="needs_review", directors=None)]
    found = httpx.Response(200, content="".join(f"{json.dumps(line)}\n" for line in lines).encode())
    api.answers[f"GET /api/session/{films}/results"] = found
    Path("d").mkdir()
    session = "/api/session/{}/verify"
    known: dict[str, Any] = {"sound": True, "findings": [], "calls": {}}
    real = api._status

    def status(wanted: UUID) -> httpx.Response:
        api.answers[f"GET {session.format(wanted)}"] = known
        return real(wanted)

    api._status = status  # type: ignore[method-assign]
    ran = run("demo", "--state-dir", "d", "--json")
    assert ran.code == 0
    for words in (
        "Nina Simone",
        "A pianist.",
        "10 enriched",
        "$0.0125",
        "1 bios in table artists",
        "sound",
        "runs on",
        f"dashboard: {LOCAL}/",
    ):
        assert words in ran.err
    for words in ("The Matrix (1999)", "Science Fiction", "Lana Wachowski", "TMDB", "11 enriched", "1 needs a look"):
        assert words in ran.err
    assert "Solaris" not in ran.err
    assert f"`rowlift match {short(films)} --state-dir d`" in ran.err
    assert (ran.answer["sound"], ran.answer["status"], ran.answer["lines"]) == (True, "completed", 1)
    assert (ran.answer["movies"]["total_movies"], ran.answer["movies"]["lines"]) == (12, 2)
    assert sorted(path.name for path in Path("d").iterdir()) == [
        "artists-25.csv.results.jsonl",
        "letterboxd-demo.results.jsonl",
    ]
    known["sound"] = False
    assert run("demo", "--state-dir", "d").code == 1


@pytest.mark.parametrize(("upstream", "name"), [("openai", "OpenAI"), ("tmdb", "TMDB")])
def test_the_demo_never_asks_a_real_upstream(run: Run, stack: dict[str, Any], upstream: str, name: str) -> None:
    stack[upstream] = None
    ran = run("demo")
    assert ran.code == 2
    assert f"asks the real {name}" in ran.err


def test_a_demo_that_ends_early_says_where_to_look(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    api.default = [status_of(status="paused")]
    ran = run("demo")
    assert ran.code == 1
    assert "ended paused. Its log is /s/log" in ran.err
    assert demo.SAMPLE.is_file()
    assert demo.EXPORT.is_dir()
