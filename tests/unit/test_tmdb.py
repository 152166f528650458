"""The client of TMDB: what it sends, what it keeps of an answer, and how it bears what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstreams.base import ErrorClass, Failure, JsonAnswer, RateLimits
from shared.upstreams.tmdb import AlternativeTitles, Details, Request, Search, TmdbUpstream, read

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "movies" / "tmdb"
needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded answers are not at {DATA}")
T, P, S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC
KEY = "0123456789abcdef0123456789ABCDEF"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
REQUESTS = (Search("Dr. No", 1962), Details(646), AlternativeTitles(646))

FILM: dict[str, Any] = {
    "id": 646, "imdb_id": "tt0055928", "title": "Dr. No", "original_title": "Dr. No", "original_language": "en",
    "release_date": "1962-10-07", "runtime": 110, "genres": [{"id": 28, "name": "Action"}], "vote_average": 7.0,
    "vote_count": 3700, "overview": "Jamaica.", "poster_path": "/x.jpg", "popularity": 12.5,
    "credits": {
        "cast": [{"name": f"Player {n}", "character": f"Role {n}", "order": n} for n in range(20, -1, -1)],
        "crew": [{"name": "Ted Moore", "job": "Camera"}, {"name": "Terence Young", "job": "Director"},
                 {"name": "Another", "job": "Director"}, {"name": "Terence Young", "job": "Director"}],
    },
    "external_ids": {"imdb_id": "tt0055928", "wikidata_id": None},
}  # fmt: skip


def upstream(handler: Callable[[httpx2.Request], httpx2.Response], **changed: Any) -> TmdbUpstream:
    settings = {"token": TOKEN, "request_timeout": 5.0, "base_url": "http://tmdb.test/3"}
    return TmdbUpstream(**{**settings, "transport": httpx2.MockTransport(handler), **changed})


def ask(answer: httpx2.Response | Exception, request: Request = REQUESTS[1], **changed: Any) -> JsonAnswer | Failure:
    def handler(_request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return upstream(handler, **changed).call(request, timeout=5.0)


def sent(request: Request, **changed: Any) -> httpx2.Request:
    seen: list[httpx2.Request] = []

    def handler(asked: httpx2.Request) -> httpx2.Response:
        seen.append(asked)
        return httpx2.Response(500)

    upstream(handler, **changed).call(request, timeout=5.0)
    return seen[0]


def body_of(request: Request, said: object) -> dict[str, Any]:
    outcome = read(request, orjson.dumps(said), {})
    assert isinstance(outcome, JsonAnswer), outcome
    return outcome.body


class TestWhatIsSent:
    def test_search(self) -> None:
        asked = sent(Search("Léon & Mathilda?", 1994))
        assert asked.url.path == "/3/search/movie"
        assert dict(asked.url.params) == {
            "query": "Léon & Mathilda?", "year": "1994", "include_adult": "false", "language": "en-US",
        }  # fmt: skip
        assert "year" not in sent(Search("Dr. No", None)).url.params

    def test_details_are_one_call(self) -> None:
        asked = sent(Details(646))
        assert asked.url.path == "/3/movie/646"
        assert dict(asked.url.params) == {"append_to_response": "credits,external_ids", "language": "en-US"}

    def test_alternative_titles(self) -> None:
        assert sent(AlternativeTitles(646)).url.path == "/3/movie/646/alternative_titles"

    def test_a_key_of_version_3_is_a_parameter(self) -> None:
        asked = sent(Details(646), token=KEY)
        assert asked.url.params["api_key"] == KEY
        assert "authorization" not in asked.headers

    @pytest.mark.parametrize("token", [TOKEN, KEY[:-1], KEY + "0", KEY[:-1] + "g"])
    def test_any_other_token_is_a_bearer(self, token: str) -> None:
        asked = sent(Details(646), token=token)
        assert asked.headers["authorization"] == f"Bearer {token}"
        assert "api_key" not in asked.url.params

    @pytest.mark.parametrize("token", ["", "with blank", "line\n", "ünïcode", "\x00"])
    def test_a_token_that_cannot_be_sent_is_not_sent(self, token: str) -> None:
        outcome = ask(AssertionError("was sent"), token=token)
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code) == (S, "upstream.bad_key")
        assert "TMDB_API_TOKEN" in outcome.message

    def test_the_shorter_time_holds(self) -> None:
        assert sent(Details(1), request_timeout=2.0).extensions["timeout"]["read"] == 2.0
        assert sent(Details(1), request_timeout=9.0).extensions["timeout"]["read"] == 5.0

    def test_a_slash_behind_the_address_is_no_matter(self) -> None:
        assert sent(Details(1), base_url="http://tmdb.test/3/").url.path == "/3/movie/1"

    @pytest.mark.parametrize("title", ["", "a\x00b", "\ud83d", "x" * 5000, "../../movie/5?a=b#c", "%00"])
    def test_any_title_can_be_asked_for(self, title: str) -> None:
        assert sent(Search(title, 2000)).url.path == "/3/search/movie"

    def test_requests_are_values(self) -> None:
        assert len({Search("a", 1), Search("a", 1), Search("a", None), Details(1), AlternativeTitles(1)}) == 4


class TestWhatIsKept:
    def test_facts(self) -> None:
        facts = body_of(Details(646), FILM)
        assert facts == {
            "tmdb_id": 646, "imdb_id": "tt0055928", "title": "Dr. No", "original_title": "Dr. No",
            "original_language": "en", "release_date": "1962-10-07", "runtime": 110, "genres": ["Action"],
            "directors": ["Terence Young", "Another"],
            "cast": [{"name": f"Player {n}", "role": f"Role {n}"} for n in range(10)],
            "tmdb_rating": 7.0, "tmdb_votes": 3700, "overview": "Jamaica.", "poster_path": "/x.jpg", "popularity": 12.5,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("odd", "member", "expected"),
        [
            ({"release_date": ""}, "release_date", None),
            ({"release_date": None}, "release_date", None),
            ({"release_date": "0000-00-00"}, "release_date", None),
            ({"release_date": "1962"}, "release_date", None),
            ({"runtime": 0}, "runtime", None),
            ({"runtime": None}, "runtime", None),
            ({"runtime": "110"}, "runtime", 110),
            ({"runtime": True}, "runtime", None),
            ({"runtime": 1e300}, "runtime", None),
            ({"imdb_id": ""}, "imdb_id", "tt0055928"),
            ({"imdb_id": None, "external_ids": {"imdb_id": ""}}, "imdb_id", None),
            ({"imdb_id": "nm1", "external_ids": None}, "imdb_id", None),
            ({"vote_count": 0}, "tmdb_rating", None),
            ({"vote_count": "12", "vote_average": "6.5"}, "tmdb_rating", 6.5),
            ({"vote_average": "good"}, "tmdb_rating", 0.0),
            ({"popularity": None}, "popularity", 0.0),
            ({"overview": ""}, "overview", None),
            ({"overview": "a\x00b"}, "overview", "ab"),
            ({"poster_path": None}, "poster_path", None),
            ({"genres": None}, "genres", []),
            ({"genres": [{"id": 1}, {"name": ""}, "x", {"name": "War"}]}, "genres", ["War"]),
            ({"credits": None}, "cast", []),
            ({"credits": {"crew": []}}, "directors", []),
            ({"credits": {"cast": "none", "crew": 3}}, "cast", []),
            (
                {"credits": {"cast": [{"name": "No place"}, {"name": "B", "order": "1", "character": ""}, {"order": 0},
                                      {"name": "A", "order": 0, "character": "Z"}]}},
                "cast",
                [{"name": "A", "role": "Z"}, {"name": "B", "role": None}, {"name": "No place", "role": None}],
            ),
            ({"title": None}, "title", None),
        ],
    )  # fmt: skip
    def test_odd_values(self, odd: dict[str, Any], member: str, expected: object) -> None:
        assert body_of(Details(646), {**FILM, **odd})[member] == expected

    def test_a_film_of_nothing_but_its_id(self) -> None:
        facts = body_of(Details(646), {"id": 646})
        assert set(facts) == set(body_of(Details(646), FILM))
        assert not any(value for name, value in facts.items() if name != "tmdb_id")

    def test_lone_surrogates_are_scrubbed(self) -> None:
        outcome = read(Details(646), json.dumps({**FILM, "title": "a \ud83d b"}).encode(), {})
        assert isinstance(outcome, JsonAnswer)
        assert outcome.body["title"] == "a ? b"

    def test_results(self) -> None:
        result = {**FILM, "adult": False, "genre_ids": [28], "overview": "long"}
        found = body_of(Search("Dr. No", 1962), {"page": 1, "results": [result], "total_results": 21})
        assert found["total_results"] == 21
        assert found["results"] == [{
            "id": 646, "title": "Dr. No", "original_title": "Dr. No", "original_language": "en",
            "release_date": "1962-10-07", "popularity": 12.5, "vote_count": 3700, "poster_path": "/x.jpg",
        }]  # fmt: skip

    def test_odd_results(self) -> None:
        found = body_of(Search("x", None), {"results": [{"id": 5}, {"title": "no id"}, "x", None, {"id": "6"}]})
        assert [result["id"] for result in found["results"]] == [5, 6]
        assert found["results"][0] == {
            "id": 5, "title": None, "original_title": None, "original_language": None, "release_date": None,
            "popularity": 0.0, "vote_count": 0, "poster_path": None,
        }  # fmt: skip
        assert found["total_results"] == 2

    def test_nothing_found(self) -> None:
        assert body_of(Search("x", None), {"results": [], "total_results": 0}) == {"results": [], "total_results": 0}

    def test_alternative_titles(self) -> None:
        titles = [{"iso_3166_1": "DE", "title": "007 jagt Dr. No"}, {"title": ""}, {"title": "007 jagt Dr. No"}, 3]
        assert body_of(AlternativeTitles(646), {"id": 646, "titles": titles}) == {"titles": ["007 jagt Dr. No"]}

    def test_the_legacy_limit_of_an_answer_is_told(self) -> None:
        outcome = ask(httpx2.Response(200, headers={"X-RateLimit-Limit": "40"}, json=FILM))
        assert isinstance(outcome, JsonAnswer)
        assert outcome.limits == RateLimits(requests=40, tokens=None, period=10)

    @pytest.mark.parametrize(
        "content",
        [b"", b"oops", b'{"id": 64', b"[]", b"null", b"3", b'"text"', b"{}", b'{"id": 647}', b'{"id": null}',
         b'{"results": {}}', b'{"success": false, "status_code": 7}', b"\xff\xfe", b"[" * 100_000],
    )  # fmt: skip
    @pytest.mark.parametrize("request_", REQUESTS, ids=str)
    def test_what_was_not_asked_for_is_transient(self, content: bytes, request_: Request) -> None:
        outcome = read(request_, content, {})
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code) == (T, "upstream.malformed")

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*FILM, "cast", "crew", "name",
            "order", "job", "character", "results", "total_results", "titles"]), inner, max_size=6),
        max_leaves=25,
    )  # fmt: skip

    @given(json_values, st.sampled_from(REQUESTS))
    def test_no_body_breaks_the_reading(self, body: object, request_: Request) -> None:
        if isinstance(body, dict):
            body["id"] = 646
        outcome = read(request_, json.dumps(body).encode(), {})
        assert isinstance(outcome, JsonAnswer | Failure)
        if isinstance(outcome, JsonAnswer):
            text = json.dumps(outcome.body, ensure_ascii=False, allow_nan=False)
            assert "\\u0000" not in text
            text.encode()

    @needs_recordings
    def test_recorded_answers(self) -> None:
        kinds = {"3_search_movie": 0, "3_movie": 0}
        for path in sorted((DATA / "responses").iterdir()):
            recorded = json.loads(path.read_text())
            parts = recorded["path"].strip("/").split("/")
            response = httpx2.Response(recorded["status"], json=recorded["body"])
            if parts[1:] == ["search", "movie"]:
                found = ask(response, Search("007", None))
                assert isinstance(found, JsonAnswer)
                assert len(found.body["results"]) == len(recorded["body"]["results"]) > 0
                kinds["3_search_movie"] += 1
            elif parts[1] == "movie" and len(parts) == 3:
                film = ask(response, Details(int(parts[2])))
                if recorded["status"] == 404:
                    assert isinstance(film, Failure)
                    assert (film.kind, film.code) == (P, "upstream.not_found")
                else:
                    assert isinstance(film, JsonAnswer)
                    assert film.body["title"] == recorded["body"]["title"]
                kinds["3_movie"] += 1
        assert min(kinds.values()) >= 2


class TestFailures:
    @pytest.mark.parametrize(
        ("raised", "kind", "code"),
        [
            (httpx2.ConnectError("refused"), T, "upstream.unreachable"),
            (httpx2.ConnectTimeout("late"), T, "upstream.unreachable"),
            (httpx2.ReadTimeout("late"), T, "upstream.timeout"),
            (httpx2.WriteTimeout("late"), T, "upstream.timeout"),
            (httpx2.ReadError("reset"), T, "upstream.cut"),
            (httpx2.RemoteProtocolError("closed"), T, "upstream.cut"),
            (httpx2.DecodingError("gzip"), T, "upstream.malformed"),
        ],
    )
    def test_broken_connections(self, raised: Exception, kind: ErrorClass, code: str) -> None:
        outcome = ask(raised)
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code) == (kind, code)

    def test_what_nobody_foresaw_is_raised(self) -> None:
        with pytest.raises(ZeroDivisionError):
            ask(ZeroDivisionError("not ours"))

    @pytest.mark.parametrize("address", ["ftp://tmdb.test/3", "tmdb.test/3", "http://", ""])
    def test_an_address_that_is_none(self, address: str) -> None:
        outcome = TmdbUpstream(token=TOKEN, base_url=address, request_timeout=1.0).call(Details(1), timeout=1.0)
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.code) == (S, "upstream.bad_address")

    def test_a_search_and_a_film_that_are_not_there_differ(self) -> None:
        missing = {"status_code": 34, "status_message": "The resource you requested could not be found."}
        film, search = (ask(httpx2.Response(404, json=missing), request) for request in (Details(1), Search("x", None)))
        assert isinstance(film, Failure)
        assert isinstance(search, Failure)
        assert (film.code, search.code) == ("upstream.not_found", "upstream.bad_address")


@pytest.mark.parametrize("token", [KEY, TOKEN])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_a_token_that_tmdb_repeats_is_not_passed_on(token: str, status: int) -> None:
    said = {"status_code": 47, "status_message": f"Invalid parameter {token} in ?api_key={token}"}
    outcome = ask(httpx2.Response(status, json=said), token=token)
    assert isinstance(outcome, Failure)
    assert token not in repr(outcome)
