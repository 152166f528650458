"""CSV bytes become the records csv itself would read, whatever the blocks, and bad ones never stop the others."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.rows import Cursor, Defect, Layout, Limits, detect, read

DATA = Path(__file__).parents[3] / "shared" / "data"
BOMS = {"utf-8": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
ARTISTS = ("artist_id", "artist_name", "artist_data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data folder beside the project is not there")


@dataclass(frozen=True)
class Found:
    """All records of a file, laid side by side."""

    numbers: list[int]
    lines: list[int]
    rows: list[list[str]]
    defects: dict[int, Defect]  # by record number
    after: list[Cursor]  # of each chunk

    def codes(self) -> dict[int, str]:
        return {number: defect.code for number, defect in self.defects.items()}


def layout_of(encoding: str = "utf-8", delimiter: str = ",", columns: Sequence[str | None] = ("a", "b", "c")) -> Layout:
    start = Cursor(offset=len(BOMS[encoding]), record=0, line=0)
    return Layout(encoding=encoding, delimiter=delimiter, header=None, columns=tuple(columns), start=start)


def read_all(
    data: bytes,
    layout: Layout | None = None,
    *,
    cursor: Cursor | None = None,
    limits: Limits | None = None,
    chunk_rows: int = 5000,
    chunk_bytes: int = 1 << 20,
) -> Found:
    layout = layout or layout_of()
    cursor = cursor or layout.start
    stream = io.BytesIO(data)
    stream.seek(cursor.offset)
    found = Found([], [], [], {}, [])
    for chunk in read(
        stream,
        layout=layout,
        cursor=cursor,
        limits=limits or Limits(),
        chunk_rows=chunk_rows,
        chunk_bytes=chunk_bytes,
    ):
        assert chunk.before == cursor
        assert len(chunk.numbers) == len(chunk.lines) == len(chunk.rows) <= chunk_rows
        found.numbers.extend(chunk.numbers)
        found.lines.extend(chunk.lines)
        found.rows.extend(chunk.rows)
        found.defects.update({chunk.numbers[index]: defect for index, defect in chunk.defects.items()})
        found.after.append(chunk.after)
        cursor = chunk.after
    return found


def as_csv_reads(text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The records and their lines by csv.reader over the whole text; blank lines are no records."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, starts, start = [], [], 0
    for row in reader:
        blank = len(row) < 2 and not "".join(lines[start : reader.line_num]).strip()
        if not blank:
            rows.append(row)
            starts.append(start + 1)
        start = reader.line_num
    return rows, starts


def check_resumable(data: bytes, layout: Layout, full: Found, *, limits: Limits | None = None) -> None:
    """Reading on from each chunk's end gives exactly what follows."""
    for cursor in full.after:
        rest = read_all(data, layout, cursor=cursor, limits=limits)
        assert rest.numbers == full.numbers[cursor.record :]
        assert rest.lines == full.lines[cursor.record :]
        assert rest.rows == full.rows[cursor.record :]
        assert rest.defects == {number: defect for number, defect in full.defects.items() if number > cursor.record}


# Characters csv gives a meaning, characters str.splitlines() wrongly splits at, one to four bytes wide.
CHARS = list(',;\t|"""\r\r\n\n\n  ab\x0b\x0c\x1c\x85\u2028\x00é漢😀')
NASTY = st.sampled_from([*CHARS, "\r\n"])
NASTY_TEXT = st.lists(NASTY, max_size=60).map("".join)
CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(st.sampled_from(CHARS), max_size=12)
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=12)
BLOCKS = st.integers(1, 64)
ENCODINGS = st.sampled_from(list(BOMS))
DELIMITERS = st.sampled_from(",;\t|")


def check_as_csv(text: str, encoding: str, delimiter: str, chunk_bytes: int, chunk_rows: int) -> None:
    data = BOMS[encoding] + text.encode(encoding)
    layout = layout_of(encoding, delimiter)
    rows, lines = as_csv_reads(text, delimiter)
    found = read_all(data, layout, chunk_rows=chunk_rows, chunk_bytes=chunk_bytes)
    assert found.numbers == list(range(1, len(rows) + 1))
    assert found.lines == lines
    good = [index for index in range(len(rows)) if index + 1 not in found.defects]
    assert [found.rows[index] for index in good] == [rows[index] for index in good]
    # The last record, and no other, may have a quote that is never closed.
    assert found.codes() == ({len(rows): "input.unclosed_quote"} if ends_in_quotes(text, delimiter) else {})
    if data[len(BOMS[encoding]) :]:
        assert found.after[-1].offset == len(data)
        assert found.after[-1].line == len(list(io.StringIO(text, newline="")))
    check_resumable(data, layout, found)


def ends_in_quotes(text: str, delimiter: str) -> bool:
    *_, last = csv.reader(io.StringIO(text + "\nMARK", newline=""), delimiter=delimiter)
    return last != ["MARK"]


@settings(max_examples=400, deadline=None)
@given(NASTY_TEXT, ENCODINGS, DELIMITERS, BLOCKS, st.integers(1, 5))
@example('a,"b\r', "utf-8", ",", 1, 1)
@example('x\r\n"\r\n"\r\r\n,', "utf-16-le", ",", 3, 1)
@example('"a""', "utf-8", ",", 2, 1)
def test_any_text_reads_as_csv_reads_it(
    text: str, encoding: str, delimiter: str, chunk_bytes: int, chunk_rows: int
) -> None:
    check_as_csv(text, encoding, delimiter, chunk_bytes, chunk_rows)


@settings(max_examples=150, deadline=None)
@given(
    TABLES,
    ENCODINGS,
    DELIMITERS,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([7, 11, 64, 1 << 20]),
    st.integers(1, 5),
)
def test_what_csv_writes_is_read_back(
    table: list[list[str]],
    encoding: str,
    delimiter: str,
    line_end: str,
    quoting: Literal[0, 1],
    chunk_bytes: int,
    chunk_rows: int,
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows(table)
    text = buffer.getvalue()
    check_as_csv(text, encoding, delimiter, chunk_bytes, chunk_rows)
    if quoting == csv.QUOTE_ALL:
        data = BOMS[encoding] + text.encode(encoding)
        assert read_all(data, layout_of(encoding, delimiter), chunk_bytes=chunk_bytes).rows == table


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        NASTY.map(str.encode) | st.sampled_from([b"\xff", b"\xc3", b"\xe6\xbc", b"\xed\xa0\x80"]), max_size=60
    ).map(b"".join)
    | NASTY_TEXT.map(lambda text: text.encode("utf-16-le"))
    | st.binary(max_size=60),
    ENCODINGS,
    BLOCKS,
    st.builds(
        Limits,
        max_field_chars=st.integers(1, 12),
        max_columns=st.integers(1, 4),
        max_record_bytes=st.integers(1, 40),
    ),
)
def test_blocks_change_nothing_even_for_refused_records(
    body: bytes, encoding: str, chunk_bytes: int, limits: Limits
) -> None:
    layout, data = layout_of(encoding), BOMS[encoding] + body
    whole = read_all(data, layout, limits=limits)
    pieces = read_all(data, layout, limits=limits, chunk_bytes=chunk_bytes, chunk_rows=2)
    assert (pieces.numbers, pieces.lines, pieces.rows) == (whole.numbers, whole.lines, whole.rows)
    assert pieces.defects == whole.defects
    assert {number: number in whole.defects for number in whole.numbers} == expected_refusals(body, encoding, limits)
    check_resumable(data, layout, pieces, limits=limits)


def expected_refusals(body: bytes, encoding: str, limits: Limits) -> dict[int, bool]:
    """By record number whether it must be refused, worked out on the whole text without regard to memory."""
    odd = encoding != "utf-8" and len(body) % 2
    lenient = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
    text = body[: len(body) - odd].decode(encoding, lenient)
    alone = "\udced[\udca0-\udcbf][\udc80-\udcbf]" if encoding == "utf-8" else "[\ud800-\udfff]"
    text = re.sub(alone, "\ufffd", text) + "\udcff" * odd  # a surrogate that stands alone is a lost character
    lines = list(io.StringIO(text, newline=""))
    rows, starts = as_csv_reads(text, ",")
    refused: dict[int, bool] = {}
    reader, start = csv.reader(io.StringIO(text, newline="")), 0
    for row in reader:
        record = "".join(lines[start : reader.line_num])
        if start + 1 in starts:
            refused[len(refused) + 1] = (
                any("\ud800" <= char <= "\udfff" for char in record)
                or len(row) > limits.max_columns
                or max(map(len, row)) > limits.max_field_chars
                or len(record.encode(encoding, lenient)) > limits.max_record_bytes
            )
        start = reader.line_num
    if rows and ends_in_quotes(text, ","):
        refused[len(rows)] = True
    return refused


def test_lines_count_crlf_once_and_newlines_in_quotes() -> None:
    data = b'1,"x\r\ny\rz\nw"\r\n\r\n   \n2,b\r3,c\n4,d'
    found = read_all(data)
    assert found.rows == [["1", "x\r\ny\rz\nw"], ["2", "b"], ["3", "c"], ["4", "d"]]
    assert found.lines == [1, 7, 8, 9]
    assert found.after[-1] == Cursor(offset=len(data), record=4, line=9)


def test_blank_lines_are_no_records_but_lines_of_delimiters_are() -> None:
    found = read_all(b'\n \t \n,,\n""\n"  "\na,b\n\n\n')
    assert found.rows == [["", "", ""], [""], ["  "], ["a", "b"]]
    assert found.lines == [3, 4, 5, 6]
    assert read_all(b"\t\t\na\tb\n", layout_of(delimiter="\t")).rows == [["", "", ""], ["a", "b"]]


def test_only_blank_lines_still_move_the_cursor() -> None:
    found = read_all(b"\n \n\r\n")
    assert found.rows == []
    assert found.after == [Cursor(offset=5, record=0, line=3)]


def test_quotes_inside_unquoted_fields_stay() -> None:
    assert read_all(b'1,5" disc,x\n2,a"b"c,\n').rows == [["1", '5" disc', "x"], ["2", 'a"b"c', ""]]


def test_nul_and_separators_of_other_worlds_stay_in_the_cells() -> None:
    text = "1,a\x00b\n2,a\u2028b\x85c\x0bd\x1c\n"
    found = read_all(text.encode())
    assert found.rows == [["1", "a\x00b"], ["2", "a\u2028b\x85c\x0bd\x1c"]]
    assert found.lines == [1, 2]
    assert found.defects == {}


def test_chunks_hold_at_most_so_many_rows_and_end_at_records() -> None:
    data = "".join(f"{number},é{number}\n" for number in range(1, 101)).encode()
    found = read_all(data, chunk_rows=30)
    assert [cursor.record for cursor in found.after] == [25, 50, 75, 100]
    for cursor in found.after:
        assert data[: cursor.offset].count(b"\n") == cursor.record == cursor.line
    check_resumable(data, layout_of(), found)


def test_a_stream_may_give_less_than_asked_for() -> None:
    class Drip(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    data = b"1,a\n2,b\n3,c"
    chunks = list(read(Drip(data), layout=layout_of(), cursor=layout_of().start, limits=Limits()))
    assert [chunk.rows for chunk in chunks] == [[["1", "a"], ["2", "b"], ["3", "c"]]]


@pytest.mark.parametrize("chunk_bytes", [16, 1 << 20])
def test_undecodable_bytes_refuse_their_record_only(chunk_bytes: int) -> None:
    data = '1,Zoë,x\n2,"two\nMotörhead",y\n3,Sigur Rós,z\n'.encode().replace("ö".encode(), b"\xf6")
    found = read_all(data, chunk_bytes=chunk_bytes)
    assert found.rows == [["1", "Zoë", "x"], ["2", "two\nMot\ufffdrhead", "y"], ["3", "Sigur Rós", "z"]]
    assert found.codes() == {2: "input.encoding"}
    assert found.defects[2].column == "b"
    assert "Line 3 " in found.defects[2].reason
    assert "CSV UTF-8" in found.defects[2].reason


@pytest.mark.parametrize("chunk_bytes", [5, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_broken_and_truncated_utf16_refuse_their_records_only(encoding: str, chunk_bytes: int) -> None:
    text = "1,a😀\n2,\ud83d\n3,c\n4,dd"
    data = BOMS[encoding] + text.encode(encoding, "surrogatepass")[:-1]
    found = read_all(data, layout_of(encoding), chunk_bytes=chunk_bytes)
    assert found.codes() == {4: "input.encoding"}, "a lone surrogate is a lost character, half a unit is not"
    assert found.rows == [["1", "a😀"], ["2", "\ufffd"], ["3", "c"], ["4", "d\ufffd"]]
    assert found.after[-1].offset == len(data)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 1 << 20])
def test_an_unclosed_quote_is_named_by_line(chunk_bytes: int) -> None:
    data = b'1,a\n"2\n2",b,"never\nclosed\n' + b"3,c\n" * 100
    found = read_all(data, chunk_bytes=chunk_bytes)
    assert found.rows[0] == ["1", "a"]
    assert found.lines == [1, 2]
    assert found.codes() == {2: "input.unclosed_quote"}
    assert found.defects[2].column == "c"
    assert "line 3 " in found.defects[2].reason
    assert "swallowed the 101 lines" in found.defects[2].reason
    assert found.after[-1] == Cursor(offset=len(data), record=2, line=104)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
def test_limits_are_the_most_that_is_allowed(chunk_bytes: int) -> None:
    limits = Limits(max_field_chars=6, max_columns=3, max_record_bytes=16)
    allowed = ['a,"x""""y""z",\n', 'a,"x"yz""",c\r\n', "aaaaaa,bbbbbb,\r\n", "éééééé,b\n", ",,\n"]
    refused = {
        '"x""""y""zz",\n': "input.field_too_long",
        '"x"yzz"""\n': "input.field_too_long",
        "a,b,aaaaaaa\n": "input.field_too_long",
        "aaaaaa,bbbbbb,c\r\n": "input.record_too_long",
        ",,,\n": "input.too_many_columns",
        "aaaaaaa,,,,,,,,,,,,,,,,\n": "input.too_many_columns",
    }
    found = read_all("".join([*allowed, *refused]).encode(), limits=limits, chunk_bytes=chunk_bytes)
    assert found.codes() == dict(enumerate(refused.values(), len(allowed) + 1))
    assert found.rows[:2] == [["a", 'x""y"z', ""], ["a", 'xyz"""', "c"]]
    assert [found.defects[number].column for number in (6, 7, 8)] == ["a", "a", "c"]


OVERSIZE = {
    "field": (b"2," + b"x" * 10_000_000, "input.field_too_long", "b"),
    "quoted field": (b'2,"' + b'x""\r\n' * 2_000_000 + b'"', "input.field_too_long", "b"),
    "columns": (b",".join([b"x"] * 5_000), "input.too_many_columns", None),
    "commas": (b"," * 1_000_000, "input.too_many_columns", None),
    "record": (b",".join([b"x" * 900_000] * 10), "input.record_too_long", None),
}


@pytest.mark.parametrize(("record", "code", "column"), OVERSIZE.values(), ids=OVERSIZE)
def test_an_oversize_record_is_refused_and_the_others_go_on(record: bytes, code: str, column: str | None) -> None:
    data = b"1,a\n" + record + b"\n3,c\n"
    found = read_all(data)
    assert found.numbers == [1, 2, 3]
    assert [found.rows[0], found.rows[2]] == [["1", "a"], ["3", "c"]]
    assert found.codes() == {2: code}
    assert found.defects[2].column == column
    assert "line 2" in found.defects[2].reason
    assert sum(map(len, found.rows[1])) <= 4_000
    assert found.lines == [1, 2, data.count(b"\n")]
    check_resumable(data, layout_of(), found)


def test_memory_does_not_grow_with_a_record() -> None:
    class Endless(io.RawIOBase):
        """A record of 64 MB that is nowhere in memory."""

        left = 64

        def read(self, size: int = -1, /) -> bytes:
            self.left -= 1
            return b"" if self.left < 0 else b"y" * min(size, 1 << 20)

    tracemalloc.start()
    try:
        (chunk,) = read(Endless(), layout=layout_of(), cursor=layout_of().start, limits=Limits())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert chunk.defects[0].code == "input.field_too_long"
    assert chunk.after.offset == 64 << 20
    assert peak < 16 << 20


def test_a_long_record_within_the_limits_is_read_whole() -> None:
    cells = ["é" * 900_000, 'a"b\r\n' * 100_000, "z"]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["1"], cells, ["3"]])
    found = read_all(buffer.getvalue().encode())
    assert found.rows == [["1"], cells, ["3"]]
    assert found.lines == [1, 2, 100_003]
    assert found.defects == {}


def artists_in(data: bytes) -> tuple[Layout, Found]:
    layout = detect(data[: 1 << 20], whole=len(data) <= 1 << 20, columns=ARTISTS, required=ARTISTS[:2], limits=Limits())
    return layout, read_all(data, layout, chunk_bytes=50_000)


@needs_data
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("artists-25.csv", 25),
        ("artists-1000.csv", 1_000),
        ("artists-14k.csv.gz", 14_382),
        ("artists-awkward-names.csv", 6_518),
        ("artists-awkward-names-bom-lf.csv", 200),
    ],
)
def test_real_artists(name: str, count: int) -> None:
    data = (DATA / "artists" / name).read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    layout, found = artists_in(data)
    header, *expected = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert layout.header == tuple(header) == layout.columns
    assert found.rows == expected
    assert found.numbers == list(range(1, count + 1))
    assert found.lines == list(range(2, count + 2))
    assert found.defects == {}
    assert found.after[-1].offset == len(data)


def table_of(data: bytes, columns: Sequence[str]) -> tuple[Layout, Found]:
    layout = detect(data, whole=True, columns=columns, required=columns[:1], limits=Limits())
    return layout, read_all(data, layout)


SPECTRUM = sorted((DATA / "csv" / "csv-spectrum" / "csvs").glob("*.csv")) if DATA.is_dir() else []


@needs_data
@pytest.mark.parametrize("path", SPECTRUM, ids=lambda path: path.stem)
def test_csv_spectrum(path: Path) -> None:
    expected = json.loads((path.parent.parent / "json" / f"{path.stem}.json").read_text())
    data = path.read_bytes()
    if path.stem.endswith("_crlf"):  # the copies lost the CR on their way here
        data = data.replace(b"\n", b"\r\n")
    layout, found = table_of(data, list(expected[0]) if isinstance(expected, list) else list(expected))
    assert layout.header is not None
    if path.stem == "location_coordinates":  # its expected file has another phone number than its own CSV
        expected = [{**expected, "Contact Phone Number": "2095257564", "Cities": "Modesto", "Counties": "Stanislaus"}]
    assert [dict(zip(layout.names, row, strict=True)) for row in found.rows] == expected
    assert found.defects == {}


@needs_data
@pytest.mark.parametrize("name", ["latin.csv", "mac-newlines.csv", "utf16-big.csv", "utf16.csv", "utf8.csv"])
def test_encodings(name: str) -> None:
    folder = DATA / "csv" / "encodings"
    header, *rows = json.loads((folder / "expected.json").read_text())[name]["rows"]
    layout, found = table_of((folder / name).read_bytes(), header)
    assert layout.header == tuple(header)
    if name == "latin.csv":  # Latin-1 is not among the encodings read; its one row with a sign says so
        rows[-1][-1] = "\ufffd"
        assert found.codes() == {len(rows): "input.encoding"}
    else:
        assert found.defects == {}
    assert found.rows == rows


@needs_data
@pytest.mark.parametrize(
    ("name", "names", "rows"),
    [
        ("frictionless/bom.csv", ["id", "name"], [["1", "english"], ["2", "中国人"]]),
        ("frictionless/delimiter.csv", ["id", "name"], [["1", "english"], ["2", "中国人"]]),
        (
            "frictionless/blank-rows.csv",
            ["id", "name", "age"],
            [["1101", "John", "30"], ["1102", "Julie", "26"], [""] * 3],
        ),
        (
            "frictionless/blank-headers.csv",
            ["id", "column_2", "age"],
            [["1101", "John", "30"], ["1102", "Julie", "26"]],
        ),
        ("papaparse/sample-header.csv", ["title", "name"], [["test title 01", "test name 01"], ["", "test name 02"]]),
        ("papaparse/utf-8-bom-sample.csv", ["A", "B", "C"], [["X", "Y", "Z"]]),
    ],
)
def test_other_people_s_files(name: str, names: list[str], rows: list[list[str]]) -> None:
    layout, found = table_of((DATA / "csv" / name).read_bytes(), names[:1])
    assert list(layout.names) == names
    assert found.rows == rows


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 1 << 20])
def test_a_surrogate_that_stands_alone_becomes_the_mark_for_a_lost_character(chunk_bytes: int) -> None:
    data = "1,a\ud83d b\n2,\udc00\n3,c\n".encode("utf-8", "surrogatepass")
    found = read_all(data, layout_of("utf-8"), chunk_bytes=chunk_bytes)
    assert found.codes() == {}
    assert [row[1] for row in found.rows] == ["a\ufffd b", "\ufffd", "c"]
