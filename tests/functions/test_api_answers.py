"""What handlers really answer, held against the models that /openapi.json describes answers with."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, TypeAdapter
from werkzeug.test import Client

from shared.api import answers, film_answers
from shared.api.operations import Operation
from shared.api.routing import Api
from shared.pipelines import PIPELINES
from shared.problems import PHRASES
from tests.functions.asking import client_of, problem
from tests.functions.test_api_movies import many, small
from tests.functions.test_openapi import ended_in_every_way
from tests.movies import movies_bench
from tests.workbench import Workbench, artists_csv

ACTIONS = {"pause": {"reason": "lunch"}, "resume": {"budget_usd": 9}, "approve": {}, "cancel": {}, "reprocess": {}}


@pytest.fixture
def api(bench: Workbench) -> Api:
    return Api(bench.db, bench.sessions, bench.store, bench.settings)


def listed(api: Api, *, method: str = "GET") -> dict[str, Operation]:
    return {one.name: one for one in api.operations if one.listed and one.method == method}


def check(one: Operation, body: bytes) -> Any:
    """The body as its operation's model has it; every field it has is described, and none is missing."""
    if isinstance(one.answer, type) and issubclass(one.answer, BaseModel):
        return one.answer.model_validate_json(body)
    if one.name == "movies":
        return TypeAdapter(list[film_answers.Film]).validate_json(body)
    assert one.name in ("results", "rejects", "manifest"), f"{one.name} is not checked"
    return body


OF_OTHERS = ("people", "audio")  # what they answer is held in test_api_people.py and test_tracks.py


def test_sessions_of_artists(api: Api, bench: Workbench) -> None:
    session = ended_in_every_way(bench)
    http = client_of(api)
    bench.execute(
        f"INSERT INTO resumed_rows (session_id, line, key, finding, message) VALUES ('{session}', 3, NULL, 'torn', 'x')"
    )
    for name, one in listed(api).items():
        if one.tag in ("films", *OF_OTHERS):
            continue
        response = http.get(one.path.format(session=session, item_no=2))
        assert response.status_code == 200, f"{name}: {response.text}"
        check(one, response.data)
    calls = check(listed(api)["calls"], http.get(f"/api/session/{session}/calls?list=true").data)
    assert calls.calls
    page = check(listed(api)["items"], http.get(f"/api/session/{session}/items").data)
    assert {item.outcome for item in page.items} == {
        "enriched", "unchanged", "skipped", "duplicate", "not_found", "needs_review", "failed", "cancelled", "rejected",
    }  # fmt: skip


def test_sessions_of_films(api: Api, bench: Workbench) -> None:
    films = movies_bench(bench)
    session = small(films)
    http = client_of(Api(films.db, films.sessions, films.store, films.settings))
    (film,) = http.get(f"/api/session/{session}/movies").json
    for name, one in listed(api).items():
        if one.tag in OF_OTHERS:
            continue
        response = http.get(one.path.format(session=session, item_no=film["item_no"]))
        assert response.status_code == 200, f"{name}: {response.text}"
        check(one, response.data)
    match = listed(api, method="POST")["match"]
    response = http.post(match.path.format(session=session, item_no=film["item_no"]), json={"tmdb_id": 949})
    assert check(match, response.data).film_item_no == film["item_no"]


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_actions(api: Api, bench: Workbench, action: str) -> None:
    session = bench.drop(artists_csv(2), **({"approve": "ask"} if action == "approve" else {}))
    one = listed(api, method="POST")[action]
    response = client_of(api).post(one.path.format(session=session), json=ACTIONS[action])
    assert response.status_code == 200, response.text
    check(one, response.data)


def test_refusals(api: Api, bench: Workbench) -> None:
    http = client_of(api)
    for response, status in ((http.get("/api/sessions?limit=0&x=1"), 422), (http.get("/api/nothing"), 404)):
        kind = "invalid-request" if status == 422 else None
        answers.ProblemDocument.model_validate(problem(response, status, kind))


def test_the_summary_of_an_export_counts_its_films(api: Api, bench: Workbench) -> None:
    films = movies_bench(bench)
    session = many(films)
    http = client_of(Api(films.db, films.sessions, films.store, films.settings))
    found = film_answers.FilmsSummary.model_validate_json(http.get(f"/api/session/{session}/movies/summary").data)
    shown = http.get(f"/api/session/{session}/movies").json
    assert {one.year: one.films for one in found.by_year} == counted(film["year"] for film in shown)
    assert {one.rating: one.films for one in found.ratings} == counted(film["rating"] for film in shown)
    assert {one.genre: one.films for one in found.genres} == counted(
        genre for film in shown for genre in film["genres"] or ()
    )
    assert [one.year for one in found.by_year] == sorted(one.year for one in found.by_year if one.year)
    assert [one.films for one in found.genres] == sorted((one.films for one in found.genres), reverse=True)
    artists = bench.drop(artists_csv(1))
    problem(http.get(f"/api/session/{artists}/movies/summary"), 409, "conflict")


def counted(values: Any) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for value in values:
        if value is not None:
            found[value] = found.get(value, 0) + 1
    return found


class TestDescription:
    def test_names_every_operation_once(self, api: Api) -> None:
        found = [
            (path, method, said["operationId"])
            for path, methods in api.openapi["paths"].items()
            for method, said in methods.items()
        ]
        assert len({name for _, _, name in found}) == len(found) == len([one for one in api.operations if one.listed])
        assert all(tag in {one["name"] for one in api.openapi["tags"]}
                   for methods in api.openapi["paths"].values() for said in methods.values()
                   for tag in said["tags"])  # fmt: skip

    def test_says_of_every_operation_what_it_refuses_as_problem_documents(self, api: Api) -> None:
        refusals = api.openapi["components"]["responses"]
        assert {*refusals} == {status.name for status in PHRASES}
        for name, said in refusals.items():
            assert [*said["content"]] == ["application/problem+json"], name

    def test_offers_each_pipeline_its_own_options(self, api: Api) -> None:
        body = api.openapi["paths"]["/api/upload"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert body["properties"]["pipeline"]["enum"] == sorted(PIPELINES)
        assert "watchlist" in body["properties"]

    def test_is_answered_with_the_ledger_away(self, away: Client) -> None:
        found = away.get("/openapi.json").json
        assert found["openapi"] == "3.1.0"
        assert len(away.get("/openapi.json").data) < 150_000


def test_expired_sessions_keep_what_people_were_told(api: Api, bench: Workbench) -> None:
    session: UUID = bench.drop(artists_csv(1))
    bench.run(session)
    bench.execute(f"UPDATE sessions SET expires_at = now() - interval '1 s' WHERE id = '{session}'")
    http = client_of(api)
    for name in ("status", "session", "progress", "calls", "audit"):
        one = listed(api)[name]
        check(one, http.get(one.path.format(session=session)).data)
