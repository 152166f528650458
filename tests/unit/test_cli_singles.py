"""Files that are rows by themselves: several are one session, of which a copy adds nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.inputs import inputs_of
from tests import sounds
from tests.fake_api import FakeApi, FakeBucket, status_of
from tests.unit.conftest import Run


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for album in ("one", "two"):
        (tmp_path / album).mkdir()
        (tmp_path / album / "01.mp3").write_bytes(sounds.mp3(0.1, TALB=album))
    (tmp_path / "one" / "notes.txt").write_text("nothing to hear")
    return tmp_path


def test_a_folder_stands_for_the_sound_files_in_it(songs: Path) -> None:
    found, left_out = inputs_of([songs], "audio")
    assert [one.file.relative_to(songs).as_posix() for one in found] == ["one/01.mp3", "two/01.mp3"]
    assert left_out == ""
    assert {one.title for one in found} == {"2 files"}
    assert {one.results for one in found} == {songs / "one" / "audio.results.jsonl"}


def test_an_object_is_named_by_what_it_holds(songs: Path) -> None:
    first, second = (inputs_of([songs / album / "01.mp3"], "audio")[0][0] for album in ("one", "two"))
    assert first.object != second.object
    assert first.object == inputs_of([songs / "one" / "01.mp3"], "audio")[0][0].object
    assert first.results == Path(f"{songs / 'one' / '01.mp3'}.results.jsonl")


def test_a_copy_of_a_file_adds_nothing(songs: Path) -> None:
    (songs / "copy").mkdir()
    shutil.copy(songs / "one" / "01.mp3", songs / "copy" / "01.mp3")
    assert len(inputs_of([songs], "audio")[0]) == 2


def test_several_are_uploaded_into_one_session(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, songs: Path
) -> None:
    api.default = [status_of()]
    ended = run("upload", str(songs / "one" / "01.mp3"), str(songs / "two" / "01.mp3"))
    assert ended.code == 0, ended.err
    sessions = [one["metadata"]["session"] for one in bucket.uploaded]
    assert len(sessions) == 2
    assert len(set(sessions)) == 1
