"""`rowlift results` and `rowlift rejects`: to standard output, to a file that is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.saving import save
from tests.fake_api import (
    LOCAL,
    SESSION,
    FakeApi,
    FakeBucket,
    status_of,
    working,
)
from tests.unit.conftest import CSV, ID, Run


def test_results_go_to_standard_output_and_the_account_of_them_last(
    run: Run, api: FakeApi, stack: dict[str, Any]
) -> None:
    assert run("results", ID).out.encode() == api.results
    ran = run("results", ID, "--json")
    assert ran.out.splitlines()[:2] == ['{"item_no":1}', '{"item_no":2}']
    assert ran.answer == {"session_id": ID, "output": None, "lines": 2, "bytes": len(api.results)}


def test_results_and_rejects_go_to_a_file(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    ran = run("results", ID, "--output", "r.jsonl", "--json")
    assert Path("r.jsonl").read_bytes() == api.results
    assert ran.answer == {"session_id": ID, "output": str(Path("r.jsonl").absolute()), "lines": 2, "bytes": 28}
    assert "2 lines" in run("rejects", ID, "--output", "r.csv").out
    assert Path("r.csv").read_text() == "artist_id,reason\n,empty\n"
    assert "artist_id,reason" in run("rejects", ID).out


def test_rejects_in_a_folder_have_the_name_by_which_they_find_back(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    Path("mend").mkdir()
    ran = run("rejects", ID, "--output", "mend", "--json")
    name = f"rejects-{ID}.csv"
    assert ran.answer["output"] == str(Path("mend", name).absolute())
    assert [path.name for path in Path("mend").iterdir()] == [name]
    api.statuses[SESSION] = [status_of()]
    ran = run("upload", f"mend/{name}", "--pipeline", "artists", "--json")
    assert bucket.uploaded[0]["name"] == f"artists/{name}"
    assert (ran.code, ran.answer["session_id"]) == (0, ID)
    assert f"goes back to its session {ID}" in ran.err
    api.statuses[SESSION] = [working(9), status_of()]
    ran = run("upload", f"mend/{name}", "--pipeline", "artists", "--watch", "--json")
    assert (ran.code, ran.answer["session_id"]) == (0, ID)


@pytest.mark.parametrize(
    ("changes", "told"), [({"pipeline": "movies"}, "pipeline movies"), ({"status": "cancelled"}, "ended for good")]
)
def test_rejects_of_a_session_that_does_not_take_them_are_not_uploaded(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, changes: dict[str, Any], told: str
) -> None:
    name = f"{ID}-rejects (1).csv"
    Path(name).write_bytes(CSV)
    api.statuses.clear()
    ran = run("upload", name, "--pipeline", "artists", "--api", LOCAL)
    assert (ran.code, f"no session {ID}" in ran.err) == (2, True)
    api.statuses[SESSION] = [status_of(**changes)]
    ran = run("run", name, "--pipeline", "artists", "--api", LOCAL)
    assert ran.code == 2
    assert told in ran.err
    assert bucket.uploaded == []


def test_a_stream_that_breaks_leaves_the_old_file(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("cut")

    Path("r.jsonl").write_text("old")
    api.answers[f"GET /api/session/{ID}/results"] = httpx.Response(200, content=pieces())
    assert run("results", ID, "--output", "r.jsonl").code == 3
    assert [path.name for path in Path().iterdir()] == ["r.jsonl"]
    assert Path("r.jsonl").read_text() == "old"


def test_a_file_that_cannot_be_written_is_wrong_usage(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    assert "Cannot write" in run("results", ID, "--output", "no/where.jsonl").err
    Path("folder").mkdir()
    ran = run("results", ID, "--output", "folder")
    assert ran.code == 2
    assert "Cannot write" in ran.err


def test_a_saved_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save([b"a\n"], tmp_path / "f")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


def test_what_is_written_follows_links_and_leaves_devices_devices(tmp_path: Path) -> None:
    from cli.saving import save, unused

    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.write_bytes(b"old")
    link.symlink_to(real)
    save([b"new\n"], link)
    assert (real.read_bytes(), link.is_symlink()) == (b"new\n", True)
    assert save([b"x\n"], Path("/dev/null")).lines == 1
    assert not Path("/dev/null").is_file()
    assert unused(real) == tmp_path / "real-2.jsonl"
