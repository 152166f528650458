"""`rowlift export assets` and `rowlift import assets`: what is asked, what is sent, what is told."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from cli import sheet_links
from cli.asset_commands import Listed, listed
from cli.faults import WrongUsage
from shared.google_sheets import Sheet
from tests.assets import FILE, VIDEO, person, sheet
from tests.fake_api import SESSION, FakeApi, FakeBucket, problem, status_of
from tests.unit.conftest import Run

TOLD = {"rows": 2, "people": 2, "listed": 3, "uploaded": 0, "pending": 1, "failed": 0,
        "disagreements": {"stale_download": 1}}  # fmt: skip


@pytest.fixture
def sheet_file(run: Run) -> Path:
    """A sheet whose rows list three files, one of them twice on the disk, one not at all."""
    rows = [
        person(2, VIDEO, youtube_status="completed", youtube_files="a, part 1.mp4,a_transcript.vtt"),
        person(1, FILE, drive_status="completed", drive_files="notes.docx"),
    ]
    Path("people.csv").write_bytes(sheet(rows))
    for name in ("down/a, part 1.mp4", "down/one/notes.docx", "down/two/notes.docx"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(name.encode())
    return Path("people.csv")


def test_export_writes_the_sheet(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    api.answers["GET /api/assets.csv"] = httpx.Response(200, content=b"row_id\r\n2\r\n1\r\n")
    ran = run("export", "assets", "--output", "s.csv", "--keep-formulas", "--json")
    assert ran.code == 0
    assert Path("s.csv").read_bytes() == b"row_id\r\n2\r\n1\r\n"
    assert ran.answer["lines"] == 3
    assert dict(api.requests[-1].url.params) == {"formulas": "keep"}


def test_export_of_a_session_names_it(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    api.answers["GET /api/assets.csv"] = httpx.Response(200, content=b"row_id\r\n")
    assert run("export", "assets", "--session", str(SESSION)[:8]).out == "row_id\r\n"
    assert dict(api.requests[-1].url.params) == {"session": str(SESSION)}


@pytest.mark.parametrize(
    "words", [("export", "movies"), ("import", "artists", "a.csv"), ("import", "assets", "no.csv")]
)
def test_what_cannot_be_is_refused(run: Run, api: FakeApi, stack: dict[str, Any], words: tuple[str, ...]) -> None:
    assert run(*words).code == 2


def test_import_fetches_nothing_and_tells_what_the_sheet_holds(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, sheet_file: Path
) -> None:
    api.default = [status_of(pipeline="assets", sheet=TOLD)]
    ran = run("import", "assets", "people.csv")
    assert ran.code == 0
    assert bucket.uploaded[0]["metadata"] == {"mode": "basic"}
    assert "2 rows about 2 people" in ran.out
    assert "1 × stale download" in ran.out


def test_import_brings_the_files_and_reports_those_missing(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, sheet_file: Path
) -> None:
    api.default = [status_of(pipeline="assets", sheet=TOLD)]
    api.answers["POST /api/people/2/assets"] = {"asset_id": "x", "cloud_storage_url": "gs://media/x"}
    ran = run("import", "assets", "people.csv", "--files", "down", "--json")
    assert ran.code == 0
    digest = hashlib.sha256(b"down/a, part 1.mp4").hexdigest()
    assert [one["name"] for one in bucket.uploaded[1:]] == [f"sha256/{digest}"]
    assert api.sent("POST", "/api/people/2/assets") == [
        {"name": "a, part 1.mp4", "sha256": digest, "size": 18, "content_type": "video/mp4"}
    ]
    assert ran.answer["files_uploaded"] == 1
    assert ran.answer["files_missing"] == [{"row_id": "2", "name": "a_transcript.vtt"}]
    assert ran.answer["files_ambiguous"] == 1


def test_a_file_the_deployment_does_not_know_is_told(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, sheet_file: Path
) -> None:
    api.default = [status_of(pipeline="assets", sheet=TOLD)]
    api.answers["POST /api/people/2/assets"] = problem(404, "The sheet lists no such file.")
    ran = run("import", "assets", "people.csv", "--files", "down")
    assert ran.code == 2
    assert "lists no such file" in ran.err


def test_files_of_a_sheet_are_told_once_each(sheet_file: Path) -> None:
    assert [*listed(sheet_file)] == [
        Listed(row_id="2", name="a, part 1.mp4"), Listed(row_id="2", name="a_transcript.vtt"),
        Listed(row_id="1", name="notes.docx"),
    ]  # fmt: skip


def test_a_sheet_that_is_none_says_so(run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket) -> None:
    Path("s.csv").write_text("a,b\n1,2\n")
    Path("d").mkdir()
    api.default = [status_of(pipeline="assets", sheet=TOLD)]
    assert run("import", "assets", "s.csv", "--files", "d").code == 2
    with pytest.raises((WrongUsage, Exception)):
        [*listed(Path("s.csv"))]


def test_run_and_upload_know_the_options(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, sheet_file: Path
) -> None:
    api.default = [status_of(pipeline="assets", sheet=TOLD)]
    assert run("upload", "people.csv", "--mode", "text", "--dual-write").code == 0
    assert bucket.uploaded[-1]["metadata"] == {"mode": "text", "dual-write": "true"}
    assert bucket.uploaded[-1]["name"] == "assets/people.csv"
    assert run("upload", "people.csv", "--mode", "everything").code == 2


def test_a_google_sheet_is_read_and_used_as_a_file(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def read_sheet(sheet: Sheet, into: IO[bytes], **_: Any) -> int:
        read.append(sheet.url)
        return into.write(sheet_bytes)

    sheet_bytes = sheet([person(1, VIDEO)])
    monkeypatch.setattr(sheet_links, "read_sheet", read_sheet)
    api.default = [status_of(pipeline="assets", sheet=TOLD)]
    link = "https://docs.google.com/spreadsheets/d/1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVwXyZ/edit?x=1#gid=7"
    assert run("upload", link, "--pipeline", "assets").code == 0
    assert read == [
        "https://docs.google.com/spreadsheets/d/1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVwXyZ/export?format=csv&gid=7"
    ]
    assert bucket.uploaded[0]["name"] == "assets/sheet-1a2B3c4D5e6F.csv"
    assert Path("sheet-1a2B3c4D5e6F.csv").read_bytes() == sheet_bytes


@pytest.mark.parametrize(
    ("link", "pipeline"),
    [
        ("https://example.org/people.csv", "assets"),
        ("https://docs.google.com/spreadsheets/d/1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVwXyZ/edit", "artists"),
    ],
)
def test_another_link_is_no_file(run: Run, api: FakeApi, stack: dict[str, Any], link: str, pipeline: str) -> None:
    assert run("upload", link, "--pipeline", pipeline).code == 2
