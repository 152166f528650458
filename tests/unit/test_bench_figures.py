"""How a figure of the bench is held against its bar, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench.figure import Figure


def test_more_is_better_where_there_is_a_least() -> None:
    figure = Figure(what="rows", text="860 rows/s", value=860, at_least=430)
    assert (figure.ratio, figure.met, figure.bar) == (2.0, True, ">= 430")
    assert Figure(what="rows", text="", value=215, at_least=430).met is False


def test_less_is_better_where_there_is_a_most() -> None:
    figure = Figure(what="seconds", text="0.5 s", value=0.5, at_most=0.75)
    assert (figure.ratio, figure.met, figure.bar) == (1.5, True, "<= 0.75")
    assert Figure(what="seconds", text="", value=1.5, at_most=0.75).ratio == 0.5
    assert Figure(what="requests", text="", value=0, at_most=0).met
    assert not Figure(what="requests", text="", value=1, at_most=0).met


def test_what_has_no_bar_is_neither() -> None:
    figure = Figure(what="rows", text="1 row")
    assert (figure.ratio, figure.met, figure.bar) == (None, None, "")
    with pytest.raises(ValueError, match="a bar"):
        Figure(what="rows", text="", value=1)
    with pytest.raises(ValueError, match="a bar"):
        Figure(what="rows", text="", at_most=1)


def test_a_run_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "HISTORY", tmp_path / "history.jsonl")
    figures = [Figure(what="  rows", text="860 rows/s", value=860, at_least=430), Figure(what="more", text="x")]
    bench._remember(figures, quick=True)
    bench._remember(figures, quick=False)
    first, second = map(json.loads, (tmp_path / "history.jsonl").read_text("utf-8").splitlines())
    assert (first["quick"], second["quick"]) == (True, False)
    assert first["figures"] == [
        {"what": "rows", "text": "860 rows/s", "value": 860, "bar": ">= 430", "ratio": 2.0},
        {"what": "more", "text": "x"},
    ]


def test_every_part_can_be_measured() -> None:
    for name in bench.PARTS:
        assert (Path(bench.__file__).parent / f"{name}.py").is_file(), name


def test_history_can_be_read() -> None:
    if not bench.HISTORY.exists():
        pytest.skip("nothing was measured yet")
    for line in bench.HISTORY.read_text("utf-8").splitlines():
        assert {"at", "commit", "machine", "quick", "figures"} <= json.loads(line).keys()
