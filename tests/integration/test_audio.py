"""Sound files dropped and listed: one item and one track each, true whatever becomes of them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from shared import items as ledger
from shared.audio.listing import track_id
from shared.errors import StorageDown
from shared.messages import ItemsNotice
from shared.results import result_lines
from tests import sounds
from tests.resumption import keep, results
from tests.workbench import Workbench

SONG = sounds.mp3(1, TIT2="Army of Me", TPE1="Björk", TALB="Post", TCON="Pop", TDRC="1995", cover=sounds.png())
BROKEN = sounds.wav()[:30]


@pytest.fixture
def audio(bench: Workbench) -> Workbench:
    """A Rowlift whose process function is that of audio."""
    return Workbench(db=bench.db, url=bench.url, slug="audio")


def track(bench: Workbench, name: str = "audio/a.mp3") -> dict[str, Any] | None:
    rows = bench.db.rows("tracks_by_ids", ids=[track_id(f"gs://up/{name}")])
    return rows[0] if rows else None


def status(bench: Workbench, name: str = "audio/a.mp3") -> str | None:
    found = track(bench, name)
    return found and found["status"]


def lines(bench: Workbench, session: UUID, *, minimal: bool = False) -> list[dict[str, Any]]:
    pages = result_lines(bench.db, session, pipeline="audio", minimal=minimal)
    return [json.loads(line) for line in b"".join(pages).splitlines()]


def listed(*names: str) -> bytes:
    return ("file\n" + "\n".join(names) + "\n").encode()


class TestOneFile:
    def test_it_is_one_item_and_its_track_says_what_the_file_says(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3")
        assert status(audio) == "PENDING"
        assert audio.run(session)["enriched"] == 1
        found = track(audio)
        assert found is not None
        assert (found["status"], found["title"], found["artist"], found["year"]) == (
            "COMPLETED",
            "Army of Me",
            "Björk",
            1995,
        )
        (line,) = lines(audio, session)
        assert (line["title"], line["track_id"], line["db_status"]) == ("Army of Me", str(found["id"]), "updated")
        kept = line["thumbnail_path"].removeprefix("gs://media/")
        assert audio.store.objects["media", kept][1] == sounds.png()
        audio.assert_sound(session)

    def test_without_a_title_it_is_called_as_its_file_and_unknown_is_null(self, audio: Workbench) -> None:
        audio.run(audio.drop(sounds.wav(), "audio/x1/Take Five.wav"))
        found = track(audio, "audio/x1/Take Five.wav")
        assert found is not None
        assert (found["title"], found["artist"], found["year"], found["thumbnail_path"]) == (
            "Take Five",
            None,
            None,
            None,
        )

    @pytest.mark.parametrize(
        ("data", "name", "code"),
        [
            (BROKEN, "audio/a.wav", "upstream.broken"), (b"%PDF-1.7 x", "audio/a.mp3", "upstream.not_audio"),
            (b"MZ", "audio/setup.exe", "upstream.not_audio"), (b"PK\x03\x04", "audio/a.zip", "upstream.not_audio"),
            (b"", "audio/a.flac", "upstream.empty"), (b"hi", "audio/noending", "upstream.not_audio"),
        ],
    )  # fmt: skip
    def test_what_is_no_sound_fails_its_item_with_a_reason(
        self, audio: Workbench, data: bytes, name: str, code: str
    ) -> None:
        session = audio.drop(data, name, **{"max-failed": "100%"})
        assert audio.run(session)["failed"] == 1
        found = track(audio, name)
        assert found is not None
        assert (found["status"], found["error_code"]) == ("FAILED", code)
        assert found["error_message"] == lines(audio, session)[0]["error"]
        audio.assert_sound(session)

    def test_a_name_that_no_track_can_have_fails_the_file(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a\nb.mp3")
        found = audio.run(session)
        assert (found["status"], "cannot be an object's name" in found["error_message"]) == ("failed", True)
        assert audio.value("SELECT count(*) FROM audio_tracks") == 0

    def test_told_of_it_twice_it_is_one_item(self, audio: Workbench) -> None:
        uploaded = audio.store.put("up", "audio/a.mp3", SONG)
        assert audio.ingest.take(uploaded) == (session := audio.ingest.take(uploaded))
        assert audio.run(session or UUID(int=0))["total"] == 1

    def test_a_reader_that_died_before_it_could_say_so_wrote_one_item(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3")
        audio.execute("UPDATE files SET state = 'waiting'")
        audio.execute("UPDATE sessions SET files_open = 1")
        audio.ingest.go_on(audio.value("SELECT id FROM files"))
        assert audio.run(session)["total"] == 1
        audio.assert_sound(session)

    def test_replaced_while_it_waits_it_fails_and_the_new_one_is_read(self, audio: Workbench) -> None:
        first = audio.drop(SONG, "audio/a.mp3", **{"max-failed": "100%"})
        second = audio.drop(sounds.mp3(1, TIT2="Other"), "audio/a.mp3")
        assert audio.run(first)["failed"] == 1
        assert audio.run(second)["enriched"] == 1
        assert (track(audio) or {})["title"] == "Other"


class TestLists:
    def test_rows_name_objects_of_our_buckets(self, audio: Workbench) -> None:
        audio.store.put("up", "music/a.mp3", SONG)
        audio.store.put("media", "b.flac", sounds.flac(TITLE="B"))
        data = listed("music/a.mp3", "gs://media/b.flac", "gs://up/music/a.mp3", "gone.mp3", "gs://out/secret", "")
        session = audio.drop(
            data + b'"https://example.com/a.mp3"\nftp://x/y\nhttp://a b\n', "audio/list.csv", **{"max-failed": "5"}
        )
        found = audio.run(session)
        counts = {name: found[name] for name in ("enriched", "duplicate", "failed", "rejected")}
        assert counts == {"enriched": 2, "duplicate": 1, "failed": 2, "rejected": 3}
        codes = {line["error_code"] for line in lines(audio, session)} - {None}
        assert codes == {"upstream.object_gone", "upstream.refused_host", "input.bucket", "input.link"}
        assert status(audio, "music/a.mp3") == "COMPLETED"
        audio.assert_sound(session)

    def test_a_list_that_is_no_list_fails_as_a_file(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/list.csv")
        assert audio.run(session)["status"] == "failed"

    def test_several_files_join_one_session_and_same_bytes_under_two_names_are_two(self, audio: Workbench) -> None:
        together = str(UUID(int=7))
        for name in ("one.mp3", "two.mp3", "three.wav"):
            data = sounds.wav() if name.endswith("wav") else SONG
            audio.store.checksums = True
            audio.drop(data, f"audio/{name}", session=together)
        assert audio.run(UUID(together))["enriched"] == 3
        audio.assert_sound(UUID(together))


class TestTracksFollowTheirItems:
    def test_taken_up_it_is_processing_and_put_back_it_waits_on(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3")
        assert ledger.claim(audio.db, session, [1], pipeline="audio", lease=100) is not None
        assert status(audio) == "PROCESSING"
        audio.pass_time(200)
        audio.rescuer.round()
        assert audio.run(session)["enriched"] == 1
        assert (track(audio) or {})["retry_count"] == 0

    def test_ten_lost_workers_fail_the_track_too(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3", **{"max-failed": "100%"})
        for _ in range(10):
            ledger.claim(audio.db, session, [1], pipeline="audio", lease=100)
            audio.pass_time(200)
            audio.rescuer.round()
        found = track(audio)
        assert found is not None
        assert (found["status"], found["error_code"]) == ("FAILED", "db.worker_lost")

    def test_cancelled_it_fails_and_says_so(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3")
        audio.sessions.cancel(session)
        found = track(audio)
        assert found is not None
        assert (found["status"], found["error_code"]) == ("FAILED", "cancelled")
        audio.assert_sound(session)

    def test_reprocessed_it_is_tried_again_and_that_is_counted(self, audio: Workbench) -> None:
        session = audio.drop(BROKEN, "audio/a.wav", **{"max-failed": "100%"})
        audio.run(session)
        assert status(audio, "audio/a.wav") == "FAILED"
        audio.store.objects["up", "audio/a.wav"] = (audio.store.objects["up", "audio/a.wav"][0], sounds.wav())
        audio.sessions.reprocess(session, outcomes=["failed"])
        audio.run(session)
        found = track(audio, "audio/a.wav")
        assert found is not None
        assert (found["status"], found["retry_count"], found["error_code"]) == ("COMPLETED", 1, None)
        audio.assert_sound(session)

    def test_a_store_that_is_away_is_waited_for(self, audio: Workbench) -> None:
        session, away = audio.drop(SONG, "audio/a.mp3"), [True]

        def down(offset: int) -> None:
            if away.pop() if away else False:
                raise StorageDown("The object store answered 503.")

        audio.store.on_read = down
        assert audio.run(session)["enriched"] == 1
        assert audio.item(session)["failures"] == 1

    def test_an_attempt_that_a_newer_one_superseded_changes_nothing(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3")
        old = ledger.claim(audio.db, session, [1], pipeline="audio", lease=100)
        audio.pass_time(200)
        audio.rescuer.round()
        assert old is not None
        audio.run(session)
        before = track(audio)
        audio.processor.handle(ItemsNotice(session=session, items=(1,)))
        assert track(audio) == before


class TestOptions:
    def test_results_only_leaves_the_library_alone(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3", **{"write-mode": "file"})
        audio.run(session)
        assert track(audio) is None
        assert lines(audio, session)[0]["title"] == "Army of Me"

    def test_database_only_has_short_lines(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3", **{"write-mode": "db"})
        audio.run(session)
        assert lines(audio, session, minimal=True) == [
            {"item_no": 1, "audio_path": "gs://up/audio/a.mp3", "track_id": str(track_id("gs://up/audio/a.mp3")),
             "db_status": "updated", "error": None}
        ]  # fmt: skip

    def test_a_dry_run_reads_nothing_and_writes_nothing(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3", **{"dry-run": "true"})
        assert audio.run(session)["skipped"] == 1
        assert track(audio) is None
        assert ("media", "covers") not in {(bucket, name.split("/")[0]) for bucket, name in audio.store.objects}

    def test_skip_existing_leaves_a_track_that_was_read_before(self, audio: Workbench) -> None:
        audio.run(audio.drop(SONG, "audio/a.mp3"))
        audio.store.put("up", "audio/b.mp3", SONG)
        session = audio.drop(listed("audio/a.mp3", "audio/b.mp3"), "audio/l.csv", **{"skip-existing": "true"})
        found = audio.run(session)
        assert (found["skipped"], found["enriched"]) == (1, 1)
        audio.assert_sound(session)

    def test_an_earlier_run_is_gone_on_with(self, audio: Workbench) -> None:
        for name in ("a", "b", "c"):
            audio.store.put("up", f"m/{name}.mp3", sounds.mp3(0.2, TIT2=name.upper()))
        first = audio.drop(listed("m/a.mp3", "m/b.mp3", "m/gone.mp3"), "audio/l.csv", **{"max-failed": "100%"})
        audio.run(first)
        keep(audio, results(audio, first), "resume/r.jsonl")
        again = audio.drop(listed("m/a.mp3", "m/b.mp3", "m/c.mp3"), "audio/l2.csv", resume="resume/r.jsonl")
        found = audio.run(again)
        assert (found["skipped"], found["enriched"]) == (2, 1)
        assert [status(audio, f"m/{name}.mp3") for name in ("a", "b", "c")] == ["COMPLETED"] * 3
        audio.assert_sound(again)

    def test_a_row_that_is_held_leaves_no_track_that_waits(self, audio: Workbench) -> None:
        audio.store.put("up", "m/a.mp3", SONG)
        first = audio.drop(listed("m/a.mp3"), "audio/l.csv")
        audio.run(first)
        keep(audio, results(audio, first), "resume/r.jsonl")
        audio.execute("DELETE FROM audio_tracks")
        again = audio.drop(listed("m/a.mp3"), "audio/l2.csv", resume="resume/r.jsonl")
        assert audio.run(again)["skipped"] == 1
        assert track(audio, "m/a.mp3") is None

    def test_a_quote_tells_how_many_files_there_are(self, audio: Workbench) -> None:
        session = audio.drop(SONG, "audio/a.mp3", approve="ask")
        audio.run(session)
        quote = audio.facts(session)["quote"]
        assert (quote["rows"], quote["usd"]["high"]) == (1, 0.0)
        dry = audio.drop(SONG, "audio/b.mp3", **{"dry-run": "true"})
        audio.run(dry)
        assert "INSERT INTO audio_tracks" in json.dumps(audio.facts(dry)["quote"])


def test_a_collection_of_others_is_read_whole(audio: Workbench, shared_data: Any) -> None:
    folder = shared_data / "audio/files"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in names:
        audio.store.put("up", f"audio/{name}", (folder / name).read_bytes())
    session = audio.drop(listed(*(f"audio/{name}" for name in names)), "audio/all.csv", **{"max-failed": "100%"})
    found = audio.run(session)
    assert (found["total"], found["enriched"], found["failed"]) == (140, 119, 21)
    assert audio.execute("SELECT status, count(*) FROM audio_tracks GROUP BY 1 ORDER BY 1") == [
        ["COMPLETED", 119], ["FAILED", 21],
    ]  # fmt: skip
    audio.assert_sound(session)
