"""`--resume`: an earlier file goes up with the upload, and its lines stand in the new file for the rows it held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli.resuming import Earlier
from shared.pipelines import PIPELINES
from tests.fake_api import SESSION, FakeApi, FakeBucket, status_of
from tests.unit.conftest import ID, Run

IDS = [str(uuid4()) for _ in range(9)]
SUMMARY = {
    "lines": 7, "confirmed": 2, "unknown": 1, "contradicted": 1, "failed": 1, "repeated": 0, "unreadable": 1, "torn": 1,
    "held": 3, "not_in_upload": 1,
}  # fmt: skip


def full(number: int, **changes: Any) -> dict[str, Any]:
    """A whole line of artist `number`, enriched unless changed."""
    own = {
        "item_no": number, "artist_id": IDS[number], "artist_name": f"Artist {number}",
        "response_text": f"Bio {number}", "response_id": f"r{number}", "db_status": "updated", "outcome": "enriched",
        "attempts": 1, "line": number + 1,
        "usage": {"input_tokens": 5, "output_tokens": 6},
    }  # fmt: skip
    return {**dict.fromkeys(PIPELINES["artists"].columns(minimal=False)), **own, **changes}


def skipped(number: int, **changes: Any) -> dict[str, Any]:
    """The line of a row that was held."""
    none = dict.fromkeys(("response_text", "response_id", "usage"))
    return full(number, **{**none, "outcome": "skipped", "code": "resumed", "db_status": "skipped", **changes})


def brief(number: int, **changes: Any) -> dict[str, Any]:
    """A short line, as write mode db has them."""
    own = {"artist_id": IDS[number], "db_status": "updated", "response_id": f"r{number}", "error": None}
    return {**own, **changes}


def written(path: str | Path, *lines: dict[str, Any] | str) -> Path:
    """A file of lines; text stands as it is."""
    made = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    Path(path).write_text(made, encoding="utf-8")
    return Path(path)


def completed(earlier: Path, *lines: dict[str, Any], pipeline: str = "artists", size: int = 50) -> list[dict[str, Any]]:
    """What becomes of the lines of a run that went on with a file."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    with Earlier.checked(earlier, pipeline).completed(pieces) as whole:
        return [json.loads(line) for line in b"".join(whole).decode().splitlines()]


def test_held_rows_have_their_earlier_line_at_their_place_in_the_new_run(tmp_path: Path) -> None:
    earlier = written(tmp_path / "e.jsonl", full(4), full(2), full(7))
    new = [full(1), skipped(2, item_no=20, line=21), full(3, outcome="failed"), skipped(4)]
    assert completed(earlier, *new) == [full(1), full(2, item_no=20, line=21), full(3, outcome="failed"), full(4)]


def test_only_lines_that_hold_a_row_stand_for_it(tmp_path: Path) -> None:
    failed = {"outcome": "failed", "db_status": "error", "error": "Timed out.", "response_text": None}
    merged = full(1, outcome="duplicate", code="same_key", response_text=None)
    earlier = written(
        tmp_path / "e.jsonl", full(0), full(1, **failed), merged, "no JSON\n", "\n", full(1),
        full(1, response_text="later"), json.dumps(full(2))[:40],
    )  # fmt: skip
    left_alone = [full(5, outcome="skipped", code="skip_existing"), skipped(2), full(0, response_text="anew")]
    assert completed(earlier, skipped(1), *left_alone) == [full(1), *left_alone]


def test_lines_have_the_shape_of_the_new_run(tmp_path: Path) -> None:
    whole, short = written(tmp_path / "w.jsonl", full(1)), written(tmp_path / "s.jsonl", brief(1))
    held = brief(1, db_status="skipped", response_id=None)
    assert completed(whole, held, brief(2)) == [brief(1), brief(2)]
    assert completed(short, held) == [brief(1)]
    assert completed(short, skipped(1)) == [skipped(1, response_id="r1", db_status="updated")]


def test_films_are_found_by_their_address_or_their_title(tmp_path: Path) -> None:
    def film(item: int, uri: str | None, **changes: Any) -> dict[str, Any]:
        own = {
            "item_no": item,
            "letterboxd_uri": uri,
            "title": "Alien",
            "year": 1979,
            "outcome": "enriched",
            "tmdb_id": 348,
        }
        return {**dict.fromkeys(PIPELINES["movies"].columns(minimal=False)), **own, **changes}

    earlier = written(tmp_path / "e.jsonl", film(1, "https://boxd.it/a", rating=3, liked=True), film(2, None))
    held = {"outcome": "skipped", "code": "resumed", "tmdb_id": None}
    merged = film(7, "https://boxd.it/a", outcome="merged", tmdb_id=None)
    new = [film(5, "https://boxd.it/a", rating=None, liked=False, **held), film(6, None, **held), merged]
    # The answer is the earlier one; what a person logged of the film is what they log now.
    assert completed(earlier, *new, pipeline="movies") == [
        film(5, "https://boxd.it/a", rating=None, liked=False), film(6, None), merged,
    ]  # fmt: skip


# The command


@pytest.fixture
def resumed(run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]) -> FakeApi:
    """A deployment whose sessions went on with a file that two odd lines were found in."""
    found = [
        {
            "line": 3,
            "key": "x",
            "finding": "contradicted",
            "message": "Line 3, x: the file says 'a', the database 'b'.",
        },
        {"line": 7, "key": None, "finding": "torn", "message": "Line 7, the last, is torn."},
    ]
    api.default = [status_of(resumed=SUMMARY)]
    api.found = {"summary": SUMMARY, "findings": found, "next": None}
    api.results = "".join(json.dumps(line) + "\n" for line in (skipped(1), full(2))).encode()
    return api


def test_the_file_goes_up_first_and_the_results_are_whole(run: Run, resumed: FakeApi, bucket: FakeBucket) -> None:
    earlier = written("a.csv.results.jsonl", full(1), json.dumps(full(2))[:30])
    before = earlier.read_bytes()
    ran = run("run", "a.csv", "--pipeline", "artists", "--resume", "a.csv.results.jsonl", "--json")
    assert ran.code == 0, ran.err
    first, second = bucket.uploaded
    assert first["name"].startswith("resume/")
    assert first["name"].endswith("/a.csv.results.jsonl")
    assert (first["metadata"], first["type"]) == (None, "application/x-ndjson")
    assert (second["name"], second["metadata"]) == ("artists/a.csv", {"resume": first["name"]})
    assert earlier.read_bytes() == before
    lines = [json.loads(line) for line in Path(ran.answer["output"]).read_text().splitlines()]
    assert lines == [full(1), full(2)]
    assert Path(ran.answer["output"]).name == "a.csv.results-2.jsonl"
    assert ran.answer["resumed"] == SUMMARY
    assert [one["line"] for one in ran.answer["resumed_findings"]] == [3, 7]
    for words in (
        "Of 7 earlier lines: 2 held, and the database says the same; 1 held, and the database knows nothing of it",
        "1 contradicted by the database: run", "Line 3, x: the file says", "Line 7, the last, is torn.",
    ):  # fmt: skip
        assert words in ran.err
    assert "has more of them" not in ran.err


def test_an_upload_goes_on_with_a_file_too_and_says_how_its_results_become_whole(
    run: Run, resumed: FakeApi, bucket: FakeBucket
) -> None:
    written("e.jsonl", full(1))
    ran = run("upload", "a.csv", "b.csv", "--pipeline", "artists", "--resume", "e.jsonl")
    assert ran.code == 0, ran.err
    assert "--resume e.jsonl --output FILE" in ran.out
    assert {each["metadata"]["resume"] for each in bucket.uploaded[1:]} == {bucket.uploaded[0]["name"]}
    ran = run("results", ID, "--resume", "e.jsonl", "--output", "r.jsonl")
    assert [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()] == [full(1), full(2)]
    watched = run("upload", "a.csv", "--pipeline", "artists", "--resume", "e.jsonl", "--watch", "--json")
    assert "Line 7, the last, is torn." in watched.err
    assert watched.answer["resumed"] == SUMMARY


def test_of_many_findings_the_first_are_shown(run: Run, resumed: FakeApi, bucket: FakeBucket) -> None:
    finding = {"line": 1, "key": None, "finding": "unreadable", "message": "Line 1: it is no JSON."}
    resumed.found = {"summary": SUMMARY, "findings": [finding] * 20, "next": 20}
    written("e.jsonl", full(1))
    ran = run("run", "a.csv", "--pipeline", "artists", "--resume", "e.jsonl", "--output", "r.jsonl")
    assert f"/api/session/{bucket.session(1)}/resumed of the API has more" in ran.out
    assert [dict(one.url.params) for one in resumed.requests if one.url.path.endswith("/resumed")] == [
        {"limit": "1000"}
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Cannot read e.jsonl"), ("", "e.jsonl is empty"), ("\n\n", "is empty"),
        ("artist_id,artist_name\nx,y\n", "does not begin with a line of artists results"), ("[1]\n", "does not begin"),
        ('{"letterboxd_uri":"x"}\n', "does not begin with a line of artists results"),
        ('{"artist_id":\n', "does not begin"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_results_is_refused_before_anything_goes_up(
    run: Run, stack: dict[str, Any], bucket: FakeBucket, files: list[str], content: str | None, said: str
) -> None:
    if content is not None:
        Path("e.jsonl").write_text(content)
    ran = run("run", "a.csv", "--pipeline", "artists", "--resume", "e.jsonl")
    assert ran.code == 2
    assert said in ran.err
    assert bucket.uploaded == []


def test_a_file_of_one_torn_line_is_taken(tmp_path: Path) -> None:
    assert Earlier.checked(written(tmp_path / "e.jsonl", '{"artist_id":"0'), "artists").object.endswith("/e.jsonl")


def test_the_earlier_file_is_never_written_to(run: Run, resumed: FakeApi, bucket: FakeBucket) -> None:
    written("e.jsonl", full(1))
    ran = run("run", "a.csv", "--pipeline", "artists", "--resume", "e.jsonl", "--output", "./e.jsonl")
    assert (ran.code, "stays as it is" in ran.err) == (2, True)
    assert bucket.uploaded == []


def test_sessions_without_earlier_results_say_nothing_of_them(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, files: list[str]
) -> None:
    api.default = [status_of(SESSION, resumed=None)]
    ran = run("run", "a.csv", "--pipeline", "artists", "--json")
    assert "earlier" not in ran.err
    assert "resumed_findings" not in ran.answer
