"""The first block of a file tells encoding, delimiter, header and columns, or what to do about the file."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.rows import Cursor, Layout, Limits, Unreadable, detect, read

ARTISTS = ("artist_id", "artist_name", "artist_data")
ID = "544a1b33-9c9a-464b-bc3f-fe6d52bcaddc"
BOMS = {"utf-8": b"", "utf-8-sig": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def layout_of(
    data: bytes | str, *, whole: bool = True, columns: Sequence[str] = ARTISTS, limits: Limits | None = None
) -> Layout:
    head = data.encode() if isinstance(data, str) else data
    return detect(head, whole=whole, columns=columns, required=columns[:2], limits=limits or Limits())


def refusal_of(
    data: bytes | str, *, whole: bool = True, columns: Sequence[str] = ARTISTS, limits: Limits | None = None
) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        layout_of(data, whole=whole, columns=columns, limits=limits)
    assert isinstance(caught.value, InputError)
    assert str(caught.value)[-1] in ".a", "a sentence, or the header line to write"
    return caught.value


def rows_of(data: bytes, layout: Layout) -> list[list[str]]:
    stream = io.BytesIO(data)
    stream.seek(layout.start.offset)
    return [row for chunk in read(stream, layout=layout, cursor=layout.start, limits=Limits()) for row in chunk.rows]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("encoding", list(BOMS))
@pytest.mark.parametrize("whole", [True, False])
def test_every_dialect_with_a_header(encoding: str, delimiter: str, line_end: str, whole: bool) -> None:
    records = [" Artist_ID ", '"ARTIST_NAME"', "artist_data"], [ID, "Motörhead, the; | band", "x"], [ID, "b", "c"]
    lines = [delimiter.join(f'"{cell}"' if cell[0] != '"' else cell for cell in record) for record in records]
    text = line_end.join(lines) + line_end
    data = BOMS[encoding] + text.encode(encoding.removesuffix("-sig"))
    layout = layout_of(data, whole=whole)
    above = (lines[0] + line_end).encode(encoding.removesuffix("-sig"))
    assert layout == Layout(
        encoding=encoding.removesuffix("-sig"),
        delimiter=delimiter,
        header=(" Artist_ID ", "ARTIST_NAME", "artist_data"),
        columns=ARTISTS,
        start=Cursor(offset=len(BOMS[encoding]) + len(above), record=0, line=1),
        bom=bool(BOMS[encoding]),
    )
    assert rows_of(data, layout) == [list(record) for record in records[1:]]


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_without_a_header_columns_have_their_usual_order(delimiter: str) -> None:
    line = delimiter.join([ID, "Name", '"type: Group; genres: pop, rock | jazz"', "more"])
    data = b"\xef\xbb\xbf" + f"{line}\n{line}\n".encode()
    layout = layout_of(data)
    assert (layout.delimiter, layout.header, layout.columns) == (delimiter, None, (*ARTISTS, None))
    assert layout.start == Cursor(offset=3, record=0, line=0)
    assert rows_of(data, layout)[0] == [ID, "Name", "type: Group; genres: pop, rock | jazz", "more"]


def test_the_delimiter_is_the_one_that_divides_records_alike() -> None:
    unquoted = f"{ID},AC;DC;x,type: Group; popularity: 9; a; b\n{ID},Abba,type: Group\n{ID},Can,one; two\n"
    assert layout_of(unquoted).delimiter == ","
    assert layout_of(f"{ID};Earth, Wind & Fire;\n{ID};Crosby, Stills, Nash;x\n").delimiter == ";"
    assert layout_of("https://host/?a=1;b=2|c\nhttps://host/x\n", columns=("link",)).delimiter == ","


def test_a_short_first_row_still_has_all_columns() -> None:
    assert layout_of(f"{ID},Name\n").columns == ARTISTS
    assert layout_of("Name\n").columns == ARTISTS


def test_extra_columns_stand_anywhere_and_get_names_of_their_own() -> None:
    layout = layout_of("name,artist_name,,name,ARTIST_ID,name_2,artist_data,artist_data\n1,2,3,4,5,6,7,8\n")
    assert layout.columns == (None, "artist_name", None, None, "artist_id", None, "artist_data", None)
    assert layout.names == (
        "name", "artist_name", "column_3", "name_2", "artist_id", "name_2_2", "artist_data", "artist_data_2",
    )  # fmt: skip
    assert layout.name(1) == "artist_name"
    assert layout.name(8) == "column_9"
    taken = layout_of("artist_id,artist_name,column_4\n1,2,3\n")
    assert taken.name(3) == "column_4_2"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["", " ", "x", "X", "x_2", "column_3", "artist_data"]), max_size=8))
def test_names_are_all_different(extra: list[str]) -> None:
    names = layout_of(",".join(["artist_id", "artist_name", *extra]) + "\n1,2\n").names
    assert len(set(names)) == len(names) == len(extra) + 2


def test_a_layout_survives_json() -> None:
    for text in (f"artist_id;artist_name;\x00é\n{ID};x;y\n", f"{ID},x,y,z\n"):
        layout = layout_of(text)
        stored = json.dumps(layout.to_dict())
        assert "\\u0000" not in stored
        assert Layout.from_dict(json.loads(stored)) == layout


def test_what_stands_above_the_header_is_passed_over() -> None:
    data = b"\xef\xbb\xbfsep=;\r\n\r\n;;\r\nartist_id;artist_name\r\n1;2,3\r\n"
    layout = layout_of(data)
    assert layout.delimiter == ";"
    assert layout.start == Cursor(offset=data.index(b"1;2"), record=0, line=4)
    plain = layout_of(b"sep=|\n1|2\n")
    assert (plain.delimiter, plain.start) == ("|", Cursor(offset=6, record=0, line=1))


def test_a_header_may_hold_newlines_and_undecodable_names() -> None:
    data = b'artist_id,artist_name,"in\r\ntwo lines",\xe9t\xe9\n1,2,3,4\n'
    layout = layout_of(data)
    assert layout.header == ("artist_id", "artist_name", "in\r\ntwo lines", "\ufffdt\ufffd")
    assert layout.start == Cursor(offset=data.index(b"1,2"), record=0, line=2)


def test_a_first_line_longer_than_the_block_is_a_record() -> None:
    layout = layout_of(f"{ID},Name," + "x" * 5_000, whole=False)
    assert (layout.delimiter, layout.header, layout.start.offset) == (",", None, 0)
    assert layout_of(",".join("x" * 5_000) + "\n").columns == (*ARTISTS, *[None] * 997)


@pytest.mark.parametrize(
    "data", [b"", b"\xef\xbb\xbf", b"\xff\xfe", b" \r\n\t\n", "\u3000\n".encode(), b"\xfe\xff\x00\n", b"sep=;\n\n"]
)
def test_an_empty_file(data: bytes) -> None:
    error = refusal_of(data)
    assert error.code == "input.empty"
    assert "artist_id,artist_name,artist_data" in str(error)


def test_a_block_of_blanks_is_as_good_as_empty() -> None:
    assert refusal_of(b"\n" * 1000, whole=False).code == "input.empty"
    assert layout_of(b"\n\n1,2", whole=False).header is None


@pytest.mark.parametrize(
    "data", ["artist_id,artist_name", "Artist_Name;Artist_Id\r\n", "artist_id\tartist_name\n\n \n"]
)
def test_only_a_header(data: str) -> None:
    assert refusal_of(data).code == "input.header_only"
    assert layout_of("artist_id,artist_name\n" + " \n" * 9, whole=False).header, "rows may follow"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("artist_id,name,x\n1,2,3\n", ["lacks the column artist_name", "names artist_id, name, x", ",".join(ARTISTS)]),
        ("artist_data;\n", ["lacks the columns artist_id and artist_name", "(blank)", ";".join(ARTISTS)]),
        ("artist_id artist_name artist_data\n1 2 3\n", ["separate the cells by comma", ",".join(ARTISTS)]),
    ],
)
def test_a_missing_column_is_named(data: str, said: list[str]) -> None:
    error = refusal_of(data)
    assert error.code == "input.missing_column"
    for words in said:
        assert words in str(error)


def test_a_required_column_twice() -> None:
    error = refusal_of("artist_id,Artist_Name,artist_name\n1,2,3\n")
    assert error.code == "input.duplicate_column"
    assert "the column artist_name more than once" in str(error)


def test_a_header_that_is_too_wide_or_never_ends() -> None:
    wide = ",".join(["artist_id", "artist_name", *"x" * 2_000])
    assert refusal_of(wide + "\n1,2\n").code == "input.too_wide"
    assert (
        refusal_of(f"artist_id,artist_name,{'x' * 30}\n1,2\n", limits=Limits(max_field_chars=20)).code
        == "input.too_wide"
    )
    assert refusal_of(wide[:1000], whole=False).code == "input.too_wide"
    assert refusal_of('artist_id,artist_name,"x\n1,2,3\n').code == "input.unclosed_quote"


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG picture"),
        (b"%PDF-1.7\n1 0 obj\n", "PDF"),
        (gzip.compress(b"artist_id,artist_name\n1,2\n", mtime=0), "gzip file, not a CSV file: unpack it"),
        (zipped("xl/workbook.xml"), "Excel workbook, not a CSV file: open it and export it as CSV UTF-8"),
        (zipped("word/[Content_Types].xml"), "Office document"),
        (zipped("artists.csv"), "ZIP archive, not a CSV file: unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "old Excel workbook"),
        (f"{ID},Name,x\n".encode("utf-32"), "UTF-32"),
        (f"{ID},Name,x\n".encode("utf-16-le"), "UTF-16 text without its byte order mark"),
        (f"{ID},Name,x\n".encode("utf-16-be"), "UTF-16 text without its byte order mark"),
        ("имя,да\nимя,нет\n".encode("utf-16-le"), "UTF-16 text without its byte order mark"),
        (bytes(5_000), "binary data"),
        (b"\x7fELF" + bytes(range(256)) * 9, "binary data"),
        *[(random.Random(seed).randbytes(50_000), "binary data") for seed in range(5)],
    ],
)
def test_what_is_not_text_is_called_by_its_name(data: bytes, said: str) -> None:
    for whole in (True, False):
        error = refusal_of(data, whole=whole)
        assert error.code == "input.not_text"
        assert said in str(error)


def test_text_with_some_nul_or_foreign_bytes_is_still_text() -> None:
    assert layout_of(f"{ID},a\x00\x00b,x\n{ID},c,d\n").columns == ARTISTS
    assert layout_of(b"artist_id,artist_name\n" + bytes(100) + b",\n").header == ("artist_id", "artist_name")
    assert layout_of(f"{ID},Любэ,музыка\n".encode("cp1251") * 50).delimiter == ","
    assert layout_of("PKD,BZh,%PD\nGIF,PAR1,{\n").header is None
