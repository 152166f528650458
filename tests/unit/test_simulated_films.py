"""The films of the simulated TMDB: the committed list, what search finds, and what is told of one film."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import orjson
import pytest

from infra.local.upstreams.tmdb_catalogue import APPENDABLE, GENRES, OWN_LIST, RECORDED, Catalogue, folded

needs_recordings = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"the recorded catalogue is not at {RECORDED}")


@pytest.fixture(scope="module")
def own() -> Catalogue:
    return Catalogue.own()


@pytest.fixture(scope="module")
def films() -> list[dict[str, Any]]:
    return orjson.loads(OWN_LIST.read_bytes())


def titles(body: dict[str, Any]) -> list[str]:
    return [f"{result['title']} {result['release_date'][:4]}" for result in body["results"]]


def test_the_own_list_is_long_and_wide(films: list[dict[str, Any]]) -> None:
    assert len(films) >= 300
    assert {film["release_date"][:3] for film in films} >= {"189", *(str(decade) for decade in range(192, 203))}
    assert len({film["original_language"] for film in films}) >= 10
    pairs = [(film["title"], film["release_date"][:4]) for film in films]
    assert len(pairs) - len(set(pairs)) >= 3, "films of one title and year"
    assert len(pairs) - len({film["title"] for film in films}) >= 20, "films of one title"
    assert OWN_LIST.read_text(encoding="utf-8").count("\n") == len(films) + 2, "one film per line"


def test_every_film_of_the_own_list_is_complete(films: list[dict[str, Any]]) -> None:
    assert len({film["id"] for film in films}) == len(films)
    imdb = [film["imdb_id"] for film in films if film["imdb_id"]]
    assert len(set(imdb)) == len(imdb) > 300
    for film in films:
        assert {key: type(value) for key, value in film.items() if key != "alternative_titles"} == {
            "id": int, "title": str, "original_title": str, "original_language": str, "release_date": str,
            "runtime": int, "genres": list, "imdb_id": str, "overview": str, "popularity": float,
            "vote_average": float, "vote_count": int, "directors": list, "cast": list,
        }  # fmt: skip
        assert all(film[name] for name in ("title", "overview", "runtime", "directors", "genres")), film["title"]
        assert all(film.get("alternative_titles", ["no such member"])), film["title"]
        assert 1895 <= date.fromisoformat(film["release_date"]).year <= 2026
        assert re.fullmatch(r"(tt\d{7,8})?", film["imdb_id"]), film["title"]
        assert set(film["genres"]) <= set(GENRES)
        assert 3 <= len(film["cast"]) <= 5
        assert all(name and role for name, role in film["cast"]), film["title"]


def test_people_keep_one_id_and_share_none(own: Catalogue, films: list[dict[str, Any]]) -> None:
    names: dict[int, set[str]] = {}
    for film in films:
        body = own.movie(film["id"], {"credits"})
        assert body is not None
        for entry in body["credits"]["cast"] + body["credits"]["crew"]:
            names.setdefault(entry["id"], set()).add(entry["name"])
    assert all(len(each) == 1 for each in names.values())
    assert len({name for each in names.values() for name in each}) == len(names) > 500


@pytest.mark.parametrize(
    ("title", "same"),
    [
        ("Amélie", "amelie"),
        ("WALL·E", "wall e"),
        ("Schindler’s List", "schindlers list"),
        ("Låt den rätte komma in", "lat den ratte komma in"),
        ("Blood & Bone:  Œuvre", "blood bone oeuvre"),
        ("8½", "81 2"),
        ("!!!", "!!!"),
        ("君の名は。", "君の名は"),
    ],
)
def test_titles_are_compared_without_case_accents_and_punctuation(title: str, same: str) -> None:
    assert folded(title) == same == folded(title.upper())


@pytest.mark.parametrize(
    ("query", "year", "first"),
    [
        ("amelie", None, "Amélie 2001"),
        ("AMÉLIE", 2001, "Amélie 2001"),
        ("千と千尋の神隠し", None, "Spirited Away 2001"),
        ("le fabuleux destin", None, "Amélie 2001"),
        ("dark knight", None, "The Dark Knight 2008"),
        ("The Dark Kni", 2008, "The Dark Knight 2008"),
        ("Wall-E", None, "WALL·E 2008"),
        ("Halloween", 2018, "Halloween 2018"),
        ("Seven", 1995, "Se7en 1995"),  # an alternative title
        ("Schindlers list", None, "Schindler's List 1993"),
        ("it", None, "It 2017"),  # exact before popular
    ],
)
def test_a_film_is_found(own: Catalogue, query: str, year: int | None, first: str) -> None:
    assert titles(own.search(query, year=year))[0] == first


def test_exact_titles_come_first_then_the_popular(own: Catalogue) -> None:
    found = own.search("dune")
    assert titles(found)[:3] == ["Dune 2021", "Dune 1984", "Dune: Part Two 2024"]
    assert titles(own.search("Emma", year=1996)) == ["Emma 1996", "Emma 1996"]
    popularities = [result["popularity"] for result in own.search("Halloween")["results"]]
    assert popularities == sorted(popularities, reverse=True)


def test_every_word_has_to_begin_a_word_and_the_year_to_be_equal(own: Catalogue) -> None:
    nothing = {"page": 1, "results": [], "total_pages": 1, "total_results": 0}
    for query in ("Dune Matrix", "ark Knight", "zzz", "?", " "):
        assert own.search(query) == nothing, query
    assert own.search("Heat", year=1996) == nothing
    assert titles(own.search("Heat", primary_release_year=1995)) == ["Heat 1995"]
    assert own.search("Heat", year=1995, primary_release_year=1996) == nothing


def test_pages_hold_twenty_and_together_everything(own: Catalogue) -> None:
    pages = [own.search("the", page=page) for page in range(1, 9)]
    total, count = pages[0]["total_results"], pages[0]["total_pages"]
    assert count == -(-total // 20) > 2
    assert [len(page["results"]) for page in pages[: count - 1]] == [20] * (count - 1)
    assert [page["page"] for page in pages] == list(range(1, 9))
    ids = [result["id"] for page in pages for result in page["results"]]
    assert len(ids) == len(set(ids)) == total
    assert own.search("the", page=count + 1)["results"] == []


def test_one_film_by_either_id_with_what_is_appended(own: Catalogue) -> None:
    plain = own.movie(550)
    assert plain is not None
    assert not set(APPENDABLE) & set(plain)
    assert own.movie("tt0137523") == plain == own.movie("550")
    whole = own.movie(550, {"credits", "external_ids", "alternative_titles", "release_dates", "nonsense"})
    assert whole is not None
    assert set(whole) - set(plain) == set(APPENDABLE)
    cast, crew = whole["credits"]["cast"], whole["credits"]["crew"]
    assert [(entry["order"], entry["name"], entry["character"]) for entry in cast[:2]] == [
        (0, "Brad Pitt", "Tyler Durden"), (1, "Edward Norton", "Narrator"),
    ]  # fmt: skip
    assert [(entry["name"], entry["job"]) for entry in crew] == [("David Fincher", "Director")]
    assert whole["external_ids"]["imdb_id"] == plain["imdb_id"] == "tt0137523"
    assert whole["release_dates"]["results"][0]["release_dates"][0]["release_date"] == "1999-10-15T00:00:00.000Z"
    assert own.member(550, "credits") == {"id": 550, **whole["credits"]}
    star_wars = own.movie(11, {"alternative_titles"})
    assert star_wars is not None
    assert [t["title"] for t in star_wars["alternative_titles"]["titles"]] == ["Star Wars: Episode IV - A New Hope"]


def test_nobody_is_an_empty_answer(own: Catalogue) -> None:
    for unknown in (999_999_999, "tt9999999999", "", "x", "-1", "٥٥٠"):
        assert own.movie(unknown) is None
        assert own.member(unknown, "credits") is None
    assert own.find("tt0000000")["movie_results"] == []
    assert [found["id"] for found in own.find("tt0113277")["movie_results"]] == [949]


@needs_recordings
def test_the_recorded_catalogue_is_taken_where_it_is() -> None:
    recorded = Catalogue.load()
    assert len(recorded) > 17_000
    odd = recorded.movie(1453301, set(APPENDABLE))  # without runtime, IMDb id, credits
    assert odd is not None
    assert (odd["runtime"], odd["imdb_id"], odd["credits"]) == (None, None, {"cast": [], "crew": []})
    assert recorded.search("fight club", year=1999)["results"][0]["id"] == 550


def test_without_the_recorded_catalogue_the_own_list_is_taken(monkeypatch: pytest.MonkeyPatch, own: Catalogue) -> None:
    monkeypatch.setattr("infra.local.upstreams.tmdb_catalogue.RECORDED", OWN_LIST.parent / "nowhere")
    assert len(Catalogue.load()) == len(own)
