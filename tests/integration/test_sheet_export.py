"""A sheet that is imported and exported is the same sheet, and tells what was fetched in between."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.messages import ItemsNotice
from shared.people_sheet import COLUMNS, ENHANCED
from shared.sheet_export import sheet_pages
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
    needs_data,
    person,
    read,
    sheet,
)
from tests.factories import failure
from tests.workbench import Workbench


@pytest.fixture
def assets(bench: Workbench) -> Workbench:
    """The assets pipeline, with a web that has every file."""
    return assets_bench(bench)


def export(bench: Workbench, session: UUID | None = None, **how: Any) -> bytes:
    return b"".join(sheet_pages(bench.db, session=session, **how))


@pytest.mark.parametrize("name", ["people-enhanced", "people-enhanced-all-columns"])
def test_a_real_sheet_comes_out_byte_for_byte(assets: Workbench, name: str) -> None:
    """Guarded or not: nothing in it is a formula, and ids that begin with a hyphen are none."""
    needs_data()
    data = (DATA / f"{name}.csv").read_bytes()
    session = drop(assets, data, mode="basic")
    for one in (None, session):
        for guard in (True, False):
            assert export(assets, one, guard=guard, page=7) == data


def test_a_basic_sheet_becomes_an_enhanced_one(assets: Workbench) -> None:
    """With every row, the exact duplicate and the person with two links included."""
    needs_data()
    data = (DATA / "people-basic.csv").read_bytes()
    drop(assets, data, mode="basic")
    exported = export(assets)
    assert exported.splitlines()[0].decode() == ",".join(ENHANCED)
    assert read(exported) == [{**dict.fromkeys(ENHANCED, ""), **row} for row in read(data)]


LINKS = st.sampled_from(
    ["", "nan", VIDEO, PLAYLIST, FILE, FOLDER, DOCUMENT, f"{VIDEO}|{FILE}", "https://example.org/a"]
)
STATUS = st.sampled_from(["", "pending", "downloading", "completed", "failed", "Completed", "done?"])
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r") | st.sampled_from(",;\"'|\n =+@-{}"), max_size=12
)
NAMES = st.lists(st.sampled_from(["a.mp4", "a, part 1.mp4", "notes.docx", "résumé (2).pdf", "b_transcript.vtt", "x"]))
CELLS = {
    "name": TEXT.filter(lambda text: text.strip() and text.strip().lower() != "nan"),
    "link": LINKS, "extracted_links": LINKS, "youtube_playlist": LINKS, "google_drive": LINKS,
    "youtube_status": STATUS, "drive_status": STATUS,
    "youtube_files": NAMES.map(",".join), "drive_files": NAMES.map(",".join) | TEXT,
    "youtube_media_id": st.sampled_from(["", "-H0iOtp55eo", "dQw4w9WgXcQ"]) | TEXT,
    "permanent_failure": st.sampled_from(["", "youtube", "drive", "youtube,drive"]),
    "file_uuids": st.sampled_from(["", "{}", '{"a.mp4": "u"}', "{oops"]),
    "last_download_attempt": st.sampled_from(["", "2025-06-19T20:24:36Z", "2025-06-19T20:24:36.123456", "soon"]),
}  # fmt: skip


@st.composite
def sheets(draw: Any) -> list[dict[str, str]]:
    """Rows with every column of the widest sheet, some of them about one person."""
    n = draw(st.integers(1, 6))
    numbers = [draw(st.integers(1, n + 2)) for _ in range(n)]
    return [
        {column: str(number) if column == "row_id" else draw(CELLS.get(column, TEXT)) for column in COLUMNS}
        for number in numbers
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=sheets(), columns=st.permutations(COLUMNS), extra=st.booleans())
def test_whatever_a_sheet_holds_comes_out_again(
    assets: Workbench, rows: list[dict[str, str]], columns: list[str], extra: bool
) -> None:
    """To the letter, in its own order of rows and columns, extra columns included."""
    if extra:
        columns = [*columns[:3], "Notes, our own", *columns[3:]]
        rows = [{**row, "Notes, our own": row["document_text"]} for row in rows]
    assets.execute("TRUNCATE people, assets, sheet_rows")
    data = sheet(rows, columns)
    drop(assets, data, mode="basic", max_failed="100%")
    assert export(assets, guard=False) == data
    assert len(read(export(assets))) == len(rows)


class TestFetched:
    """What was fetched since stands in the tracking cells."""

    def test_a_row_that_was_fetched_is_completed(self, assets: Workbench) -> None:
        drop(assets, sheet([person(2, VIDEO, youtube_status="pending"), person(1, DOCUMENT)]))
        video, document = read(export(assets))
        assert video["youtube_status"] == "completed"
        assert video["youtube_files"] == "dQw4w9WgXcQ.mp4,dQw4w9WgXcQ_transcript.vtt"
        assert video["youtube_media_id"] == "dQw4w9WgXcQ"
        assert video["last_download_attempt"].endswith("Z")
        assert video["drive_status"] == ""
        assert (document["drive_status"], document["youtube_status"]) == ("completed", "")

    def test_a_failure_is_told_behind_those_before(self, bench: Workbench) -> None:
        private = failure(ErrorClass.PERMANENT, code="upstream.private")
        assets = assets_bench(bench, FakeWeb(lambda request: private))
        row = person(1, VIDEO, youtube_status="failed", download_errors="HTTP Error 429", permanent_failure="")
        drop(assets, sheet([row], [*ENHANCED, "permanent_failure"]), max_failed="100%")
        [told] = read(export(assets))
        assert told["youtube_status"] == "failed"
        assert told["download_errors"] == "HTTP Error 429; It went wrong."
        assert told["permanent_failure"] == "youtube"

    def test_while_some_are_open_the_group_is_pending(self, assets: Workbench) -> None:
        drop(assets, sheet([person(1, VIDEO)]), mode="text")
        [told] = read(export(assets))
        assert (told["youtube_status"], told["youtube_files"]) == ("pending", "dQw4w9WgXcQ_transcript.vtt")

    def test_a_playlist_has_no_media_id_and_a_folder_has(self, assets: Workbench) -> None:
        drop(assets, basic(PLAYLIST, FOLDER))
        playlist, folder = read(export(assets))
        assert (playlist["youtube_status"], playlist["youtube_media_id"]) == ("completed", "")
        assert len(playlist["youtube_files"].split(",")) == 4
        assert folder["drive_media_id"] == "1FoLdErIdExAmPlE0123456789abcdefg"

    def test_an_exported_sheet_comes_back_as_it_is(self, assets: Workbench) -> None:
        drop(assets, basic(VIDEO, FILE, PLAYLIST, DOCUMENT))
        exported = export(assets)
        asked = len(assets.upstream.requests)
        drop(assets, exported, "assets/back.csv")
        assert len(assets.upstream.requests) == asked
        assert export(assets) == exported

    def test_the_widest_form_names_ids_and_objects(self, assets: Workbench) -> None:
        row = {**dict.fromkeys(COLUMNS, ""), **person(1, FILE), "file_uuids": '{"old": "u"}', "s3_paths": "{}"}
        drop(assets, sheet([row], COLUMNS))
        [told] = read(export(assets))
        uuids, paths = json.loads(told["file_uuids"]), json.loads(told["s3_paths"])
        assert set(uuids) == {"old", "1AbCdEfGhIjKlMnOpQrStUvWxYz012345.pdf"}
        assert [path[:5] for path in paths.values()] == ["gs://"]

    def test_everybody_is_as_their_newest_sheet_has_them(self, assets: Workbench) -> None:
        first = drop(assets, basic(FILE, VIDEO), mode="basic")
        drop(assets, sheet([{**person(2, FILE), "name": "Renamed"}]), "assets/later.csv", mode="basic")
        assert [row["name"] for row in read(export(assets))] == ["Person 1", "Renamed"]
        assert [row["name"] for row in read(export(assets, first))] == ["Person 2", "Person 1"]

    def test_cells_a_spreadsheet_would_run_are_guarded(self, assets: Workbench) -> None:
        drop(assets, sheet([{**person(1, FILE), "name": "=HYPERLINK(1)"}]), mode="basic")
        assert read(export(assets))[0]["name"] == "'=HYPERLINK(1)"
        assert read(export(assets, guard=False))[0]["name"] == "=HYPERLINK(1)"


class TestDualWrite:
    """A session may keep its sheet in the results bucket, so that one can go back at any time."""

    def sheet_of(self, bench: Workbench, session: UUID) -> list[dict[str, str]]:
        return read(bench.store.read("out", f"{session}/assets.csv"))

    def test_it_follows_the_session_and_ends_with_it(self, assets: Workbench) -> None:
        session = assets.drop(basic(VIDEO, FILE), dual_write="true")
        messages = assets.publisher.take("assets")
        assert len(messages) == 1
        assets.processor.handle(ItemsNotice.decode(messages[0].data))  # both rows; the transcript waits
        assets.rescuer.round()
        video, file = self.sheet_of(assets, session)
        assert (video["youtube_status"], file["drive_status"]) == ("pending", "completed")
        assets.run(session)
        assert self.sheet_of(assets, session)[0]["youtube_status"] == "completed"
        manifest = json.loads(assets.store.text("out", f"{session}/manifest.json"))
        assert manifest["assets.csv"]["bytes"] == len(assets.store.read("out", f"{session}/assets.csv"))

    def test_it_is_not_written_again_before_its_time_nor_without_a_change(self, assets: Workbench) -> None:
        session = assets.drop(basic(VIDEO, FILE), dual_write="true")
        written = []
        assets.rescuer._copier._write = written.append  # type: ignore[method-assign]
        for message in assets.publisher.take("assets"):
            assets.processor.handle(ItemsNotice.decode(message.data))
        for _ in range(3):
            assets.rescuer.round()
        assert written == [session]
        assets.execute("UPDATE sheet_copies SET due_at = now()")
        assets.rescuer.round()
        assert written == [session]

    def test_others_write_none(self, assets: Workbench) -> None:
        session = drop(assets, basic(FILE))
        assert ("out", f"{session}/assets.csv") not in assets.store.objects
        session = assets.drop(basic(FILE), "assets/f.csv", dual_write="true", write_mode="file")
        assert "needs the tables" in assets.run(session)["error_message"]
