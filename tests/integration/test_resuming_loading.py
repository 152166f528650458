"""Earlier results are loaded once, whatever happens to their readers; what is none fails before anything is paid."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import resuming
from shared.errors import LedgerDown, StorageDown
from shared.options import Options
from shared.resuming import Place, Reader, Resumption, findings, pieces
from tests.factories import at_once
from tests.movies import drop_files, movies_bench, watched, zipped
from tests.resumption import BIO, EXPORT, OBJECT, artists_bench, jsonl, keep, results, resumed, summary
from tests.workbench import Workbench, artist_id, artists_csv


@pytest.fixture
def artists(bench: Workbench) -> Workbench:
    return artists_bench(bench)


@pytest.fixture
def films(bench: Workbench) -> Workbench:
    return movies_bench(bench)


class TestLoading:
    """The object is loaded once, whatever happens to its readers."""

    @pytest.fixture
    def earlier(self, artists: Workbench, monkeypatch: pytest.MonkeyPatch) -> bytes:
        """The results of 40 artists, loaded seven lines at a time."""
        monkeypatch.setattr(resuming, "CHUNK_LINES", 7)
        artists.run(session := artists.drop(artists_csv(40)))
        artists.upstream.requests = []
        return results(artists, session)

    def check(self, bench: Workbench, session: UUID) -> None:
        status = bench.run(session)
        assert (status["status"], status["skipped"], bench.upstream.requests) == ("completed", 40, [])
        assert summary(bench, session) == {"lines": 40, "confirmed": 40, "held": 40}
        assert bench.value(f"SELECT count(*) FROM resumed_rows WHERE session_id = '{session}'") == 40
        bench.assert_sound(session)

    def test_many_readers_of_many_files_load_it_once(self, artists: Workbench, earlier: bytes) -> None:
        name, mine = keep(artists, earlier), str(uuid4())
        files = [
            artists.store.put("up", f"artists/{n}.csv", artists_csv(10, first=n), session=mine, resume=name)
            for n in (1, 11, 21, 31)
        ]
        session = at_once(8, lambda i: artists.ingest.take(files[i % 4]))[0]
        assert session is not None
        self.check(artists, session)

    @pytest.mark.parametrize("error", [StorageDown(), RuntimeError("killed")])
    def test_a_reader_that_dies_is_followed_by_one_that_goes_on(
        self, artists: Workbench, earlier: bytes, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        monkeypatch.setattr(resuming, "CHUNK_BYTES", 2_048)
        uploaded = artists.store.put("up", "artists/two.csv", artists_csv(40), resume=keep(artists, earlier))
        reads = itertools.count()

        def look(offset: int) -> None:
            if next(reads) == 9:
                raise error

        artists.store.on_read = look
        with pytest.raises(type(error)):
            artists.ingest.take(uploaded)
        artists.store.on_read = lambda offset: None
        session = UUID(str(artists.value("SELECT id FROM sessions WHERE source LIKE '%two.csv'")))
        loaded = artists.facts(session)["resumed"]
        assert 0 < loaded["lines"] < 40
        assert artists.value(f"SELECT count(*) FROM items WHERE session_id = '{session}'") == 0, "nothing may run yet"
        artists.pass_time(3600)
        assert artists.ingest.take(uploaded) == session
        self.check(artists, session)

    def test_a_ledger_that_goes_away_in_between_loses_and_doubles_nothing(
        self, artists: Workbench, earlier: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uploaded = artists.store.put("up", "artists/two.csv", artists_csv(40), resume=keep(artists, earlier))
        really, n = artists.db.transaction, itertools.count()

        def sometimes() -> Any:
            if next(n) == 3:
                raise LedgerDown
            return really()

        with monkeypatch.context() as patch:
            patch.setattr(artists.db, "transaction", sometimes)
            with pytest.raises(LedgerDown):
                artists.ingest.take(uploaded)
        session = artists.ingest.take(uploaded)
        assert session is not None
        self.check(artists, session)

    def test_it_goes_on_in_another_delivery_when_the_time_is_over(
        self, bench: Workbench, artists: Workbench, earlier: bytes
    ) -> None:
        slow = Workbench(db=bench.db, url=bench.url, changes={"ingest_budget": 0.000_001}, upstream=artists.upstream)
        session = slow.drop(artists_csv(40), "artists/two.csv", resume=keep(slow, earlier))
        assert slow.facts(session)["resumed"]["lines"] == 7
        assert slow.facts(session)["status"] == "processing"
        self.check(slow, session)

    def test_one_that_is_replaced_while_it_is_loaded_fails_the_session_unpaid(
        self, artists: Workbench, earlier: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resuming, "CHUNK_BYTES", 2_048)
        name, reads = keep(artists, earlier), itertools.count()

        def look(offset: int) -> None:
            if next(reads) == 3:
                artists.store.put("up", name, b"{}\n")

        artists.store.on_read = look
        session = artists.drop(artists_csv(40), "artists/two.csv", resume=name)
        status = artists.run(session)
        assert (status["status"], status["error_code"], status["total"]) == ("failed", "input.resume", 0)
        assert artists.upstream.requests == []

    def test_a_cancelled_session_is_left_alone(
        self, artists: Workbench, earlier: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resuming, "CHUNK_BYTES", 2_048)
        reads = itertools.count()

        def look(offset: int) -> None:
            if next(reads) == 3:
                artists.sessions.cancel(
                    UUID(str(artists.value("SELECT id FROM sessions WHERE source LIKE '%two.csv'")))
                )

        artists.store.on_read = look
        session = artists.drop(artists_csv(40), "artists/two.csv", resume=keep(artists, earlier))
        artists.store.on_read = lambda offset: None
        assert artists.run(session)["status"] == "cancelled"
        assert artists.facts(session)["resumed"]["lines"] < 40

    def test_expiry_removes_what_was_kept(self, artists: Workbench, earlier: bytes) -> None:
        session = artists.drop(artists_csv(40), "artists/two.csv", resume=keep(artists, earlier))
        self.check(artists, session)
        artists.pass_time(30 * 86_400 + 1)
        assert artists.rescuer.round().expired == 2
        assert artists.value("SELECT count(*) FROM resumed_rows") == 0
        assert artists.facts(session)["resumed"]["held"] == 40


class TestRefusing:
    """What cannot be resumed from fails the session with the remedy, before anything is paid."""

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", ["is empty", "without option resume"]),
            (b"\n\n \n", ["holds no lines of artists results"]),
            (b"%PDF-1.7\x00\xff" * 50, ["holds no lines of artists results", "'%PDF-1.7"]),
            (b"artist_id,bio\n1,2\n", ["'artist_id,bio'", "results.jsonl"]),
            (b'[{"artist_id": 1}]\n', ["holds no lines of artists results"]),
            (jsonl({"letterboxd_uri": "https://boxd.it/f1", "tmdb_id": 5, **BIO}), ["no lines of artists results"]),
        ],
    )
    @pytest.mark.parametrize("approve", ["auto", "ask"])
    def test_an_object_that_holds_no_results(
        self, bench: Workbench, data: bytes, words: list[str], approve: str
    ) -> None:
        name = keep(bench, data)
        session = bench.drop(artists_csv(3), resume=name, approve=approve)
        status = bench.run(session)
        assert (status["status"], status["error_code"], status["total"]) == ("failed", "input.resume", 0)
        assert [word for word in [name, *words] if word not in status["error_message"]] == []
        assert (bench.upstream.requests, bench.facts(session)["resumed"]) == ([], None)

    @pytest.mark.parametrize("packed", [True, False])
    def test_results_of_another_pipeline_fail_every_file_of_an_export(self, films: Workbench, packed: bool) -> None:
        name = keep(films, jsonl({"artist_id": artist_id(1), "response_text": "A bio.", **BIO}))
        if packed:
            session = films.drop(zipped(EXPORT), "movies/mine.zip", resume=name)
        else:
            session = drop_files(films, EXPORT, resume=name)
        status = films.run(session)
        assert (status["status"], status["total"], films.upstream.requests) == ("failed", 0, [])
        assert "holds no lines of movies results" in status["error_message"]

    def test_an_object_that_is_not_there(self, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3), resume=OBJECT)
        status = bench.run(session)
        assert (status["status"], status["error_code"], bench.upstream.requests) == ("failed", "input.resume", [])
        assert f"{OBJECT} is not in the upload bucket; upload the earlier results again" in status["error_message"]

    @pytest.mark.parametrize("name", ["artists/x.jsonl", "resume/", "resume/../artists/x", "resume//x", "resume/a\nb"])
    def test_a_name_elsewhere_is_refused(self, bench: Workbench, name: str) -> None:
        session = bench.drop(artists_csv(3), resume=name)
        status = bench.run(session)
        assert (status["status"], status["error_code"]) == ("failed", "input.option")
        assert "resume/1f3a9c/results.jsonl" in status["error_message"]

    def test_the_object_itself_makes_no_session(self, bench: Workbench) -> None:
        assert bench.ingest.take(bench.store.put("up", OBJECT, artists_csv(3))) is None
        assert bench.sessions.newest() == []

    def test_a_line_that_is_torn_is_resumed_from_alone(self, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2), resume=keep(bench, b'{"art'))
        assert bench.run(session)["enriched"] == 2
        assert summary(bench, session) == {"lines": 1, "torn": 1}

    def test_an_answer_that_is_empty_holds_nothing_though_the_database_has_one(self, bench: Workbench) -> None:
        bench.run(first := bench.drop(artists_csv(2)))
        lines = [json.loads(line) for line in results(bench, first).splitlines()]
        name = keep(bench, jsonl({**lines[0], "response_text": None}, lines[1]))
        session = bench.drop(artists_csv(2), "artists/again.csv", resume=name)
        status = bench.run(session)
        assert (status["unchanged"], status["skipped"]) == (1, 1), "it runs, and the database's answer is taken"
        assert summary(bench, session) == {"lines": 2, "failed": 1, "confirmed": 1, "held": 1}

    def test_hostile_lines_harm_nobody(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resuming, "CHUNK_BYTES", 50_000)
        good = {"artist_id": artist_id(1), "response_text": "Says\x00 so.", "outcome": "enriched"}
        lines = [
            b"\xef\xbb\xbf" + json.dumps(good).encode() + b"\r",
            b'{"artist_id": "\\ud800", "outcome": "enriched"}',
            b'{"artist_id": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
            b'{"artist_id": "' + b"x" * 120_000 + b'"}',
            {"artist_id": "'); DROP TABLE items; --", "outcome": "enriched"},
            {"artist_id": artist_id(2), "outcome": ["enriched"], "code": {}, "response_text": {"a": 1}, "error": 5},
            {"artist_id": artist_id(3), "outcome": "enriched", "response_text": "\u0000", "response_id": 7},
            b'{"artist_id": 1e400}', b"null", b"[]", b'"x"', b"\xff\xfe", b"{}",
            {"artist_id": artist_id(4), "outcome": "enriched", "response_text": "It's '\\x00\t:name %s {0}"},
        ]  # fmt: skip
        session = bench.drop(artists_csv(5), resume=keep(bench, jsonl(*lines)))
        status = bench.run(session)
        assert (status["status"], status["enriched"], resumed(bench, session)) == ("completed", 3, [1, 4])
        found = summary(bench, session)
        assert (found["lines"], found["unknown"], found["failed"]) == (14, 2, 3)
        told = {row["line"]: row["message"] for row in findings(bench.db, session)}
        assert "longer than 50,000 bytes" in told[4]
        assert "'Says so.'" in told[1]
        assert max(map(len, told.values())) < 400
        bench.assert_sound(session)

    def test_hostile_films_harm_nobody(self, films: Workbench) -> None:
        lines: list[Any] = [
            {"letterboxd_uri": "x" * 5_000, "tmdb_id": 5, **BIO},
            {"letterboxd_uri": None, "title": "y" * 5_000, "year": {"a": [1]}, "tmdb_id": 5, **BIO},
            {"letterboxd_uri": "https://boxd.it/f1", "tmdb_id": 2**70, **BIO},
            {"letterboxd_uri": "https://boxd.it/f2", "tmdb_id": "5'; --", **BIO},
            {"letterboxd_uri": "https://boxd.it/f3", "tmdb_id": -1, **BIO},
            {"letterboxd_uri": ["https://boxd.it/f3"], "tmdb_id": 5, **BIO},
        ]
        session = drop_files(films, {"watched.csv": watched(1, 2, 3)}, resume=keep(films, jsonl(*lines)))
        status = films.run(session)
        assert (status["status"], status["enriched"]) == ("completed", 3)
        assert summary(films, session) == {"lines": 6, "unreadable": 3, "failed": 3}
        films.assert_sound(session)


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    end=st.sampled_from([b"", b"\n"]),
    most=st.integers(1, 4),
    size=st.integers(1, 60),
    start=st.integers(0, 3),
)
def test_lines_are_found_wherever_reading_begins_again(
    lines: list[bytes], end: bytes, most: int, size: int, start: int
) -> None:
    data = b"\n".join(lines) + end
    if not data:
        return
    wanted: Sequence[bytes] = data.removesuffix(b"\n").split(b"\n") if data.endswith(b"\n") else data.split(b"\n")
    if not data.endswith(b"\n") and not wanted[-1]:
        wanted = wanted[:-1]
    place = Place(generation=1, size=len(data))
    found: list[tuple[int, bytes | None]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming, "CHUNK_LINES", most)
        patch.setattr(resuming, "CHUNK_BYTES", size)
        while place.offset < len(data):
            for n, piece in enumerate(pieces(io.BytesIO(data[place.offset :]), place)):
                assert len(piece.lines) <= most + 1
                found += piece.lines
                place = piece.after
                if n == start:  # somebody else goes on
                    break
    assert [number for number, _ in found] == list(range(1, len(wanted) + 1))
    for (_, got), line in zip(found, wanted, strict=True):
        assert got == line or (got is None and len(line) >= size)


def test_the_reader_that_lost_its_file_stops(artists: Workbench) -> None:
    artists.run(first := artists.drop(artists_csv(3)))
    session = artists.drop(artists_csv(3), "artists/two.csv", approve="ask")
    (file,) = artists.execute(f"SELECT id FROM files WHERE session_id = '{session}'")
    reader = Reader(session=session, bucket="up", file=file[0], attempt=9, lease=60)
    name = keep(artists, results(artists, first))
    late = Resumption(artists.db, artists.store, artists.pipeline, Options(resume=name), reader)
    assert late.load(until=0) is False
    assert artists.facts(session)["resumed"] is None
