"""Sheets of people become their rows and files: what is fetched, what is left, and what is written of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from shared.upstreams.base import ErrorClass
from tests.assets import (
    DATA,
    DOCUMENT,
    FILE,
    FOLDER,
    PLAYLIST,
    VIDEO,
    FakeWeb,
    assets_bench,
    basic,
    drop,
    files,
    needs_data,
    person,
    sheet,
)
from tests.factories import failure
from tests.workbench import Workbench


@pytest.fixture
def assets(bench: Workbench) -> Workbench:
    """The assets pipeline, with a web that has every file."""
    return assets_bench(bench)


def results(bench: Workbench, session: UUID) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bench.store.text("out", f"{session}/results.jsonl").splitlines()]


def outcomes(bench: Workbench, session: UUID) -> Counter[tuple[str, str | None]]:
    return Counter(map(tuple, bench.execute(f"SELECT outcome, code FROM items WHERE session_id = '{session}'")))


def told(bench: Workbench, session: UUID) -> dict[str, Any]:
    found: dict[str, Any] = bench.sessions.status(session)["sheet"]
    return found


class TestFetching:
    """Every link leads to its files, under the mode that was asked for."""

    def test_a_row_makes_a_person_and_their_files(self, assets: Workbench) -> None:
        session = drop(assets, basic(VIDEO))
        assert assets.execute("SELECT row_id, name, email, personality_type, source_link FROM people") == [
            ["1", "Person 1", "person1@example.org", "FF-Fi/Se-CP/B(S) #4", VIDEO]
        ]
        assert files(assets) == [
            ("1", "youtube_transcript", "transcript", "dQw4w9WgXcQ", "uploaded", "fetch"),
            ("1", "youtube_video", "video", "dQw4w9WgXcQ", "uploaded", "fetch"),
        ]
        first, second = results(assets, session)
        assert (first["outcome"], first["asset_type"], first["parent"]) == ("enriched", "youtube_video", None)
        assert (second["outcome"], second["asset_type"], second["parent"]) == ("enriched", "youtube_transcript", 1)
        assert first["cloud_storage_url"].startswith("gs://media/")
        assert first["db_status"] == "updated"

    def test_every_kind_of_link_leads_to_what_it_has(self, assets: Workbench) -> None:
        drop(assets, basic(VIDEO, PLAYLIST, FILE, FOLDER, DOCUMENT, "https://example.org/a.mp4"))
        found = Counter((row[1], row[2], row[4]) for row in files(assets))
        assert found == {
            ("youtube_video", "video", "uploaded"): 3,
            ("youtube_transcript", "transcript", "uploaded"): 3,
            ("youtube_video", "listing", "downloaded"): 1,
            ("drive_file", "listing", "downloaded"): 1,
            ("drive_file", "file", "uploaded"): 2,
            ("document", "document_pdf", "uploaded"): 1,
            ("document", "document_text", "uploaded"): 1,
            ("file", "file", "uploaded"): 1,
        }

    def test_several_links_of_a_cell_are_fetched_each(self, assets: Workbench) -> None:
        session = drop(assets, basic(f"{VIDEO}|{FILE}, {DOCUMENT}"))
        assert outcomes(assets, session) == {("enriched", None): 5}
        assert {row[0] for row in files(assets)} == {"1"}

    @pytest.mark.parametrize(
        ("mode", "asked", "pending"),
        [
            ("basic", 0, 5),
            ("text", 3, 2),
            ("full", 5, 0),
        ],
    )
    def test_a_mode_fetches_what_it_names(self, assets: Workbench, mode: str, asked: int, pending: int) -> None:
        drop(assets, basic(f"{VIDEO}|{FILE}", DOCUMENT), mode=mode)
        assert len(assets.upstream.requests) == asked
        assert Counter(row[4] for row in files(assets))["pending"] == pending
        assert assets.value("SELECT count(*) FROM people") == 2

    def test_rows_without_a_file_are_kept_and_say_why(self, assets: Workbench) -> None:
        session = drop(assets, basic("", "nan", "https://www.youtube.com/@someCreator", "see email", VIDEO))
        found = outcomes(assets, session)
        assert found[("skipped", "no_link")] == 3
        assert found[("needs_review", "not_a_file")] == 1
        assert assets.value("SELECT count(*) FROM people") == 5

    def test_an_empty_playlist_is_not_found(self, assets: Workbench) -> None:
        assets.upstream.lists = {kind: [] for kind in assets.upstream.lists}
        session = drop(assets, basic(PLAYLIST))
        assert outcomes(assets, session) == {("not_found", "empty_listing"): 1}

    def test_what_is_here_is_not_fetched_again_when_asked_so(self, assets: Workbench) -> None:
        drop(assets, basic(VIDEO))
        session = drop(assets, basic(VIDEO), "assets/again.csv", skip_existing="true")
        assert outcomes(assets, session) == {("skipped", "skip_existing"): 2}
        assert len(assets.upstream.requests) == 2

    def test_the_other_pipelines_refuse_its_options(self, bench: Workbench) -> None:
        for option in ({"mode": "text"}, {"dual_write": "true"}):
            session = bench.drop(b"artist_id,artist_name\n", f"artists/{next(iter(option))}.csv", **option)
            assert "means nothing to pipeline artists" in bench.run(session)["error_message"]


class TestFailing:
    """A file that fails keeps none of the others from being fetched, and says whether trying again makes sense."""

    def test_a_lost_video_says_why_and_its_row_goes_on(self, bench: Workbench) -> None:
        def script(request: Any) -> Any:
            lost = failure(ErrorClass.PERMANENT, code="upstream.private")
            return lost if request.what == "video" else None

        assets = assets_bench(bench, FakeWeb(script))
        session = drop(assets, basic(f"{VIDEO}|{FILE}"), max_failed="90%")
        failed = next(line for line in results(assets, session) if line["outcome"] == "failed")
        assert (failed["failure"], failed["try_again"], failed["db_status"]) == ("private", False, "error")
        assert Counter(row[4] for row in files(assets)) == {"uploaded": 2, "failed": 1}
        assert assets.value("SELECT count(*) FROM people") == 1

    def test_tries_that_run_out_leave_a_failed_file_worth_another_try(self, bench: Workbench) -> None:
        down = failure(ErrorClass.TRANSIENT, code="upstream.network")
        assets = assets_bench(bench, FakeWeb(lambda request: down if request.what == "video" else None))
        session = drop(assets, basic(VIDEO), max_failed="90%")
        assert assets.execute("SELECT error_code, try_again FROM assets WHERE download_status = 'failed'") == [
            ["upstream.network", True]
        ]
        assert outcomes(assets, session)[("enriched", None)] == 1

    def test_reprocessing_mends_what_failed(self, bench: Workbench) -> None:
        web = FakeWeb(lambda request: failure(ErrorClass.PERMANENT, code="upstream.private"))
        assets = assets_bench(bench, web)
        session = drop(assets, basic(FILE, VIDEO), max_failed="100%")
        web.script = lambda request: None
        assets.sessions.reprocess(session, outcomes=["failed"])
        assert assets.run(session)["enriched"] == 3
        assets.assert_sound(session)
        assert {row[4] for row in files(assets)} == {"uploaded"}

    def test_a_file_that_is_here_stays_when_another_try_fails(self, bench: Workbench) -> None:
        web = FakeWeb()
        assets = assets_bench(bench, web)
        drop(assets, basic(FILE))
        web.script = lambda request: failure(ErrorClass.PERMANENT, code="upstream.deleted")
        session = drop(assets, basic(FILE), "assets/again.csv", max_failed="100%")
        assert outcomes(assets, session) == {("failed", "upstream.deleted"): 1}
        assert [row[4] for row in files(assets)] == ["uploaded"]

    def test_a_video_without_captions_has_not_failed(self, bench: Workbench) -> None:
        silent = failure(ErrorClass.PERMANENT, code="upstream.no_captions")
        assets = assets_bench(bench, FakeWeb(lambda request: silent if request.what == "transcript" else None))
        session = drop(assets, basic(VIDEO))
        assert outcomes(assets, session) == {("enriched", None): 1, ("not_found", "no_captions"): 1}


class TestImporting:
    """An enhanced sheet brings what it knows, and the reconciliation says where it disagrees."""

    def test_files_the_sheet_lists_are_not_fetched(self, assets: Workbench) -> None:
        row = person(1, VIDEO, youtube_status="completed", youtube_files="dQw4w9WgXcQ.mp4,dQw4w9WgXcQ_transcript.vtt")
        session = drop(assets, sheet([row]))
        assert outcomes(assets, session) == {("skipped", "in_sheet"): 1}
        assert assets.execute("SELECT asset_type, local_file_path, download_status FROM assets ORDER BY what") == [
            ["youtube_transcript", "dQw4w9WgXcQ_transcript.vtt", "downloaded"],
            ["youtube_video", "dQw4w9WgXcQ.mp4", "downloaded"],
        ]
        assert told(assets, session) == {
            "rows": 1, "people": 1, "listed": 2, "uploaded": 0, "pending": 0, "failed": 0, "disagreements": {},
        }  # fmt: skip

    def test_a_failure_for_good_is_left_until_a_person_asks(self, assets: Workbench) -> None:
        row = person(1, VIDEO, youtube_status="failed", permanent_failure="youtube", download_errors="a; Private video")
        session = drop(assets, sheet([row], [*row]))
        assert outcomes(assets, session) == {("skipped", "failed_for_good"): 1}
        assert assets.execute("SELECT DISTINCT download_status, error_message, try_again FROM assets") == [
            ["failed", "Private video", False]
        ]
        assets.sessions.reprocess(session, outcomes=["skipped"])
        assert assets.run(session)["enriched"] == 2
        assets.assert_sound(session)

    def test_a_stale_download_is_fetched(self, assets: Workbench) -> None:
        session = drop(assets, sheet([person(1, VIDEO, youtube_status="downloading")]))
        assert outcomes(assets, session) == {("enriched", None): 2}
        assert told(assets, session)["disagreements"] == {"stale_download": 1}

    def test_one_group_may_be_done_and_the_other_not(self, assets: Workbench) -> None:
        row = person(1, f"{VIDEO}|{FILE}", youtube_status="completed", youtube_files="a.mp4", drive_status="failed")
        drop(assets, sheet([row]))
        assert assets.upstream.asked() == [("file", "1AbCdEfGhIjKlMnOpQrStUvWxYz012345")]

    def test_bad_rows_are_rejected_and_others_run(self, assets: Workbench) -> None:
        rows = [
            person(1, FILE),
            {**person(2), "row_id": " "},
            {**person(3), "name": ""},
            {**person(4), "row_id": "nan"},
        ]
        session = drop(assets, sheet(rows))
        found = outcomes(assets, session)
        assert found[("rejected", "input.empty_row_id")] == 2
        assert found[("rejected", "input.empty_name")] == 1

    def test_one_row_id_with_other_links_is_one_person(self, assets: Workbench) -> None:
        session = drop(assets, sheet([person(1, VIDEO), person(1, FILE), person(1, VIDEO), person(2, VIDEO)]))
        assert outcomes(assets, session)[("duplicate", "same_key")] == 1
        assert told(assets, session)["disagreements"] == {"row_id_with_other_links": 1}
        assert assets.value("SELECT count(*) FROM people") == 2
        assert assets.value("SELECT count(*) FROM assets WHERE person_row_id = '1'") == 3

    def test_a_later_sheet_that_disagrees_with_the_database_says_so(self, assets: Workbench) -> None:
        drop(assets, basic(FILE))
        row = {**person(1, FILE, drive_status="failed"), "name": "Somebody"}
        session = drop(assets, sheet([row]), "assets/later.csv", skip_existing="true")
        assert told(assets, session)["disagreements"] == {"other_name_than_before": 1, "open_but_the_file_is_here": 1}
        assert assets.value("SELECT name FROM people") == "Somebody"

    @pytest.mark.parametrize(
        ("name", "rows", "people", "listed"),
        [("people-basic", 122, 120, 0), ("people-enhanced", 120, 120, 75), ("people-enhanced-all-columns", 60, 60, 27)],
    )
    def test_the_sheets_of_the_collection(
        self, assets: Workbench, name: str, rows: int, people: int, listed: int
    ) -> None:
        needs_data()
        session = drop(assets, (DATA / f"{name}.csv").read_bytes(), mode="basic")
        found = told(assets, session)
        assert (found["rows"], found["people"], found["listed"]) == (rows, people, listed)
