"""What the tracking cells of a sheet say, and where they disagree."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from shared.links import parse_links
from shared.people_sheet import COLUMNS, LINK_COLUMNS, Finding, Group, Status, Tracked, moment, split_files, tracked

DATA = Path(__file__).parents[3] / "shared" / "data" / "assets"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data folder beside the project is not there")
VIDEO = "https://youtu.be/dQw4w9WgXcQ"


def say(link: str = VIDEO, **cells: str) -> tuple[list[Tracked], list[Finding]]:
    return tracked({**cells, "link": link}, parse_links(link))


@pytest.mark.parametrize(
    ("cell", "files", "ambiguous"),
    [
        ("", (), False),
        ("a.mp4", ("a.mp4",), False),
        ("a.mp4,a_transcript.vtt", ("a.mp4", "a_transcript.vtt"), False),
        ("1d0y4GNn Interview, part 1.mp4", ("1d0y4GNn Interview, part 1.mp4",), True),
        ("résumé final (2).pdf,notes.docx", ("résumé final (2).pdf", "notes.docx"), False),
        ("a.mp4, b.mp4", ("a.mp4", "b.mp4"), True),
        ("notes", ("notes",), False),
        ("notes, more notes", ("notes, more notes",), True),
        ("a.mp4,", ("a.mp4",), False),
        (",,", (), True),
        ("v1.2,final.pdf", ("v1.2", "final.pdf"), False),
    ],
)
def test_names_that_may_hold_the_comma_that_joins_them(cell: str, files: tuple[str, ...], ambiguous: bool) -> None:
    """A name ends with its ending; where commas may mean either, that is said."""
    names = split_files(cell)
    assert (names.files, names.ambiguous) == (files, ambiguous)


def test_names_that_are_known_leave_no_doubt() -> None:
    """The widest form of the sheet tells them beside."""
    known = frozenset({"a, b.mp4", "c"})
    assert split_files("a, b.mp4,c,d.pdf", known=known).files == ("a, b.mp4", "c", "d.pdf")
    assert not split_files("a, b.mp4,c", known=known).ambiguous


def test_a_stale_download_is_pending_again() -> None:
    """It belongs to a run that died."""
    [one], findings = say(youtube_status="downloading", youtube_media_id="dQw4w9WgXcQ")
    assert one.status is Status.PENDING
    assert findings == [Finding.STALE_DOWNLOAD]


@pytest.mark.parametrize(
    ("cells", "finding"),
    [
        ({"youtube_status": "completed"}, Finding.NO_FILES),
        ({"youtube_status": "failed", "youtube_files": "a.mp4"}, Finding.FILES_UNFINISHED),
        ({"drive_status": "completed", "drive_files": "a.pdf"}, Finding.NO_LINK),
        ({"youtube_media_id": "AAAAAAAAAAA"}, Finding.OTHER_ID),
        ({"youtube_status": "done"}, Finding.UNKNOWN_STATUS),
        ({"last_download_attempt": "yesterday"}, Finding.BAD_TIME),
        ({"file_uuids": "{oops"}, Finding.BAD_JSON),
    ],
)
def test_a_row_that_disagrees_with_itself(cells: dict[str, str], finding: Finding) -> None:
    """Each kind is told by its own word."""
    assert finding in say(**cells)[1]


def test_a_failure_for_good_is_not_tried_again() -> None:
    """Only the groups that are named."""
    [youtube, drive], findings = tracked(
        {"youtube_status": "failed", "drive_status": "failed", "permanent_failure": "youtube"},
        parse_links(f"{VIDEO}|https://drive.google.com/file/d/1AbCdEfGhIjKlMnOpQrStUvWxYz012345/view"),
    )
    assert (youtube.settled, drive.settled, findings) == (True, False, [])


@pytest.mark.parametrize(
    "cell", ["2025-06-19T20:24:36Z", "2025-05-19T18:23:49.123456", "2025-06-14T01:46:49", "2025-06-14T01:46:49+02:00"]
)
def test_moments_as_sheets_have_them(cell: str) -> None:
    """With and without fraction and zone."""
    assert moment(cell) is not None


@needs_data
def test_the_sheets_of_the_collection() -> None:
    """Every row reads; what disagrees in them is known."""
    counts: dict[str, Counter[Finding]] = {}
    for name in ("people-basic", "people-enhanced", "people-enhanced-all-columns"):
        counts[name] = Counter()
        with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                assert set(row) <= {*COLUMNS}
                links = parse_links("|".join(row.get(column) or "" for column in LINK_COLUMNS))
                groups, findings = tracked(row, links)
                assert {one.group for one in groups} <= {*Group}
                counts[name].update(findings)
    assert not counts["people-basic"]
    assert counts["people-enhanced"] == {
        Finding.STALE_DOWNLOAD: 7, Finding.NO_FILES: 3, Finding.AMBIGUOUS_FILES: 11,
    }  # fmt: skip
    assert counts["people-enhanced-all-columns"][Finding.STALE_DOWNLOAD] == 7
