"""What an earlier run's results hold is compared with the database, reported, and not run or paid for again."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import resuming
from shared.pipelines import PIPELINES
from shared.resuming import count_missing, findings
from shared.upstreams.base import ErrorClass
from shared.upstreams.tmdb import Search
from tests.assets import assets_bench, basic
from tests.audio import audio_bench, songs
from tests.factories import failure
from tests.fakes import tmdb_film
from tests.integration.test_exports import small_exports
from tests.movies import HEADER, csv_of, diary, drop_files, movies_bench, watched, zipped
from tests.resumption import EXPORT, OBJECT, artists_bench, jsonl, keep, results, resumed, same_for_each, summary
from tests.workbench import Workbench, artist_id, artists_csv

BENCHES = {"artists": lambda bench: bench, "movies": movies_bench, "assets": assets_bench, "audio": audio_bench}
FILES = [f"https://drive.google.com/file/d/1AbCdEfGhIjKlMnOpQrStUvWxYz0000{n:02}/view" for n in range(3)]
EXAMPLES = int(os.environ.get("ROWLIFT_EXAMPLES", "40"))


@pytest.fixture
def artists(bench: Workbench) -> Workbench:
    return artists_bench(bench)


@pytest.fixture
def films(bench: Workbench) -> Workbench:
    return movies_bench(bench)


class TestHolding:
    """Rows the file holds are not run; the others are, and each ends once."""

    @pytest.mark.parametrize("slug", sorted(PIPELINES))
    @pytest.mark.parametrize("earlier", ["db", "file", "both"])
    @pytest.mark.parametrize("mode", ["db", "file", "both"])
    def test_whole_results_of_any_mode_leave_nothing_to_run(
        self, bench: Workbench, slug: str, earlier: str, mode: str
    ) -> None:
        made = BENCHES[slug](bench)
        data = {
            "artists": artists_csv(5) + b"no id,Nobody,\r\n",
            "movies": zipped({"watched.csv": watched(1, 2, 3)}),
            "assets": basic(*FILES) + b",Nobody,,,\r\n",
            "audio": songs(1, 2, 3) + b"gs://elsewhere/x\r\n",
        }
        ending = "zip" if slug == "movies" else "csv"
        first = made.drop(data[slug], f"{slug}/one.{ending}", write_mode=earlier)
        answered = made.run(first)["enriched"]
        made.execute("DELETE FROM tmdb_answers")
        made.upstream.requests = []
        name = keep(made, results(made, first))
        session = made.drop(data[slug], f"{slug}/two.{ending}", write_mode=mode, reuse="never", resume=name)
        status = made.run(session)
        assert (status["status"], status["skipped"], made.upstream.requests) == ("completed", answered, [])
        assert summary(made, session)["confirmed"] == answered
        assert findings(made.db, session) == []
        told = [json.loads(line) for line in results(made, session).splitlines()]
        assert [line["db_status"] for line in told].count("skipped") == answered
        made.assert_sound(session)

    def test_what_resumed_lines_hold_is_found_by_the_next_run_too(self, artists: Workbench) -> None:
        artists.run(first := artists.drop(artists_csv(3)))
        for n in (1, 2):
            name = keep(artists, results(artists, first), f"resume/{n}/x.jsonl")
            first = artists.drop(artists_csv(3), f"artists/{n}.csv", resume=name, reuse="never")
            assert artists.run(first)["skipped"] == 3
        assert len(artists.upstream.requests) == 3

    def test_every_row_that_is_held_may_be_run_all_the_same(self, artists: Workbench) -> None:
        artists.run(first := artists.drop(artists_csv(4)))
        session = artists.drop(artists_csv(4), "artists/two.csv", resume=keep(artists, results(artists, first)))
        assert artists.run(session)["skipped"] == 4
        assert artists.sessions.reprocess(session, outcomes=["skipped"]) == 4
        status = artists.run(session)
        assert (status["status"], status["enriched"], status["skipped"]) == ("completed", 4, 0)
        artists.assert_sound(session)
        artists.drop(artists_csv(6, first=3), "artists/three.csv", session=str(session), resume=OBJECT)
        assert artists.run(session)["enriched"] == 8
        assert resumed(artists, session) == []

    def test_a_quote_and_the_tolerance_for_failures_leave_held_rows_out(self, artists: Workbench) -> None:
        artists.run(first := artists.drop(artists_csv(6)))
        name = keep(artists, b"".join(results(artists, first).splitlines(keepends=True)[:4]))
        asked = artists.drop(artists_csv(6), "artists/two.csv", resume=name, reuse="never", approve="ask")
        status = artists.run(asked)
        assert (status["status"], status["quote"]["to_run"]) == ("quoted", 2)
        assert status["quote"]["rows"] == 6
        artists.sessions.approve(asked)
        status = artists.run(asked)
        assert (status["enriched"], status["skipped"]) == (2, 4)
        refused = failure(ErrorClass.PERMANENT, code="upstream.refused")
        artists.upstream._script = lambda n, request: refused
        session = artists.drop(artists_csv(6), "artists/three.csv", resume=name, reuse="never", max_failed="2")
        status = artists.run(session)
        assert (status["status"], status["failed"], status["skipped"]) == ("completed", 2, 4)

    @pytest.mark.parametrize("slug", sorted(PIPELINES))
    def test_a_dry_run_tells_held_rows_from_those_it_would_run(self, bench: Workbench, slug: str) -> None:
        made = BENCHES[slug](bench)
        data = {
            "artists": artists_csv(3),
            "movies": zipped({"watched.csv": watched(1, 2, 3)}),
            "assets": basic(*FILES),
            "audio": songs(1, 2, 3),
        }[slug]
        made.run(first := made.drop(data, f"{slug}/one.{'zip' if slug == 'movies' else 'csv'}"))
        made.upstream.requests = []
        name = keep(made, results(made, first).splitlines(keepends=True)[0])
        session = made.drop(
            data, f"{slug}/two.{'zip' if slug == 'movies' else 'csv'}", resume=name, dry_run="true", reuse="never"
        )
        status = made.run(session)
        assert (status["status"], status["skipped"], made.upstream.requests) == ("completed", 3, [])
        assert resumed(made, session) == [1]
        assert status["quote"]["to_run"] == 2
        again = made.drop(
            data,
            f"{slug}/three.{'zip' if slug == 'movies' else 'csv'}",
            resume=keep(made, results(made, session), "resume/2/x"),
        )
        made.run(again)
        assert resumed(made, again) == [1], "what a dry run did not run, its lines do not hold"

    def test_files_that_join_the_session_are_held_too_and_the_object_is_loaded_once(self, artists: Workbench) -> None:
        artists.run(first := artists.drop(artists_csv(6)))
        name, mine = keep(artists, results(artists, first)), str(uuid4())
        for n, start in enumerate((1, 3, 5)):
            session = artists.drop(artists_csv(3, first=start), f"artists/{n}.csv", session=mine, resume=name)
            artists.run(session)
            artists.store.delete_prefix("up", "resume/")
        status = artists.sessions.status(session)
        assert (status["status"], status["skipped"], status["duplicate"], status["enriched"]) == ("completed", 6, 2, 1)
        assert summary(artists, session)["lines"] == 6
        artists.assert_sound(session)

    def test_rows_of_the_file_that_the_upload_has_not_are_counted(
        self, artists: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resuming, "PAGE", 2)
        artists.run(first := artists.drop(artists_csv(9)))
        session = artists.drop(
            artists_csv(4, first=6), "artists/two.csv", resume=keep(artists, results(artists, first))
        )
        artists.run(session)
        count_missing(artists.db, session)
        assert summary(artists, session) == {"lines": 9, "confirmed": 9, "held": 9, "not_in_upload": 5}
        count_missing(artists.db, first)  # it resumed nothing
        assert artists.facts(first)["resumed"] is None


class TestComparing:
    """Every line is compared with the database, and what people should know of is told."""

    def test_each_finding_with_its_message(self, artists: Workbench) -> None:
        artists.run(first := artists.drop(artists_csv(9)))
        lines: list[Any] = [json.loads(line) for line in results(artists, first).splitlines()]
        artists.execute(f"UPDATE artists SET bio = 'By hand.' WHERE id = '{artist_id(2)}'")
        for table, column in (("artists", "id::text"), ("answers", "key")):
            artists.execute(f"DELETE FROM {table} WHERE {column} IN ('{artist_id(3)}', '{artist_id(9)}')")
        lines[3] |= {"outcome": "failed", "db_status": "error", "response_text": None, "error": "No."}
        lines[5]["artist_id"] = artist_id(5).upper()
        lines[6] = b"{not json"
        lines[7] |= {"artist_id": "nobody"}
        lines[8] |= {"outcome": "skipped", "code": "skip_existing", "response_text": None, "response_id": None}
        session = artists.drop(
            artists_csv(9), "artists/two.csv", reuse="never", resume=keep(artists, jsonl(*lines) + b'{"artist_id":"0')
        )
        assert artists.run(session)["status"] == "completed"
        assert summary(artists, session) == {
            "lines": 10, "confirmed": 2, "unknown": 1, "contradicted": 2, "failed": 1, "repeated": 1, "unreadable": 2,
            "torn": 1, "held": 3,
        }  # fmt: skip
        assert resumed(artists, session) == [1, 3, 5]
        found = findings(artists.db, session)
        assert [(row["line"], row["finding"]) for row in found] == [
            (2, "contradicted"), (3, "unknown"), (6, "repeated"), (7, "unreadable"), (8, "unreadable"),
            (9, "contradicted"), (10, "torn"),
        ]  # fmt: skip
        words = [
            [artist_id(2), "'The bio ", "the database 'By hand.'", "The row runs."],
            [artist_id(3), "'The bio ", "knows nothing of it", "The row is not run."],
            [artist_id(5), "line 5"], ["no JSON", "'{not json'"], ["names no row", "nobody"],
            [artist_id(9), "no answer of its own", "knows nothing of it", "The row runs."], ["the last, is torn"],
        ]  # fmt: skip
        for row, wanted in zip(found, words, strict=True):
            assert row["message"].startswith(f"Line {row['line']}")
            assert [word for word in wanted if word not in row["message"]] == []
        assert findings(artists.db, session, after=3, limit=2) == found[2:4]
        artists.assert_sound(session)

    def test_the_first_line_of_a_row_that_has_an_answer_counts(self, artists: Workbench) -> None:
        artists.run(first := artists.drop(artists_csv(2)))
        good, other = (json.loads(line) for line in results(artists, first).splitlines())
        failed = {**good, "outcome": "failed", "response_text": None}
        name = keep(artists, jsonl(failed, good, {**good, "response_text": "Not this."}, failed, other))
        session = artists.drop(artists_csv(2), "artists/two.csv", resume=name)
        artists.run(session)
        assert summary(artists, session) == {"lines": 5, "failed": 2, "confirmed": 2, "repeated": 1, "held": 2}
        assert [row["line"] for row in findings(artists.db, session)] == [3]

    def test_in_write_mode_file_the_ledger_is_asked_and_not_the_table(self, artists: Workbench) -> None:
        artists.execute(
            f"INSERT INTO artists (id, name, bio) VALUES ('{artist_id(1)}', 'A', 'Somebody else wrote this.')"
        )
        artists.run(first := artists.drop(artists_csv(2), write_mode="file"))
        name = keep(artists, results(artists, first))
        for mode, held in (("file", [1, 2]), ("both", [2])):
            session = artists.drop(artists_csv(2), f"artists/{mode}.csv", write_mode=mode, resume=name)
            artists.run(session)
            assert resumed(artists, session) == held

    def test_films_are_compared_with_rows_ends_and_decisions(self, films: Workbench) -> None:
        films.upstream.unknown = {"Film 3"}
        films.run(first := drop_files(films, {"watched.csv": watched(1, 2, 3, 4, 5)}))
        data = results(films, first)
        films.execute("UPDATE movies SET tmdb_id = 77 WHERE title = 'Film 1'")
        films.run(other := drop_files(films, {"watched.csv": watched(2)}, export="other"))
        films.sessions.match(other, 1, tmdb_id=tmdb_film("Another", 1999)["id"])
        films.run(other)
        more = {**json.loads(data.splitlines()[0]), "letterboxd_uri": "https://boxd.it/gone"}
        films.upstream.requests = []
        name = keep(films, data + jsonl(more))
        session = drop_files(films, {"watched.csv": watched(1, 2, 3, 4, 5)}, export="again", resume=name)
        status = films.run(session)
        assert (status["status"], status["skipped"], status["enriched"]) == ("completed", 3, 2)
        assert resumed(films, session) == [3, 4, 5]
        assert summary(films, session) == {
            "lines": 6, "confirmed": 3, "contradicted": 2, "unknown": 1, "held": 4, "not_in_upload": 1,
        }  # fmt: skip
        one, two, three = findings(films.db, session)
        assert "the database 'TMDB 77'" in one["message"]
        assert (two["line"], two["finding"]) == (2, "contradicted")
        assert (three["key"], three["finding"]) == ("https://boxd.it/gone", "unknown")
        films.assert_sound(session)

    def test_the_session_a_file_came_from_is_found_among_many(self, films: Workbench) -> None:
        films.run(first := drop_files(films, {"watched.csv": watched(*range(1, 30))}, write_mode="file"))
        for n in range(8):  # newer ones that share a film with it
            films.run(drop_files(films, {"watched.csv": watched(n, 100 + n)}, export=f"other{n}"))
        name = keep(films, results(films, first))
        session = drop_files(films, {"watched.csv": watched(*range(1, 30))}, export="again", resume=name)
        films.run(session)
        assert summary(films, session) == {"lines": 29, "confirmed": 29, "held": 29}


class TestFilms:
    """Whatever becomes of a film while its export is read, held films are not run and each record belongs somewhere."""

    def test_a_film_whose_owner_is_known_by_its_uri_later_is_held(self, films: Workbench) -> None:
        films.run(first := films.drop(zipped(EXPORT), "movies/first.zip"))
        name = keep(films, results(films, first))
        films.upstream.requests = []
        session = drop_files(films, {"diary.csv": EXPORT["diary.csv"]}, resume=name)
        assert resumed(films, session) == [2], "the film that only the diary has"
        drop_files(films, {"ratings.csv": EXPORT["ratings.csv"], "watched.csv": EXPORT["watched.csv"]}, resume=name)
        status = films.run(session)
        assert (status["status"], status["skipped"], status["merged"], status["open"]) == ("completed", 4, 3, 0)
        assert films.upstream.requests == []
        films.assert_sound(session)

    def test_a_held_film_that_gets_other_names_stays_held_and_one_that_a_person_decides_runs(
        self, films: Workbench
    ) -> None:
        films.run(first := films.drop(zipped(EXPORT), "movies/first.zip"))
        name = keep(films, results(films, first))
        films.upstream.requests = []
        session = drop_files(films, {"watched.csv": watched(1)}, resume=name)
        for n, kind in enumerate(("watched", "ratings", "likes/films", "watched", "watched")):
            row = f"2024-02-0{n + 1},Other name {n},1951,https://boxd.it/f1"
            head = f"{HEADER},Rating" if kind == "ratings" else HEADER
            data = csv_of(head, row + (",4" if kind == "ratings" else ""))
            films.drop(data, f"movies/mine/{kind}.csv", resume=name)
            films.run(session)
            films.assert_sound(session)
        assert (resumed(films, session), films.upstream.requests) == ([1], [])
        films.sessions.match(session, 4, tmdb_id=tmdb_film("Another", 1999)["id"])
        assert films.run(session)["enriched"] == 1
        films.assert_sound(session)

    def test_a_film_that_ran_before_it_was_known_to_be_held_is_left_as_it_ended(self, films: Workbench) -> None:
        films.run(first := films.drop(zipped({"watched.csv": watched(1)}), "movies/first.zip"))
        name = keep(films, results(films, first))
        session = drop_files(films, {"diary.csv": diary(1)}, resume=name)
        assert films.run(session)["enriched"] == 1
        drop_files(films, {"watched.csv": watched(1)}, resume=name)
        status = films.run(session)
        assert (status["enriched"], status["merged"], status["skipped"]) == (1, 1, 0)
        films.assert_sound(session)
        renamed = csv_of(HEADER, "2024-03-01,Another name,1951,https://boxd.it/f1")
        drop_files(films, {"watched.csv": renamed}, resume=name)
        assert films.item(session)["state"] == "available"
        assert films.run(session)["enriched"] == 1, "its row holds what was found for the old name"
        films.assert_sound(session)

    def test_films_that_were_on_the_watchlist_only_run_once_they_are_wanted(self, films: Workbench) -> None:
        files = {"watched.csv": watched(1), "watchlist.csv": watched(1, 2)}
        films.run(first := films.drop(zipped(files), "movies/first.zip"))
        name = keep(films, results(films, first))
        session = films.drop(zipped(files), "movies/second.zip", watchlist="true", resume=name)
        status = films.run(session)
        assert (status["total_movies"], status["enriched"], resumed(films, session)) == (2, 1, [1])

    def test_any_export_cut_anywhere_in_any_order(self, films: Workbench) -> None:
        numbers = itertools.count()

        @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], deadline=None)
        @given(files=small_exports().filter(bool), data=st.data())
        def check(files: dict[str, bytes], data: st.DataObject) -> None:
            n = next(numbers)
            films.ingest._chunk_rows = 2_000
            films.execute("DELETE FROM tmdb_answers")  # lines say what was remembered
            films.run(whole := films.drop(zipped(files), f"movies/{n}-whole.zip"))
            earlier = results(films, whole)
            if not earlier:
                return
            cut = 1 + data.draw(st.integers(0, 1 << 20), label="cut") % len(earlier)
            films.ingest._chunk_rows = data.draw(st.sampled_from([1, 2, 2000]), label="rows in a chunk")
            name = keep(films, earlier[:cut], f"resume/{n}/x.jsonl")
            runs = data.draw(st.booleans(), label="something runs in between")
            films.execute("DELETE FROM tmdb_answers")
            films.upstream.requests = []
            for path in data.draw(st.permutations(list(files)), label="order"):
                session = films.drop(files[path], f"movies/{n}-again/{path}", resume=name)
                if runs:
                    films.run(session)
            status = films.run(session)
            assert status["open"] == 0
            assert status["total"] == len(results(films, session).splitlines())
            films.assert_sound(session)
            held = {key for (key,) in films.execute(
                f"SELECT key FROM resumed_rows WHERE session_id = '{session}' AND finding IN ('confirmed', 'unknown')"
            )}  # fmt: skip
            owners = films.execute(
                f"SELECT key, code FROM items WHERE session_id = '{session}' AND key IS NOT NULL AND parent IS NULL"
            )
            assert {key for key, code in owners if code == "resumed"} <= held
            if not runs:
                assert {key for key, code in owners if code == "resumed"} == held & {key for key, _ in owners}
                if held >= {key for key, _ in owners}:
                    assert films.upstream.requests == []

        check()


def test_results_cut_anywhere_pay_for_nothing_twice(artists: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    body = artists_csv(8) + artists_csv(2, first=3).split(b"\r\n", 1)[1] + b"no id,Nobody,\r\n"
    refused = {artist_id(6)}
    ids = {f"{artist_id(i)}" for i in range(1, 9)}
    upstream = artists.upstream

    def script(n: int, request: Any) -> Any:
        named = [i for i in range(1, 9) if f" {i}" in request.text]
        if breaking and artist_id(named[0]) in refused:
            return failure(ErrorClass.PERMANENT, code="upstream.refused")
        return same_for_each(n, request)

    breaking = True
    upstream._script = script
    wholes = {}
    for mode in ("both", "db", "file"):
        artists.run(session := artists.drop(body, f"artists/{mode}.csv", write_mode=mode, reuse="never"))
        wholes[mode] = results(artists, session)
    breaking = False
    numbers = itertools.count()

    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(data=st.data(), mode=st.sampled_from(["both", "db", "file"]))
    def check(data: st.DataObject, mode: str) -> None:
        n, whole = next(numbers), wholes[mode]
        cut = data.draw(st.integers(1, len(whole)), label="cut")
        monkeypatch.setattr(resuming, "CHUNK_LINES", data.draw(st.sampled_from([1, 3, 5000]), label="lines in a chunk"))
        artists.ingest._chunk_rows = data.draw(st.sampled_from([1, 4, 2000]), label="rows in a chunk")
        upstream.requests = []
        name = keep(artists, whole[:cut], f"resume/{n}/x.jsonl")
        session = artists.drop(body, f"artists/again-{n}.csv", resume=name, reuse="never")
        status = artists.run(session)
        artists.assert_sound(session)
        *lines, last = whole[:cut].split(b"\n")
        torn = False
        if last:
            try:
                json.loads(last)
                lines.append(last)
            except ValueError:
                torn = True
        has = [json.loads(line) for line in lines]
        held = {one["artist_id"] for one in has if one["response_id"]}
        found = artists.execute(f"SELECT key, outcome, code FROM items WHERE session_id = '{session}' ORDER BY item_no")
        assert Counter((outcome, code) for _, outcome, code in found) == Counter(
            {
                key: count
                for key, count in {
                    ("skipped", "resumed"): len(held), ("enriched", None): 8 - len(held), ("duplicate", "same_key"): 2,
                    ("rejected", "input.bad_uuid"): 1,
                }.items()
                if count
            }
        )  # fmt: skip
        assert {key for key, outcome, code in found if code == "resumed"} == held
        assert {key for key, outcome, _ in found if outcome == "enriched"} == ids - held
        assert len(upstream.requests) == 8 - len(held)
        assert len(artists.calls(session)) == 8 - len(held)
        assert status["status"] == "completed"
        assert summary(artists, session).get("torn", 0) == torn

    check()


def test_a_search_leaves_only_for_films_that_are_not_held(films: Workbench) -> None:
    films.run(first := films.drop(zipped(EXPORT), "movies/first.zip"))
    films.execute("DELETE FROM tmdb_answers")
    films.upstream.requests = []
    name = keep(films, b"".join(results(films, first).splitlines(keepends=True)[:2]))
    session = films.drop(zipped(EXPORT), "movies/second.zip", resume=name)
    status = films.run(session)
    assert (status["skipped"], status["enriched"]) == (2, 2)
    assert [one.title for one in films.upstream.requests if isinstance(one, Search)] == ["Film 3", "Film 7"]
