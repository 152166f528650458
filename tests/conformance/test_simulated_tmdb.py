"""The simulated TMDB against the service's own document, its recorded answers and its error bodies.

The server is a process of its own, as in the local stack; one serves the whole module, with the project's own films.
"""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "movies" / "tmdb"
needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded answers are not at {DATA}")
BEARER = {"authorization": "Bearer simulated"}
USUAL = {
    "latency": 0.0, "spread": 0.0, "slow": 5.0, "seed": 0, "key_ok": True, "faults": {}, "named": {},
    "retry_after": 1, "limit": 100_000, "legacy": False, "down": False,
}  # fmt: skip


class Server:
    """A running simulated TMDB."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "infra.local.upstreams.tmdb", "--port", "0", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        assert ready["ready"] is True
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{ready['port']}", trust_env=False, timeout=5)

    def control(self, **wanted: Any) -> dict[str, Any]:
        answer = self.http.post("/control", json=wanted)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log(self) -> dict[str, Any]:
        return self.http.get("/control/log").json()

    def get(self, path: str, *, timeout: float = 5.0, **query: Any) -> httpx2.Response:
        return self.http.get(path, params=query, headers=BEARER, timeout=timeout)

    def search(self, query: str, **more: Any) -> httpx2.Response:
        return self.get("/3/search/movie", query=query, **more)

    def stop(self) -> int:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server("--own-list")
    yield server
    assert server.stop() == 0


@pytest.fixture
def server(running: Server) -> Server:
    running.control(**USUAL)
    running.http.post("/control/reset")
    return running


def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        threading.Event().wait(0.01)


def document() -> dict[str, Any]:
    return json.loads(gzip.decompress((DATA / "openapi" / "tmdb-v3-excerpt.json.gz").read_bytes()))["paths"]


def schema(path: str, status: int = 200) -> dict[str, Any]:
    return document()[path]["get"]["responses"][str(status)]["content"]["application/json"]["schema"]


_KINDS = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
# Recorded answers and issue threads have null here, whatever the document says.
_MAY_BE_NULL = {
    "backdrop_path", "poster_path", "profile_path", "logo_path", "imdb_id", "runtime", "facebook_id", "homepage",
}  # fmt: skip


def faults(value: Any, described: dict[str, Any], at: str = "") -> list[str]:
    """Where a value is not what the document describes; every described member has to be there."""
    kind = _KINDS.get(described.get("type", ""))
    if value is None and (kind is None or at.rpartition(".")[2] in _MAY_BE_NULL):
        return []
    if kind is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        return [f"{at}: {value!r} is not {described['type']}"]
    found = []
    if isinstance(value, dict):
        for name, below in described.get("properties", {}).items():
            found += faults(value[name], below, f"{at}.{name}") if name in value else [f"{at}.{name} is missing"]
    if isinstance(value, list):
        for place, item in enumerate(value):
            found += faults(item, described.get("items", {}), f"{at}[{place}]")
    return found


def unlike(ours: Any, theirs: Any, at: str = "") -> list[str]:
    """Where our value has other members or types than a recorded one; lists are compared by their first entries."""
    if ours is None or theirs is None:
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [f"{at}: {name} on one side only" for name in set(ours) ^ set(theirs)]
        return found + [f for name in set(ours) & set(theirs) for f in unlike(ours[name], theirs[name], f"{at}.{name}")]
    if isinstance(ours, list) and isinstance(theirs, list):
        return unlike(ours[0], theirs[0], f"{at}[]") if ours and theirs else []
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (ours, theirs))
    return [] if numbers or type(ours) is type(theirs) else [f"{at}: {ours!r} and {theirs!r}"]


@needs_recordings
@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/3/search/movie?query=Halloween", "/3/search/movie"),
        ("/3/search/movie?query=Halloween&year=2018&page=1&include_adult=false&language=en-US", "/3/search/movie"),
        ("/3/search/movie?query=nothing+of+the+kind", "/3/search/movie"),
        ("/3/movie/550", "/3/movie/{movie_id}"),
        ("/3/movie/tt0137523?language=en-US", "/3/movie/{movie_id}"),
        ("/3/movie/550-fight-club", "/3/movie/{movie_id}"),
        ("/3/movie/70000000", "/3/movie/{movie_id}"),
        ("/3/movie/550/credits", "/3/movie/{movie_id}/credits"),
        ("/3/movie/550/external_ids", "/3/movie/{movie_id}/external_ids"),
        ("/3/movie/11/alternative_titles", "/3/movie/{movie_id}/alternative_titles"),
        ("/3/movie/550/release_dates", "/3/movie/{movie_id}/release_dates"),
        ("/3/find/tt0113277?external_source=imdb_id", "/3/find/{external_id}"),
        ("/3/genre/movie/list", "/3/genre/movie/list"),
        ("/3/configuration", "/3/configuration"),
        ("/3/authentication", "/3/authentication"),
    ],
)
def test_answers_are_what_the_document_says(server: Server, asked: str, path: str) -> None:
    answer = server.http.get(asked, headers=BEARER)
    assert answer.status_code == 200
    assert faults(answer.json(), schema(path)) == []
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-simulated"] == "rowlift"


@needs_recordings
def test_appended_members_are_what_the_document_says_of_them_alone(server: Server) -> None:
    parts = ("credits", "external_ids", "alternative_titles", "release_dates")
    body = server.get("/3/movie/11", append_to_response=",".join(parts)).json()
    assert faults(body, schema("/3/movie/{movie_id}")) == []
    for part in parts:
        described = schema(f"/3/movie/{{movie_id}}/{part}")
        assert faults({"id": body["id"], **body[part]}, described) == [], part
        assert "id" not in body[part]


@needs_recordings
def test_the_checks_find_faults(server: Server) -> None:
    body = server.search("Halloween").json()
    recorded = json.loads(
        (DATA / "responses" / "3_search_movie__include_adult-false_query-007_year-1962.json").read_text()
    )
    del body["results"][0]["video"]
    body["results"][0]["vote_count"] = "many"
    body["results"][0]["title"] = None
    body["page"] = True
    assert len(faults(body, schema("/3/search/movie"))) == 4
    body["results"][0]["video"] = 1
    assert len(unlike(body, recorded["body"])) == 3


@needs_recordings
@pytest.mark.parametrize(
    ("recording", "asked"),
    [
        ("3_search_movie__include_adult-false_query-007_year-1962", "/3/search/movie?query=Dr.+No&year=1962"),
        ("3_movie_47964", "/3/movie/550"),
        ("3_movie_47964_credits", "/3/movie/550/credits"),
        ("3_movie_335984_external_ids", "/3/movie/335984/external_ids"),
        ("3_find_tt0088247__external_source-imdb_id", "/3/find/tt0088247?external_source=imdb_id"),
        ("3_genre_movie_list", "/3/genre/movie/list"),
        ("3_movie_999999999", "/3/movie/999999999"),
    ],
)
def test_answers_have_the_shape_of_recorded_ones(server: Server, recording: str, asked: str) -> None:
    recorded = json.loads((DATA / "responses" / f"{recording}.json").read_text())
    answer = server.http.get(asked, headers=BEARER)
    assert answer.status_code == recorded["status"]
    assert unlike(answer.json(), recorded["body"]) == []
    if recording in ("3_genre_movie_list", "3_movie_999999999"):
        assert answer.json() == recorded["body"]


def recorded_error(status: int, code: int) -> dict[str, Any]:
    errors = json.loads((DATA / "errors.json").read_text())
    return next(
        error["body"]
        for error in errors
        if (error["status"], error["body"]["status_code"]) == (status, code) and "success" in error["body"]
    )


@needs_recordings
@pytest.mark.parametrize(
    ("behaviour", "asked", "status", "code"),
    [
        ({"key_ok": False}, "/3/movie/550", 401, 7),
        ({}, "/3/movie/999999999", 404, 34),
        ({}, "/3/search/movie?query=Heat&page=0", 400, 22),
        ({}, "/3/search/movie?query=Heat&page=501", 400, 22),
        ({}, "/3/search/movie?query=Heat&page=two", 400, 22),
        ({"faults": {"429": 1.0}}, "/3/movie/550", 429, 25),
        ({"faults": {"500": 1.0}}, "/3/movie/550", 500, 11),
        ({"faults": {"503": 1.0}}, "/3/movie/550", 503, 46),
        ({"faults": {"504": 1.0}}, "/3/movie/550", 504, 24),
        ({"down": True}, "/3/genre/movie/list", 503, 46),
    ],
)
def test_error_bodies_are_the_recorded_ones(
    server: Server, behaviour: dict[str, Any], asked: str, status: int, code: int
) -> None:
    server.control(**behaviour)
    answer = server.http.get(asked, headers=BEARER)
    assert (answer.status_code, answer.json()) == (status, recorded_error(status, code))
    assert answer.headers["x-simulated"] == "rowlift"
    assert ("retry-after" in answer.headers) == (status == 429)


@pytest.mark.parametrize(
    ("headers", "key", "status"),
    [
        ({"authorization": "Bearer any"}, None, 200),
        ({"authorization": "bearer any"}, None, 200),
        ({}, "any", 200),
        ({}, None, 401),
        ({}, "", 401),
        ({}, "wrong", 401),
        ({"authorization": "Bearer"}, None, 401),
        ({"authorization": "Basic any"}, None, 401),
        ({"authorization": "Bearer wrong-token"}, None, 401),
    ],
)
def test_a_token_or_a_key_is_asked_for(server: Server, headers: dict[str, str], key: str | None, status: int) -> None:
    query = {} if key is None else {"api_key": key}
    answer = server.http.get("/3/movie/550", params=query, headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["status_code"] == 7
    assert list(server.log()["keys"]) == ["/3/movie/550"], "the key is not in the log"


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("/3/search/movie", 422, {"errors": ["query must be provided"]}),
        ("/3/search/movie?query=&year=1995", 422, {"errors": ["query must be provided"]}),
        ("/3/find/tt0113277", 422, 5),
        ("/3/movie/550?append_to_response=" + ",".join("abcdefghijklmnopqrstu"), 400, 27),
        ("/3/movie/550/videos", 404, 34),
        ("/3/movie/heat", 404, 34),
        ("/3/movie/999999999/credits", 404, 34),
        ("/3/tv/1", 404, 34),
        ("/4/movie/550", 404, 34),
    ],
)
def test_requests_are_checked(server: Server, asked: str, status: int, body: Any) -> None:
    answer = server.http.get(asked, headers=BEARER)
    assert answer.status_code == status
    told = answer.json()
    assert told == body if isinstance(body, dict) else (told["status_code"], told["success"]) == (body, False)


def test_twenty_members_may_be_appended_and_unknown_ones_say_nothing(server: Server) -> None:
    body = server.get("/3/movie/550", append_to_response=",".join(["credits", *"abcdefghijklmnopqrs"])).json()
    assert body["credits"]["crew"][0]["name"] == "David Fincher"
    assert "a" not in body


def test_paging_and_years(server: Server) -> None:
    first = server.search("the").json()
    assert (first["page"], len(first["results"])) == (1, 20)
    last = server.search("the", page=first["total_pages"]).json()
    assert 1 <= len(last["results"]) <= 20
    assert (first["total_pages"] - 1) * 20 + len(last["results"]) == first["total_results"] == last["total_results"]
    assert server.search("the", page=500).json()["results"] == []
    for name in ("year", "primary_release_year"):
        found = server.search("Dune", **{name: 1984}).json()["results"]
        assert [result["release_date"] for result in found] == ["1984-12-14"]
    assert server.search("Amélie & co", year="").json()["results"] == []
    assert server.search("Léon", year="soon").json()["total_results"] == 1  # what is no year is passed over


def test_no_second_carries_more_than_the_limit(server: Server) -> None:
    server.control(limit=7)
    until(lambda: server.search("Heat").status_code == 429)
    server.http.post("/control/reset")
    times, refused = [], 0
    began = time.monotonic()
    while len(times) < 15:
        answer = server.search("Heat")
        if answer.status_code == 200:
            times.append(time.monotonic())
        else:
            refused += 1
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        threading.Event().wait(0.004)
    # By our clock the answers are as far apart as by its own, but for the time an answer travels.
    assert min(later - first for first, later in zip(times, times[7:], strict=False)) > 0.9
    assert time.monotonic() - began < 4, "as many as the limit are let through"
    log = server.log()
    assert refused > 20
    assert log["keys"]["/3/search/movie?query=Heat"] == {"started": 15 + refused, "answered": 15, "failed": refused}
    assert 15 < log["per_second_max"] <= log["total"]


def test_many_at_once_are_answered_and_counted(server: Server) -> None:
    server.control(latency=0.2)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.search("Heat").status_code, range(40)))
    assert answers == [200] * 40
    log = server.log()
    assert (log["total"], log["answered"], log["open"]) == (40, 40, 0)
    assert 10 < log["most_open"] <= 20
    assert 20 <= log["per_second_max"] <= 40
    assert all(call["ended"] - call["started"] > 0.19 for call in log["calls"])


def test_the_limit_of_old(server: Server) -> None:
    server.control(legacy=True, limit=1)
    answers = [server.search("Heat") for _ in range(42)]
    assert [answer.status_code for answer in answers] == [200] * 40 + [429] * 2
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers[:3]] == ["39", "38", "37"]
    assert answers[40].json() == {
        "status_code": 25, "status_message": "Your request count (41) is over the allowed limit of 40.",
    }  # fmt: skip
    headers = answers[41].headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("40", "0")
    assert 1 <= int(headers["retry-after"]) <= 11
    assert 0 < int(headers["x-ratelimit-reset"]) - time.time() <= 12


@pytest.mark.parametrize("retry_after", [7, None])
def test_the_wait_of_a_429_can_be_changed_and_left_out(server: Server, retry_after: int | None) -> None:
    server.control(faults={"429": 1.0}, retry_after=retry_after)
    assert server.search("Heat").headers.get("retry-after") == (str(retry_after) if retry_after else None)


def test_answers_that_are_broken_or_late(server: Server) -> None:
    server.control(slow=0.3, named={"Heat": "cut:1", "Dune": "malformed", "Alien": "slow", "Jaws": "hang"})
    with pytest.raises(httpx2.RemoteProtocolError):
        server.search("Heat")
    assert server.search("Heat").status_code == 200
    broken = server.search("Dune")
    assert broken.status_code == 200
    with pytest.raises(ValueError, match="line 1"):
        broken.json()
    began = time.monotonic()
    assert server.search("Alien").status_code == 200
    assert 0.29 < time.monotonic() - began < 2
    with pytest.raises(httpx2.ReadTimeout):
        server.search("Jaws", timeout=0.2)
    until(lambda: server.log()["open"] == 0)
    assert [(call["key"].partition("=")[2], call["fault"], call["state"]) for call in server.log()["calls"]] == [
        ("Heat", "cut", "cut"), ("Heat", None, "answered"), ("Dune", "malformed", "answered"),
        ("Alien", "slow", "answered"), ("Jaws", "hang", "abandoned"),
    ]  # fmt: skip


def test_faults_for_titles_and_for_ids(server: Server) -> None:
    server.control(named={"God": "500:2", "55": "504", "550": "503:1", "tt0113277": "500"})
    searched = [server.search(title).status_code for title in ("The Godfather", "The Godfather", "The Godfather", "M")]
    assert searched == [500, 500, 200, 200]
    assert server.search("City of God").status_code == 500, "tries are counted for each request"
    assert [server.get("/3/movie/550").status_code for _ in range(2)] == [503, 200], "an id is named whole"
    assert server.get("/3/movie/55").status_code == 504
    assert server.get("/3/movie/tt0113277").status_code == 500
    assert server.get("/3/movie/949/credits").status_code == 200
    assert server.search("Film fault=504:1").status_code == 504
    assert server.search("Film fault=504:1").status_code == 200


def test_shares_of_faults_are_kept_and_repeat_with_the_seed(server: Server) -> None:
    def round_of(seed: int) -> list[int]:
        server.control(faults={"429": 0.1, "500": 0.1}, seed=seed)
        server.http.post("/control/reset")
        return [server.get(f"/3/movie/{number}").status_code for number in range(300)]

    first = round_of(1)
    assert 15 <= first.count(429) <= 50
    assert 15 <= first.count(500) <= 50
    assert first == round_of(1) != round_of(2)


def test_the_log_tells_every_request_without_its_key(server: Server) -> None:
    server.http.get("/3/search/movie?api_key=s3cret&query=La+La%20Land&year=2016&language=en")
    server.http.get("/3/movie/313369?append_to_response=credits%2Cexternal_ids&api_key=s3cret")
    log = server.http.get("/control/log")
    assert "s3cret" not in log.text
    assert log.json()["keys"] == {
        "/3/search/movie?query=La La Land&year=2016&language=en": {"started": 1, "answered": 1, "failed": 0},
        "/3/movie/313369?append_to_response=credits,external_ids": {"started": 1, "answered": 1, "failed": 0},
    }
    assert {key: type(value) for key, value in log.json()["calls"][0].items()} == {
        "key": str, "started": float, "ended": float, "state": str, "status": int, "fault": type(None),
    }  # fmt: skip
    short = server.http.get("/control/log?entries=0").json()
    assert "calls" not in short
    assert (short["total"], short["per_second_max"]) == (2, 2)


def test_a_wrong_control_changes_nothing(server: Server) -> None:
    before = server.http.get("/control").json()
    assert before == USUAL
    for wrong in (
        {"faults": {"explode": 1}}, {"faults": {"500": 2}}, {"faults": ["500"]}, {"latancy": 1}, {"limit": 0},
        {"limit": "50"}, {"named": {"A": "explode:2"}}, {"named": {"A": "500:often"}}, {"down": 1}, {"latency": -1},
        {"retry_after": 1.5}, [], 7, None,
    ):  # fmt: skip
        answer = server.http.post("/control", json=wrong)
        assert answer.status_code == 400, wrong
        assert answer.json()["error"]
    assert server.http.post("/control", content=b"{").status_code == 400
    assert server.http.get("/control").json() == before
    assert server.http.get("/control/nothing").status_code == 404
    health = server.http.get("/health")
    assert health.json()["simulated"] is True
    assert health.headers["x-simulated"] == "rowlift"


def test_down_and_wrong_keys_come_and_go_while_it_runs(server: Server) -> None:
    states = ({"down": True}, {"down": False, "key_ok": False}, {"key_ok": True})
    statuses = []
    for state in states:
        server.control(**state)
        statuses.append(server.search("Heat").status_code)
    assert statuses == [503, 401, 200]


def test_the_options_and_the_log_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    server = Server("--own-list", "--limit", "2", "--latency", "0.01", "--seed", "5", "--log", str(path))
    shown = server.http.get("/control").json()
    assert (shown["limit"], shown["latency"], shown["seed"]) == (2, 0.01, 5)
    assert [server.search("Heat").status_code for _ in range(3)] == [200, 200, 429]
    assert server.stop() == 0
    assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == [200, 200, 429]


def test_wrong_options_end_at_once() -> None:
    command = [sys.executable, "-m", "infra.local.upstreams.tmdb", "--limit", "0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 2
    assert "limit" in ended.stderr
