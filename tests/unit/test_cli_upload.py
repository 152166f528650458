"""`rowlift upload`: what is sent where, what it waits for, how it fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import leaving, uploading
from cli.naming import short
from tests.fake_api import (
    FakeApi,
    FakeBucket,
    problem,
    status_of,
    working,
)
from tests.unit.conftest import CSV, ID, Run


def test_upload_puts_a_file_with_its_options_and_names_its_session(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of()]
    ran = run(
        "upload", "a.csv", "--pipeline", "artists", "--write-mode", "file", "--skip-existing", "--dry-run", "--budget",
        "2.50", "--approve", "ask", "--on-missing", "error", "--max-failed", "5%", "--json",
    )  # fmt: skip
    assert ran.code == 0
    assert bucket.uploaded == [
        {
            "name": "artists/a.csv",
            "type": "text/csv",
            "metadata": {
                "write-mode": "file", "skip-existing": "true", "dry-run": "true", "budget": "2.50", "approve": "ask",
                "on-missing": "error", "max-failed": "5%",
            },
        }
    ]  # fmt: skip
    assert ran.answer["session_id"] == str(bucket.session())
    assert ran.answer["sessions"] == [
        {
            "session_id": str(bucket.session()),
            "file": "a.csv",
            "object": "gs://up/artists/a.csv",
            "generation": 1001,
            "bytes": len(CSV),
        }
    ]


def test_options_not_given_are_not_sent(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of()]
    assert run("upload", "a.csv", "--pipeline", "artists").code == 0
    assert bucket.uploaded[0]["metadata"] is None


def test_files_of_one_name_stay_apart_and_may_join_a_session(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    for folder in ("more", "most"):
        Path(folder).mkdir()
        Path(folder, "a.csv").write_bytes(CSV)
    api.default = [status_of()]
    ran = run("upload", "a.csv", "more/a.csv", "most/a.csv", "--pipeline", "artists", "--session", ID, "--json")
    assert [each["name"] for each in bucket.uploaded] == ["artists/a.csv", "artists/2/a.csv", "artists/3/a.csv"]
    assert {each["session_id"] for each in ran.answer["sessions"]} == {ID}


def test_upload_waits_until_the_session_can_be_asked_about_but_not_for_ever(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.default = [problem(404, "Not yet."), problem(404, "Not yet."), status_of()]
    assert run("upload", "a.csv", "--pipeline", "artists").code == 0
    assert sum(request.url.path.startswith("/api/session/") for request in api.requests) == 3
    monkeypatch.setattr(leaving, "KNOWN_WITHIN", 0.05)
    api.default = None
    assert run("upload", "b.csv", "--pipeline", "artists").code == 0
    api.default = [problem(503, "Restarting.")]
    assert run("upload", "b.csv", "--pipeline", "artists").code == 0


def test_upload_with_watch_ends_as_the_session_does(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [problem(404, "Not yet."), working(1), status_of(status="failed", error_message="No column.")]
    ran = run("upload", "a.csv", "--pipeline", "artists", "--watch", "--json")
    assert ran.code == 1
    assert ran.answer["session_id"] == str(bucket.session())
    assert "failed: No column." in ran.err


def test_ctrl_c_while_an_upload_is_watched_leaves_it_running(
    run: Run,
    api: FakeApi,
    stack: dict[str, Any],
    bucket: FakeBucket,
    files: list[str],
    interrupt_at: Callable[[], None],
) -> None:
    interrupt_at()
    api.default = [working(1)]
    ran = run("upload", "a.csv", "--pipeline", "artists", "--watch")
    assert ran.code == 130
    assert f"rowlift watch {short(bucket.session())}" in ran.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConnectionError("refused"), 3, "Is the stack still up?"),
        (uploading.ObjectGone(), 2, "no bucket up"),
        (PermissionError(13, "Permission denied"), 2, "Cannot read a.csv: Permission denied"),
    ],
)
def test_an_upload_that_fails(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str],
    error: Exception, code: int, words: str,
) -> None:  # fmt: skip
    bucket.error = error
    ran = run("upload", "a.csv", "--pipeline", "artists")
    assert ran.code == code
    assert words in ran.err


def test_a_file_that_may_not_be_read(run: Run, files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "path 'a.csv' is not readable" in run("upload", "a.csv", "--pipeline", "artists").err


def test_the_local_storage_is_reached_past_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.setenv("no_proxy", "intranet")
    client = uploading._client("http://127.0.0.1:5")
    assert client._connection.API_BASE_URL == "http://127.0.0.1:5"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    client.close()


def test_a_file_named_twice_would_be_paid_for_twice(run: Run, stack: dict[str, Any], files: list[str]) -> None:
    ran = run("upload", "a.csv", "./a.csv", "--pipeline", "artists")
    assert ran.code == 2
    assert "named twice" in ran.err


def test_a_session_nobody_knows_takes_no_files(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [problem(404, "There is no such session.")]
    unknown = "00000000-0000-4000-8000-000000000001"
    assert run("upload", "a.csv", "--pipeline", "artists", "--session", unknown).code == 2
    assert bucket.uploaded == []
