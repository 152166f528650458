"""Uploads that go straight to the bucket."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import Client

from shared.api.answers import Choices, DirectUpload
from shared.api.routing import Api
from shared.errors import StorageDown
from tests.functions.asking import client_of, problem
from tests.workbench import Workbench, artists_csv

LIST = [{"name": "list.csv", "size": 1_000}]


@pytest.fixture
def http(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    return client_of(Api(bench.db, bench.sessions, bench.store, bench.settings))


def opened(http: Client, **body: Any) -> dict[str, Any]:
    response = http.post("/api/upload/direct", json=body, headers={"Origin": "http://localhost"})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json
    assert response.headers["Location"] == f"/api/session/{found['session_id']}"
    DirectUpload.model_validate_json(response.data)
    return found


def test_a_file_gets_an_address_of_its_own_and_its_session_waits_for_it(http: Client, bench: Workbench) -> None:
    options = {"budget": 2.5, "dry_run": True, "max-failed": "5%"}
    found = opened(http, pipeline="artists", options=options, files=LIST)
    ((name, file),) = ((one["object"], one) for one in found["files"])
    assert (found["status"], file["name"], file["method"]) == ("uploading", "list.csv", "PUT")
    assert file["headers"] == {"Content-Type": "text/csv"}
    assert bench.store.addresses[file["url"]] == {
        "content_type": "text/csv", "size": 1_000, "origin": "http://localhost",
        "metadata": {"budget": "2.5", "dry-run": "true", "max-failed": "5%", "session": found["session_id"]},
    }  # fmt: skip
    session = UUID(found["session_id"])
    metadata = bench.store.addresses[file["url"]]["metadata"]
    assert bench.ingest.take(bench.store.put("up", name, artists_csv(2), **metadata)) == session
    assert bench.facts(session)["options"]["dry_run"] is True
    assert bench.sessions.status(session)["total"] == 2


def test_an_export_of_several_files_is_one_session(http: Client, bench: Workbench) -> None:
    files = [{"name": "me/ratings.csv", "size": 10}, {"name": "me/likes/films.csv", "size": 20}]
    found = opened(http, pipeline="movies", export="me", files=files)
    assert [one["object"] for one in found["files"]] == ["movies/me/me/ratings.csv", "movies/me/likes/films.csv"]
    again = opened(http, pipeline="movies", export="me", files=[{"name": "diary.csv", "size": 5}])
    assert again["session_id"] == found["session_id"]
    assert all("session" not in one["metadata"] for one in bench.store.addresses.values())


def test_files_that_are_a_session_each_are_asked_for_one_by_one(http: Client, bench: Workbench) -> None:
    """The first of them to come would end the session while the others are on their way."""
    response = http.post(
        "/api/upload/direct", json={"pipeline": "artists", "files": [*LIST, {"name": "b.csv", "size": 5}]}
    )
    assert "one at a time" in problem(response, 422, "invalid-request")["errors"][0]["message"]
    assert bench.store.addresses == {}


def test_what_was_announced_and_never_came_is_cancelled_after_eight_days(http: Client, bench: Workbench) -> None:
    session = UUID(opened(http, pipeline="artists", files=LIST)["session_id"])
    assert bench.rescuer.round().open_sessions == 0
    bench.pass_time(7 * 86_400)
    bench.rescuer.round()
    assert bench.facts(session)["status"] == "uploading"
    bench.pass_time(86_401)
    bench.rescuer.round()
    bench.deliver()
    status = bench.sessions.status(session)
    assert (status["status"], status["error_message"]) == ("cancelled", "The files that were announced never came.")


def test_it_is_in_the_audit_log(http: Client) -> None:
    found = opened(http, pipeline="artists", files=LIST)
    (entry,) = http.get(f"/api/session/{found['session_id']}/audit").json["entries"]
    assert (entry["action"], entry["details"]["files"]) == ("upload", [one["object"] for one in found["files"]])


@pytest.mark.parametrize(("body", "fields"), [
    ({}, ["files", "pipeline"]),
    ({"pipeline": "cats", "files": LIST}, ["pipeline"]),
    ({"pipeline": "artists", "files": []}, ["files"]),
    ({"pipeline": "artists", "files": [{"name": "a.csv", "size": 0}]}, ["files.0.size"]),
    ({"pipeline": "artists", "files": [{"name": "a.csv", "size": "7"}]}, ["files.0.size"]),
    ({"pipeline": "artists", "files": [{"name": "a.csv", "size": 1, "path": "x"}]}, ["files.0.path"]),
    ({"pipeline": "artists", "files": [{"name": "../a.csv", "size": 1}]}, ["file"]),
    ({"pipeline": "artists", "files": LIST * 101}, ["files"]),
    ({"pipeline": "artists", "files": LIST, "options": {"colour": "red"}}, ["options"]),
    ({"pipeline": "artists", "files": LIST, "options": {"budget": [1]}}, None),
    ({"pipeline": "artists", "files": LIST, "export": "me"}, ["export"]),
])  # fmt: skip
def test_what_is_no_upload_is_refused_before_anything_is_made(
    http: Client, bench: Workbench, body: dict[str, Any], fields: list[str] | None
) -> None:
    found = problem(http.post("/api/upload/direct", json=body), 422, "invalid-request")
    assert fields is None or sorted(fault["field"] for fault in found["errors"]) == fields
    assert bench.store.addresses == {}
    assert bench.value("SELECT count(*) FROM sessions") == 0


def test_a_store_that_is_away_is_told(http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> str:
        raise StorageDown

    monkeypatch.setattr(bench.store, "upload_address", away)
    problem(http.post("/api/upload/direct", json={"pipeline": "artists", "files": LIST}), 503, "storage-down")


def test_before_an_emulator_files_go_through_the_api(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    local = client_of(Api(bench.db, bench.sessions, bench.store, bench.settings))
    response = local.post("/api/upload/direct", json={"pipeline": "artists", "files": LIST})
    assert "/api/upload" in problem(response, 409, "conflict")["detail"]
    assert Choices.model_validate_json(local.get("/api/pipelines").data).direct_uploads is False


def test_the_choices_are_those_of_the_code(http: Client, bench: Workbench) -> None:
    found = Choices.model_validate_json(http.get("/api/pipelines").data)
    assert [one.slug for one in found.pipelines] == ["artists", "assets", "audio", "movies"]
    artists, _, _, movies = found.pipelines
    assert (artists.slug, artists.columns, artists.groups_files, artists.paid, artists.simulated) == (
        "artists", ["artist_id", "artist_name", "artist_data"], False, True, False,
    )  # fmt: skip
    assert (movies.slug, movies.columns, movies.groups_files, ".zip" in movies.accepts) == ("movies", [], True, True)
    options = {one.name: one for one in found.options}
    assert (options["write-mode"].type, options["write-mode"].choices, options["write-mode"].default) == (
        "choice", ["db", "file", "both"], "both",
    )  # fmt: skip
    assert (options["budget"].type, options["dry-run"].type, options["max-failed"].default) == ("money", "flag", "50%")
    assert options["watchlist"].pipelines == ["movies"]
    assert options["call-mode"].pipelines == ["artists"]
    assert all(one.help for one in found.options)
    assert found.max_upload_bytes == bench.settings.max_upload_bytes


def test_a_simulated_upstream_is_told(bench: Workbench) -> None:
    settings = bench.settings.model_copy(update={"openai_base_url": "http://127.0.0.1:8123/v1"})
    http = client_of(Api(bench.db, bench.sessions, bench.store, settings))
    told = {one["slug"]: one["simulated"] for one in http.get("/api/pipelines").json["pipelines"]}
    assert [slug for slug, simulated in told.items() if simulated] == ["artists"]
