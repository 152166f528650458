"""Films are enriched in batches, remembered across sessions, opened again by what comes later, decided by people."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from shared.config import UpstreamLimits
from shared.errors import LedgerDown
from shared.film_search import find_film
from shared.pipelines import movies as pipeline_module
from shared.upstreams.base import Failure, JsonAnswer
from shared.upstreams.tmdb import Details, Search
from shared.upstreams.tmdb_errors import failure_of_status
from tests.fakes import tmdb_film
from tests.movies import HEADER, csv_of, diary, drop_files, movies_bench, ratings, tables, watched, zipped
from tests.workbench import Workbench

EXPORT = {"watched.csv": watched(1, 2, 3), "ratings.csv": ratings(1, 2), "diary.csv": diary(1)}


@pytest.fixture
def films(bench: Workbench) -> Workbench:
    """The movies pipeline, with a TMDB that knows every film."""
    return movies_bench(bench)


def refusal(status: int, code: int | None = None) -> Failure:
    """What TMDB's answer of this status means."""
    body = json.dumps({"status_code": code, "status_message": "No."}).encode() if code else b""
    return failure_of_status(status, {}, body, of_film=False)


def results(bench: Workbench, session: UUID) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bench.store.text("out", f"{session}/results.jsonl").splitlines()]


def manifest(bench: Workbench, session: UUID) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.store.text("out", f"{session}/manifest.json"))
    return found


def outcomes(bench: Workbench, session: UUID) -> Counter[str]:
    found = bench.execute(f"SELECT outcome FROM items WHERE session_id = '{session}' AND outcome IS NOT NULL")
    return Counter(outcome for (outcome,) in found)


class TestReopening:
    """Later files change what they have to, and nothing else."""

    def test_ratings_that_come_after_the_end_are_there_and_cost_no_request(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1, 2)})
        films.run(session)
        asked = len(films.upstream.requests)
        assert drop_files(films, {"ratings.csv": ratings(1, 2)}) == session
        assert films.facts(session)["status"] == "enriching"
        status = films.run(session)
        assert (status["status"], status["merged"], status["enriched_count"]) == ("completed", 2, 2)
        assert films.execute("SELECT rating::text FROM movies") == [["4.0"], ["4.0"]]
        assert [line["rating"] for line in results(films, session) if line["outcome"] == "enriched"] == [4.0, 4.0]
        assert len(films.upstream.requests) == asked
        films.assert_sound(session)

    @pytest.mark.parametrize("packed", [True, False], ids=["ZIP", "CSVs"])
    def test_everything_dropped_again_changes_nothing(self, films: Workbench, packed: bool) -> None:
        def drop() -> UUID:
            return films.drop(zipped(EXPORT), "movies/mine.zip") if packed else drop_files(films, EXPORT)

        session = drop()
        before, films.upstream.requests = films.run(session), []
        items = films.execute("SELECT items::text FROM items ORDER BY item_no")
        assert drop() == session
        after = films.run(session)
        assert after["status"] == "completed"
        assert films.upstream.requests == []
        assert films.execute("SELECT items::text FROM items ORDER BY item_no") == items
        assert {key: after[key] for key in ("total", "merged", "total_movies", "enriched_count")} == {
            key: before[key] for key in ("total", "merged", "total_movies", "enriched_count")
        }
        states = Counter(state for (state,) in films.execute("SELECT state FROM files WHERE part <> 'archive'"))
        assert states == {"read": 3, "repeated": 3}
        films.assert_sound(session)

    def test_the_same_records_in_another_file_are_duplicates(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1, 2, 3)})
        films.run(session)
        films.upstream.requests = []
        drop_files(films, {"watched.csv": watched(3, 2)})
        status = films.run(session)
        assert (status["duplicate"], status["enriched"], films.upstream.requests) == (2, 3, [])
        films.assert_sound(session)

    def test_a_new_version_adds_films_keeps_gone_ones_and_rates_anew(self, films: Workbench) -> None:
        session = films.drop(zipped({"watched.csv": watched(1, 2, 3), "ratings.csv": ratings(1, 2)}), "movies/mine.zip")
        films.run(session)
        assert manifest(films, session)["films_gone"] == 0
        films.upstream.requests = []
        newer = {"watched.csv": watched(2, 3, 4), "ratings.csv": ratings(2, stars="1.5")}
        assert films.drop(zipped(newer), "movies/mine.zip") == session
        status = films.run(session)
        assert (status["status"], status["total_movies"], status["enriched_count"]) == ("completed", 4, 4)
        assert [request.title for request in films.upstream.requests if isinstance(request, Search)] == ["Film 4"]
        assert films.execute("SELECT title, rating::text FROM movies ORDER BY title") == [
            ["Film 1", "4.0"], ["Film 2", "1.5"], ["Film 3", None], ["Film 4", None]
        ]  # fmt: skip
        told = manifest(films, session)
        assert (told["films_gone"], told["films_gone_first_1000"]) == (
            1,
            [{"item_no": 1, "film": "https://boxd.it/f1"}],
        )
        films.assert_sound(session)

    def test_the_first_version_dropped_again_has_nothing_gone_that_it_names(self, films: Workbench) -> None:
        versions = [zipped({"watched.csv": watched(*numbers)}) for numbers in ((1, 2), (2, 3), (1, 2))]
        for version in versions:
            session = films.drop(version, "movies/mine.zip")
            films.run(session)
        assert [one["film"] for one in manifest(films, session)["films_gone_first_1000"]] == ["https://boxd.it/f3"]

    def test_a_session_that_failed_for_one_film_ends_well_once_it_is_run_again(self, films: Workbench) -> None:
        films.upstream.script = lambda request: refusal(422) if getattr(request, "title", "") == "Film 1" else None
        session = drop_files(films, {"watched.csv": watched(1)})
        assert films.run(session)["status"] == "failed"
        films.upstream.script = lambda request: None
        assert films.sessions.reprocess(session) == 1
        status = films.run(session)
        assert (status["status"], status["error_message"], status["enriched_count"]) == ("completed", None, 1)


class TestOptions:
    """What a person may ask for."""

    def test_write_mode_file_leaves_the_tables_alone_and_the_results_have_it_all(self, films: Workbench) -> None:
        session = films.drop(zipped(EXPORT), "movies/mine.zip", write_mode="file")
        status = films.run(session)
        assert (status["status"], status["total_movies"], status["enriched_count"]) == ("completed", 3, 3)
        for table in ("movies", "diary_entries", "reviews"):
            assert films.value(f"SELECT count(*) FROM {table}") == 0
        first = results(films, session)[0]
        assert (first["title"], first["rating"], first["genres"]) == ("Film 1", 4.0, ["Drama"])
        assert [entry["watched_date"] for entry in first["diary"]] == ["2024-01-02"]
        films.assert_sound(session)

    def test_a_dry_run_asks_nothing_and_writes_nothing(self, films: Workbench) -> None:
        session = films.drop(zipped(EXPORT), "movies/mine.zip", dry_run="true")
        status = films.run(session)
        assert (status["status"], status["skipped"], status["merged"]) == ("completed", 3, 3)
        assert (status["total_movies"], status["enriched_count"]) == (3, 0)
        assert films.upstream.requests == []
        assert films.value("SELECT count(*) FROM movies") + films.value("SELECT count(*) FROM diary_entries") == 0
        films.assert_sound(session)

    @pytest.mark.parametrize("wanted", [True, False])
    def test_films_of_the_watchlist_come_in_where_asked_for(self, films: Workbench, wanted: bool) -> None:
        files = {"watched.csv": watched(1), "watchlist.csv": watched(1, 2)}
        session = films.drop(zipped(files), "movies/mine.zip", watchlist=str(wanted).lower())
        status = films.run(session)
        assert (status["status"], status["total_movies"], status["skipped"]) == ("completed", 1 + wanted, 1 - wanted)
        assert films.execute("SELECT title FROM movies WHERE in_watchlist ORDER BY title") == (
            [["Film 1"], ["Film 2"]] if wanted else [["Film 1"]]
        )
        films.assert_sound(session)

    def test_a_file_of_other_options_is_refused_and_leaves_its_export_alone(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1)})
        films.run(session)
        refused = films.drop(watched(2), "movies/mine/watchlist.csv", watchlist="true")
        status = films.run(refused)
        assert (status["status"], status["error_code"]) == ("failed", "input.session")
        assert "has another watchlist and keeps it" in status["error_message"]
        assert films.facts(session)["status"] == "completed"
        assert drop_files(films, {"watchlist.csv": watched(2)}) == session
        assert films.run(session)["status"] == "completed"


class TestCache:
    """What TMDB said once is not asked again until it is old."""

    def test_a_second_export_of_the_same_films_asks_nothing(self, films: Workbench) -> None:
        first = films.drop(zipped(EXPORT), "movies/mine.zip")
        films.run(first)
        assert {line["from_cache"] for line in results(films, first) if line["outcome"] == "enriched"} == {False}
        films.upstream.requests = []
        second = films.drop(zipped(EXPORT), "movies/yours.zip")
        status = films.run(second)
        assert (second == first, status["enriched_count"], films.upstream.requests) == (False, 3, [])
        assert {line["from_cache"] for line in results(films, second) if line["outcome"] == "enriched"} == {True}
        assert tables(films, second) == tables(films, first)

    def test_answers_that_are_too_old_are_asked_for_again(self, films: Workbench) -> None:
        films.run(drop_files(films, {"watched.csv": watched(1, 2)}))
        films.execute("UPDATE tmdb_answers SET expires_at = now() WHERE request LIKE '%Film 1'")
        films.upstream.requests = []
        films.run(drop_files(films, {"watched.csv": watched(1, 2)}, export="yours"))
        assert [str(request) for request in films.upstream.requests] == [str(Search("Film 1", 1951))]
        assert films.value("SELECT count(*) FROM tmdb_answers WHERE expires_at < now()") == 0

    @pytest.mark.parametrize("found", ["nothing", "something else"])
    def test_films_that_were_not_found_or_need_a_look_are_remembered_too(self, films: Workbench, found: str) -> None:
        if found == "nothing":
            films.upstream.unknown = {"Film 1"}
        else:
            similar = JsonAnswer(body={"results": [tmdb_film("Film 12", 1951)], "total_results": 1})
            films.upstream.script = lambda request: similar if isinstance(request, Search) else None
        ended = []
        for export in ("mine", "yours"):
            films.upstream.requests = []
            session = drop_files(films, {"watched.csv": watched(1)}, export=export)
            status = films.run(session)
            assert status["status"] == "completed"
            ended.append((status["not_found"], status["needs_review"], bool(films.upstream.requests)))
            films.assert_sound(session)
        expected = (1, 0) if found == "nothing" else (0, 1)
        assert ended == [(*expected, True), (*expected, False)]

    def test_a_cache_that_is_not_there_costs_nothing_but_requests(self, films: Workbench) -> None:
        films.execute("DROP TABLE tmdb_answers")
        for export in ("mine", "yours"):
            films.upstream.requests = []
            session = drop_files(films, {"watched.csv": watched(1, 2)}, export=export)
            status = films.run(session)
            assert (status["status"], status["enriched_count"], len(films.upstream.requests)) == ("completed", 2, 4)

    def test_rescue_forgets_what_is_too_old(self, films: Workbench) -> None:
        films.run(drop_files(films, {"watched.csv": watched(1, 2)}))
        films.execute("UPDATE tmdb_answers SET expires_at = now() - interval '1 s' WHERE request LIKE '%Film 1'")
        films.rescuer.round()
        assert films.value("SELECT count(*) FROM tmdb_answers") == 3


class TestBatches:
    """Ten films are one message and one transaction, and none of them fails its neighbours."""

    @pytest.fixture
    def settled(self, films: Workbench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many items each settling statement was given."""
        found: list[int] = []
        really = films.db.rows

        def rows(name: str, **params: Any) -> Any:
            if name.startswith("settle/"):
                found.append(len(json.loads(params["batch"])))
            return really(name, **params)

        monkeypatch.setattr(films.db, "rows", rows)
        return found

    def test_ten_films_are_settled_in_one_transaction(self, films: Workbench, settled: list[int]) -> None:
        session = drop_files(films, {"watched.csv": watched(*range(30))})
        assert films.run(session)["enriched_count"] == 30
        assert settled == [10, 10, 10]

    @pytest.mark.parametrize(
        "broken", [{"release_date": "2024-13-45"}, {"tmdb_votes": 2**40}, {"runtime": "long"}, {"tmdb_rating": 1e9}]
    )
    def test_a_film_that_cannot_be_written_fails_alone(
        self, films: Workbench, settled: list[int], broken: dict[str, Any]
    ) -> None:
        bad = tmdb_film("Film 4", 1954)["id"]
        plain = films.upstream.call

        def script(request: Any) -> JsonAnswer | None:
            if request != Details(bad):
                return None
            films.upstream.script = lambda request: None
            answer = plain(request, timeout=1)
            films.upstream.script = script
            return JsonAnswer(body={**answer.body, **broken})

        films.upstream.script = script
        session = drop_files(films, {"watched.csv": watched(*range(10))})
        status = films.run(session)
        assert (status["enriched"], status["failed"], status["status"]) == (9, 1, "completed")
        assert settled == [10, *[1] * 11]
        (line,) = (line for line in results(films, session) if line["outcome"] == "failed")
        assert (line["title"], line["db_status"]) == ("Film 4", "error")
        assert line["error_code"].startswith("db.22")
        films.assert_sound(session)

    def test_a_dialogue_that_breaks_fails_its_film_after_its_tries(
        self, films: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def breaking(name: str, year: int | None, **more: Any) -> Any:
            if name == "Film 4":
                raise ZeroDivisionError
            return (yield from find_film(name, year, **more))

        monkeypatch.setattr(pipeline_module, "find_film", breaking)
        session = drop_files(films, {"watched.csv": watched(*range(10))})
        status = films.run(session)
        assert (status["enriched"], status["failed"]) == (9, 1)
        tries = films.settings.pipelines["movies"].max_failures
        assert films.execute("SELECT attempt, error_code FROM items WHERE outcome = 'failed'") == [
            [tries, "upstream.unexpected"]
        ]
        films.assert_sound(session)

    def test_a_film_whose_key_changes_under_its_message_leaves_its_neighbours_alone(
        self, films: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = drop_files(films, {"diary.csv": diary(*range(10))})
        really = films.pipeline.begin

        def begin(*given: Any) -> Any:
            monkeypatch.undo()
            drop_files(films, {"watched.csv": watched(4)})
            return really(*given)

        monkeypatch.setattr(films.pipeline, "begin", begin)
        status = films.run(session)
        assert (status["status"], status["enriched_count"]) == ("completed", 10)
        films.assert_sound(session)


class TestTrouble:
    """TMDB refuses, is away, or does not know us."""

    def test_films_wait_out_a_rate_limit_and_the_limit_is_lowered(self, bench: Workbench) -> None:
        films = movies_bench(bench, limits={"tmdb": UpstreamLimits(requests=2_000, period=1)})
        refused: list[Any] = []

        def script(request: Any) -> Failure | None:
            if len(refused) < 60 and isinstance(request, Search):
                refused.append(request)
                return refusal(429, 25)
            return None

        films.upstream.script = script
        session = drop_files(films, {"watched.csv": watched(*range(20))})
        films.deliver()
        assert films.value("SELECT requests_limit FROM upstreams WHERE name = 'tmdb'") < 2_000
        assert films.execute("SELECT count(*), min(snoozes), max(failures) FROM items WHERE outcome IS NULL") == [
            [20, 1, 0]
        ]
        status = films.run(session)
        assert (status["status"], status["enriched"], status["failed"], len(refused)) == ("completed", 20, 0, 60)
        films.assert_sound(session)

    def test_films_are_enriched_once_tmdb_is_back(self, films: Workbench) -> None:
        films.upstream.script = lambda request: refusal(503)
        films.processor.settings = films.processor.settings.model_copy(update={"max_wait": 0})  # nor need the test wait
        session = drop_files(films, {"watched.csv": watched(*range(12))})
        for _ in range(4):
            films.deliver()
            films.make_due(session)
            films.rescuer.round()
        assert films.sessions.status(session)["bound_by"] == "breaker"
        assert films.value("SELECT max(failures) FROM items") == 0  # nobody's try is used up
        films.upstream.script = lambda request: None
        status = films.run(session)
        assert (status["status"], status["enriched_count"], status["failed"]) == ("completed", 12, 0)
        films.assert_sound(session)

    def test_a_film_that_tmdb_never_answers_for_fails_with_its_words(self, films: Workbench) -> None:
        films.upstream.script = lambda request: refusal(503) if getattr(request, "title", "") == "Film 1" else None
        session = drop_files(films, {"watched.csv": watched(*range(3))})
        status = films.run(session)
        assert (status["status"], status["enriched_count"], status["failed"]) == ("completed", 2, 1)
        films.assert_sound(session)

    def test_a_wrong_token_pauses_the_session_and_resume_completes_it(self, films: Workbench) -> None:
        films.upstream.script = lambda request: refusal(401, 7)
        session = drop_files(films, {"watched.csv": watched(*range(12))})
        status = films.run(session)
        assert status["status"] == "paused"
        assert "TMDB_API_TOKEN" in status["pause_reason"]
        assert films.value("SELECT count(*) FROM items WHERE failures > 0 OR outcome IS NOT NULL") == 0
        films.upstream.script = lambda request: None
        films.sessions.resume(session)
        status = films.run(session)
        assert (status["status"], status["enriched_count"]) == ("completed", 12)
        films.assert_sound(session)

    def test_an_enriched_film_that_fails_anew_keeps_what_was_known(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1, 2, 3)})
        films.run(session)
        films.upstream.script = lambda request: refusal(422)
        films.sessions.reprocess(session, key="https://boxd.it/f1")
        status = films.run(session)
        assert (status["status"], status["failed"]) == ("completed", 1)
        assert films.value("SELECT imdb_id IS NOT NULL FROM movies WHERE item_no = 1") is True
        films.assert_sound(session)

    def test_a_session_cancelled_in_mid_run_keeps_what_it_has(self, films: Workbench) -> None:
        def script(request: Any) -> None:
            if isinstance(request, Search) and request.title == "Film 15":
                films.sessions.cancel(session)

        films.upstream.script = script
        session = drop_files(films, {"watched.csv": watched(*range(40))})
        status = films.run(session)
        assert status["status"] == "cancelled"
        assert status["enriched"] + status["cancelled"] == 40
        assert status["enriched_count"] == status["enriched"] > 0
        assert status["cancelled"] >= 20
        films.assert_sound(session)
        films.upstream.requests = []
        later = drop_files(films, {"watched.csv": watched(*range(40))})
        assert later != session
        assert films.run(later)["enriched_count"] == 40

    def test_a_film_that_is_cancelled_while_it_runs_anew_keeps_what_was_known(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1)})
        films.run(session)
        films.sessions.match(session, 1, tmdb_id=tmdb_film("Another", 1999)["id"])
        films.sessions.cancel(session)
        assert films.run(session)["status"] == "cancelled"
        films.assert_sound(session)


class TestDecisions:
    """A person's decision about a film counts in every session, the newest one."""

    def test_a_decision_counts_in_a_later_session(self, films: Workbench) -> None:
        films.upstream.unknown = {"Film 1"}
        session = drop_files(films, {"watched.csv": watched(1, 2)})
        assert films.run(session)["not_found"] == 1
        chosen = tmdb_film("Another", 1999)["id"]
        assert films.sessions.match(session, 1, tmdb_id=chosen) == 1
        status = films.run(session)
        assert (status["status"], status["enriched_count"], status["not_found"]) == ("completed", 2, 0)
        films.assert_sound(session)
        later = drop_files(films, {"watched.csv": watched(1)}, export="yours")
        films.run(later)
        assert films.execute(f"SELECT tmdb_id, match_method FROM movies WHERE session_id = '{later}'") == [
            [chosen, "override"]
        ]
        films.assert_sound(later)

    def test_none_of_them_is_a_decision_too(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1)})
        films.run(session)
        films.sessions.match(session, 1, tmdb_id=None)
        status = films.run(session)
        assert (status["not_found"], status["enriched_count"]) == (1, 0)
        assert films.execute("SELECT tmdb_enriched, tmdb_id, genres FROM movies") == [[False, None, None]]
        films.upstream.requests = []
        later = drop_files(films, {"watched.csv": watched(1)}, export="yours")
        assert (films.run(later)["not_found"], films.upstream.requests) == (1, [])
        films.assert_sound(session)

    def test_the_newest_decision_counts(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1)})
        films.run(session)
        first, second = (tmdb_film(title, 1999)["id"] for title in ("One", "Two"))
        for chosen in (first, None, second):
            films.sessions.match(session, 1, tmdb_id=chosen)
            films.run(session)
        assert films.execute("SELECT tmdb_id FROM movies") == [[second]]
        assert films.execute("SELECT film, tmdb_id FROM match_overrides") == [["https://boxd.it/f1", second]]
        films.assert_sound(session)

    def test_a_decision_counts_once_a_film_is_known_by_its_uri(self, films: Workbench) -> None:
        session = drop_files(films, {"watched.csv": watched(1)})
        films.run(session)
        chosen = tmdb_film("Another", 1999)["id"]
        films.sessions.match(session, 1, tmdb_id=chosen)
        later = drop_files(films, {"diary.csv": diary(1)}, export="yours")
        films.run(later)
        drop_files(films, {"watched.csv": watched(1)}, export="yours")
        films.run(later)
        assert films.value(f"SELECT tmdb_id FROM movies WHERE session_id = '{later}'") == chosen
        films.assert_sound(later)

    def test_a_decision_by_name_goes_along_to_the_uri(self, films: Workbench) -> None:
        session = drop_files(films, {"diary.csv": diary(1)})
        films.run(session)
        chosen = tmdb_film("Another", 1999)["id"]
        films.sessions.match(session, 1, tmdb_id=chosen)
        films.run(session)
        drop_files(films, {"watched.csv": watched(1)})
        films.run(session)
        later = drop_files(films, {"watched.csv": watched(1)}, export="yours")
        films.run(later)
        assert films.execute("SELECT DISTINCT tmdb_id, match_method FROM movies") == [[chosen, "override"]]
        films.assert_sound(session)

    @pytest.mark.parametrize("number", [1, 2, 3], ids=["the film", "its rating", "its repeated record"])
    def test_any_record_of_a_film_names_it(self, films: Workbench, number: int) -> None:
        session = drop_files(films, {"watched.csv": watched(1), "ratings.csv": ratings(1)})
        films.drop(watched(1) + b"\n", "movies/mine/watched.csv")
        films.run(session)
        assert films.sessions.match(session, number, tmdb_id=None) == 1
        assert films.run(session)["not_found"] == 1

    def test_a_late_answer_does_not_win_over_a_decision(self, films: Workbench) -> None:
        chosen = tmdb_film("Another", 1999)["id"]
        late = tmdb_film("Film 1", 1951)["id"]

        def script(request: Any) -> None:
            if request == Details(late):  # the answer is under way
                films.upstream.script = lambda request: None
                films.sessions.match(session, 1, tmdb_id=chosen)

        films.upstream.script = script
        session = drop_files(films, {"watched.csv": watched(1, 2)})
        status = films.run(session)
        assert (status["status"], status["enriched_count"]) == ("completed", 2)
        assert films.value("SELECT tmdb_id FROM movies WHERE item_no = 1") == chosen
        films.assert_sound(session)

    def test_a_decision_in_a_session_that_failed_for_a_file_is_carried_out(self, films: Workbench) -> None:
        films.upstream.unknown = {"Film 1"}
        session = drop_files(films, {"watched.csv": watched(1, 2), "ratings.csv": bytes(100)})
        assert films.run(session)["status"] == "failed"
        films.sessions.match(session, 1, tmdb_id=tmdb_film("Another", 1999)["id"])
        status = films.run(session)
        assert (status["status"], status["enriched_count"], status["open"]) == ("failed", 2, 0)
        assert "movies/mine/ratings.csv: " in status["error_message"]
        films.assert_sound(session)


class TestExpiry:
    """After thirty days the records go; films, diary, reviews and decisions stay."""

    def test_an_expired_export_keeps_its_films_and_decisions(self, films: Workbench) -> None:
        review = csv_of(f"{HEADER},Rating,Rewatch,Review,Tags,Watched Date",
                        "2024-01-01,Film 1,1951,https://boxd.it/entry1,4,,Good.,,2024-01-02")  # fmt: skip
        session = films.drop(zipped({**EXPORT, "reviews.csv": review}), "movies/mine.zip")
        films.run(session)
        films.sessions.match(session, 3, tmdb_id=None)
        films.run(session)
        kept = {name: rows for name, rows in tables(films, session).items() if name != "unresolved"}
        assert [len(rows) for rows in kept.values()] == [3, 1, 1]
        films.pass_time(30 * 86_400 + 1)
        assert films.rescuer.round().expired == 1
        assert films.value("SELECT count(*) FROM items") + films.value("SELECT count(*) FROM film_records") == 0
        assert {name: rows for name, rows in tables(films, session).items() if name != "unresolved"} == kept
        assert films.value("SELECT count(*) FROM match_overrides") == 1
        later = films.drop(zipped(EXPORT), "movies/mine.zip")
        assert later != session
        status = films.run(later)
        assert (status["status"], status["enriched"], status["not_found"]) == ("completed", 2, 1)


class TestVerify:
    """What must not be is found."""

    @pytest.fixture
    def session(self, films: Workbench) -> UUID:
        """A sound session of three films with ratings and a diary."""
        session = films.drop(zipped(EXPORT), "movies/mine.zip")
        films.run(session)
        films.assert_sound(session)
        return session

    @pytest.mark.parametrize(
        ("tampering", "finding"),
        [
            ("UPDATE movies SET tmdb_id = 1 WHERE item_no = 2", "film 2, attempt 1, says otherwise than its item"),
            ("UPDATE movies SET tmdb_enriched = false WHERE item_no = 2", "film 2, attempt 1, says otherwise"),
            ("UPDATE movies SET attempt = 7 WHERE item_no = 2", "film 2, attempt 7, says otherwise"),
            ("UPDATE items SET key = 'https://boxd.it/x' WHERE item_no = 4", "item 4 is merged into item 1"),
            ("UPDATE items SET parent = NULL WHERE item_no = 4", "item 4 is merged into item , which owns no film"),
            (
                "UPDATE items SET outcome = 'not_found', key = 'https://boxd.it/x' WHERE item_no = 4",
                "film https://boxd.it/f1 has 2 owners",
            ),
            (
                "UPDATE items SET outcome = 'merged' WHERE item_no = 3",
                "film https://boxd.it/f3 has 0 owners",
            ),
            ("DELETE FROM movies WHERE item_no = 2", "the row of film 2 is gone"),
        ],
    )
    def test_tampering_is_found(self, films: Workbench, session: UUID, tampering: str, finding: str) -> None:
        films.execute(tampering)
        findings = films.sessions.verify(session)["findings"]
        assert any(one["rule"] == "I4" and finding in one["finding"] for one in findings), findings


class TestOutages:
    """A ledger that goes away in mid-message, and handlers whose time is over, leave nothing running."""

    @pytest.mark.parametrize("name", ["find_films", "reserve_slots", "let_go"])
    def test_films_of_a_message_the_ledger_left_are_free_again(
        self, films: Workbench, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        session = drop_files(films, {"watched.csv": watched(*range(10))})
        rows, blips = films.db.rows, iter([True])

        def blipping(statement: str, **params: Any) -> list[dict[str, Any]]:
            if statement == name and next(blips, False):
                raise LedgerDown
            return rows(statement, **params)

        monkeypatch.setattr(films.db, "rows", blipping)
        with pytest.raises(LedgerDown):
            films.deliver()
        assert films.value(f"SELECT count(*) FROM items WHERE session_id = '{session}' AND state = 'running'") == 0
        assert films.run(session)["enriched_count"] == 10
        films.assert_sound(session)

    def test_a_dialogue_ends_with_its_handlers_time(self, bench: Workbench) -> None:
        films = movies_bench(bench, pipeline_changes={"deadline": 11, "request_timeout": 10, "max_wait": 0.5})
        session = drop_files(films, {"watched.csv": watched(1)})
        began = time.monotonic()
        films.upstream.script = lambda request: JsonAnswer(body={"results": [], "total_results": 40})
        wall = time.monotonic
        with pytest.MonkeyPatch.context() as patched:  # the first answer takes two seconds of the clock
            patched.setattr(
                "shared.processing.time.monotonic", lambda: wall() + (2.0 if films.upstream.requests else 0.0)
            )
            films.deliver()
        assert time.monotonic() - began < 2
        assert len(films.upstream.requests) == 1
        assert films.item(session)["state"] == "retryable"
        assert films.item(session)["code"] == "deadline"
