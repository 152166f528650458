"""CSV of JSON lines, and the guard against formulas, which is taken back without a trace."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.csv_export import csv_pages, guarded, unguarded

tricky = st.one_of(
    st.text(max_size=20),
    st.text(st.sampled_from("'=+-@\t\r\n0123456789.eE, \""), max_size=8),
)


@given(tricky)
def test_what_is_guarded_is_harmless_and_comes_back(cell: str) -> None:
    shown = guarded(cell)
    assert unguarded(shown) == cell
    assert shown in (cell, f"'{cell}")
    if shown[:1] in {*"=+-@\t\r"}:
        float(shown)  # only numbers may begin so


@given(tricky)
def test_taking_the_guard_off_ends(cell: str) -> None:
    """Each time one `'` at most, never another character; a cell without a guard stays."""
    bare = unguarded(cell)
    assert cell in (bare, f"'{bare}")
    if guarded(bare) != cell:
        assert bare == cell or guarded(bare) == bare  # a number somebody guarded by hand


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"), ("'=1", "''=1"), ("''@x", "'''@x"), ("-5", "-5"), ("+4.50", "+4.50"), ("-1e-9", "-1e-9"),
        ("-.5", "-.5"), ("-", "'-"), ("-1,5", "'-1,5"), ("-٣", "'-٣"), ("'quoted'", "'quoted'"), ("a=1", "a=1"),
        ("", ""), ("'-5", "''-5"), ("-5\n", "'-5\n"),
    ],
)  # fmt: skip
def test_the_guard(cell: str, shown: str) -> None:
    assert (guarded(cell), unguarded(shown)) == (shown, cell)


def read(pages: list[bytes], columns: list[str], *, guard: bool = True) -> list[list[str]]:
    """The records of the CSV that pages of lines become."""
    text = b"".join(csv_pages(pages, columns, guard=guard)).decode()
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_a_header_stands_above_no_lines() -> None:
    assert b"".join(csv_pages([], ["a", "b"], guard=True)) == b"a,b\r\n"


def test_every_kind_of_value_has_its_text() -> None:
    line = {"t": 'say "hi", you\r\nthere', "n": None, "i": -3, "f": 7.5, "b": True, "l": ["x", "é"], "o": {"k": 1}}
    assert read([json.dumps(line).encode() + b"\n"], [*line, "missing"]) == [
        [*line, "missing"],
        ['say "hi", you\r\nthere', "", "-3", "7.5", "true", '["x","é"]', '{"k":1}', ""],
    ]


def test_formulas_are_guarded_unless_that_is_not_wanted() -> None:
    page = json.dumps({"a": "=1+1", "b": "-4"}).encode() + b"\n"
    assert read([page], ["a", "b"])[1] == ["'=1+1", "-4"]
    assert read([page], ["a", "b"], guard=False)[1] == ["=1+1", "-4"]


values = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), tricky)


@given(st.lists(st.lists(st.fixed_dictionaries({"a": values, "b": values}), max_size=4), max_size=4))
def test_every_record_is_read_as_it_was_however_it_is_paged(pages: list[list[dict[str, Any]]]) -> None:
    sent = ["".join(json.dumps(line) + "\n" for line in page).encode() for page in pages]
    header, *rows = read(sent, ["a", "b"])
    assert header == ["a", "b"]
    wanted = [[_text(line["a"]), _text(line["b"])] for page in pages for line in page]
    assert [[unguarded(cell) for cell in row] for row in rows] == wanted


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else "" if value is None else str(value)
