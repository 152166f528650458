"""People and their files over the API, on a real ledger."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid4

import pytest
from werkzeug.test import Client

from shared.api.routing import Api
from shared.upstreams.base import ErrorClass
from tests.assets import FILE, VIDEO, FakeWeb, assets_bench, basic, drop, person, read, sheet
from tests.factories import failure
from tests.functions.asking import client_of, problem
from tests.workbench import Workbench


@pytest.fixture
def assets(bench: Workbench) -> Workbench:
    def script(request: Any) -> Any:
        return failure(ErrorClass.PERMANENT, code="upstream.private") if request.what == "transcript" else None

    return assets_bench(bench, FakeWeb(script), changes={"media_bucket": "media"})


@pytest.fixture
def http(assets: Workbench) -> Client:
    return client_of(Api(assets.db, assets.sessions, assets.store, assets.settings))


def put_media(bench: Workbench, content: bytes) -> str:
    """The digest of content that lies in the media bucket."""
    digest = hashlib.sha256(content).hexdigest()
    bench.store.written.append(bench.store.put("media", f"sha256/{digest}", content))
    return digest


def test_a_person_has_their_files_and_what_failed(assets: Workbench, http: Client) -> None:
    drop(assets, basic(VIDEO), max_failed="90%")
    found: Any = http.get("/api/people/1/assets").json
    assert (found["name"], found["type"], found["link"]) == ("Person 1", "FF-Fi/Se-CP/B(S) #4", VIDEO)
    files = {one["asset_type"]: one for one in found["assets"]}
    video, transcript = files["youtube_video"], files["youtube_transcript"]
    assert video["download"] == f"/api/assets/{video['asset_id']}/file"
    assert (video["failure"], video["try_again"]) == (None, None)
    assert (transcript["failure"], transcript["try_again"], transcript["download"]) == ("private", False, None)


def test_files_come_in_pages(assets: Workbench, http: Client) -> None:
    drop(assets, basic(f"{VIDEO}|{FILE}"), max_failed="90%")
    seen, after = [], ""
    for _ in range(3):
        page: Any = http.get(f"/api/people/1/assets?limit=1{after}").json
        seen += [one["asset_id"] for one in page["assets"]]
        after = f"&after={page['next']}"
    assert page["next"] is None
    assert len({*seen}) == 3


def test_whoever_is_not_there_is_not_found(assets: Workbench, http: Client) -> None:
    problem(http.get("/api/people/nobody/assets"), 404, "not-found")
    problem(http.get(f"/api/assets/{uuid4()}/file"), 404, "not-found")
    problem(http.get("/api/assets/no-id/file"), 404, "not-found")
    problem(http.get(f"/api/assets.csv?session={uuid4()}"), 404, "not-found")


def test_a_file_streams_whole_and_in_ranges(assets: Workbench, http: Client) -> None:
    drop(assets, basic(FILE))
    digest = put_media(assets, b"0123456789")
    assets.execute(f"UPDATE assets SET cloud_storage_url = 'gs://media/sha256/{digest}', filename = 'Ré\"s.pdf'")
    [one] = http.get("/api/people/1/assets").json["assets"]  # type: ignore[index]
    whole = http.get(one["download"])
    assert (whole.status_code, whole.data) == (200, b"0123456789")
    assert whole.headers["Content-Disposition"].endswith("filename*=UTF-8''R%C3%A9%22s.pdf")
    part = http.get(one["download"], headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.data, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert http.get(one["download"], headers={"Range": "bytes=50-"}).status_code == 416
    assets.store.signs = True
    signed = http.get(one["download"])
    assert (signed.status_code, signed.headers["Location"]) == (
        302,
        f"https://storage.test/media/sha256/{digest}?signed",
    )


def test_html_of_others_is_served_as_bytes(assets: Workbench, http: Client) -> None:
    drop(assets, basic(FILE))
    digest = put_media(assets, b"<script>")
    assets.execute(f"UPDATE assets SET cloud_storage_url = 'gs://media/sha256/{digest}', content_type = 'text/html'")
    [one] = http.get("/api/people/1/assets").json["assets"]  # type: ignore[index]
    answer = http.get(one["download"])
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_the_sheet_comes_of_everybody_or_of_a_session(assets: Workbench, http: Client) -> None:
    session = drop(assets, sheet([{**person(1, FILE), "name": "=1+1"}]), mode="basic")
    answer = http.get("/api/assets.csv")
    assert answer.mimetype == "text/csv"
    assert read(answer.data)[0]["name"] == "'=1+1"
    kept = http.get(f"/api/assets.csv?session={session}&formulas=keep")
    assert read(kept.data)[0]["name"] == "=1+1"


def test_a_file_that_a_sheet_lists_is_brought(assets: Workbench, http: Client) -> None:
    drop(assets, sheet([person(1, FILE, drive_status="completed", drive_files="notes.docx")]))
    digest = put_media(assets, b"notes")
    body = {"name": "notes.docx", "sha256": digest, "size": 5, "content_type": "application/msword"}
    assert http.post("/api/people/1/assets", json=body).status_code == 200
    assert http.post("/api/people/1/assets", json=body).status_code == 200  # said twice, it is there once
    [one] = http.get("/api/people/1/assets").json["assets"]  # type: ignore[index]
    assert (one["download_status"], one["sha256"], one["file_size_bytes"]) == ("uploaded", digest, 5)
    problem(http.post("/api/people/1/assets", json={**body, "name": "other.docx"}), 404, "not-found")
    problem(http.post("/api/people/1/assets", json={**body, "size": 6}), 409, "conflict")
    problem(http.post("/api/people/1/assets", json={**body, "sha256": "0" * 64}), 404, "not-found")


def test_a_google_sheet_is_taken_by_its_link(assets: Workbench, http: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_sheet(found: Any, into: Any, **_: Any) -> int:
        return int(into.write(basic(FILE)))

    monkeypatch.setattr("shared.google_sheets.read_sheet", read_sheet)
    link = "https://docs.google.com/spreadsheets/d/1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVwXyZ/edit"
    answer = http.post("/api/upload/link", json={"link": link, "options": {"mode": "basic"}})
    assert answer.status_code == 202
    uploaded = assets.store.written[-1]
    assert uploaded.metadata["mode"] == "basic"
    assets.ingest.take(uploaded)
    assert assets.run(UUID(answer.json["session_id"]))["status"] == "completed"  # type: ignore[index]
    problem(http.post("/api/upload/link", json={"link": "https://example.org/x"}), 422, "invalid-request")
    problem(http.post("/api/upload/link", json={"link": link, "options": {"mode": "x"}}), 422, "invalid-request")
