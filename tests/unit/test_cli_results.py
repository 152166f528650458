"""`rowlift results` in every format, and what a full disk leaves of each."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import parquet
from cli.faults import Failed, WrongUsage
from cli.parquet import save_parquet, schema_of
from cli.saving import save
from shared.columns import Scalar
from shared.pipelines import PIPELINES
from tests.fake_api import SESSION, FakeApi
from tests.fake_results import FakeResults, line, small_disk
from tests.unit.conftest import ID, Run

ARTISTS = PIPELINES["artists"].columns(minimal=False)
RESULTS = f"/api/session/{SESSION}/results"


def asked(api: FakeApi, path: str = RESULTS) -> list[dict[str, str]]:
    """The queries of every request to a path."""
    return [dict(request.url.params) for request in api.requests if request.url.path == path]


def told(form: dict[str, Any]) -> Any:
    """What a line of the API says of itself, the fields it does not have null."""
    return {**dict.fromkeys(ARTISTS), **form}


@pytest.mark.parametrize(
    ("words", "query"),
    [
        (["--format", "csv"], {"format": "csv"}),
        (["--output", "r.CSV"], {"format": "csv"}),
        (["--format", "csv", "--keep-formulas", "--output", "-"], {"format": "csv", "formulas": "keep"}),
        (["--format", "JSONL", "--output", "r.csv"], {}),
        (["--output", "r.txt"], {}),
    ],
)
def test_the_format_is_the_one_asked_for_or_that_of_the_files_ending(
    run: Run, api: FakeApi, stack: dict[str, Any], words: list[str], query: dict[str, str]
) -> None:
    assert run("results", ID, *words).code == 0
    assert asked(api) == [query]


def test_rejects_are_guarded_unless_that_is_not_wanted(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    assert run("rejects", ID).code == run("rejects", ID, "--keep-formulas").code == 0
    assert asked(api, f"/api/session/{SESSION}/rejects") == [{}, {"formulas": "keep"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "xml"], "choose from jsonl, csv, parquet"),
        (["--format", "parquet"], "--output FILE"),
        (["--format", "parquet", "--output", "-"], "--output FILE"),
        (["--format", "parquet", "--output", "/dev/null"], "files only"),
        (["--follow"], "--output FILE"),
        (["--follow", "--output", "-"], "--output FILE"),
        (["--follow", "--output", "r.csv"], "without it"),
        (["--follow", "--output", "r.jsonl", "--format", "parquet"], "without it"),
        (["--follow", "--output", "r.jsonl", "--resume", "e.jsonl"], "--resume goes without it"),
        (["--keep-formulas"], "about CSV"),
        (["--resume", "e.jsonl", "--format", "csv"], "JSON lines and Parquet"),
        (["--resume", "e.jsonl", "--output", "./e.jsonl"], "stays as it is"),
        (["--resume", "none.jsonl", "--output", "r.jsonl"], "Cannot read none.jsonl"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    run: Run, api: FakeApi, stack: dict[str, Any], words: list[str], said: str
) -> None:
    ran = run("results", ID, *words, "--json")
    assert ran.code == 2, ran.err
    assert said in ran.answer["error"]["message"]
    assert list(Path().iterdir()) == []


def test_results_become_parquet(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    lines = [{"item_no": 1, "artist_name": "Björk", "usage": {"input_tokens": 7, "output_tokens": 9}}, {"item_no": 2}]
    api.results = "".join(json.dumps(one) + "\n" for one in lines).encode()
    ran = run("results", ID, "--output", "r.parquet", "--json")
    assert ran.code == 0, ran.err
    assert ran.answer["lines"] == 2
    assert ran.answer["bytes"] == Path("r.parquet").stat().st_size
    assert pq.read_table("r.parquet").to_pylist() == [told(one) for one in lines]


def test_short_lines_become_short_rows(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    api.options = {"write_mode": "db"}
    api.results = b'{"artist_id":"a","db_status":"updated","response_id":"r","error":null}\n'
    assert run("results", ID, "--format", "parquet", "--output", "r").code == 0
    assert pq.read_schema("r").names == ["artist_id", "db_status", "response_id", "error"]


def test_followed_results_end_as_the_session_does(
    run: Run, monkeypatch: pytest.MonkeyPatch, stack: dict[str, Any]
) -> None:
    fake, real = FakeResults(), httpx.Client
    transport = httpx.MockTransport(fake)
    monkeypatch.setattr("cli.client.httpx.Client", lambda **details: real(**{**details, "transport": transport}))
    fake.settle(1, 2)
    fake.settle(1, text="again")
    fake.end()
    ran = run("results", ID, "--follow", "--output", "r.jsonl", "--json")
    assert (ran.code, ran.answer["status"], ran.answer["lines"], ran.answer["differed"]) == (0, "completed", 2, 1)
    assert "1 lines were no longer the final ones" in ran.err
    fake.status = "failed"
    assert run("results", ID, "--follow", "--output", "r2.jsonl").code == 1
    assert Path("r2.jsonl").read_bytes() == fake.lines


# Parquet

_scalars = {
    Scalar.TEXT: st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    Scalar.WHOLE: st.integers(-(2**62), 2**62),
    Scalar.NUMBER: st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-1000, 1000)),
    Scalar.TRUTH: st.booleans(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, null among them; an object has every field of its own."""
    if isinstance(kind, Scalar):
        return st.none() | _scalars[kind]
    if isinstance(kind, list):
        return st.none() | st.lists(values(kind[0]).filter(lambda value: value is not None), max_size=2)
    return st.none() | st.fixed_dictionaries({name: values(inner) for name, inner in kind.items()})


@pytest.mark.parametrize("pipeline", ["artists", "movies"])
@settings(deadline=None)
@given(data=st.data())
def test_whatever_lines_hold_comes_out_of_the_parquet_file(
    tmp_path_factory: pytest.TempPathFactory, pipeline: str, data: st.DataObject
) -> None:
    columns = PIPELINES[pipeline].columns(minimal=False)
    chosen = data.draw(st.lists(st.sampled_from(list(columns)), max_size=6, unique=True))
    row = st.fixed_dictionaries({name: values(columns[name]) for name in chosen})
    rows = data.draw(st.lists(row, max_size=4))
    output = tmp_path_factory.mktemp("parquet") / "r.parquet"
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows).encode()
    cut = data.draw(st.integers(0, len(text)))
    saved = save_parquet([text[:cut], text[cut:]], columns, output)
    assert saved.lines == len(rows)
    table = pq.read_table(output)
    assert table.to_pylist() == [{**dict.fromkeys(columns), **one} for one in rows]
    assert table.schema == schema_of(columns)


def test_a_row_group_holds_some_lines_and_the_schema_is_there_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP", 1_000)
    lines = [json.dumps({"item_no": n, "artist_name": "x" * 90}).encode() + b"\n" for n in range(100)]
    save_parquet(lines, ARTISTS, tmp_path / "r.parquet")
    file = pq.ParquetFile(tmp_path / "r.parquet")
    assert 5 <= file.num_row_groups <= 20
    assert file.read(["item_no"]).column("item_no").to_pylist() == list(range(100))
    save_parquet([], ARTISTS, tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").schema == file.schema_arrow


@pytest.mark.parametrize("bad", [{"later": 1}, {"usage": {"later": 1}}, {"item_no": "one"}, {"usage": [1]}])
def test_lines_of_another_version_are_refused_and_leave_nothing(tmp_path: Path, bad: dict[str, Any]) -> None:
    output = tmp_path / "r.parquet"
    output.write_bytes(b"old")
    with pytest.raises(WrongUsage, match="take jsonl"):
        save_parquet([json.dumps(bad).encode() + b"\n"], ARTISTS, output)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


# Full disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not small_disk(str(folder), "64k"):
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


LINES = [line(number, size=1_500) for number in range(60)]


def test_a_full_disk_leaves_whole_lines_where_nothing_was(
    run: Run, api: FakeApi, stack: dict[str, Any], disk: Path
) -> None:
    api.results = b"".join(LINES)
    output = disk / "r.jsonl"
    ran = run("results", ID, "--output", str(output), "--json")
    assert ran.code == 1
    whole = output.read_bytes()
    count = whole.count(b"\n")
    assert count > 20
    assert whole == b"".join(LINES[:count])
    assert "No space left on device" in ran.err
    assert f"the first {count} lines" in ran.err
    assert [path.name for path in disk.iterdir()] == ["r.jsonl"]


def test_a_full_disk_leaves_the_old_file_where_there_was_one(disk: Path) -> None:
    output = disk / "r.jsonl"
    output.write_bytes(LINES[0])
    with pytest.raises(Failed, match=r"No space left on device.*is as it was"):
        save(LINES, output, json_lines=True)
    assert output.read_bytes() == LINES[0]
    assert list(disk.iterdir()) == [output]


def test_a_full_disk_leaves_no_half_of_csv_or_parquet(disk: Path) -> None:
    """Where a CSV file ends its last record could be torn all the same: a line end may stand in a cell."""
    with pytest.raises(Failed):
        save(LINES, disk / "r.csv")
    noise = [json.dumps({"artist_id": Random(n).randbytes(500).hex()}).encode() + b"\n" for n in range(300)]
    with pytest.raises(Failed, match="No space left on device"):
        save_parquet(noise, ARTISTS, disk / "r.parquet")
    assert list(disk.iterdir()) == []


def test_a_full_device_is_told_as_such(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    api.results = b"".join(LINES)
    for words in (["results", ID], ["rejects", ID]):
        ran = run(*words, "--output", "/dev/full")
        assert (ran.code, "No space left on device" in ran.err) == (1, True)
