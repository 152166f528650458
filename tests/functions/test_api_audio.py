"""The API of tracks: lists, searches, one track, its sound by ranges and its cover."""

from __future__ import annotations

from uuid import UUID

import pytest
from werkzeug.test import Client

from shared.api.audio import PIECE
from shared.api.routing import Api
from shared.audio.listing import track_id
from tests import sounds
from tests.functions.asking import client_of, problem
from tests.workbench import Workbench

NOBODY = UUID(int=0)
SONG = sounds.mp3(1, TIT2="Army of Me", TPE1="Björk", TCON="Pop", cover=sounds.png())


@pytest.fixture
def audio(bench: Workbench) -> Workbench:
    return Workbench(db=bench.db, url=bench.url, slug="audio")


@pytest.fixture
def http(audio: Workbench) -> Client:
    return client_of(Api(audio.db, audio.sessions, audio.store, audio.settings))


@pytest.fixture
def song(audio: Workbench) -> UUID:
    """A track that was read from a file."""
    audio.run(audio.drop(SONG, "audio/x/Björk.mp3"))
    return track_id("gs://up/audio/x/Björk.mp3")


class TestLists:
    def test_a_page_says_how_many_there_are_and_where_the_next_is(self, http: Client, audio: Workbench) -> None:
        for n in range(3):
            audio.run(audio.drop(sounds.mp3(0.1, TIT2=f"Song {n}"), f"audio/{n}.mp3"))
        page = http.get("/api/audio?limit=2&sort=title&order=asc").json
        assert [one["title"] for one in page["tracks"]] == ["Song 0", "Song 1"]
        assert (page["total"], page["has_more"]) == (3, True)
        rest = http.get(f"/api/audio?limit=2&sort=title&order=asc&after={page['next']}").json
        assert ([one["title"] for one in rest["tracks"]], rest["next"]) == (["Song 2"], None)

    def test_a_search_ranks_and_filters(self, http: Client, song: UUID) -> None:
        found = http.get("/api/audio/search", query_string={"q": "BJORK army", "genre": "pop", "limit": 5}).json
        (one,) = found["tracks"]
        assert (one["id"], one["title"], one["cover"]) == (str(song), "Army of Me", f"/api/audio/{song}/cover")
        assert one["rank"] > 0
        assert http.get("/api/audio/search?q=arm").json["total"] == 0
        assert http.get("/api/audio/search?q=arm&prefix=true").json["total"] == 1
        assert http.get("/api/audio/search?q=army&year_from=1990").json["total"] == 0

    def test_what_cannot_be_looked_for_is_refused(self, http: Client) -> None:
        for query in ("", "?q=", "?q=%20", "?q=x&limit=0", "?q=x&limit=1001", "?q=x&status=lost", "?q=x&year_from=99",
                      "?q=x&format=exe", "?q=x&unknown=1", f"?q={'x' * 101}"):  # fmt: skip
            problem(http.get(f"/api/audio/search{query}"), 422, "invalid-request")
        for query in ("?q=!!!", "?q=x&after=nonsense"):
            problem(http.get(f"/api/audio/search{query}"), 422, "invalid-request")

    def test_what_is_no_list_is_refused(self, http: Client) -> None:
        for query in ("?sort=size", "?limit=0", "?order=up", "?status=x", "?after=%2F"):
            problem(http.get(f"/api/audio{query}"), 422, "invalid-request")
        problem(http.get("/api/audio?after=AAAA"), 422, "invalid-request")


class TestOneTrack:
    def test_it_says_what_its_file_says(self, http: Client, song: UUID) -> None:
        found = http.get(f"/api/audio/{song}").json
        assert (found["artist"], found["format"], found["status"]) == ("Björk", "mp3", "COMPLETED")
        assert (found["year"], found["album"]) == (None, None)

    def test_one_that_is_not_there_is_not_found(self, http: Client) -> None:
        for path in ("", "/sound", "/cover"):
            assert "no track" in problem(http.get(f"/api/audio/{NOBODY}{path}"), 404, "not-found")["detail"]
            problem(http.get(f"/api/audio/nonsense{path}"), 404, "not-found")

    def test_its_cover_is_a_picture_that_may_be_kept(self, http: Client, song: UUID) -> None:
        found = http.get(f"/api/audio/{song}/cover")
        assert (found.data, found.mimetype) == (sounds.png(), "image/png")
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert "max-age" in found.headers["Cache-Control"]

    def test_without_a_cover_there_is_none(self, http: Client, audio: Workbench) -> None:
        audio.run(audio.drop(sounds.wav(), "audio/a.wav"))
        problem(http.get(f"/api/audio/{track_id('gs://up/audio/a.wav')}/cover"), 404, "not-found")


class TestSound:
    def test_all_of_it(self, http: Client, song: UUID) -> None:
        found = http.get(f"/api/audio/{song}/sound")
        assert (found.status_code, found.data, found.mimetype) == (200, SONG, "audio/mpeg")
        assert (found.headers["Accept-Ranges"], found.content_length) == ("bytes", len(SONG))
        assert found.headers["Content-Disposition"] == "inline; filename*=UTF-8''Bj%C3%B6rk.mp3"

    def test_a_range_of_it(self, http: Client, song: UUID) -> None:
        size = len(SONG)
        for asked, first, beyond in (
            ("bytes=0-99", 0, 100), ("bytes=100-", 100, size), ("bytes=-7", size - 7, size),
            ("bytes=5-999999999", 5, size), (f"bytes=-{10**17}", 0, size),
        ):  # fmt: skip
            found = http.get(f"/api/audio/{song}/sound", headers={"Range": asked})
            assert (found.status_code, found.data) == (206, SONG[first:beyond]), asked
            assert found.headers["Content-Range"] == f"bytes {first}-{beyond - 1}/{size}"

    def test_a_range_beyond_its_end_and_what_is_no_range(self, http: Client, song: UUID) -> None:
        path = f"/api/audio/{song}/sound"
        for asked in (f"bytes={len(SONG)}-", "bytes=9-3", "bytes=-0"):
            problem(http.get(path, headers={"Range": asked}), 416)
        for asked in ("bytes=0-1,5-6", "lines=1-2", "bytes=-", "x"):
            assert http.get(path, headers={"Range": asked}).status_code == 200

    def test_a_long_range_comes_in_pieces(self, http: Client, audio: Workbench) -> None:
        data = sounds.wav(200, channels=2, rate=8_000)
        audio.run(audio.drop(data, "audio/long.wav"))
        path = f"/api/audio/{track_id('gs://up/audio/long.wav')}/sound"
        whole = b""
        while len(whole) < len(data):
            found = http.get(path, headers={"Range": f"bytes={len(whole)}-"})
            assert len(found.data) <= PIECE
            whole += found.data
        assert whole == data

    def test_one_that_was_deleted_is_not_found(self, http: Client, audio: Workbench, song: UUID) -> None:
        del audio.store.objects["up", "audio/x/Björk.mp3"]
        assert "no longer" in problem(http.get(f"/api/audio/{song}/sound"), 404, "not-found")["detail"]
