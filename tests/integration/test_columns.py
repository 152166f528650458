"""Real lines of every pipeline and outcome against the columns that CSV and Parquet are made by."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cli.parquet import save_parquet
from shared.columns import OF_THE_ROW, columns_of
from shared.csv_export import csv_pages
from shared.results import is_minimal, result_lines
from tests.movies import diary, movies_bench, ratings, watched, zipped
from tests.workbench import Workbench, artists_csv

ARTISTS = artists_csv(3) + b"not an id,=Nobody,\r\n" + artists_csv(1).split(b"\r\n", 1)[1]
FILMS = zipped({"watched.csv": watched(1, 2, 3), "ratings.csv": ratings(1), "diary.csv": diary(1, 2)})


@pytest.mark.parametrize("mode", ["both", "db"])
@pytest.mark.parametrize("pipeline", ["artists", "movies"])
def test_lines_have_the_columns_their_pipeline_names(
    bench: Workbench, tmp_path: Path, pipeline: str, mode: str
) -> None:
    films = pipeline == "movies"
    bench = movies_bench(bench) if films else bench
    session = bench.drop(
        FILMS if films else ARTISTS, "movies/me.zip" if films else "artists/l.csv", **{"write-mode": mode}
    )
    bench.run(session)
    minimal = is_minimal(bench.facts(session)["options"])
    assert minimal == (mode == "db")
    pages = list(result_lines(bench.db, session, pipeline=pipeline, minimal=minimal, page=2))
    lines = [json.loads(line) for line in b"".join(pages).splitlines()]
    columns = columns_of(pipeline, minimal=minimal)
    assert len(lines) >= 5
    assert {tuple(line) for line in lines} == {tuple(columns)}

    text = b"".join(csv_pages(pages, [*columns], guard=True)).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [list(row) for row in rows] == [list(columns)] * len(lines)
    assert [_cells(line) for line in lines] == [{**row} for row in rows]

    saved = save_parquet(pages, columns, tmp_path / "r.parquet")
    assert saved.lines == len(lines)
    assert pq.read_table(saved.output).to_pylist() == lines


def _cells(line: dict[str, Any]) -> dict[str, str]:
    """A line as CSV has it."""
    return {
        name: ""
        if value is None
        else value
        if isinstance(value, str)
        else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        for name, value in line.items()
    }


def test_what_tells_of_the_row_is_part_of_the_line() -> None:
    for pipeline, own in OF_THE_ROW.items():
        assert own < set(columns_of(pipeline, minimal=False))
