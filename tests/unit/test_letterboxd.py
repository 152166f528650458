"""The files of an export are told by name or header, and each of their rows reads as what Letterboxd meant by it."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.letterboxd import Kind, kind_of_header, place
from shared.pipelines.base import Form, InvalidRow, ValidRow
from shared.pipelines.movies.forms import forms
from shared.rows import Limits, Unreadable, detect, read

DATA = Path(__file__).parents[3] / "shared" / "data" / "movies" / "letterboxd"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data folder beside the project is not there")
EXPORTS = sorted(path.name for path in DATA.glob("u*")) if DATA.is_dir() else []

FILM = {"Date": "2024-03-19", "Name": "Heat", "Year": "1995", "Letterboxd URI": "https://boxd.it/29Pq"}
ENTRY = {**FILM, "Letterboxd URI": "https://boxd.it/65p0wz", "Rating": "4.5", "Rewatch": "Yes", "Tags": "a, b"}
ROWS = {
    Kind.WATCHED: FILM,
    Kind.RATING: {**FILM, "Rating": "4.5"},
    Kind.LIKE: FILM,
    Kind.WATCHLIST: FILM,
    Kind.DIARY: {**ENTRY, "Watched Date": "2024-03-18"},
    Kind.REVIEW: {**ENTRY, "Review": "Good.\r\n\r\n<b>Very</b>", "Watched Date": "2024-03-18"},
}


def validated(kind: Kind, **cells: str | None) -> ValidRow | InvalidRow:
    """A good row with these cells put in, `_` in their names for a space; None takes a cell away."""
    row = {**ROWS[kind], **{name.replace("_", " "): cell for name, cell in cells.items()}}
    form = forms[kind]
    assert row.keys() <= set(form.columns)
    return form.validate([row.get(column) for column in form.columns], {})


def input_of(kind: Kind, **cells: str | None) -> dict[str, Any]:
    row = validated(kind, **cells)
    assert isinstance(row, ValidRow), row
    return row.input


def refused(kind: Kind, **cells: str | None) -> tuple[str, str]:
    """Column and code; the sentence for people has to be one."""
    row = validated(kind, **cells)
    assert isinstance(row, InvalidRow), row
    assert row.reason.endswith(".")
    assert len(row.reason) < 300
    return row.column, row.code


@dataclass(frozen=True)
class Found:
    """What a file's rows read as, by the lines they stand in."""

    valid: dict[int, ValidRow]
    invalid: dict[int, str]


def read_file(data: bytes, form: Form) -> Found:
    """A file through the reader, as ingest reads it."""
    layout = detect(
        data, whole=True, columns=form.columns, required=form.required, limits=Limits(), headerless=form.headerless,
        may_be_empty=form.may_be_empty,
    )  # fmt: skip
    at = {name: index for index, name in enumerate(layout.columns) if name}
    places = [at.get(column) for column in form.columns]
    found = Found({}, {})
    for chunk in read(io.BytesIO(data[layout.start.offset :]), layout=layout, cursor=layout.start, limits=Limits()):
        for index, (line, cells) in enumerate(zip(chunk.lines, chunk.rows, strict=True)):
            if defect := chunk.defects.get(index):
                found.invalid[line] = defect.code
                continue
            row = form.validate([cells[p] if p is not None and p < len(cells) else None for p in places], {})
            if isinstance(row, ValidRow):
                found.valid[line] = row
            else:
                found.invalid[line] = row.code
    return found


class TestPlace:
    """A path says which kind a file's rows are of, or why nobody reads it."""

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("watched.csv", Kind.WATCHED),
            ("ratings.csv", Kind.RATING),
            ("likes/films.csv", Kind.LIKE),
            ("likes.csv", Kind.LIKE),
            ("films.csv", Kind.LIKE),
            ("watchlist.csv", Kind.WATCHLIST),
            ("diary.csv", Kind.DIARY),
            ("reviews.csv", Kind.REVIEW),
            ("letterboxd-me-2024-01-01/diary.csv", Kind.DIARY),
            ("a/b/likes/films.csv", Kind.LIKE),
            ("Export\\Likes\\Films.CSV", Kind.LIKE),
            ("./Watched.csv", Kind.WATCHED),
        ],
    )
    def test_files_of_films(self, path: str, kind: Kind) -> None:
        member = place(path)
        assert (member.path, member.kind, member.ignored, member.junk) == (path, kind, None, False)

    @pytest.mark.parametrize(
        ("path", "word"),
        [
            ("deleted/diary.csv", "deleted"),
            ("export/deleted/reviews.csv", "deleted"),
            ("orphaned/diary.csv", "gone"),
            ("Orphaned\\reviews.csv", "gone"),
            ("lists/watched.csv", "lists"),
            ("likes/reviews.csv", "likes"),
            ("likes/lists.csv", "likes"),
            ("likes/diary.csv", "likes"),
            ("profile.csv", "account"),
            ("deleted/comments.csv", "deleted"),
            ("comments.csv", "comments"),
            ("photo.jpg", "no file of a Letterboxd export"),
            ("my films.csv", "no file of a Letterboxd export"),
        ],
    )
    def test_files_that_are_ignored_and_said_so(self, path: str, word: str) -> None:
        member = place(path)
        assert member.kind is None
        assert not member.junk
        assert member.ignored is not None
        assert word in member.ignored

    def test_only_a_name_that_tells_nothing_is_unknown(self) -> None:
        assert place("my films.csv").unknown
        paths = ("profile.csv", "lists/my films.csv", "likes/lists.csv", "deleted/diary.csv", "diary.csv", ".DS_Store")
        assert not any(place(path).unknown for path in paths)

    @pytest.mark.parametrize(
        "path",
        [
            "__MACOSX/._diary.csv",
            "__MACOSX/export/diary.csv",
            "export/._watched.csv",
            ".DS_Store",
            "export/.DS_Store",
            "Thumbs.db",
            "export\\desktop.ini",
            "export/",
            "likes/",
        ],
    )
    def test_what_archivers_leave_is_not_worth_a_word(self, path: str) -> None:
        member = place(path)
        assert (member.kind, member.ignored, member.junk) == (None, None, True)

    @given(st.text())
    def test_every_path_is_exactly_one_of_them(self, path: str) -> None:
        member = place(path)
        assert [member.kind is not None, member.ignored is not None, member.junk].count(True) == 1

    def test_films_are_read_before_what_refers_to_them(self) -> None:
        assert list(Kind) == ["watched", "rating", "like", "watchlist", "diary", "review"]
        assert list(forms) == list(Kind)


class TestHeaders:
    """A file under a name of its own is told by its header."""

    @pytest.mark.parametrize("kind", [Kind.WATCHED, Kind.RATING, Kind.DIARY, Kind.REVIEW])
    def test_of_the_export(self, kind: Kind) -> None:
        columns = forms[kind].columns
        assert kind_of_header(columns) is kind
        assert kind_of_header([f"\ufeff{column.upper()} " for column in reversed(columns)]) is kind

    def test_of_the_2017_diary(self) -> None:
        columns = ["Date", "Name", "Year", "Letterboxd URI", "Rating", "Tags", "Watched Date"]
        assert kind_of_header(columns) is Kind.DIARY

    @pytest.mark.parametrize("columns", [("Name", "Year"), ("Letterboxd URI", "Name")])
    def test_the_least_that_says_a_film_was_seen(self, columns: tuple[str, ...]) -> None:
        assert kind_of_header(columns) is Kind.WATCHED

    @pytest.mark.parametrize(
        "columns",
        [
            ("Date", "Content", "Comment"),
            ("Date Joined", "Username", "Given Name", "Bio"),
            ("Letterboxd list export v7",),
            ("Date", "Name", "Tags", "URL", "Description"),
            ("Position", "Name", "Year", "URL", "Description"),
            ("Const", "Your Rating", "Title", "Year"),
            ("Rating", "Review"),
            (),
        ],
    )
    def test_of_something_else(self, columns: tuple[str, ...]) -> None:
        assert kind_of_header(columns) is None


class TestRows:
    """What each kind of row becomes."""

    @pytest.mark.parametrize("kind", [Kind.WATCHED, Kind.LIKE, Kind.WATCHLIST])
    def test_a_film(self, kind: Kind) -> None:
        row = validated(kind)
        assert isinstance(row, ValidRow)
        assert row.key == "https://boxd.it/29Pq"
        assert row.input == {
            "kind": kind.value,
            "name": "Heat",
            "year": 1995,
            "uri": "https://boxd.it/29Pq",
            "entry": None,
            "date": "2024-03-19",
        }

    def test_a_rating(self) -> None:
        assert input_of(Kind.RATING) == {**input_of(Kind.WATCHED), "kind": "rating", "rating": 4.5}

    def test_a_diary_entry_has_no_uri_of_a_film(self) -> None:
        row = validated(Kind.DIARY)
        assert isinstance(row, ValidRow)
        assert row.key == "Heat (1995)"
        assert row.input == {
            "kind": "diary",
            "name": "Heat",
            "year": 1995,
            "uri": None,
            "entry": "https://boxd.it/65p0wz",
            "date": "2024-03-19",
            "rating": 4.5,
            "rewatch": True,
            "tags": ["a", "b"],
            "watched_date": "2024-03-18",
        }

    def test_a_review(self) -> None:
        made = input_of(Kind.REVIEW)
        assert made == {**input_of(Kind.DIARY), "kind": "review", "review": "Good.\r\n\r\n<b>Very</b>"}

    def test_the_2017_diary_knows_no_rewatch(self) -> None:
        uri = "https://letterboxd.com/me/film/heat-1995/1/"
        made = input_of(Kind.DIARY, Rewatch=None, Letterboxd_URI=uri)
        assert "rewatch" not in made
        assert made["entry"] == uri

    def test_columns_of_the_users_own(self) -> None:
        row = forms[Kind.WATCHED].validate(list(FILM.values()), {"No\0te": "a\0b\ud800"})
        assert isinstance(row, ValidRow)
        assert row.input["extra"] == {"Note": "ab?"}

    @pytest.mark.parametrize(
        "name", ["1408", "True", "@Suicide Room", " Heat ", "A\u00a0B", "e\u0301", "«Ы» 東", "a,b"]
    )
    def test_names_are_kept_to_the_letter(self, name: str) -> None:
        assert input_of(Kind.WATCHED, Name=name)["name"] == name

    def test_names_hold_nothing_postgresql_refuses(self) -> None:
        assert input_of(Kind.WATCHED, Name="He\0a\udcfft")["name"] == "Hea?t"

    @pytest.mark.parametrize("name", ["", " ", "\u00a0\t"])
    def test_a_film_has_a_name(self, name: str) -> None:
        assert refused(Kind.WATCHED, Name=name) == ("Name", "input.empty_name")

    @pytest.mark.parametrize(
        ("cell", "year"), [("", None), (" ", None), ("1874", 1874), ("2031", 2031), ("1995.0", 1995), (" 1995 ", 1995)]
    )
    def test_years(self, cell: str, year: int | None) -> None:
        assert input_of(Kind.WATCHED, Year=cell)["year"] == year

    @pytest.mark.parametrize("cell", ["1869", "2101", "95", "19950", "1995.5", "MCMXCV", "١٩٩٥", "-1995", "1_95"])
    def test_years_of_no_film(self, cell: str) -> None:
        assert refused(Kind.WATCHED, Year=cell) == ("Year", "input.bad_year")

    def test_a_film_without_uri_is_its_name_and_year(self) -> None:
        row = validated(Kind.WATCHED, Letterboxd_URI="")
        assert isinstance(row, ValidRow)
        assert (row.key, row.input["uri"]) == ("Heat (1995)", None)
        row = validated(Kind.WATCHED, Letterboxd_URI="", Year="")
        assert isinstance(row, ValidRow)
        assert row.key == "Heat"

    @pytest.mark.parametrize(
        "uri",
        ["https://boxd.it/1SkK", "https://boxd.it/1skk", "http://boxd.it/ab", "https://letterboxd.com/film/heat-1995/",
         "https://www.letterboxd.com/film/heat-1995/"],
    )  # fmt: skip
    def test_uris_keep_their_case(self, uri: str) -> None:
        row = validated(Kind.WATCHED, Letterboxd_URI=uri)
        assert isinstance(row, ValidRow)
        assert row.key == row.input["uri"] == uri

    @pytest.mark.parametrize(
        "uri",
        ["29Pq", "boxd.it/29Pq", "https://boxd.it/", "https://boxd.it", "ftp://boxd.it/29Pq", "javascript:alert(1)",
         "https://boxd.it.example.com/29Pq", "https://example.com/boxd.it/29Pq", "https://letterboxd.com@evil.com/x",
         "https://boxd.it/29 Pq", "https://boxd.it/29\nPq", "https://boxd.it/é"],
    )  # fmt: skip
    @pytest.mark.parametrize("kind", [Kind.WATCHED, Kind.DIARY])
    def test_uris_lead_to_letterboxd(self, kind: Kind, uri: str) -> None:
        assert refused(kind, Letterboxd_URI=uri) == ("Letterboxd URI", "input.bad_uri")

    @pytest.mark.parametrize(
        ("cell", "date"),
        [("2024-02-29", "2024-02-29"), ("", None), (" 2024-03-18 ", "2024-03-18"), ("6/30/2022", "2022-06-30"),
         ("06/05/2022", "2022-06-05"), ("12/12/2022", "2022-12-12")],
    )  # fmt: skip
    def test_dates(self, cell: str, date: str | None) -> None:
        made = input_of(Kind.DIARY, Date=cell, Watched_Date=cell)
        assert (made["date"], made["watched_date"]) == (date, date)

    @pytest.mark.parametrize(
        "cell", ["2023-02-29", "20240318", "2024-W12-1", "18.03.2024", "6/31/2022", "0/1/2022", "13/13/2022", "6/1/22",
                 "yesterday", "٢٠٢٤-٠٣-١٨"]
    )  # fmt: skip
    def test_dates_that_are_none(self, cell: str) -> None:
        assert refused(Kind.WATCHED, Date=cell) == ("Date", "input.bad_date")
        assert refused(Kind.DIARY, Watched_Date=cell) == ("Watched Date", "input.bad_date")

    @pytest.mark.parametrize("cells", [{"Date": "30/06/2022"}, {"Watched_Date": "13/1/2022"}])
    def test_a_day_before_the_month_makes_the_file_ambiguous(self, cells: dict[str, str]) -> None:
        with pytest.raises(InputError, match="YYYY-MM-DD") as caught:
            validated(Kind.DIARY, **cells)
        assert caught.value.code == "input.ambiguous_dates"

    @pytest.mark.parametrize(
        ("cell", "rating"),
        [("", None), (" ", None), ("4", 4.0), ("3.5", 3.5), ("4.0", 4.0), ("3,5", 3.5), ("0.5", 0.5), ("5", 5.0)],
    )
    @pytest.mark.parametrize("kind", [Kind.RATING, Kind.DIARY])
    def test_ratings(self, kind: Kind, cell: str, rating: float | None) -> None:
        assert input_of(kind, Rating=cell)["rating"] == rating

    @pytest.mark.parametrize("cell", ["0", "5.5", "10", "3.7", "-1", "nan", "1e0", "★★★", "3.5.0", "٤"])
    def test_ratings_that_are_none(self, cell: str) -> None:
        assert refused(Kind.RATING, Rating=cell) == ("Rating", "input.bad_rating")

    @pytest.mark.parametrize(
        ("cell", "rewatch"),
        [("Yes", True), ("", False), ("yes", True), ("TRUE", True), ("FALSE", False), ("No", False)],
    )
    def test_rewatches(self, cell: str, rewatch: bool) -> None:
        assert input_of(Kind.DIARY, Rewatch=cell)["rewatch"] is rewatch

    def test_a_rewatch_that_is_neither(self) -> None:
        assert refused(Kind.DIARY, Rewatch="perhaps") == ("Rewatch", "input.bad_rewatch")

    @pytest.mark.parametrize(
        ("cell", "tags"),
        [("", []), ("b, a", ["b", "a"]), ("b,a", ["b", "a"]), (" , a,, ", ["a"]), ("R&B, it's?", ["R&B", "it's?"])],
    )
    def test_tags(self, cell: str, tags: list[str]) -> None:
        assert input_of(Kind.DIARY, Tags=cell)["tags"] == tags

    @pytest.mark.parametrize(
        ("kind", "column"),
        [
            (Kind.WATCHED, "Letterboxd URI"),
            (Kind.RATING, "Rating"),
            (Kind.DIARY, "Watched Date"),
            (Kind.REVIEW, "Review"),
        ],
    )
    def test_a_row_that_ends_too_early_is_not_half_a_row(self, kind: Kind, column: str) -> None:
        columns = forms[kind].columns
        cut = {name.replace(" ", "_"): None for name in columns[columns.index(column) :]}
        assert refused(kind, **cut)[1] == "input.missing_cell"

    @given(data=st.data(), kind=st.sampled_from(Kind))
    @settings(max_examples=500)
    def test_no_cells_whatever_raise_but_input_error(self, data: st.DataObject, kind: Kind) -> None:
        likely = st.sampled_from(["", "=======", "<<<<<<< HEAD", "1/2/2020", "13/2/2020", "0/0/0000", *ENTRY.values()])
        wild = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates among them
        cell = st.none() | likely | wild
        form = forms[kind]
        cells = data.draw(st.lists(cell, min_size=len(form.columns), max_size=len(form.columns)))
        extra = data.draw(st.dictionaries(wild, wild, max_size=2))
        try:
            row = form.validate(cells, extra)
        except InputError:
            return
        if isinstance(row, ValidRow):
            stored = json.dumps(row.input, ensure_ascii=False)
            assert "\\u0000" not in stored
            assert row.key.encode()
            assert stored.encode()
        else:
            assert row.column in form.columns
            assert row.reason.encode()


class TestDamagedFiles:
    """Files are read as far as that is safe; what is not is refused with its line."""

    HEADER = b"Date,Name,Year,Letterboxd URI,Rating\n"
    ROW = b"2020-01-01,Heat,1995,https://boxd.it/29Pq,4\n"

    def read(self, data: bytes, kind: Kind = Kind.RATING) -> Found:
        return read_file(data, forms[kind])

    @pytest.mark.parametrize(
        "mark", [b"<<<<<<< HEAD", b"=======", b">>>>>>> 1a2b (Add, films, of, may)", b"||||||| base"]
    )
    @pytest.mark.parametrize("reordered", [False, True])
    def test_merge_conflicts(self, mark: bytes, reordered: bool) -> None:
        data = b"Name,Letterboxd URI,Rating\nHeat,https://boxd.it/29Pq,4\n" if reordered else self.HEADER + self.ROW
        assert len(self.read(data).valid) == 1
        with pytest.raises(InputError, match="two versions") as caught:
            self.read(data + mark + b"\n")
        assert caught.value.code == "input.merge_conflict"

    def test_a_merge_conflict_within_a_review(self) -> None:
        with pytest.raises(InputError, match="two versions"):
            validated(Kind.REVIEW, Review="Good.\r\n<<<<<<< HEAD\r\nVery.\r\n=======\r\n")

    def test_a_line_of_equals_signs_may_stand_in_a_review_or_be_a_title(self) -> None:
        assert input_of(Kind.REVIEW, Review="Heat\n=======\nGood.")["review"] == "Heat\n=======\nGood."
        assert input_of(Kind.WATCHED, Name="=======")["name"] == "======="

    def test_a_file_of_nul_bytes_is_no_text(self) -> None:
        with pytest.raises(Unreadable) as caught:
            self.read(bytes(4096))
        assert caught.value.code == "input.not_text"

    @pytest.mark.parametrize("cut", range(1, len(ROW)))
    def test_a_tail_of_nul_bytes_costs_the_row_it_cuts_and_no_other(self, cut: int) -> None:
        found = self.read(self.HEADER + self.ROW + self.ROW[:-cut] + bytes(4096))
        assert list(found.valid) == [2]
        assert found.invalid == {3: "input.nul"}

    @pytest.mark.parametrize("cut", range(1, 50))
    def test_a_tail_of_nul_bytes_in_reviews(self, cut: int) -> None:
        header = ",".join(forms[Kind.REVIEW].columns).encode() + b"\n"
        row = b"2020-01-01,Heat,1995,https://boxd.it/2uJv1r,4,Yes,Very good,a tag,2019-12-31\n"
        found = self.read(header + row + row[:-cut] + bytes(4096), Kind.REVIEW)
        assert list(found.valid) == [2]
        assert found.invalid == {3: "input.nul"}

    def test_rows_behind_nul_bytes_are_read(self) -> None:
        found = self.read(self.HEADER + self.ROW + bytes(512) + b"\n" + self.ROW)
        assert (list(found.valid), found.invalid) == ([2, 4], {3: "input.nul"})

    def test_a_nul_within_a_name_is_noise(self) -> None:
        found = self.read(self.HEADER + self.ROW.replace(b"Heat", b"He\0at"))
        assert found.valid[2].input["name"] == "Heat"

    def test_a_nul_within_a_uri_makes_another_film(self) -> None:
        found = self.read(self.HEADER + self.ROW.replace(b"29Pq", b"29\0Pq"))
        assert found.invalid == {2: "input.nul"}

    @pytest.mark.parametrize("delimiter", [b";", b"\t", b"|"])
    def test_other_delimiters(self, delimiter: bytes) -> None:
        data = (self.HEADER + self.ROW.replace(b",4", b",3.5")).replace(b",", delimiter)
        assert self.read(data).valid[2].input["rating"] == 3.5

    def test_a_semicolon_file_of_a_spreadsheet_that_writes_decimal_commas(self) -> None:
        data = (self.HEADER + self.ROW).replace(b",", b";").replace(b";4", b";3,5")
        assert self.read(data).valid[2].input["rating"] == 3.5

    def test_a_header_without_rows_is_a_file_like_any_other(self) -> None:
        assert self.read(self.HEADER) == Found({}, {})

    @pytest.mark.parametrize("missing", ["Name", "Letterboxd URI", "Rating"])
    def test_columns_no_row_can_do_without(self, missing: str) -> None:
        header = ",".join(column for column in forms[Kind.RATING].columns if column != missing)
        with pytest.raises(Unreadable) as caught:
            self.read(f"{header}\na,b,c,d\n".encode())
        assert caught.value.code == "input.missing_column"


@needs_data
class TestRealExports:
    """Ten people's files, and what a correct merge of them holds."""

    def records(self, name: str) -> dict[str, Found]:
        """What the files of an export read as, by their paths."""
        found = {}
        for path in sorted((DATA / name).rglob("*.csv")):
            inside = path.relative_to(DATA / name).as_posix()
            if kind := place(inside).kind:
                found[inside] = read_file(path.read_bytes(), forms[kind])
        return found

    @pytest.mark.parametrize("name", EXPORTS)
    def test_every_row_is_valid(self, name: str) -> None:
        expected = json.loads((DATA / "expected" / f"{name}.json").read_text("utf-8"))
        found = self.records(name)
        for path, one in found.items():
            assert one.invalid == {}, path
            assert len(one.valid) == expected["rows"][path]
        read_not = {path for path in expected["rows"] if path not in found}
        assert all(path.startswith(("deleted/", "orphaned/")) for path in read_not)

    @pytest.mark.parametrize("name", EXPORTS)
    def test_values_are_those_of_a_correct_merge(self, name: str) -> None:
        found = self.records(name)
        films = {one["uri"]: one for one in inputs(found, Kind.WATCHED, Kind.LIKE, Kind.RATING) if one["uri"]}
        ratings = {one["uri"]: one["rating"] for one in inputs(found, Kind.RATING)}
        entries = {one["entry"]: one for one in inputs(found, Kind.DIARY)}
        reviews = {one["entry"]: one for one in inputs(found, Kind.REVIEW)}
        expected = [film for film in expected_films(name) if film["uri"] is not None]
        assert {film["uri"] for film in expected} == films.keys()
        for film in expected_films(name):
            if film["uri"] is not None:
                known = films[film["uri"]]
                assert (known["name"], known["year"]) == (film["name"], film["year"])
                assert ratings.get(film["uri"]) == film["rating"]
            for entry in film["diary"]:
                made = entries[entry["uri"]]
                assert (made["name"], made["year"]) == (film["name"], film["year"])
                assert (made["date"], made["watched_date"]) == (entry["logged_date"], entry["watched_date"])
                assert (made["rating"], made["tags"]) == (entry["rating"], entry["tags"])
                assert made.get("rewatch", False) == entry["rewatch"]
            for review in film["reviews"]:
                assert len(reviews[review["uri"]]["review"]) == review["chars"]

    def test_uris_that_differ_by_case_stay_apart(self) -> None:
        keys = [row.key for row in self.records("u2022a")["watched.csv"].valid.values()]
        assert len(set(keys)) - len({key.lower() for key in keys}) == 6

    def test_a_file_of_an_unknown_name_reads_as_its_header_says(self) -> None:
        for path in sorted((DATA / "u2025a").glob("*.csv")):
            first = path.read_text("utf-8").splitlines()[0].split(",")
            expected = place(path.name).kind
            assert kind_of_header(first) is (Kind.WATCHED if expected is Kind.WATCHLIST else expected)

    @pytest.mark.parametrize("path", sorted(DATA.glob("*/lists/*.csv")), ids=lambda path: path.name)
    def test_a_list_is_not_taken_for_films_seen(self, path: Path) -> None:
        assert place("export.csv").unknown
        lines = path.read_text("utf-8").splitlines()
        assert not any(kind_of_header(line.split(",")) for line in lines)


def inputs(found: dict[str, Found], *kinds: Kind) -> Iterator[dict[str, Any]]:
    return (row.input for path, one in found.items() if place(path).kind in kinds for row in one.valid.values())


def expected_films(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / "expected" / f"{name}.films.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
