"""The library of tracks: saved, listed, found by words however they are typed, and moved only as tracks may be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.audio import listing, search
from shared.audio.tracks import (
    TrackStatus,
    get_all_audio_metadata,
    get_audio_metadata_by_id,
    get_audio_metadata_by_ids,
    mark_as_completed,
    mark_as_failed,
    mark_as_processing,
    save_audio_metadata,
    save_audio_metadata_batch,
    search_audio_tracks,
    search_audio_tracks_advanced,
    track_id,
    update_processing_status,
    update_processing_status_batch,
)
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.errors import Conflict, NotFound
from shared.problems import InvalidRequest
from tests.conftest import _administer

NOBODY = UUID(int=0)
NO_POLKA = "ALTER TABLE audio_tracks ADD CONSTRAINT audio_tracks_no_polka CHECK (genre <> 'Polka')"


@pytest.fixture(scope="module")
def library(server: str) -> Iterator[Database]:
    """One database for all tests here: a fresh one for each of a hundred would take longer than they do."""
    name = f"library_{os.getpid()}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE template")
    database = Database(connector(parse_database_url(server.replace("/template", f"/{name}"))), size=10)
    yield database
    database.close()
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(library: Database) -> Database:
    run(library, "TRUNCATE audio_tracks, audio_track_changes")
    return library


def run(db: Database, statement: str) -> list[Any]:
    """The rows of any statement."""
    with db._checked_out() as connection:
        return list(connection.execute_simple(statement).rows or [])


def save(db: Database, title: str | None, **more: Any) -> UUID:
    """A track of a path of its own."""
    return save_audio_metadata(db, {"audio_path": f"gs://up/audio/{uuid4().hex}.mp3", "title": title, **more})


def titles(db: Database, query: str, **more: Any) -> list[str]:
    return [one["title"] for one in search_audio_tracks_advanced(db, query, **more).tracks]


class TestSaving:
    def test_what_is_saved_comes_back_and_what_is_unknown_is_null(self, db: Database) -> None:
        path = "gs://up/audio/a.mp3"
        one = save_audio_metadata(db, {"audio_path": path, "title": "Army of Me", "year": 1995, "duration": 231.5})
        found = get_audio_metadata_by_id(db, one)
        assert (found["id"], found["title"], found["year"], found["duration"]) == (
            track_id(path),
            "Army of Me",
            1995,
            231.5,
        )
        assert (found["status"], found["artist"], found["channels"], found["retry_count"]) == (
            "COMPLETED",
            None,
            None,
            0,
        )

    def test_the_same_path_is_the_same_track(self, db: Database) -> None:
        first, again = (
            save_audio_metadata(db, {"audio_path": "gs://up/a", "title": title}) for title in ("One", "Two")
        )
        assert first == again
        assert get_audio_metadata_by_id(db, first)["title"] == "Two"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("year", 1799), ("year", 2101), ("channels", 0), ("channels", 17), ("duration", 0),
            ("duration", -1), ("bitrate", 0), ("track", 0), ("audio_path", "/etc/passwd"), ("audio_path", "gs://up/a\nb"),
            ("thumbnail_path", "https://example.com/a.png"), ("format", "exe"), ("title", "x" * 1_001),
            ("status", "FAILED"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_with_its_field(self, db: Database, field: str, value: Any) -> None:
        with pytest.raises(InvalidRequest, match=field):
            save_audio_metadata(db, {"audio_path": "gs://up/a", field: value})

    def test_the_table_itself_refuses_them_too(self, db: Database) -> None:
        with db._checked_out() as connection:
            for column, value in (
                ("year", "1799"),
                ("channels", "17"),
                ("audio_path", "'x'"),
                ("thumbnail_path", "'x'"),
            ):
                path = "" if column == "audio_path" else "audio_path, "
                given = "" if column == "audio_path" else "'gs://up/a', "
                with pytest.raises(Exception, match="audio_tracks_"):
                    connection.execute_simple(
                        f"INSERT INTO audio_tracks (id, {path}{column}) VALUES (gen_random_uuid(), {given}{value})"
                    )

    def test_many_are_saved_all_or_none(self, db: Database) -> None:
        good, bad = {"audio_path": "gs://up/a", "title": "x"}, {"audio_path": "gs://up/b", "year": 3000}
        with pytest.raises(InvalidRequest) as caught:
            save_audio_metadata_batch(db, [good, bad, {"title": "no path"}, good])
        assert [fault.field for fault in caught.value.faults] == ["1", "2", "3"]
        assert get_all_audio_metadata(db).total == 0
        assert [one.id for one in save_audio_metadata_batch(db, [good, {"audio_path": "gs://up/c"}])] == [
            track_id("gs://up/a"), track_id("gs://up/c"),
        ]  # fmt: skip

    def test_or_each_for_itself_with_what_became_of_it(self, db: Database) -> None:
        good, bad = {"audio_path": "gs://up/a"}, {"audio_path": "gs://up/b", "year": 3000}
        saved = save_audio_metadata_batch(db, [good, bad, good], each=True)
        assert [one.id for one in saved] == [track_id("gs://up/a"), None, None]
        assert saved[1].error is not None
        assert "year" in saved[1].error
        assert get_all_audio_metadata(db).total == 1

    def test_one_that_only_postgresql_refuses_keeps_none_of_the_others(self, db: Database) -> None:
        run(db, NO_POLKA)
        rows = [{"audio_path": f"gs://up/{n}", "genre": genre} for n, genre in enumerate(("Jazz", "Polka", "Rock"))]
        saved = save_audio_metadata_batch(db, rows, each=True)
        run(db, "ALTER TABLE audio_tracks DROP CONSTRAINT audio_tracks_no_polka")
        assert [one.error is None for one in saved] == [True, False, True]

    def test_too_many_at_once_are_refused(self, db: Database) -> None:
        with pytest.raises(InvalidRequest, match="too many"):
            save_audio_metadata_batch(db, [{"audio_path": "gs://up/a"}] * 1_001)


class TestGetting:
    def test_several_come_in_the_order_they_were_asked_for_without_those_that_are_not(self, db: Database) -> None:
        ids = [save(db, f"Track {n}") for n in range(3)]
        found = get_audio_metadata_by_ids(db, [ids[2], NOBODY, ids[0], ids[2]])
        assert [one["id"] for one in found] == [ids[2], ids[0]]
        assert get_audio_metadata_by_ids(db, []) == []

    def test_nobody_knows_a_track_that_is_not(self, db: Database) -> None:
        with pytest.raises(NotFound, match="There is no track"):
            get_audio_metadata_by_id(db, NOBODY)


def walked(db: Database, **asked: Any) -> list[str]:
    """The titles of a whole list, a page after the other by its cursor."""
    found, after = [], None
    while True:
        page = get_all_audio_metadata(db, limit=2, after=after, **asked)
        found += [one["title"] for one in page.tracks]
        if (after := page.next) is None:
            return found


class TestListing:
    def test_pages_by_place_and_behind_a_cursor_say_the_same(self, db: Database) -> None:
        for n in range(5):
            save(db, f"Track {n}")
        page = get_all_audio_metadata(db, limit=2, offset=2)
        assert [one["title"] for one in page.tracks] == ["Track 2", "Track 1"]
        assert (page.total, page.has_more) == (5, True)
        assert not get_all_audio_metadata(db, limit=2, offset=3).has_more
        assert walked(db) == [f"Track {n}" for n in (4, 3, 2, 1, 0)]
        assert walked(db, order="asc") == [f"Track {n}" for n in range(5)]

    def test_orders_ignore_case_and_accents_and_take_nulls_for_empty(self, db: Database) -> None:
        for title, year in (("éclair", 2001), ("Zebra", None), ("apple", 1999), (None, 2001), ("Éclair", 1990)):
            save(db, title, year=year)
        assert walked(db, sort="title", order="asc")[:2] == [None, "apple"]
        assert set(walked(db, sort="title", order="asc")[2:4]) == {"éclair", "Éclair"}
        assert walked(db, sort="year", order="asc")[:3] == ["Zebra", "Éclair", "apple"]
        assert len(walked(db, sort="artist", order="desc")) == 5

    def test_one_status_alone(self, db: Database) -> None:
        waiting = save(db, "Waiting", status="PENDING")
        save(db, "Done")
        page = get_all_audio_metadata(db, status=TrackStatus.PENDING)
        assert ([one["id"] for one in page.tracks], page.total) == ([waiting], 1)

    @pytest.mark.parametrize(
        "wrong", [{"limit": 0}, {"limit": 1_001}, {"offset": -1}, {"after": "nonsense"}, {"after": ""}]
    )
    def test_what_cannot_be_a_page_is_refused(self, db: Database, wrong: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequest):
            get_all_audio_metadata(db, **wrong)

    def test_a_cursor_of_another_list_is_refused(self, db: Database) -> None:
        for n in range(2):
            save(db, f"Track {n}")
        cursor = get_all_audio_metadata(db, limit=1).next
        with pytest.raises(InvalidRequest, match="no cursor of this list"):
            get_all_audio_metadata(db, limit=1, sort="title", after=cursor)


class TestSearching:
    @pytest.mark.parametrize(
        ("stored", "asked"),
        [
            ("Björk", "bjork"), ("Bjork", "BJÖRK"), ("Bjo\u0308rk", "Björk"), ("Straße", "STRASSE"),
            ("Æther", "aether"),
            ("Mø", "mo"), ("Łódź", "lodz"), ("Ёлка", "елка"), ("ЁЛКА", "ёлка"), ("ＦＵＬＬ width", "full WIDTH"),
            ("İstanbul", "istanbul"), ("ıssız", "issiz"), ("東京事変", "東京"), ("東京事変", "事変"),
            ("ガギグ", "カ\u3099キ\u3099"),
            ("한국어 노래", "노래"), ("AC/DC", "ac dc"), ("R.E.M.", "REM"), ("Don’t Stop", "dont"),
            ("Don't Stop", "don’t stop"),
            ("Jay-Z", "jay z"), ("Dvořák: Symphony No. 9", "dvorak 9"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("ﬁne", "fine"),
            ("Summer of '69", "69"), ("50% off_beat", "beat"), ("עִבְרִית", "עברית"), ("Œuvre", "oeuvre"),
        ],
    )  # fmt: skip
    def test_letters_meet_however_they_are_written(self, db: Database, stored: str, asked: str) -> None:
        save(db, stored)
        save(db, "Something else altogether")
        assert titles(db, asked) == [stored]

    def test_title_and_artist_weigh_more_than_album_and_that_more_than_genre(self, db: Database) -> None:
        save(db, "One", genre="Echo")
        save(db, "Two", album="Echo")
        save(db, "Three", artist="Echo")
        found = search_audio_tracks(db, "echo")
        assert [one["title"] for one in found.tracks] == ["Three", "Two", "One"]
        ranks = [one["rank"] for one in found.tracks]
        assert ranks == sorted(ranks, reverse=True)
        assert (found.total, found.total_is_exact, found.has_more) == (3, True, False)

    def test_words_phrases_and_exclusions(self, db: Database) -> None:
        for title in ("Blue Train", "Train in Blue", "Blue Monday"):
            save(db, title)
        assert set(titles(db, "blue train")) == {"Blue Train", "Train in Blue"}
        assert titles(db, '"blue train"') == ["Blue Train"]
        assert titles(db, "blue -train") == ["Blue Monday"]
        assert set(titles(db, "monday or train")) == {"Blue Train", "Train in Blue", "Blue Monday"}

    def test_the_last_word_may_go_on_where_that_is_asked(self, db: Database) -> None:
        save(db, "Björk Live")
        assert titles(db, "live bjö") == []
        assert titles(db, "live bjö", prefix=True) == ["Björk Live"]
        assert titles(db, "liv björk", prefix=True) == []
        assert titles(db, 'live "bj', prefix=True) == ["Björk Live"]
        assert titles(db, "bjö ", prefix=True) == []  # the word has ended

    def test_filters(self, db: Database) -> None:
        save(db, "Song A", year=1990, format="mp3", genre="Rock")
        save(db, "Song B", year=2000, format="flac", genre="Jazz")
        save(db, "Song C", status="PENDING")
        for filters, found in (
            ({"year_from": 1995}, {"Song B"}), ({"year_to": 1995}, {"Song A"}), ({"format": "flac"}, {"Song B"}),
            ({"genre": "rOCK"}, {"Song A"}), ({"status": TrackStatus.PENDING}, {"Song C"}), ({"min_rank": 0.99}, set()),
            ({"min_rank": 0.01}, {"Song A", "Song B", "Song C"}),
        ):  # fmt: skip
            assert set(titles(db, "song", **filters)) == found, filters  # type: ignore[arg-type]

    def test_pages_by_place_and_behind_a_cursor(self, db: Database) -> None:
        for n in range(7):
            save(db, f"Song {'x ' * n}")
        whole = titles(db, "song")
        assert titles(db, "song", limit=3) + titles(db, "song", limit=3, offset=3) == whole[:6]
        found, after = [], None
        while True:
            page = search_audio_tracks(db, "song", limit=2, after=after)
            found += [one["title"] for one in page.tracks]
            if (after := page.next) is None:
                break
        assert found == whole
        assert page.total == 7

    @pytest.mark.parametrize("query", ["", "   ", "!!!", '"', "\x00", "-", "(", "'", "x" * 201])
    def test_a_query_with_nothing_to_look_for_is_refused(self, db: Database, query: str) -> None:
        with pytest.raises(InvalidRequest):
            search_audio_tracks(db, query)

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(query=st.text(max_size=60), prefix=st.booleans())
    def test_any_text_is_safe_to_ask(self, db: Database, query: str, prefix: bool) -> None:
        try:
            search_audio_tracks_advanced(db, query, prefix=prefix)
        except InvalidRequest as error:
            told = str(error)
            assert "look for" in told or "characters" in told

    @settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(title=st.text(st.characters(categories=("L",)), min_size=1, max_size=12))
    def test_a_title_of_letters_is_found_by_itself(self, db: Database, title: str) -> None:
        one = save_audio_metadata(db, {"audio_path": "gs://up/one", "title": title})
        words = run(db, f"SELECT length(search_vector) FROM audio_tracks WHERE id = '{one}'")
        if words[0][0] and title.strip().lower() != "or":
            assert one in [found["id"] for found in search_audio_tracks(db, title).tracks]

    def test_words_that_too_many_tracks_have_are_ranked_among_the_shortest(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = [{"audio_path": f"gs://up/{n}", "title": f"Common {'word ' * (n % 5)}{n}"} for n in range(400)]
        save_audio_metadata_batch(db, [*rows, {"audio_path": "gs://up/best", "title": "Common"}])
        run(db, "ANALYZE audio_tracks")
        exact = search_audio_tracks(db, "common")
        monkeypatch.setattr(search, "RANKED", 100)
        found = search_audio_tracks(db, "common")
        assert (exact.total, exact.total_is_exact, found.total_is_exact) == (401, True, False)
        assert (found.tracks[0]["title"], exact.tracks[0]["title"]) == ("Common", "Common")
        assert abs(found.total - 401) <= 40
        assert found.has_more
        monkeypatch.setattr(search, "ENOUGH", 1)  # too few of the shortest: all are ranked after all
        assert len(search_audio_tracks(db, "common", limit=300).tracks) == 300
        behind = search_audio_tracks(db, "common", after=found.next).tracks
        assert not {one["id"] for one in behind} & {one["id"] for one in found.tracks}


def changes(db: Database, track: UUID) -> Sequence[tuple[str, str, str]]:
    return [(row["actor"], row["from_status"], row["to_status"]) for row in db.rows("track_changes", track=track)]


class TestStatuses:
    def test_from_pending_to_completed_with_who_did_it(self, db: Database) -> None:
        one = save(db, "x", status="PENDING")
        assert mark_as_processing(db, one, actor="ann")["status"] == "PROCESSING"
        assert mark_as_completed(db, one, actor="bob")["status"] == "COMPLETED"
        assert changes(db, one) == [("bob", "PROCESSING", "COMPLETED"), ("ann", "PENDING", "PROCESSING")]

    def test_one_that_failed_is_tried_again_and_its_retries_are_counted(self, db: Database) -> None:
        one = save(db, "x", status="PENDING")
        mark_as_processing(db, one, actor="ann")
        failed = mark_as_failed(db, one, "disk_full", "The disk is full.", actor="ann")
        assert (failed["status"], failed["error_code"], failed["error_message"]) == (
            "FAILED",
            "disk_full",
            "The disk is full.",
        )
        again = mark_as_processing(db, one, actor="ann")
        assert (again["retry_count"], again["error_code"], again["error_message"]) == (1, None, None)

    @pytest.mark.parametrize("to", list(TrackStatus))
    @pytest.mark.parametrize("stands", list(TrackStatus))
    def test_only_these_moves_there_are(self, db: Database, stands: TrackStatus, to: TrackStatus) -> None:
        one = save(db, "x", status="PENDING" if stands is not TrackStatus.COMPLETED else "COMPLETED")
        if stands in (TrackStatus.PROCESSING, TrackStatus.FAILED):
            mark_as_processing(db, one, actor="ann")
        if stands is TrackStatus.FAILED:
            mark_as_failed(db, one, "x", "x", actor="ann")
        code = "why" if to is TrackStatus.FAILED else None
        allowed = (stands, to) in {
            ("PENDING", "PROCESSING"), ("PROCESSING", "COMPLETED"), ("PROCESSING", "FAILED"), ("FAILED", "PROCESSING"),
        }  # fmt: skip
        if allowed:
            assert update_processing_status(db, one, to, actor="ann", error_code=code)["status"] == to
        else:
            noted = len(changes(db, one))
            with pytest.raises(Conflict, match=f"is {stands} and cannot become {to}"):
                update_processing_status(db, one, to, actor="ann", error_code=code)
            assert get_audio_metadata_by_id(db, one)["status"] == stands
            assert len(changes(db, one)) == noted

    def test_a_failure_has_a_code_and_nothing_else_has(self, db: Database) -> None:
        one = save(db, "x", status="PENDING")
        with pytest.raises(InvalidRequest):
            update_processing_status(db, one, TrackStatus.FAILED, actor="ann")
        with pytest.raises(InvalidRequest):
            update_processing_status(db, one, TrackStatus.PROCESSING, actor="ann", error_code="x")
        with pytest.raises(NotFound):
            mark_as_processing(db, NOBODY, actor="ann")

    def test_many_are_moved_all_or_none(self, db: Database) -> None:
        waiting, done = [save(db, "x", status="PENDING") for _ in range(3)], save(db, "x")
        with pytest.raises(Conflict, match="COMPLETED and cannot become PROCESSING"):
            update_processing_status_batch(db, [*waiting, done, NOBODY], TrackStatus.PROCESSING, actor="ann")
        assert get_all_audio_metadata(db, status=TrackStatus.PENDING).total == 3
        moved = update_processing_status_batch(db, waiting, TrackStatus.PROCESSING, actor="ann")
        assert [(one.id, one.moved) for one in moved] == [(one, True) for one in waiting]
        assert update_processing_status_batch(db, [], TrackStatus.PROCESSING, actor="ann") == []

    def test_or_each_for_itself(self, db: Database) -> None:
        waiting, done = save(db, "x", status="PENDING"), save(db, "x")
        moved = update_processing_status_batch(
            db, [waiting, done, NOBODY, waiting], TrackStatus.PROCESSING, actor="ann", each=True
        )
        assert [(one.id, one.moved) for one in moved] == [(waiting, True), (done, False), (NOBODY, False)]
        assert moved[1].error is not None
        assert "COMPLETED" in moved[1].error

    def test_of_many_that_take_a_track_up_one_does(self, db: Database) -> None:
        one = save(db, "x", status="PENDING")

        def take(n: int) -> bool:
            try:
                mark_as_processing(db, one, actor=f"worker {n}")
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1
        assert len(changes(db, one)) == 1


def test_an_id_is_the_same_for_the_same_path_always() -> None:
    assert track_id("gs://up/audio/a.mp3") == UUID("ae3739cf-406f-56d8-ac42-f38ae6e75439")
    assert listing.track_id("gs://up/a") != listing.track_id("gs://up/b")
