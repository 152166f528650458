"""Exports become sessions: archives and single files, what belongs together, whatever their order."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.movies import EXPORTS, expected, export_files, movies_bench, needs_data, tables, zipped
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
