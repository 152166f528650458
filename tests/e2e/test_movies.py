"""Exports through a whole stack as deployed: what people get, what TMDB is asked, what happens when it misbehaves."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from infra.local.topology import ROOT, Topology
from infra.local.upstreams.tmdb_catalogue import Catalogue, folded
from tests.e2e.stacks import Deck
from tests.movies import expected, export_files, needs_data, zipped

ROWLIFT = Path(sys.executable).parent / "rowlift"
DEMO = ROOT / "examples/letterboxd-demo"
LIMIT = 40
# Requests leave within the limit; two may arrive later than they left, beside others that did not.
ARRIVED = LIMIT + 2
WORKERS = ("ingest", "process-movies", "finalize", "api")
AWAY_SECONDS = 12.0
GROWTH_MB = 10  # of a function's memory between the first upload and the tenth; measured: 3


@pytest.fixture(scope="module")
def catalogue() -> list[tuple[str, str]]:
    """Title and year of films that the simulated TMDB knows, each the only one of its title."""
    films = list(Catalogue.load().records())
    titles = Counter(folded(film["title"]) for film in films)
    return [
        (film["title"], film["release_date"][:4])
        for film in films
        if film["release_date"] and titles[folded(film["title"])] == 1
    ]


@pytest.fixture(autouse=True)
def fresh(deck: Deck) -> None:
    """Every test finds no answer remembered, the full limit, and the simulated TMDB's log empty."""
    deck.execute("DELETE FROM tmdb_answers")
    deck.execute("UPDATE upstreams SET requests_limit = NULL, recovers_at = now() WHERE name = 'tmdb'")
    deck.tmdb.forget()


def watched(films: list[tuple[str, str]], code: str) -> bytes:
    """A watched.csv of these films."""
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(["Date", "Name", "Year", "Letterboxd URI"])
    rows.writerows(["2024-01-01", *film, f"https://boxd.it/{code}{number}"] for number, film in enumerate(films))
    return written.getvalue().encode()


def files_of(export: str) -> dict[str, bytes]:
    """The files of the demo's export or, where the data folder is, of a real one."""
    if export != DEMO.name:
        needs_data()
        return export_files(export)
    return {str(file.relative_to(DEMO)): file.read_bytes() for file in sorted(DEMO.rglob("*.csv"))}


def movies(deck: Deck, session: UUID, **query: Any) -> list[dict[str, Any]]:
    """The session's films, page by page as the Link headers lead."""
    found, answer = [], deck.api.get(f"/api/session/{session}/movies", params=query)
    while True:
        page = answer.raise_for_status().json()
        assert len(page) <= query.get("limit", 100)
        found += page
        if "next" not in answer.links:
            assert answer.headers["X-Total-Count"] == str(len(found))
            return found
        answer = deck.api.get(answer.links["next"]["url"])


def assert_whole(deck: Deck, status: dict[str, Any], films: int) -> None:
    """The session is complete, every one of its films enriched, and breaks no invariant."""
    assert (status["status"], status["total_movies"], status["enriched_count"]) == ("completed", films, films)
    assert (status["failed"], status["open"], status["progress_percent"]) == (0, 0, 100)
    assert deck.verify(UUID(status["session_id"])) == []


# The recorded catalogue is a part of TMDB's: 15 films of u2021b are missing, and two have namesakes only.
@pytest.mark.parametrize(("export", "films", "known", "review"), [(DEMO.name, 12, 11, 1), ("u2021b", 75, 58, 2)])
def test_an_export_is_enriched_once_and_the_second_time_from_memory(
    deck: Deck, export: str, films: int, known: int, review: int
) -> None:
    archive = zipped(files_of(export))
    session = deck.drop(archive, f"movies/{export}-first.zip")
    status = deck.wait(session)
    assert (status["status"], status["total_movies"], status["enriched_count"]) == ("completed", films, known)
    assert (status["needs_review"], status["not_found"], status["failed"]) == (review, films - known - review, 0)
    assert status["progress_percent"] == 100
    assert deck.verify(session) == []
    lines = deck.results(session)
    assert len(lines) == status["total"]
    assert sum(line["outcome"] == "enriched" for line in lines) == known
    assert not any(line["from_cache"] for line in lines)
    asked = deck.tmdb.calls()
    assert 1.9 * films <= asked["total"] <= 2.4 * films
    assert asked["per_second_max"] <= ARRIVED
    shown = movies(deck, session, sort="year", order="desc", limit=7)
    assert len({film["item_no"] for film in shown}) == len(shown) == films
    years = [film["year"] for film in shown]
    assert years == sorted(years, reverse=True)
    assert sum(bool(film["genres"] and film["directors"] and film["cast"]) for film in shown) >= known / 3, (
        "of half its films the recorded catalogue has no credits"
    )
    assert all(film["cast"] == [role["name"] for role in film["cast_roles"]] for film in shown if film["cast"])

    again = deck.drop(archive, f"movies/{export}-second.zip")
    assert again != session
    deck.wait(again)
    assert deck.tmdb.calls()["total"] == asked["total"], "what was asked for the first session was asked again"
    assert by_uri(movies(deck, again)) == by_uri(shown)
    assert all(line["from_cache"] for line in deck.results(again) if line["outcome"] == "enriched")


def by_uri(films: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The films less what differs between sessions."""
    return {
        film["letterboxd_uri"]: {name: value for name, value in film.items() if name not in ("item_no", "from_cache")}
        for film in films
    }


@pytest.mark.parametrize("export", [DEMO.name, "u2021b"])
def test_single_files_in_another_order_make_the_films_of_the_zip(deck: Deck, export: str) -> None:
    files = {name: data for name, data in files_of(export).items() if not name.startswith("deleted")}
    whole = deck.drop(zipped(files), f"movies/{export}-zip.zip")
    deck.wait(whole)
    answer = deck.api.post(
        "/api/upload",
        data={"pipeline": "movies", "export": f"{export}-singles"},
        files=[("file", (name, files[name], "text/csv")) for name in sorted(files, reverse=True)],
    )
    sent = answer.raise_for_status().json()
    assert (answer.status_code, sent["total_movies"]) == (202, None)
    status = deck.wait(UUID(sent["session_id"]), until=lambda s: s["status"] == "completed")
    found = movies(deck, UUID(sent["session_id"]), limit=1000)
    assert by_uri(found) == by_uri(movies(deck, whole, limit=1000))
    assert deck.verify(UUID(sent["session_id"])) == []
    if export != DEMO.name:
        counts, wanted = expected(export)
        assert status["total_movies"] == counts["films"]
        assert {film["uri"]: (film["name"], film["rating"]) for film in wanted} == {
            film["letterboxd_uri"]: (film["title"], film["rating"]) for film in found
        }


def enriched(deck: Deck, session: UUID) -> int:
    return int(deck.execute(f"SELECT count(*) FROM movies WHERE session_id = '{session}' AND tmdb_enriched")[0][0])


def surplus_connections(deck: Deck) -> dict[str, int]:
    """The connections to the ledger that are more than the functions' pools allow, or in a transaction."""
    functions = Topology.load(Path(deck.stack.info["topology"])).functions
    allowed: Counter[str] = Counter()
    for name, function in functions.items():
        allowed[f"rowlift-{name.removesuffix(f'-{function.pipeline}')}"] += function.pool_size
    rows = deck.execute(
        "SELECT application_name, count(*), count(*) FILTER (WHERE xact_start IS NOT NULL) FROM pg_stat_activity "
        "WHERE application_name LIKE 'rowlift-%' GROUP BY 1"
    )
    assert {name for name, _, _ in rows} >= {"rowlift-api", "rowlift-process"}
    return {name: n for name, n, busy in rows if n > allowed[name] or busy}


def memory_mb(deck: Deck) -> dict[str, float]:
    """Resident memory of each function with its workers."""
    masters = {name: psutil.Process(deck.stack.pid_of(name)) for name in WORKERS}
    return {
        name: sum(one.memory_info().rss for one in (master, *master.children(recursive=True))) / 2**20
        for name, master in masters.items()
    }


def test_ten_uploads_at_once(deck: Deck, catalogue: list[tuple[str, str]]) -> None:
    first = deck.drop(watched(catalogue[:10], "first"), "movies/first-of-all/watched.csv")
    assert_whole(deck, deck.wait(first), 10)
    before = memory_mb(deck)
    parts = [catalogue[n : n + 10] for n in range(10, 110, 10)]
    open_ = [deck.drop(watched(part, f"ten{n}"), f"movies/ten-{n}/watched.csv") for n, part in enumerate(parts)]
    polls, deadline = 0, time.monotonic() + 60
    while open_:
        assert time.monotonic() < deadline, f"{len(open_)} of ten sessions did not end"
        for session in list(open_):
            least, status, most = enriched(deck, session), deck.status(session), enriched(deck, session)
            if not status:
                continue
            polls += 1
            assert least <= status["enriched_count"] <= most
            assert status["total_movies"] in (None, 10)
            if status["status"] == "completed":
                assert_whole(deck, status, 10)
                open_.remove(session)
    assert polls > 20, "the sessions were over before they were looked at"
    asked = deck.tmdb.calls()
    assert asked["per_second_max"] <= ARRIVED
    assert asked["total"] >= 220, "films were not new: the test proves less than it says"

    after = memory_mb(deck)
    assert {name: round(after[name] - mb) for name, mb in before.items() if after[name] > mb + GROWTH_MB} == {}
    assert deck.api.get("/health").raise_for_status().json()["database"]["pool"]["checked_out"] == 0
    until(lambda: not surplus_connections(deck), "no connection is in use or beyond its pool")


def until(condition: Callable[[], bool], what: str, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain until {what}"
        time.sleep(0.05)


def test_a_storm_of_429s_slows_everybody_down_and_fails_nothing(deck: Deck, catalogue: list[tuple[str, str]]) -> None:
    deck.tmdb.misbehave(limit=10)
    session = deck.drop(watched(catalogue[200:220], "storm"), "movies/storm/watched.csv")
    assert_whole(deck, deck.wait(session), 20)
    asked = deck.tmdb.calls()
    assert asked["failed"] > 0, "nothing was refused: the test proves less than it says"
    assert asked["answered"] >= 40
    ((lowered,),) = deck.execute("SELECT requests_limit FROM upstreams WHERE name = 'tmdb'")
    assert lowered < LIMIT


@pytest.mark.slow
def test_tmdb_away_in_mid_run_only_takes_time(deck: Deck, catalogue: list[tuple[str, str]]) -> None:
    session = deck.drop(watched(catalogue[:60], "away"), "movies/away/watched.csv")
    deck.wait(session, until=lambda s: s["enriched_count"] > 0)
    deck.tmdb.misbehave(down=True)
    left, back = set(), time.monotonic() + AWAY_SECONDS
    while time.monotonic() < back:
        left.add(deck.status(session)["status"])
        time.sleep(0.1)
    deck.tmdb.misbehave(down=False)
    assert left <= {"processing", "enriching"}
    assert_whole(deck, deck.wait(session), 60)
    assert deck.tmdb.calls()["failed"] > 0, "nothing was refused: the test proves less than it says"


def test_a_wrong_token_pauses_the_session_and_resume_ends_it(deck: Deck, catalogue: list[tuple[str, str]]) -> None:
    deck.tmdb.misbehave(key_ok=False)
    session = deck.drop(watched(catalogue[:10], "token"), "movies/token/watched.csv")
    status = deck.wait(session)
    assert (status["status"], status["enriched_count"], status["failed"]) == ("paused", 0, 0)
    assert "TMDB_API_TOKEN" in status["pause_reason"]
    deck.wait(session, until=lambda s: s["running"] == 0)
    deck.tmdb.misbehave(key_ok=True)
    assert deck.api.post(f"/api/session/{session}/resume").status_code == 200
    assert_whole(deck, deck.wait(session, until=lambda s: s["status"] == "completed"), 10)


def test_a_person_says_which_film_it_is_or_that_it_is_none(deck: Deck) -> None:
    session = deck.drop(watched([("Solaris", "1968")], "decided"), "movies/decided/watched.csv")
    assert deck.wait(session)["needs_review"] == 1
    (film,) = movies(deck, session)
    place = f"/api/session/{session}"
    candidates = deck.api.get(f"{place}/movies/{film['item_no']}").raise_for_status().json()["candidates"]
    assert len(candidates) > 1
    chosen = candidates[-1]["tmdb_id"]
    decide = f"{place}/items/{film['item_no']}/match"
    deck.api.post(decide, json={"tmdb_id": chosen}).raise_for_status()
    assert_whole(deck, deck.wait(session, until=lambda s: s["status"] == "completed"), 1)
    (film,) = movies(deck, session)
    assert (film["outcome"], film["tmdb_id"], film["match_method"]) == ("enriched", chosen, "override")
    assert [line["tmdb_id"] for line in deck.results(session)] == [chosen]

    deck.api.post(decide, json={"tmdb_id": None}).raise_for_status()
    status = deck.wait(session, until=lambda s: s["status"] == "completed")
    assert (status["not_found"], status["enriched_count"]) == (1, 0)
    assert [film["tmdb_enriched"] for film in movies(deck, session)] == [False]
    assert deck.verify(session) == []


@pytest.mark.slow
def test_a_killed_process_costs_a_lease_and_nothing_else(deck: Deck, catalogue: list[tuple[str, str]]) -> None:
    deck.tmdb.misbehave(latency=1.5)
    session = deck.drop(watched(catalogue[:30], "killed"), "movies/killed/watched.csv")
    until(lambda: deck.tmdb.calls()["open"] > 10, "calls are under way")
    deck.stack.restart("process-movies")
    deck.tmdb.misbehave(latency=0)
    assert_whole(deck, deck.wait(session, until=lambda s: s["status"] == "completed"), 30)
    ((lost,),) = deck.execute(f"SELECT sum(lost_leases) FROM items WHERE session_id = '{session}'")
    assert lost > 0, "nobody had the items when the process was killed: the test proves less than it says"


def test_a_folder_is_run_from_the_command_line(deck: Deck, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "mine")
    place = ("--state-dir", str(deck.stack.state_dir))
    command = [ROWLIFT, "run", "mine", "--pipeline", "movies", "--json", *place]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["status"], answer["total_movies"], answer["enriched_count"]) == ("completed", 12, 11)
    lines = Path(answer["output"]).read_text("utf-8").splitlines()
    assert len(lines) == answer["total"]
    assert {json.loads(line)["title"] for line in lines if '"enriched"' in line} >= {"The Matrix", "Persepolis"}
