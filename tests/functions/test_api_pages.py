"""The dashboard's files over the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from werkzeug.test import Client

from shared.api import pages
from shared.api.routing import Api
from tests.functions.asking import client_of, problem
from tests.workbench import Workbench

KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def test_the_front_page_is_the_dashboard(away: Client) -> None:
    response = away.get("/")
    assert response.content_type == "text/html; charset=utf-8"
    assert "<title>" in response.text


def test_every_file_of_it_is_served_as_what_it_is(away: Client) -> None:
    names = sorted(path.name for path in pages.FOLDER.iterdir() if path.is_file())
    assert "index.html" in names
    for name in names:
        response = away.get(f"/dashboard/{name}")
        assert response.status_code == 200, name
        assert response.data == (pages.FOLDER / name).read_bytes()
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.content_type == KINDS.get(Path(name).suffix, response.content_type)


def test_nothing_else_of_this_machine_is(away: Client, tmp_path: Path) -> None:
    for name in ("../problems.py", "..%2fproblems.py", "%2e%2e/problems.py", "/etc/passwd", "..", ".", "", "index",
                 "__init__.py", "x.html", "INDEX.html/", "index.html%00", "sub/index.html"):  # fmt: skip
        assert away.get(f"/dashboard/{name}").status_code in (404, 405), name


def test_only_files_of_known_kinds_are(away: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("index.html", "a.py", ".env", "b.js"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.js").mkdir()
    served = pages.Pages(direct_uploads=False, folder=tmp_path)
    assert sorted(served._named()) == ["b.js", "index.html"]


def test_a_browser_that_has_a_file_is_told_so(away: Client) -> None:
    first = away.get("/")
    assert first.headers["Cache-Control"] == "no-cache"
    again = away.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert away.get("/", headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize("local", [True, False])
def test_the_page_may_load_nothing_from_elsewhere(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1" if local else "")
    http = client_of(Api(bench.db, bench.sessions, bench.store, bench.settings))
    rules = dict(
        part.strip().partition(" ")[::2] for part in http.get("/").headers["Content-Security-Policy"].split(";")
    )
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["form-action"] == "'self'"
    assert rules["media-src"] == rules["connect-src"]
    assert rules["connect-src"] == ("'self'" if local else "'self' https://storage.googleapis.com")
    assert http.get("/api/pipelines").json["direct_uploads"] is not local


def test_what_is_not_there_points_to_what_is(away: Client) -> None:
    assert "no file" in problem(away.get("/dashboard/x.js"), 404)["detail"]
