"""Real lines of every pipeline and outcome against the columns that CSV and Parquet are made by."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cli.parquet import save_parquet
from shared.csv_export import csv_pages
from shared.pipelines import PIPELINES
from shared.results import is_minimal, result_lines
from tests.assets import PLAYLIST, VIDEO, assets_bench, basic
from tests.movies import diary, movies_bench, ratings, watched, zipped
from tests.workbench import Workbench, artists_csv

ARTISTS = artists_csv(3) + b"not an id,=Nobody,\r\n" + artists_csv(1).split(b"\r\n", 1)[1]
FILMS = zipped({"watched.csv": watched(1, 2, 3), "ratings.csv": ratings(1), "diary.csv": diary(1, 2)})


SHEET = basic(VIDEO, PLAYLIST, "", "https://www.youtube.com/channel/UCx") + b",Nobody,,,\r\n"
FILES: dict[str, tuple[Callable[[Workbench], Workbench], str, bytes]] = {
    "artists": (lambda bench: bench, "artists/l.csv", ARTISTS),
    "assets": (assets_bench, "assets/l.csv", SHEET),
    "movies": (movies_bench, "movies/me.zip", FILMS),
}


@pytest.mark.parametrize("mode", ["both", "db"])
@pytest.mark.parametrize("pipeline", [*FILES])
def test_lines_have_the_columns_their_pipeline_names(
    bench: Workbench, tmp_path: Path, pipeline: str, mode: str
) -> None:
    make, name, data = FILES[pipeline]
    bench = make(bench)
    session = bench.drop(data, name, **{"write-mode": mode})
    bench.run(session)
    minimal = is_minimal(bench.facts(session)["options"])
    assert minimal == (mode == "db")
    pages = list(result_lines(bench.db, session, pipeline=pipeline, minimal=minimal, page=2))
    lines = [json.loads(line) for line in b"".join(pages).splitlines()]
    columns = PIPELINES[pipeline].columns(minimal=minimal)
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
    for line in PIPELINES.values():
        assert set(line.of_the_row) < set(line.columns(minimal=False))
        assert set(line.short) < set(line.columns(minimal=False))
