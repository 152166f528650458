"""Sound files read in a process of their own: what they say, and that none of them can do harm."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from shared.audio import prober as prober_module
from shared.audio.prober import Probed, Prober
from shared.audio.tags import NoSound, title_of, year
from tests import sounds


@pytest.fixture(scope="module")
def prober() -> Iterator[Prober]:
    made = Prober()
    yield made
    made.close()


def probe(prober: Prober, data: bytes, name: str = "a.mp3") -> Probed:
    return prober.probe(lambda offset, length: data[offset : offset + length], len(data), name)


def refused(prober: Prober, data: bytes, name: str = "a.mp3") -> NoSound:
    with pytest.raises(NoSound) as caught:
        probe(prober, data, name)
    return caught.value


class TestFilesOfOthers:
    """A collection of 140 files from the test suites of four libraries, many of them broken."""

    NAMES: ClassVar = {"samplerate": "sample_rate"}
    VALUES: ClassVar = ("title", "artist", "album", "genre", "track", "duration", "channels", "samplerate", "bitrate")

    def test_whatever_the_suites_state_is_read_and_no_file_takes_long_or_much(
        self, prober: Prober, shared_data: Path
    ) -> None:
        folder = shared_data / "audio"
        expected: dict[str, Any] = json.loads((folder / "expected.json").read_text("utf-8"))
        names = sorted(json.loads((folder / "reference-readings.json").read_text("utf-8")))
        wrong, reasons = [], {}
        for name in names:
            try:
                said = probe(prober, (folder / "files" / name).read_bytes(), name).reading
            except NoSound as error:
                reasons[name] = error.code
                said = None
            for value in self.VALUES if name in expected else ():
                wanted, found = expected[name].get(value), getattr(said, self.NAMES.get(value, value), None)
                if wanted is not None and found != wanted:
                    wrong.append((name, value, wanted, found))
            if (date := expected.get(name, {}).get("year")) is not None and (
                said is None or said.year != int(date[:4])
            ):
                wrong.append((name, "year", date, said))
        assert (len(names), len(expected), wrong) == (140, 42, [])
        assert set(reasons.values()) <= {"empty", "not_audio", "broken"}
        assert len(reasons) == 21
        assert peak_memory(prober) < 200 << 20

    def test_only_pictures_are_covers(self, prober: Prober, shared_data: Path) -> None:
        files = shared_data / "audio/files"
        kept = {path.name: probe(prober, path.read_bytes(), path.name).cover for path in files.glob("tinytag/*image*")}
        assert {cover.kind for cover in kept.values()} == {"jpg"}
        said = probe(prober, (files / "taglib/lowercase-fields.ogg").read_bytes(), "a.ogg").cover
        assert (said.kind, said.refused) == (None, "The cover is not kept: it is neither JPEG, PNG, GIF nor WebP.")


def peak_memory(prober: Prober) -> int:
    return max(psutil.Process(one._process.pid).memory_info().rss for one in prober._idle)


class TestReading:
    """What our own files say of themselves."""

    def test_tags_and_figures_of_a_file_made_here(self, prober: Prober) -> None:
        data = sounds.mp3(
            2, TIT2=" Army of Me\n", TPE1="Björk", TALB="Post", TCON="Pop", TDRC="1995-06-13", TRCK="1/11"
        )
        said = probe(prober, data).reading
        assert (said.title, said.artist, said.album, said.genre) == ("Army of Me", "Björk", "Post", "Pop")
        assert (said.year, said.track, said.channels, said.sample_rate, said.format) == (1995, 1, 2, 44_100, "mp3")
        assert said.bitrate == 128.0
        assert said.duration == pytest.approx(2, abs=0.1)

    def test_what_is_unknown_is_null_and_never_nought(self, prober: Prober) -> None:
        said = probe(prober, sounds.flac(seconds=0, TITLE="x", DATE="0000", TRACKNUMBER="0"), "a.flac").reading
        assert (said.duration, said.year, said.track, said.bitrate, said.artist) == (None, None, None, None, None)

    @pytest.mark.parametrize(
        ("data", "name", "kind"),
        [
            (sounds.flac(TITLE="x"), "wrong.mp3", "flac"),
            (sounds.id3(TIT2="x") + sounds.flac(TITLE="y"), "tagged.flac", "flac"),
            (sounds.wav(), "no ending", "wav"),
            (sounds.ogg(TITLE="x"), "a.mp3", "ogg"),
            (sounds.id3(TIT2="only a tag"), "a.mp3", "mp3"),
        ],
    )
    def test_what_a_file_holds_decides_and_not_its_ending(
        self, prober: Prober, data: bytes, name: str, kind: str
    ) -> None:
        assert probe(prober, data, name).reading.format == kind

    def test_of_a_long_stream_only_its_ends_are_read(self, prober: Prober) -> None:
        data = sounds.ogg(3_600, pages=400, page=64_000, TITLE="An hour")
        found = probe(prober, data, "a.ogg")
        assert (found.reading.title, found.reading.duration) == ("An hour", 3_600)
        assert found.fetched < len(data) / 4

    def test_a_tag_in_front_of_gigabytes_costs_little(self, prober: Prober) -> None:
        head, size = sounds.mp3(2, TIT2="x"), 4 << 30
        asked: list[tuple[int, int]] = []

        def fetch(offset: int, length: int) -> bytes:
            asked.append((offset, length))
            return (head[offset : offset + length] + bytes(length))[:length]

        found = prober.probe(fetch, size, "a.mp3")
        assert found.reading.title == "x"
        assert found.fetched == sum(length for _, length in asked) < 1 << 20

    def test_a_cover_is_a_picture_of_a_reasonable_size(self, prober: Prober) -> None:
        assert probe(prober, sounds.mp3(cover=sounds.png())).cover.kind == "png"
        bomb = probe(prober, sounds.mp3(TIT2="x", cover=sounds.png(60_000, 60_000)))
        assert (bomb.cover.kind, bomb.reading.title) == (None, "x")
        assert bomb.cover.refused == "The cover is not kept: it says it is 60,000 by 60,000 pixels."

    def test_text_stays_as_it_was_declared(self, prober: Prober) -> None:
        mojibake = "中文".encode("gbk").decode("latin-1")
        assert probe(prober, sounds.mp3(encoding=0, TIT2=mojibake)).reading.title == mojibake


class TestHostileFiles:
    """Files that loop, allocate or are something else."""

    @pytest.mark.parametrize(
        ("data", "name", "code", "said"),
        [
            (b"", "a.mp3", "empty", "The file is empty."),
            (b"%PDF-1.7", "a.mp3", "not_audio", "This is a PDF document and no sound file."),
            (b"MZ\x90\0" + bytes(100), "a.mp3", "not_audio", "a program for Windows"),
            (b"PK\x03\x04" + bytes(100), "a.flac", "not_audio", "a ZIP archive"),
            (b"hello, world", "a.txt", "not_audio", "Neither its first bytes nor its name"),
            (b"hello, world", "a.mp3", "not_audio", "neither sound nor a tag"),
            (b"<!DOCTYPE html><p>", "a.mp3", "not_audio", "a web page"),
            (sounds.wav()[:30], "a.wav", "broken", "it is broken"),
        ],
    )
    def test_what_is_no_sound_says_what_it_is(
        self, prober: Prober, data: bytes, name: str, code: str, said: str
    ) -> None:
        error = refused(prober, data, name)
        assert error.code == code
        assert said in str(error)

    def test_a_tag_of_200_mb_ends_with_an_error_and_the_next_file_is_read(self, prober: Prober) -> None:
        error = refused(prober, sounds.greedy_mp3())
        assert error.code == "too_greedy"
        assert probe(prober, sounds.wav(), "a.wav").reading.format == "wav"

    def test_memory_is_limited_in_the_process_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prober_module, "BYTES", 1 << 30)
        greedy = Prober(most_bytes=1 << 30)
        try:
            assert refused(greedy, sounds.greedy_mp3()).code == "too_greedy"
            assert greedy._idle == []
        finally:
            greedy.close()

    def test_a_store_that_never_answers_ends_with_the_time(self) -> None:
        impatient = Prober(seconds=0.3)
        never = threading.Event()
        with pytest.raises(NoSound) as caught:
            impatient.probe(lambda offset, length: bytes(never.wait(0.5)) or b"\xff" * length, 1 << 30, "a.mp3")
        assert caught.value.code == "too_greedy"
        assert impatient._idle == []

    def test_one_that_computes_without_end_is_ended_by_the_system(self) -> None:
        code = "from shared.audio import worker\nworker.CPU = 0\nworker.limit_cpu()\nwhile True: pass"
        done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60, check=False)
        assert done.returncode == -signal.SIGXCPU

    def test_what_a_fetch_raises_reaches_whoever_asked(self, prober: Prober) -> None:
        def gone(offset: int, length: int) -> bytes:
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            prober.probe(gone, 100, "a.mp3")
        assert probe(prober, sounds.wav(), "a.wav").reading.channels == 1

    def test_a_worker_that_was_killed_is_replaced(self, prober: Prober) -> None:
        probe(prober, sounds.wav(), "a.wav")
        for one in prober._idle:
            one._process.kill()
            one._process.wait()
        assert probe(prober, sounds.wav(), "a.wav").reading.channels == 1


class TestProcesses:
    def test_they_are_kept_and_know_no_secret(self, prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        fresh = Prober()
        probe(fresh, sounds.wav(), "a.wav")
        probe(fresh, sounds.wav(), "a.wav")
        (one,) = fresh._idle
        assert one.files == 2
        assert "OPENAI_API_KEY" not in psutil.Process(one._process.pid).environ()
        fresh.close()
        assert not psutil.pid_exists(one._process.pid) or one._process.poll() is not None

    def test_many_threads_read_at_once(self, prober: Prober) -> None:
        data = [sounds.mp3(1, TIT2=f"Track {n}") for n in range(24)]
        with ThreadPoolExecutor(6) as pool:
            titles = list(pool.map(lambda one: probe(prober, one).reading.title, data))
        assert titles == [f"Track {n}" for n in range(24)]
        assert len(prober._idle) <= prober_module.AT_ONCE

    def test_they_end_with_their_parent(self) -> None:
        fresh = Prober()
        probe(fresh, sounds.wav(), "a.wav")
        (one,) = fresh._idle
        one._inlet.close()  # as the end of this process closes it
        assert one._process.wait(10) == 0
        one._outlet.close()


@pytest.mark.parametrize(
    ("date", "found"),
    [
        ("2004", 2004), ("2010-10-11", 2010), ("20101011", 2010), ("11.10.2010", 2010), ("2010-04-03T12:00:00Z", 2010),
        ("(P) 1999", 1999), ("c. 1888", 1888), ("1750", None), ("0000", None), ("12345", None), ("", None),
        (None, None), ("99", None), ("2010/2011", 2010), ("9999 1984", 1984), ("Sept. 1969", 1969),
    ],
)  # fmt: skip
def test_the_year_of_a_date_however_it_is_written(date: str | None, found: int | None) -> None:
    assert year(date) == found


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("audio/1f/Björk - Army of Me.mp3", "Björk - Army of Me"), (".mp3", ".mp3"), ("a.b.flac", "a.b"),
        ("no ending", "no ending"), ("x/ .mp3", ".mp3"), ("x/y/", "y"), ("\t", "\t"),
    ],
)  # fmt: skip
def test_a_track_without_a_title_is_called_as_its_file(name: str, title: str) -> None:
    assert title_of(name) == title
