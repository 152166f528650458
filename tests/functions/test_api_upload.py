"""Files sent to the API: what is refused before anything is stored, and what becomes of the rest, on a real ledger."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from werkzeug.test import Client, TestResponse

from shared.api.routing import Api
from shared.errors import StorageDown
from shared.events import UploadedObject
from shared.sessions import export_session_ids
from tests.functions.asking import client_of, problem
from tests.movies import movies_bench, zipped
from tests.workbench import Workbench, artist_id, artists_csv

WATCHED = b"Date,Name,Year,Letterboxd URI\r\n2024-01-01,Heat,1995,https://boxd.it/1SkK\r\n"
LIKES = b"Date,Name,Year,Letterboxd URI\r\n2024-01-02,Alien,1979,https://boxd.it/2b4E\r\n"
RATINGS = b"Date,Name,Year,Letterboxd URI,Rating\r\n2024-01-02,Heat,1995,https://boxd.it/1SkK,4.5\r\n"
EXPORT = zipped({"watched.csv": WATCHED, "likes/films.csv": LIKES, "ratings.csv": RATINGS})
ARTISTS = artists_csv(2)


@pytest.fixture
def films(bench: Workbench) -> Workbench:
    return movies_bench(bench)


def api_of(bench: Workbench) -> Client:
    return client_of(Api(bench.db, bench.sessions, bench.store, bench.settings))


def sent(http: Client, *files: tuple[str, bytes], query: str = "", **fields: Any) -> TestResponse:
    """What the API answers to these files and fields."""
    streams = [(io.BytesIO(data), name) for name, data in files]
    return http.post(f"/api/upload?{query}", data={"file": streams, **fields}, content_type="multipart/form-data")


def accepted(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json
    assert response.headers["Location"] == f"/api/session/{found['session_id']}"
    return found


def ingested(bench: Workbench) -> set[UUID]:
    """The sessions of what was stored since the last call, now that ingest has been told of it."""
    taken = {bench.ingest.take(one) for one in bench.store.written if one.bucket == "up"}
    bench.store.written.clear()
    return taken


def parts(*pieces: tuple[str, bytes], boundary: str = "b0") -> dict[str, Any]:
    """A body of parts with these dispositions, as a browser would never write it."""
    lines = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + body + b"\r\n"
        for disposition, body in pieces
    )
    return {
        "data": lines + f"--{boundary}--\r\n".encode(),
        "content_type": f"multipart/form-data; boundary={boundary}",
    }


class TestArtists:
    def test_a_list_becomes_a_session_that_can_be_watched_at_once(self, bench: Workbench) -> None:
        http = api_of(bench)
        found = accepted(sent(http, ("list.csv", ARTISTS), pipeline="artists", budget="2.50", max_failed="5%"))
        (name,) = found["files"]
        assert name.startswith("artists/")
        assert name.endswith("/list.csv")
        assert found == {"session_id": found["session_id"], "status": "processing", "total": None, "files": [name]}
        status = http.get(f"/api/session/{found['session_id']}/status").json
        assert (status["status"], status["budget_usd"], status["total"]) == ("processing", 2.5, 0)

        (stored,) = bench.store.written
        assert stored.metadata == {"budget": "2.50", "max-failed": "5%", "session": found["session_id"]}
        assert bench.store.text("up", name) == ARTISTS.decode()
        session = UUID(found["session_id"])
        assert ingested(bench) == {session}
        assert bench.run(session)["enriched"] == 2
        bench.assert_sound(session)
        assert bench.facts(session)["options"]["max_failed"] == "5%"

    def test_two_uploads_of_one_name_are_two_sessions_and_two_objects(self, bench: Workbench) -> None:
        http = api_of(bench)
        one, two = (accepted(sent(http, ("list.csv", ARTISTS), pipeline="artists")) for _ in range(2))
        assert one["session_id"] != two["session_id"]
        assert one["files"] != two["files"]
        assert len(ingested(bench)) == 2

    def test_several_files_are_one_session_even_under_one_name(self, bench: Workbench) -> None:
        files = [("a/list.csv", artists_csv(2)), ("b/list.csv", artists_csv(2, first=3))]
        found = accepted(sent(api_of(bench), *files, pipeline="artists"))
        assert len({*found["files"]}) == 2
        (session,) = ingested(bench)
        assert bench.run(session)["enriched"] == 4

    def test_approval_is_waited_for(self, bench: Workbench) -> None:
        found = accepted(sent(api_of(bench), ("list.csv", ARTISTS), pipeline="artists", approve="ask"))
        ingested(bench)
        assert bench.facts(UUID(found["session_id"]))["status"] == "quoted"

    def test_a_session_may_be_named(self, bench: Workbench) -> None:
        http = api_of(bench)
        first = accepted(sent(http, ("a.csv", ARTISTS), pipeline="artists"))
        more = accepted(sent(http, ("b.csv", artists_csv(1, first=9)), pipeline="artists", session=first["session_id"]))
        assert more["session_id"] == first["session_id"]
        (session,) = ingested(bench)
        assert bench.run(session)["enriched"] == 3

    @pytest.mark.parametrize("how", ["cancelled_at", "expired_at"])
    def test_a_session_that_has_ended_for_good_takes_no_more(self, bench: Workbench, how: str) -> None:
        session = bench.drop(ARTISTS)
        bench.execute(f"UPDATE sessions SET {how} = now() WHERE id = '{session}'")
        refused = sent(api_of(bench), ("a.csv", ARTISTS), pipeline="artists", session=str(session))
        assert str(session) in problem(refused, 422, "input")["detail"]
        assert bench.store.written == []

    def test_fields_may_come_behind_the_files_and_in_the_query(self, bench: Workbench) -> None:
        body = parts(('name="x"; filename="list.csv"', ARTISTS), ('name="write_mode"', b"file"), ('name="budget"', b""))
        found = accepted(api_of(bench).post("/api/upload?pipeline=artists&dry-run=true", **body))
        (stored,) = bench.store.written
        assert stored.metadata == {"write-mode": "file", "dry-run": "true", "session": found["session_id"]}

    def test_the_trace_of_the_caller_goes_on(self, bench: Workbench) -> None:
        headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        body = parts(('name="x"; filename="list.csv"', ARTISTS))
        found = accepted(api_of(bench).post("/api/upload?pipeline=artists", headers=headers, **body))
        assert bench.facts(UUID(found["session_id"]))["trace_id"] == "ab" * 16

    def test_it_is_logged(self, bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
        found = accepted(sent(api_of(bench), ("list.csv", ARTISTS), pipeline="artists"))
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (line["action"], line["session_id"], line["files"]) == ("upload", found["session_id"], 1)


class TestMovies:
    def test_a_zip_is_the_export_of_its_name(self, films: Workbench) -> None:
        http = api_of(films)
        found = accepted(sent(http, ("letterboxd-me.ZIP", EXPORT), pipeline="movies", watchlist="true"))
        assert found == {
            "session_id": str(next(export_session_ids("up", "movies/letterboxd-me"))), "status": "processing",
            "total": None, "total_movies": None, "export": "letterboxd-me", "files": ["movies/letterboxd-me.zip"],
        }  # fmt: skip
        (stored,) = films.store.written
        assert stored.metadata == {"watchlist": "true"}
        (session,) = ingested(films)
        assert str(session) == found["session_id"]
        status = films.run(session)
        assert (status["status"], status["total_movies"], status["enriched_count"]) == ("completed", 2, 2)
        films.assert_sound(session)

    def test_the_same_export_again_is_the_same_session_and_costs_nothing(self, films: Workbench) -> None:
        http = api_of(films)
        first = accepted(sent(http, ("me.zip", EXPORT), pipeline="movies"))
        (session,) = ingested(films)
        films.run(session)
        asked = len(films.upstream.requests)
        again = accepted(sent(http, ("another.zip", EXPORT), pipeline="movies", export="me"))
        assert (again["session_id"], again["status"]) == (first["session_id"], "processing")
        assert ingested(films) == {session}
        assert films.run(session)["total_movies"] == 2
        assert len(films.upstream.requests) == asked

    def test_a_cancelled_export_begins_anew(self, films: Workbench) -> None:
        http = api_of(films)
        accepted(sent(http, ("me.zip", EXPORT), pipeline="movies"))
        (first,) = ingested(films)
        films.sessions.cancel(first)
        again = accepted(sent(http, ("me.zip", EXPORT), pipeline="movies"))
        assert again["session_id"] != str(first)
        assert {str(one) for one in ingested(films)} == {again["session_id"]}

    def test_other_options_than_the_exports_are_refused_before_anything_is_stored(self, films: Workbench) -> None:
        http = api_of(films)
        accepted(sent(http, ("me.zip", EXPORT), pipeline="movies"))
        (session,) = ingested(films)
        films.run(session)
        refused = sent(http, ("me.zip", EXPORT), pipeline="movies", watchlist="true")
        assert "another watchlist" in problem(refused, 422, "input")["detail"]
        assert ingested(films) == set()
        assert films.facts(session)["status"] == "completed"

    def test_single_files_are_one_export_whatever_order_and_folders(self, films: Workbench) -> None:
        files = [("ratings.csv", RATINGS), ("my export/likes/films.csv", LIKES), ("my export\\\\watched.csv", WATCHED),
                 ("me/deleted/diary.csv", b"Date,Name\r\n"), ("profile.csv", b"x")]  # fmt: skip
        found = accepted(sent(api_of(films), *files, pipeline="movies", export="me"))
        assert found["export"] == "me"
        assert found["files"] == [
            "movies/me/ratings.csv", "movies/me/likes/films.csv", "movies/me/my export/watched.csv",
            "movies/me/deleted/diary.csv", "movies/me/profile.csv",
        ]  # fmt: skip
        (session,) = ingested(films)
        status = films.run(session)
        assert (status["status"], status["total_movies"], status["merged"]) == ("completed", 2, 1)
        states = films.execute(f"SELECT state FROM files WHERE session_id = '{session}' ORDER BY id")
        assert [row[0] for row in states] == ["read", "read", "read", "ignored", "ignored"]

    def test_files_without_an_export_get_one_of_their_own_that_is_told(self, films: Workbench) -> None:
        http = api_of(films)
        first, second = (accepted(sent(http, ("watched.csv", WATCHED), pipeline="movies")) for _ in range(2))
        assert first["export"] != second["export"]
        assert first["session_id"] != second["session_id"]
        more = accepted(sent(http, ("likes.csv", LIKES), pipeline="movies", export=first["export"]))
        assert more["session_id"] == first["session_id"]
        assert len(ingested(films)) == 2

    def test_a_zip_and_a_later_file_beside_it(self, films: Workbench) -> None:
        found = accepted(sent(api_of(films), ("watchlist.csv", LIKES), ("me.zip", EXPORT), pipeline="movies"))
        assert found["files"] == ["movies/me/watchlist.csv", "movies/me.zip"]
        assert len(ingested(films)) == 1

    @pytest.mark.parametrize("names", [("a.zip", "b.zip"), ("watched.csv", "watched.csv"), ("x/a/l.csv", "y/a/l.csv")])
    def test_what_would_be_one_object_is_refused(self, films: Workbench, names: tuple[str, str]) -> None:
        refused = sent(api_of(films), *((name, b"x") for name in names), pipeline="movies", export="me")
        assert "one export" in problem(refused, 422, "invalid-request")["detail"]
        assert films.store.written == []

    @pytest.mark.parametrize("export", ["../me", "a/b", "a\\b", "..", ".", "x" * 201, "é" * 101, "a\x00b", "a\nb"])
    def test_an_export_is_a_plain_name(self, films: Workbench, export: str) -> None:
        refused = problem(sent(api_of(films), ("watched.csv", WATCHED), pipeline="movies", export=export), 422,
                          "invalid-request")  # fmt: skip
        assert [fault["field"] for fault in refused["errors"]] == ["export"]
        assert films.store.written == []

    @pytest.mark.parametrize("export", ["Me & you", "2024.05", "ｍｅ", "x" * 200, ".hidden", "dot."])
    def test_zip_and_single_file_of_one_export_are_one_session(self, films: Workbench, export: str) -> None:
        http = api_of(films)
        one = accepted(sent(http, ("a.zip", EXPORT), pipeline="movies", export=export))
        two = accepted(sent(http, ("watched.csv", WATCHED), pipeline="movies", export=export))
        assert one["session_id"] == two["session_id"]
        assert ingested(films) == {UUID(one["session_id"])}


class TestRefusals:
    """With the ledger away: nothing of this gets as far as asking it, let alone storing."""

    def faults(self, response: TestResponse) -> dict[str, str]:
        return {fault["field"]: fault["message"] for fault in problem(response, 422, "invalid-request")["errors"]}

    def test_the_pipeline_has_to_be_named(self, away: Client) -> None:
        assert self.faults(sent(away, ("list.csv", ARTISTS))) == {
            "pipeline": "is required; choose from artists, assets, audio, movies"
        }
        assert self.faults(sent(away, ("list.csv", ARTISTS), pipeline="cats")) == {
            "pipeline": "is 'cats'; choose from artists, assets, audio, movies"
        }

    def test_options_name_their_choices(self, away: Client) -> None:
        found = self.faults(sent(away, ("l.csv", ARTISTS), pipeline="artists", write_mode="disk", colour="red"))
        assert "write-mode" in found["options"]
        assert "'db', 'file' or 'both'" in found["options"]
        assert "Unknown option 'colour'; the options are approve, budget" in found["options"]

    def test_every_fault_is_told_at_once(self, away: Client) -> None:
        found = self.faults(sent(away, ("..", b""), pipeline="x", budget="much"))
        assert {*found} == {"pipeline", "options", "file"}

    def test_nothing_may_be_said_twice(self, away: Client) -> None:
        found = self.faults(sent(away, ("l.csv", ARTISTS), query="pipeline=artists&write_mode=db",
                                 pipeline="artists", **{"write-mode": "db"}))  # fmt: skip
        assert {*found} == {"pipeline", "write_mode"}

    def test_an_export_is_none_of_a_pipeline_that_groups_nothing(self, away: Client) -> None:
        assert {*self.faults(sent(away, ("l.csv", ARTISTS), pipeline="artists", export="me"))} == {"export"}

    @pytest.mark.parametrize("pipeline", ["artists", "movies"])
    @pytest.mark.parametrize("name", [
        "../../x.csv", "a/../x.csv", "..", "/etc/x.csv", "\\\\server\\x.csv", "likes/", "./x.csv", "a\x00b.csv",
        "a\x1bb.csv", "x" * 2_000 + ".csv", "é" * 149 + ".csv", " ", "",
    ])  # fmt: skip
    def test_names_that_are_none(self, away: Client, name: str, pipeline: str) -> None:
        raw = name.replace("\\", "\\\\")
        body = parts((f'name="file"; filename="{raw}"', ARTISTS), ('name="pipeline"', pipeline.encode()))
        found = self.faults(away.post("/api/upload", **body))
        assert "cannot be its name" in found["file"]

    def test_a_form_without_files(self, away: Client) -> None:
        assert self.faults(sent(away, pipeline="artists")) == {"file": "send at least one"}
        blank = parts(('name="file"; filename=""', b""), ('name="pipeline"', b"artists"))
        assert self.faults(away.post("/api/upload", **blank)) == {"file": "send at least one"}

    def test_an_empty_file(self, away: Client) -> None:
        found = self.faults(sent(away, ("a.csv", ARTISTS), ("list.csv", b""), pipeline="artists"))
        assert found == {"file": "'list.csv' is empty"}

    @pytest.mark.parametrize(("body", "status"), [
        ({"data": ARTISTS, "content_type": "text/csv"}, 415),
        ({"data": b""}, 415),
        ({"input_stream": io.BytesIO(), "content_type": "multipart/form-data; boundary=b0"}, 400),
        ({"data": ARTISTS, "content_type": "multipart/form-data"}, 400),
        ({"data": ARTISTS, "content_type": "multipart/form-data; boundary=b0"}, 400),
        ({"data": b"--b0\r\nX: y\r\n\r\nz\r\n--b0--", "content_type": "multipart/form-data; boundary=b0"}, 400),
        ({"data": parts(('name="a"; filename="a"', ARTISTS))["data"][:-20],
          "content_type": "multipart/form-data; boundary=b0"}, 400),
        (parts(('name="a"; filename="a"', ARTISTS), ('name="pipeline"', b"x" * 150_000)), 413),
        (parts(*(('name="a"; filename="a"', ARTISTS) for _ in range(101))), 413),
    ])  # fmt: skip
    def test_what_is_no_form(self, away: Client, body: dict[str, Any], status: int) -> None:
        assert "multipart/form-data" in problem(away.post("/api/upload", **body), status)["detail"] or status == 413

    @pytest.mark.parametrize("announced", [True, False])
    def test_a_large_body_is_refused_whether_its_length_is_announced_or_not(
        self, bench: Workbench, announced: bool
    ) -> None:
        body = parts(('name="file"; filename="list.csv"', ARTISTS * 2_000), ('name="pipeline"', b"artists"))
        size = len(body["data"])
        for limit, status in ((size, 202), (size - 1, 413)):
            settings = bench.settings.model_copy(update={"max_upload_bytes": limit})
            stream = io.BytesIO(body["data"])
            response = client_of(Api(bench.db, bench.sessions, bench.store, settings)).open(
                "/api/upload", method="POST", input_stream=stream, content_type=body["content_type"],
                content_length=size if announced else None, environ_overrides={"wsgi.input_terminated": True},
            )  # fmt: skip
            assert response.status_code == status
            assert stream.tell() == size
        assert str(size - 1) in problem(response, 413)["detail"]
        assert len(bench.store.written) == 1


class TestMemory:
    @pytest.mark.parametrize("size", [3_000_000, 24_000_000])
    def test_stays_flat_however_large_the_file(self, bench: Workbench, size: int) -> None:
        store = Sink()
        client = client_of(Api(bench.db, bench.sessions, store, bench.settings))  # type: ignore[arg-type]
        sent(client, ("warm.csv", ARTISTS), pipeline="artists")
        peak = self.peak(lambda: accepted(client.post("/api/upload?pipeline=artists", **slowly(size))))
        assert store.taken == len(ARTISTS) + size
        assert peak < 1_000_000

    def test_what_is_refused_is_not_kept_either(self, away: Client) -> None:
        peak = self.peak(lambda: problem(away.post(f"/api/session/{uuid4()}/pause", **slowly(24_000_000)), 413))
        assert peak < 1_000_000

    def peak(self, act: Any) -> int:
        tracemalloc.start()
        try:
            act()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


class TestStorageAway:
    def test_half_way_it_is_told_how_to_go_on(self, bench: Workbench) -> None:
        http, write = api_of(bench), bench.store.write
        files = [("a.csv", artists_csv(2)), ("b.csv", artists_csv(2, first=3)), ("c.csv", artists_csv(2, first=5))]
        failing_at(bench, 2)
        found = problem(sent(http, *files, pipeline="artists"), 503, "storage-down")
        assert "1 of 3 files are stored" in found["detail"]
        session = found["detail"].split("session=")[1].split(".")[0]
        assert http.get(f"/api/session/{session}/status").json["status"] == "uploading"
        bench.store.write = write  # type: ignore[method-assign]
        bench.store.checksums = True
        accepted(sent(http, *files, pipeline="artists", session=session))
        assert {str(one) for one in ingested(bench)} == {session}
        status = bench.run(UUID(session))
        assert (status["status"], status["enriched"]) == ("completed", 6)
        bench.assert_sound(UUID(session))

    def test_of_an_export_the_session_can_be_named_too(self, films: Workbench) -> None:
        http, write = api_of(films), films.store.write
        failing_at(films, 2)
        files = [("watched.csv", WATCHED), ("ratings.csv", RATINGS)]
        found = problem(sent(http, *files, pipeline="movies"), 503, "storage-down")
        session = found["detail"].split("session=")[1].split(".")[0]
        films.store.write = write  # type: ignore[method-assign]
        accepted(sent(http, files[1], pipeline="movies", session=session))
        assert {str(one) for one in ingested(films)} == {session}
        assert films.run(UUID(session))["total_movies"] == 1

    def test_nothing_is_stored_while_the_ledger_is_away(self, away: Client) -> None:
        problem(sent(away, ("list.csv", ARTISTS), pipeline="artists"), 503, "ledger-down")


def failing_at(bench: Workbench, nth: int) -> None:
    """Have the store be away from the nth object on."""
    whole, begun = bench.store.write, iter(range(1, 100))

    @contextmanager
    def write(*args: Any, **named: Any) -> Iterator[io.BytesIO]:
        if next(begun) >= nth:
            raise StorageDown
        with whole(*args, **named) as writer:
            yield writer

    bench.store.write = write  # type: ignore[method-assign]


class Sink:
    """A store that counts what it is given."""

    def __init__(self) -> None:
        self.taken = 0

    @contextmanager
    def write(self, *_: Any, **named: Any) -> Iterator[Any]:
        yield SimpleNamespace(write=self._take)

    def find(self, bucket: str, name: str) -> UploadedObject:
        return UploadedObject(bucket=bucket, name=name, generation=1, size=1, checksum=None, metadata={})

    def _take(self, block: bytes) -> None:
        self.taken += len(block)


class Slow(io.RawIOBase):
    """A body of any size that is made while it is read."""

    def __init__(self, size: int, head: bytes, tail: bytes) -> None:
        self._head, self._left, self._tail = head, size, tail

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._head:
            piece, self._head = self._head, b""
        elif self._left:
            piece = (b"x" * 79 + b"\n") * (len(buffer) // 80)
            piece = piece[: self._left]
            self._left -= len(piece)
        else:
            piece, self._tail = self._tail, b""
        buffer[: len(piece)] = piece
        return len(piece)


def slowly(size: int) -> dict[str, Any]:
    """A request with one file of that size that is nowhere as a whole."""
    head = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="large.csv"\r\n\r\n'
    tail = b"\r\n--b0--\r\n"
    return {
        "environ_overrides": {
            "CONTENT_TYPE": "multipart/form-data; boundary=b0",
            "wsgi.input": Slow(size, head, tail),
            "CONTENT_LENGTH": str(len(head) + size + len(tail)),
        },
    }


def test_ids_are_not_guessed(bench: Workbench) -> None:
    """Naming a session nobody knows makes it, as the option does for files that are dropped."""
    session = uuid4()
    found = accepted(sent(api_of(bench), ("a.csv", ARTISTS), pipeline="artists", session=str(session)))
    assert found["session_id"] == str(session)
    assert ingested(bench) == {session}
    assert bench.item(session)["state"] == "available"
    assert artist_id(1) in str(bench.execute(f"SELECT key FROM items WHERE session_id = '{session}'"))
