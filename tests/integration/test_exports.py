"""Exports become sessions: archives and single files, what belongs together, whatever their order."""

from __future__ import annotations

import itertools
import os
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.pipelines.movies.exports import Exports
from tests.movies import (
    EXPORTS,
    HEADER,
    csv_of,
    expected,
    export_files,
    film,
    movies_bench,
    needs_data,
    ratings,
    tables,
    watched,
    zipped,
)
from tests.workbench import Workbench

EXAMPLES = int(os.environ.get("ROWLIFT_EXAMPLES", "80"))
_numbers = itertools.count()


@pytest.fixture
def films(bench: Workbench) -> Workbench:
    """The movies pipeline, with a TMDB that knows every film."""
    return movies_bench(bench)


@pytest.mark.parametrize("name", EXPORTS)
def test_a_real_export_merges_as_expected(films: Workbench, name: str) -> None:
    needs_data()
    counts, wanted = expected(name)
    session = films.drop(zipped(export_files(name)), f"movies/{name}.zip")
    status = films.run(session)

    assert status["status"] == "completed", status["error_message"]
    assert status["total"] == sum(
        n for file, n in counts["rows"].items() if "/" not in file or file.startswith("likes")
    )
    found = tables(films, session)
    if counts["films"]:
        assert status["total_movies"] == status["enriched_count"] == counts["films"]
        assert status["needs_review"] == len(counts["unmatched"]) + len(counts["ambiguous"])
        rows = {row[0]: row for row in found["movies"]}
        for film in wanted:
            row = rows[film["uri"] or f"{film['name']}{film['year'] or ''}"]
            rating = None if film["rating"] is None else f"{film['rating']:.1f}"
            assert (row[1], row[2], row[3], row[6], row[7], row[8]) == (
                film["name"], film["year"], rating, film["liked"], film["in_watchlist"], len(film["diary"])
            )  # fmt: skip
        entries = sorted((f["uri"] or "", e["uri"] or "", e["watched_date"]) for f in wanted for e in f["diary"])
        assert sorted((row[0], row[1] or "", row[2]) for row in found["diary_entries"]) == entries
        assert len(found["reviews"]) == sum(len(film["reviews"]) for film in wanted)
    else:
        assert status["total_movies"] == status["enriched_count"] == 467
        assert len(found["diary_entries"]) == 477
    films.assert_sound(session)


TITLES = st.sampled_from([("Heat", "1995"), ("Heat", "1986"), ("The Haunted Castle", "1897"), ("Undated", "")])
FILMS = st.sampled_from([f"https://boxd.it/{code}" for code in ("1SkK", "1skk", "aa", "bb", "")])
ENTRIES = st.sampled_from([f"https://boxd.it/entry{n}" for n in range(6)] + [""])
DATES = st.sampled_from(["2024-01-01", "2024-02-02", "2023-03-03"])
RATINGS = st.sampled_from(["", "0.5", "4", "3.5"])
film_rows = st.lists(st.tuples(DATES, TITLES, FILMS), max_size=6)
SHAPES = {
    "watched.csv": ("Date,Name,Year,Letterboxd URI", film_rows),
    "likes/films.csv": ("Date,Name,Year,Letterboxd URI", film_rows),
    "watchlist.csv": ("Date,Name,Year,Letterboxd URI", film_rows),
    "ratings.csv": (
        "Date,Name,Year,Letterboxd URI,Rating",
        st.lists(st.tuples(DATES, TITLES, FILMS, RATINGS.filter(bool)), max_size=5),
    ),
    "diary.csv": (
        "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Tags,Watched Date",
        st.lists(
            st.tuples(DATES, TITLES, ENTRIES, RATINGS, st.sampled_from(["", "Yes"]), st.sampled_from(["", "a"]), DATES),
            max_size=6,
        ),
    ),
    "reviews.csv": (
        "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Review,Tags,Watched Date",
        st.lists(
            st.tuples(DATES, TITLES, ENTRIES, RATINGS, st.just(""), st.just("Good."), st.just(""), DATES), max_size=4
        ),
    ),
}  # fmt: skip


@st.composite
def small_exports(draw: st.DrawFn) -> dict[str, bytes]:
    """Exports of a few films that share names, years and each other's spelling."""
    files = {}
    for path, (header, rows) in SHAPES.items():
        if draw(st.booleans()):
            lines = [",".join([date, *title, *rest]) for date, title, *rest in draw(rows)]
            files[path] = ("\r\n".join([header, *lines]) + "\r\n").encode()
    return files


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files=small_exports().filter(bool), data=st.data())
def test_the_order_of_the_files_does_not_matter(films: Workbench, files: dict[str, bytes], data: st.DataObject) -> None:
    number = next(_numbers)
    options = {"watchlist": "true"} if data.draw(st.booleans(), label="watchlist") else {}
    whole = films.drop(zipped(files), f"movies/{number}-whole.zip", **options)
    films.run(whole)

    films.ingest._chunk_rows = data.draw(st.sampled_from([1, 2, 2000]), label="rows in a chunk")
    order = data.draw(st.permutations(list(files)), label="order")
    again = data.draw(st.lists(st.sampled_from(order), max_size=2), label="dropped again")
    for path in [*order, *again]:
        single = films.drop(files[path], f"movies/{number}-single/{path}", **options)
        match data.draw(st.sampled_from(["nothing", "some", "all"]), label="what runs in between"):
            case "some":
                films.deliver()
            case "all":
                films.run(single)
    films.run(single)

    assert tables(films, single) == tables(films, whole)
    films.assert_sound(whole)
    films.assert_sound(single)


def as_written(bench: Workbench, session: UUID) -> list[object]:
    """What the ledger and the domain tables hold of a session: item numbers included, ids and moments not."""
    left_out = "'{session_id,file,claim,dispatched_at,settled_in,finalized_at,updated_at,error_message}'::text[]"
    return [
        bench.execute(
            f"SELECT (to_jsonb(t) - {left_out})::text FROM {table} t WHERE session_id = '{session}' ORDER BY item_no"
        )
        for table in ("items", "film_records", "movies", "diary_entries", "reviews")
    ]


MIXED = {
    "watched.csv": csv_of(
        HEADER, *map(film, range(1, 8)), film(3), film(4).replace("2024-01-05", "2023-12-31"), "2024-01-01,Film 1,1951,https://boxd.it/other",
        "2024-01-01,No link,1990,", "2024-01-01,Film 7,1957,", "yesterday,Film 9,1959,https://boxd.it/f9", "2024-01-01,Undated,,https://boxd.it/u",
    ),
    "likes/films.csv": csv_of(HEADER, film(2), film(20), film(21)),
    "watchlist.csv": csv_of(HEADER, film(2), film(30), film(31)),
    "ratings.csv": ratings(1, 20, 40, 41),
    "diary.csv": csv_of(
        f"{HEADER},Rating,Rewatch,Tags,Watched Date",
        "2024-01-01,Film 2,1952,https://boxd.it/e2,3.5,,a,2024-01-02", "2024-01-01,Film 1,1951,https://boxd.it/e1,3.5,,,2024-01-02",
        "2024-01-01,Film 41,1991,https://boxd.it/e41,,,,2024-01-02",
    ),
}  # fmt: skip


@pytest.mark.parametrize("watchlist", ["false", "true"])
@pytest.mark.parametrize("rows", [1, 3, 6_000])
def test_a_film_written_at_once_stands_as_its_merge_would_have_it(
    films: Workbench, monkeypatch: pytest.MonkeyPatch, rows: int, watchlist: str
) -> None:
    decided = films.drop(watched(5, 6), "movies/decided/watched.csv")
    films.run(decided)
    films.sessions.match(decided, 1, tmdb_id=None)
    films.ingest._chunk_rows = rows
    at_once = [films.drop(data, f"movies/one/{path}", watchlist=watchlist) for path, data in MIXED.items()][-1]
    monkeypatch.setattr(Exports, "together", lambda self, transaction, session, rows, options: rows.keys())
    merged = [films.drop(data, f"movies/two/{path}", watchlist=watchlist) for path, data in MIXED.items()][-1]
    assert as_written(films, at_once) == as_written(films, merged)
    assert films.value(f"SELECT count(*) FROM items WHERE session_id = '{at_once}' AND key IS NOT NULL") > 10
    for session in (at_once, merged):
        films.run(session)
        films.assert_sound(session)
    assert tables(films, at_once) == tables(films, merged)


def test_an_export_in_large_chunks_is_the_same_as_in_small_ones(films: Workbench) -> None:
    sessions = []
    for rows in (2, 6_000):
        films.ingest._chunk_rows = rows
        sessions.append(films.drop(zipped(MIXED), f"movies/chunks-of-{rows}.zip"))
        films.run(sessions[-1])
        films.assert_sound(sessions[-1])
    small, large = sessions
    assert tables(films, small) == tables(films, large)
    kinds = "SELECT item_no, key, outcome, code, parent FROM items WHERE session_id = '{}' ORDER BY item_no"
    assert films.execute(kinds.format(small)) == films.execute(kinds.format(large))


def test_records_go_with_their_items_whatever_sessions_those_are_of(films: Workbench) -> None:
    sessions = [films.drop(watched(1, 2), f"movies/{export}/watched.csv") for export in ("one", "two", "three")]
    films.execute(f"DELETE FROM items WHERE session_id IN ('{sessions[0]}', '{sessions[1]}') AND item_no = 1")
    left = films.execute("SELECT session_id, item_no FROM film_records")
    assert sorted(map(tuple, left)) == sorted([(sessions[0], 2), (sessions[1], 2), (sessions[2], 1), (sessions[2], 2)])
