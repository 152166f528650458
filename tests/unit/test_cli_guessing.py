"""Which pipeline files are taken for, and what is said where they do not tell it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from cli.faults import WrongUsage
from cli.guessing import guessed
from tests import sounds
from tests.fake_api import FakeApi, FakeBucket, problem, status_of
from tests.unit.conftest import CSV, Run

UUID_ROW = b"5b11f4ce-a62d-471e-81fc-a69a8278c7da,Nirvana\n"


@pytest.mark.parametrize(
    ("content", "pipeline"),
    [
        (CSV, "artists"),
        (b"artist_name;born;ARTIST_ID\nNirvana;1987;5b11f4ce-a62d-471e-81fc-a69a8278c7da\n", "artists"),
        ("artist_id\tartist_name\n{5b11f4ce-a62d-471e-81fc-a69a8278c7da}\tNirvana\n".encode("utf-16"), "artists"),
        (UUID_ROW, "artists"),
        (b"\xef\xbb\xbf" + UUID_ROW * 3, "artists"),
        (b"no uuid,Somebody\n" + UUID_ROW, "artists"),
        (b"Date,Name,Year,Letterboxd URI\n2024-01-06,The Matrix,1999,https://boxd.it/Ab1x\n", "movies"),
        (b"\xef\xbb\xbfDate,Name,Year,Letterboxd URI,Rating\n", "movies"),
        (b"Date,Name,Year,Letterboxd URI,Rating,Rewatch,Review,Tags,Watched Date\n", "movies"),
    ],
)
def test_a_file_tells_by_its_columns(tmp_path: Path, content: bytes, pipeline: str) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    assert guessed([tmp_path / "f.csv"]) == pipeline


def test_archives_and_folders_are_exports(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "me.ZIP", "w") as archive:
        archive.writestr("watched.csv", "Name\n")
    assert guessed([tmp_path / "me.ZIP"]) == guessed([tmp_path]) == "movies"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,born\nNina Simone,1933\n", "its first line reads “name,born”"),
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "its first line reads"),
    ],
)
def test_what_tells_nothing_is_told_and_both_pipelines_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(WrongUsage, match=r"Say --pipeline artists or .* or --pipeline movies\.") as caught:
        guessed([tmp_path / "f.csv"])
    assert said in str(caught.value)


def test_a_folder_of_sound_files_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.mp3").write_bytes(sounds.mp3(0.1))
    assert guessed([tmp_path]) == guessed([tmp_path / "one" / "a.mp3"]) == "audio"
    (tmp_path / "ratings.csv").write_bytes(b"Date,Name\n")
    assert guessed([tmp_path]) == "movies"
    (tmp_path / "list.csv").write_bytes(b"file\naudio/a.mp3\n")
    assert guessed([tmp_path / "list.csv"]) == "audio"


def test_files_of_two_kinds_are_run_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    with pytest.raises(WrongUsage, match=r"a\.csv like artists and .* like movies look different"):
        guessed([tmp_path / "a.csv", tmp_path])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"none\.csv does not exist"):
        guessed([tmp_path / "none.csv"])


def test_run_and_upload_say_what_they_take_a_file_for(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of()]
    for command in ("run", "upload"):
        ran = run(command, "a.csv")
        assert (ran.code, "Taken for artists, by the looks of a.csv." in ran.err) == (0, True)
    assert {each["name"] for each in bucket.uploaded} == {"artists/a.csv"}
    assert "Taken for" not in run("upload", "a.csv", "--pipeline", "artists").err


def test_options_that_change_nothing_are_left_out_and_said(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    Path("me").mkdir()
    Path("me/watched.csv").write_bytes(b"Date,Name,Year,Letterboxd URI\n")
    api.default = [problem(404, "There is no session."), status_of(options={})]
    ran = run("upload", "me", "--budget", "2", "--skip-existing", "--write-mode", "file")
    assert "--skip-existing, --budget left out, for it changes nothing about movies." in ran.err
    assert bucket.uploaded[0]["metadata"] == {"write-mode": "file"}
