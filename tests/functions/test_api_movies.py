"""The films of a session over the API: in pages, one by one, and matched by a person; on a real ledger."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from werkzeug.http import parse_dict_header
from werkzeug.test import Client

from shared.api.routing import Api
from shared.upstreams.base import Answer, Failure, JsonAnswer
from shared.upstreams.tmdb import Details, Search
from tests.fakes import tmdb_film
from tests.functions.asking import client_of, problem
from tests.movies import movies_bench, zipped
from tests.workbench import Workbench, artists_csv

FIELDS = [
    "item_no", "letterboxd_uri", "title", "year", "rating", "watched_date", "logged_date", "liked", "in_watchlist",
    "tags", "diary_count", "review_count", "outcome", "code", "tmdb_enriched", "tmdb_id", "imdb_id", "imdb_rating",
    "tmdb_rating", "tmdb_votes", "genres", "directors", "cast", "cast_roles", "runtime", "original_title",
    "original_language", "release_date", "overview", "poster_path", "match_score", "match_method", "from_cache",
]  # fmt: skip
HEAT = "2024-01-01,Heat,1995,https://boxd.it/1SkK"
HEADER = "Date,Name,Year,Letterboxd URI"


@pytest.fixture
def films(bench: Workbench) -> Workbench:
    return movies_bench(bench)


@pytest.fixture
def http(films: Workbench) -> Client:
    return client_of(Api(films.db, films.sessions, films.store, films.settings))


def csv(header: str, *rows: str) -> bytes:
    return "\r\n".join([header, *rows, ""]).encode()


def small(films: Workbench, **options: str) -> UUID:
    """A finished session of one film with all there can be of it, and an entry of a film nobody knows."""
    files = {
        "watched.csv": csv(HEADER, HEAT),
        "ratings.csv": csv(f"{HEADER},Rating", f"{HEAT},4.5"),
        "likes/films.csv": csv(HEADER, HEAT),
        "diary.csv": csv(
            f"{HEADER},Rating,Rewatch,Tags,Watched Date",
            "2024-03-03,Heat,1995,https://boxd.it/e1,4,,\"cinema, 35mm\",2024-03-02",
            "2024-02-02,Heat,1995,https://boxd.it/e2,,Yes,,2024-02-01",
        ),
        "reviews.csv": csv(
            f"{HEADER},Rating,Rewatch,Review,Tags,Watched Date",
            "2024-03-03,Heat,1995,https://boxd.it/e1,4,,\"Good \"\"coffee\"\".\",,2024-03-02",
            "2024-03-03,Nobody Knows It,1901,https://boxd.it/e9,4,,So so.,,2024-03-02",
        ),
    }  # fmt: skip
    session = films.drop(zipped(files), f"movies/{uuid4()}.zip", **options)
    films.run(session)
    return session


def many(films: Workbench, n: int = 23) -> UUID:
    """A finished session of films with ties and nulls in every column that can be sorted by."""
    rows = [
        f"2024-01-{1 + i % 3:02},Film {i % 7},{'' if i % 5 == 4 else 1990 + i % 4},https://boxd.it/{i}"
        for i in range(n)
    ]
    rated = [f"{row},{1 + i % 3}" for i, row in enumerate(rows) if i % 4]
    films.upstream.unknown = {"Film 3"}
    session = films.drop(zipped({"watched.csv": csv(HEADER, *rows), "ratings.csv": csv(f"{HEADER},Rating", *rated)}),
                         "movies/many.zip")  # fmt: skip
    films.run(session)
    films.execute(
        "UPDATE movies SET runtime = 90 + item_no % 3, tmdb_rating = 5 + (item_no % 2)::numeric / 2, "
        """genres = CASE WHEN item_no % 2 = 0 THEN '["Drama", "Science Fiction"]'::jsonb ELSE '["Crime"]' END """
        "WHERE tmdb_enriched"
    )
    return session


def pages(http: Client, path: str) -> Iterator[list[dict[str, Any]]]:
    """Every page, found by following the links."""
    while path:
        response = http.get(path)
        assert response.status_code == 200, response.text
        assert int(response.headers["X-Total-Count"]) >= 0
        yield response.json
        path = linked(response.headers.get("Link", "")).get("next", "")


def linked(header: str) -> dict[str, str]:
    """Addresses by relation."""
    found = {}
    for one in filter(None, header.split(", <")):
        address, _, attributes = one.lstrip("<").partition(">; ")
        found[parse_dict_header(attributes)["rel"]] = address
    return found


class TestFields:
    def test_a_film_has_all_of_them_in_their_order(self, films: Workbench, http: Client) -> None:
        session = small(films)
        response = http.get(f"/api/session/{session}/movies")
        assert response.mimetype == "application/json"
        (film,) = orjson.loads(response.data)
        assert list(film) == FIELDS
        number = tmdb_film("Heat", 1995)["id"]
        assert film == {
            "item_no": film["item_no"], "letterboxd_uri": "https://boxd.it/1SkK", "title": "Heat", "year": 1995,
            "rating": 4.5, "watched_date": "2024-03-02", "logged_date": "2024-01-01", "liked": True,
            "in_watchlist": False, "tags": ["35mm", "cinema"], "diary_count": 2, "review_count": 1,
            "outcome": "enriched", "code": None,
            "tmdb_enriched": True, "tmdb_id": number, "imdb_id": f"tt{number}", "imdb_rating": None, "tmdb_rating": 7.5,
            "tmdb_votes": 10, "genres": ["Drama"], "directors": ["A. Director"], "cast": ["An Actor"],
            "cast_roles": [{"name": "An Actor", "role": "A Role"}], "runtime": 90, "original_title": "Heat",
            "original_language": "en", "release_date": "1995-05-01", "overview": "What happens.", "poster_path": None,
            "match_score": film["match_score"], "match_method": film["match_method"], "from_cache": False,
        }  # fmt: skip
        assert 0 < film["match_score"] <= 1

    def test_before_it_had_its_turn_its_outcome_is_open(self, films: Workbench, http: Client) -> None:
        session = films.drop(csv(HEADER, HEAT), "movies/me/watched.csv")
        (film,) = http.get(f"/api/session/{session}/movies").json
        assert (film["title"], film["outcome"], film["tmdb_enriched"], film["cast"]) == ("Heat", None, False, None)

    def test_a_second_session_says_that_its_answer_was_known(self, films: Workbench, http: Client) -> None:
        small(films)
        (film,) = http.get(f"/api/session/{small(films)}/movies").json
        assert film["from_cache"] is True

    def test_one_film_comes_with_its_diary_and_reviews(self, films: Workbench, http: Client) -> None:
        session = small(films)
        (listed,) = http.get(f"/api/session/{session}/movies").json
        film = http.get(f"/api/session/{session}/movies/{listed['item_no']}").json
        diary, reviews = film["diary"], film["reviews"]
        assert film == {**listed, "diary": diary, "reviews": reviews, "candidates": None}
        assert [
            (e["entry_uri"], e["watched_date"], e["logged_date"], e["rating"], e["rewatch"], e["tags"]) for e in diary
        ] == [
            ("https://boxd.it/e2", "2024-02-01", "2024-02-02", None, True, []),
            ("https://boxd.it/e1", "2024-03-02", "2024-03-03", 4.0, False, ["cinema", "35mm"]),
        ]
        assert [(e["entry_uri"], e["review"]) for e in reviews] == [("https://boxd.it/e1", 'Good "coffee".')]

    def test_every_record_of_a_film_leads_to_it(self, films: Workbench, http: Client) -> None:
        session = small(films)
        films.drop(csv(HEADER, HEAT, HEAT), "movies/me/watched.csv", session=str(session))  # a repeated record
        found = films.execute(f"SELECT item_no, outcome FROM items WHERE session_id = '{session}' ORDER BY item_no")
        (owner,) = (number for number, outcome in found if outcome == "enriched")
        assert {outcome for _, outcome in found} == {"enriched", "merged", "duplicate", "needs_review"}
        for number, outcome in found:
            response = http.get(f"/api/session/{session}/movies/{number}")
            if outcome == "needs_review":
                assert f"item {number}" in problem(response, 404, "not-found")["detail"]
            else:
                assert response.json["item_no"] == owner

    @pytest.mark.parametrize("number", ["0", "99", str(2**63 - 1), str(2**63), "-1", "one"])
    def test_a_film_nobody_knows(self, films: Workbench, http: Client, number: str) -> None:
        session = films.drop(csv(HEADER, HEAT), "movies/me/watched.csv")
        assert http.get(f"/api/session/{session}/movies/{number}").status_code == 404


class TestPages:
    @pytest.mark.parametrize("order", ["asc", "desc"])
    @pytest.mark.parametrize("column", ["item_no", "title", "year", "rating", "watched_date", "tmdb_rating", "runtime"])
    def test_hold_every_film_once_in_order_with_nulls_last(
        self, films: Workbench, http: Client, column: str, order: str
    ) -> None:
        session = many(films)
        found = list(
            itertools.chain(*pages(http, f"/api/session/{session}/movies?sort={column}&order={order}&limit=4"))
        )
        numbers = [film["item_no"] for film in found]
        assert len(numbers) == len({*numbers}) == 23
        values = [film[column] for film in found]
        known = [value for value in values if value is not None]
        assert values == known + [None] * (len(values) - len(known))
        assert known == sorted(known, reverse=order == "desc")
        if column in ("year", "rating", "tmdb_rating", "runtime"):
            assert len(known) < len(values)
        if column != "item_no":
            assert len({*known}) < len(known)
            ties = itertools.groupby(found, key=lambda film: film[column])
            assert all((of := [film["item_no"] for film in group]) == sorted(of) for _, group in ties)

    def test_are_in_item_order_and_a_hundred_without_a_word(self, films: Workbench, http: Client) -> None:
        session = many(films, 105)
        first = http.get(f"/api/session/{session}/movies")
        assert [film["item_no"] for film in first.json] == sorted(film["item_no"] for film in first.json)
        assert (len(first.json), first.headers["X-Total-Count"]) == (100, "105")

    def test_link_to_their_neighbours_and_keep_what_was_asked(self, films: Workbench, http: Client) -> None:
        path = f"/api/session/{many(films)}/movies"
        response = http.get(f"{path}?limit=2&genre=Science%20Fiction&enriched=true&offset=3&year=")
        kept = f"{path}?limit=2&genre=Science+Fiction&enriched=true&offset="
        assert linked(response.headers["Link"]) == {"next": f"{kept}5", "prev": f"{kept}1", "first": f"{kept}0"}
        assert "Link" not in http.get(path).headers
        assert set(linked(http.get(f"{path}?limit=22").headers["Link"])) == {"next"}
        assert set(linked(http.get(f"{path}?limit=22&offset=22").headers["Link"])) == {"prev", "first"}

    def test_behind_the_last_film_are_empty(self, films: Workbench, http: Client) -> None:
        response = http.get(f"/api/session/{many(films)}/movies?offset=1000")
        assert (response.json, response.headers["X-Total-Count"]) == ([], "23")

    def test_of_a_session_without_films_are_empty(self, films: Workbench, http: Client) -> None:
        session = films.drop(csv(HEADER), "movies/me/watched.csv")
        response = http.get(f"/api/session/{session}/movies")
        assert (response.status_code, response.data.strip(), response.headers["X-Total-Count"]) == (200, b"[]", "0")


class TestFilters:
    @pytest.mark.parametrize(("query", "matches"), [
        ("year=1991", lambda film: film["year"] == 1991),
        ("rating=2", lambda film: film["rating"] == 2.0),
        ("rating=2.5", lambda film: False),
        ("genre=crime", lambda film: film["genres"] == ["Crime"]),
        ("genre=SCIENCE%20FICTION", lambda film: film["genres"] and "Science Fiction" in film["genres"]),
        ("genre=Sci", lambda film: False),
        ("outcome=not_found", lambda film: film["title"] == "Film 3"),
        ("outcome=enriched&year=1990", lambda film: film["outcome"] == "enriched" and film["year"] == 1990),
        ("enriched=false", lambda film: not film["tmdb_enriched"]),
        ("enriched=true&rating=1", lambda film: film["tmdb_enriched"] and film["rating"] == 1.0),
    ])  # fmt: skip
    def test_leave_what_was_asked_for(self, films: Workbench, http: Client, query: str, matches: Any) -> None:
        path = f"/api/session/{many(films)}/movies"
        wanted = [film["item_no"] for film in http.get(path).json if matches(film)]
        response = http.get(f"{path}?{query}")
        assert [film["item_no"] for film in response.json] == wanted
        assert response.headers["X-Total-Count"] == str(len(wanted))
        assert wanted or "2.5" in query or "Sci" in query

    @pytest.mark.parametrize(("query", "field"), [
        ("sort=director", "sort"), ("order=up", "order"), ("limit=0", "limit"), ("limit=1001", "limit"),
        ("offset=-1", "offset"), (f"offset={2**63}", "offset"), ("year=soon", "year"), ("year=99999", "year"),
        ("rating=9", "rating"),
        ("rating=nan", "rating"), ("outcome=won", "outcome"), ("enriched=perhaps", "enriched"), ("page=2", "page"),
        ("sort=title&sort=year", "sort"), ("genre=%00", "genre"),
    ])  # fmt: skip
    def test_a_bad_query_names_what_is_wrong(self, away: Client, query: str, field: str) -> None:
        found = problem(away.get(f"/api/session/{uuid4()}/movies?{query}"), 422, "invalid-request")
        assert [fault["field"] for fault in found["errors"]] == [field]


class TestSessionsWithoutFilms:
    @pytest.mark.parametrize("end", ["", "/1"])
    def test_another_pipeline(self, bench: Workbench, http: Client, end: str) -> None:
        session = bench.drop(artists_csv(1))
        assert "artists" in problem(http.get(f"/api/session/{session}/movies{end}"), 409, "conflict")["detail"]

    @pytest.mark.parametrize("end", ["", "/1"])
    @pytest.mark.parametrize("option", ["write_mode=file", "dry_run=true"])
    def test_films_that_are_in_no_table(self, films: Workbench, http: Client, option: str, end: str) -> None:
        name, _, value = option.partition("=")
        session = small(films, **{name: value})
        found = problem(http.get(f"/api/session/{session}/movies{end}"), 409, "conflict")
        assert "results.jsonl" in found["detail"]

    @pytest.mark.parametrize("end", ["", "/1"])
    def test_expired_and_unknown(self, films: Workbench, http: Client, end: str) -> None:
        session = small(films)
        films.execute(f"UPDATE sessions SET expires_at = now() WHERE id = '{session}'")
        problem(http.get(f"/api/session/{session}/movies{end}"), 410, "expired")
        problem(http.get(f"/api/session/{uuid4()}/movies{end}"), 404, "not-found")
        problem(http.get(f"/api/session/17/movies{end}"), 404, "not-found")


class TestMatch:
    """A film two of TMDB's might be; 949 is the one a person means."""

    def doubtful(self, films: Workbench) -> UUID:
        def script(request: Any) -> Answer | Failure | None:
            match request:
                case Search():
                    found = [{**tmdb_film("Heat", 1995), "id": number} for number in (949, 950)]
                    return JsonAnswer(body={"results": found, "total_results": 2})
                case Details(tmdb_id=949):
                    return JsonAnswer(body=heat())
            return None

        films.upstream.script = script
        return small(films)

    def item(self, http: Client, session: UUID, **chosen: Any) -> int:
        items = http.get(f"/api/session/{session}/items").json["items"]
        (found,) = (one for one in items if all(one[name] == value for name, value in chosen.items()))
        return int(found["item_no"])

    def test_a_person_decides_and_it_is_remembered(self, films: Workbench, http: Client) -> None:
        session = self.doubtful(films)
        number = self.item(http, session, outcome="needs_review", code="weak_match")
        film = http.get(f"/api/session/{session}/movies/{number}").json
        assert {one["tmdb_id"] for one in film["candidates"]} == {949, 950}
        assert (film["outcome"], film["tmdb_enriched"]) == ("needs_review", False)

        found = http.post(f"/api/session/{session}/items/{number}/match", json={"tmdb_id": 949}).json
        assert (found["item_no"], found["film_item_no"]) == (number, number)
        assert (found["status"]["session_id"], found["status"]["status"]) == (str(session), "enriching")
        films.run(session)
        film = http.get(f"/api/session/{session}/movies/{number}").json
        assert (film["outcome"], film["tmdb_id"], film["match_method"], film["candidates"]) == (
            "enriched", 949, "override", None,
        )  # fmt: skip
        films.assert_sound(session)

        (again,) = http.get(f"/api/session/{small(films)}/movies").json
        assert (again["outcome"], again["tmdb_id"], again["match_method"]) == ("enriched", 949, "override")

    def test_none_of_them(self, films: Workbench, http: Client) -> None:
        session = self.doubtful(films)
        number = self.item(http, session, code="weak_match")
        assert http.post(f"/api/session/{session}/items/{number}/match", json={"tmdb_id": None}).status_code == 200
        films.run(session)
        film = http.get(f"/api/session/{session}/movies/{number}").json
        assert (film["outcome"], film["tmdb_id"]) == ("not_found", None)
        films.assert_sound(session)

    def test_any_record_of_the_film_will_do(self, films: Workbench, http: Client) -> None:
        session = self.doubtful(films)
        film = self.item(http, session, code="weak_match")
        merged = http.get(f"/api/session/{session}/items?outcome=merged").json["items"][-1]["item_no"]
        found = http.post(f"/api/session/{session}/items/{merged}/match", json={"tmdb_id": 949}).json
        assert (found["item_no"], found["film_item_no"]) == (merged, film)
        films.run(session)
        assert films.item(session, film)["outcome"] == "enriched"
        films.assert_sound(session)

    def test_a_record_without_a_film(self, films: Workbench, http: Client) -> None:
        session = small(films)
        number = self.item(http, session, code="unresolved")
        found = problem(
            http.post(f"/api/session/{session}/items/{number}/match", json={"tmdb_id": 949}), 409, "conflict"
        )
        assert "drop the file that names its film" in found["detail"]

    def test_what_cannot_be_matched(self, films: Workbench, bench: Workbench, http: Client) -> None:
        session = small(films)
        for number in ("0", "99", str(2**63 - 1)):
            problem(http.post(f"/api/session/{session}/items/{number}/match", json={"tmdb_id": 949}), 404, "not-found")
        problem(http.post(f"/api/session/{session}/items/{2**63}/match", json={"tmdb_id": 949}), 404)
        problem(http.post(f"/api/session/{uuid4()}/items/1/match", json={"tmdb_id": 949}), 404, "not-found")
        artists = bench.drop(artists_csv(1))
        problem(http.post(f"/api/session/{artists}/items/1/match", json={"tmdb_id": 949}), 409, "conflict")
        films.execute(f"UPDATE sessions SET expired_at = now() WHERE id = '{session}'")
        problem(http.post(f"/api/session/{session}/items/1/match", json={"tmdb_id": 949}), 410, "expired")

    @pytest.mark.parametrize("body", [
        {}, {"tmdb_id": "949"}, {"tmdb_id": 0}, {"tmdb_id": 9.5}, {"tmdb_id": True}, {"tmdb_id": 2**63},
    ])  # fmt: skip
    def test_the_decision_has_to_be_one(self, away: Client, body: dict[str, Any]) -> None:
        found = problem(away.post(f"/api/session/{uuid4()}/items/1/match", json=body), 422, "invalid-request")
        assert [fault["field"] for fault in found["errors"]] == ["tmdb_id"]


def heat() -> dict[str, Any]:
    return {
        "tmdb_id": 949, "imdb_id": "tt0113277", "title": "Heat", "original_title": "Heat", "original_language": "en",
        "release_date": "1995-12-15", "runtime": 170, "genres": ["Crime"], "directors": ["Michael Mann"],
        "cast": [{"name": "Al Pacino", "role": "Vincent Hanna"}], "tmdb_rating": 7.9, "tmdb_votes": 7000,
        "overview": "A thief and a detective.", "poster_path": None, "popularity": 50.0,
    }  # fmt: skip
