"""What becomes of every row of the example files."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cli.demo import SAMPLE
from cli.inputs import inputs_of
from shared.progress import items_page
from tests import sounds
from tests.assets import assets_bench, basic, drop
from tests.workbench import Workbench, artist_id

ROOT = Path(__file__).parent.parent.parent
SPELLINGS = ROOT / "examples" / "artists-uuid-spellings.csv"
REJECTIONS = ROOT / "examples" / "artists-rejections.csv"

# Line of artists-rejections.csv -> outcome, code and column.
EXPECTED = {
    2: ("enriched", None, None),
    3: ("rejected", "input.bad_uuid", "artist_id"),
    4: ("rejected", "input.bad_uuid", "artist_id"),
    5: ("rejected", "input.bad_uuid", "artist_id"),
    6: ("rejected", "input.bad_uuid", "artist_id"),
    7: ("rejected", "input.empty_name", "artist_name"),
    8: ("rejected", "input.empty_name", "artist_name"),
    9: ("rejected", "input.missing_cell", "artist_name"),
    10: ("rejected", "input.too_many_cells", "4"),
    11: ("rejected", "input.too_many_columns", "1"),
    12: ("rejected", "input.encoding", "artist_name"),
    13: ("enriched", None, None),
    14: ("rejected", "input.unclosed_quote", "artist_name"),
}


def items(bench: Workbench, session: UUID) -> list[dict[str, Any]]:
    return items_page(bench.db, session, limit=1000)[0]


def test_every_spelling_of_a_uuid_is_accepted_and_stored_in_the_usual_one(bench: Workbench) -> None:
    session = bench.drop(SPELLINGS.read_bytes())
    status = bench.run(session)
    with SPELLINGS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = items(bench, session)
    assert status["enriched"] == len(rows) == len(found)
    assert [item["key"] for item in found] == [row["artist_data"].removeprefix("stored as ") for row in rows]
    assert all(UUID(row["artist_id"].strip()) == UUID(item["key"]) for row, item in zip(rows, found, strict=True))
    assert bench.value("SELECT count(*) FROM artists WHERE bio IS NOT NULL") == len(rows)


def test_every_rejection_names_its_code_and_column_and_stops_no_other_row(bench: Workbench) -> None:
    session = bench.drop(REJECTIONS.read_bytes())
    status = bench.run(session)
    found = {
        item["line"]: (item["outcome"], item["error_code"], item["input"].get("column"))
        for item in items(bench, session)
    }
    assert found == EXPECTED
    assert status["status"] == "completed"
    assert (status["enriched"], status["rejected"]) == (2, 11)
    assert bench.sessions.verify(session)["findings"] == []


def test_rows_that_name_their_rejection_name_the_right_one() -> None:
    told = {
        number: code
        for number, line in enumerate(REJECTIONS.read_bytes().decode("utf-8", "replace").splitlines(), 1)
        for code in re.findall(r"input\.\w+", line)
    }
    assert told == {line: code for line, (_, code, _) in EXPECTED.items() if code and line not in (9,)}


def test_the_two_rejections_that_need_megabytes(bench: Workbench) -> None:
    wide = "\U0001f3b5" * 700_000  # four bytes each
    rows = [
        f"{artist_id(1)},{'x' * 1_000_001},",
        f"{artist_id(2)},{wide},{wide},{wide}",
        f"{artist_id(3)},Accepted after them,",
    ]
    session = bench.drop("\r\n".join(["artist_id,artist_name,artist_data,note", *rows]).encode())
    bench.run(session)
    found = [(item["outcome"], item["error_code"]) for item in items(bench, session)]
    assert found == [("rejected", "input.field_too_long"), ("rejected", "input.record_too_long"), ("enriched", None)]


def test_the_examples_leave_no_rejection_out() -> None:
    sources = ("shared/pipelines/artists/rows.py", "shared/record.py")
    codes = {code for name in sources for code in re.findall(r'"(input\.\w+)"', (ROOT / name).read_text("utf-8"))}
    shown = {code for _, code, _ in EXPECTED.values() if code}
    assert codes | {"input.too_many_cells"} == shown | {"input.field_too_long", "input.record_too_long"}


def test_the_sample_of_the_demo_is_25_artists_all_valid(bench: Workbench) -> None:
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [row["artist_name"] for row in rows]
    assert len({row["artist_id"] for row in rows}) == len(set(names)) == 25
    assert any("," in name for name in names)
    assert any('"' in name for name in names)
    assert sum(not name.isascii() for name in names) > 8
    assert sum(not row["artist_data"] for row in rows) == 2
    status = bench.run(bench.drop(SAMPLE.read_bytes()))
    assert (status["status"], status["enriched"]) == ("completed", 25)


PEOPLE = {
    2: ("skipped", "no_link", None),
    3: ("rejected", "input.empty_row_id", "row_id"),
    4: ("rejected", "input.empty_row_id", "row_id"),
    5: ("rejected", "input.empty_name", "name"),
    6: ("rejected", "input.missing_cell", "name"),
    7: ("rejected", "input.long_cell", "name"),
    8: ("rejected", "input.too_many_cells", "6"),
    9: ("duplicate", "same_key", None),
    10: ("skipped", "no_link", None),
}


def test_every_rejection_of_a_sheet_names_its_code_and_column(bench: Workbench) -> None:
    assets = assets_bench(bench)
    session = drop(assets, (ROOT / "examples" / "assets-rejections.csv").read_bytes(), max_failed="100%")
    found = {
        item["line"]: (item["outcome"], item["error_code"] or item["code"], item["input"].get("column"))
        for item in items(assets, session)
    }
    assert found == PEOPLE


def test_a_row_with_a_thousand_links_is_refused(bench: Workbench) -> None:
    assets = assets_bench(bench)
    links = "|".join(f"https://youtu.be/{i:011}" for i in range(1_001))
    session = drop(assets, basic(links, ""))
    assert [item["error_code"] for item in items(assets, session)] == ["input.too_many_links", None]


@pytest.mark.parametrize(("name", "fetched", "left"), [("basic", 21, 3), ("enhanced", 11, 4)])
def test_the_sheets_have_something_of_everything(bench: Workbench, name: str, fetched: int, left: int) -> None:
    assets = assets_bench(bench)
    data = (ROOT / "examples" / f"assets-{name}.csv").read_bytes()
    session = drop(assets, data)
    counts = Counter(item["outcome"] for item in items(assets, session))
    assert counts["enriched"] == fetched
    assert sum(counts.values()) - fetched == left


def test_sound_files_and_the_list_of_them(bench: Workbench) -> None:
    audio = Workbench(db=bench.db, url=bench.url, slug="audio")
    assert {path.name: path.read_bytes() for path in (ROOT / "examples/audio").iterdir()} == sounds.examples()
    inputs, _ = inputs_of([ROOT / "examples/audio"], "audio")
    ended = {
        one.file.name: audio.run(audio.drop(one.file.read_bytes(), one.object, **{"max-failed": "100%"}))["enriched"]
        for one in inputs
    }
    assert {name for name, enriched in ended.items() if not enriched} == {"broken.mp3", "not-sound.flac"}
    listed = audio.drop((ROOT / "examples/audio-list.csv").read_bytes(), "audio/l.csv", **{"max-failed": "100%"})
    found = audio.run(listed)
    counts = {name: found[name] for name in ("enriched", "duplicate", "failed", "rejected")}
    assert counts == {"enriched": 3, "duplicate": 1, "failed": 2, "rejected": 1}
