"""rejects.csv handed out and dropped back: nothing of a row is lost on the way, and nothing of ours gets into it."""

from __future__ import annotations

import csv
import io
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.csv_export import guarded
from shared.db import Row
from shared.rejects import ADDED, SHORTENED, file_name, reject_lines
from tests.movies import movies_bench, watched
from tests.workbench import Workbench, artist_id

HEADER = ["artist_id", "artist_name", "artist_data"]


def sheet(*rows: list[str], delimiter: str = ",") -> str:
    """Rows as a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def rejects(bench: Workbench, session: UUID, *, delimiter: str = ",") -> list[list[str]]:
    """The rows of rejects.csv, its header first."""
    text = b"".join(reject_lines(bench.db, session)).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def give_back(bench: Workbench, session: UUID, rows: list[list[str]], *, delimiter: str = ",") -> Row:
    """How the session ends when rows are dropped back under the name it gave them."""
    name = f"artists/{uuid4()}/{file_name(session)}"
    assert bench.drop(sheet(*rows, delimiter=delimiter).encode(), name) == session
    status = bench.run(session)
    bench.assert_sound(session)
    return status


def inputs(bench: Workbench, session: UUID) -> list[tuple[str, str, dict[str, str]]]:
    """Outcome, code and input of every item."""
    found = bench.execute(
        f"SELECT outcome, error_code, input FROM items WHERE session_id = '{session}' ORDER BY item_no"
    )
    return [tuple(row) for row in found]


def test_a_mended_row_joins_its_session_without_our_columns(bench: Workbench) -> None:
    session = bench.drop(
        sheet([*HEADER, "born"], ["x", "Nina", "a,b", "1933"], [artist_id(2), "Fela", "", ""]).encode()
    )
    assert bench.run(session)["rejected"] == 1
    header, row = rejects(bench, session)
    assert header == [*HEADER, "born", *ADDED]
    assert row[:4] == ["x", "Nina", "a,b", "1933"]
    status = give_back(bench, session, [header, [artist_id(1), *row[1:]]])
    assert (status["status"], status["total"], status["enriched"], status["rejected"]) == ("completed", 3, 2, 1)
    own = bench.drop(sheet([*HEADER, "born"], [artist_id(1), "Nina", "a,b", "1933"]).encode(), "artists/own.csv")
    mended, itself = (
        bench.execute(f"SELECT input, input_hash FROM items WHERE session_id = '{one}' AND key = '{artist_id(1)}'")
        for one in (session, own)
    )
    assert mended == itself
    assert {str(request.input) for request in bench.upstream.requests if "reason" in str(request)} == set()
    # What completes the session a second time holds both records of the row.
    lines = bench.store.text("out", f"{session}/results.jsonl").splitlines()
    assert len(lines) == 3
    assert rejects(bench, session)[1][:4] == ["x", "Nina", "a,b", "1933"]


@pytest.mark.parametrize(
    "name",
    ["artists/rejects-{} (1).csv", "artists/{}-rejects.csv", "artists/sub/{}/rejects.csv", "artists/{}/rejects.csv"],
)
def test_every_name_of_it_finds_back(bench: Workbench, name: str) -> None:
    session = bench.drop(sheet(HEADER, ["x", "Nina", ""]).encode())
    header, row = rejects(bench, session)
    assert bench.drop(sheet(header, [artist_id(1), *row[1:]]).encode(), name.format(session)) == session
    assert bench.run(session)["enriched"] == 1


def test_any_name_finds_back_with_the_option(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, ["x", "Nina", ""]).encode())
    header, row = rejects(bench, session)
    bench.drop(sheet(header, [artist_id(1), *row[1:]]).encode(), "artists/mended.csv", session=str(session))
    assert bench.run(session)["enriched"] == 1
    assert "extra" not in inputs(bench, session)[1][2]


def test_such_columns_of_a_users_own_file_are_the_users(bench: Workbench) -> None:
    body = sheet([*HEADER, *ADDED], [artist_id(1), "Nina", "", "mine", "a", "1"]).encode()
    alone = bench.drop(body)
    named = uuid4()  # as the API names the session of every upload
    assert bench.drop(body, "artists/b.csv", session=str(named)) == named
    bench.drop(sheet([*HEADER, *ADDED], [artist_id(2), "Fela", "", "mine", "a", "1"]).encode(), "artists/c.csv",
               session=str(named))  # fmt: skip
    for session, n in ((alone, 1), (named, 2)):
        assert [made[2]["extra"] for made in inputs(bench, session)] == [
            {"reason": "mine", "column": "a", "line": "1"}
        ] * n


def test_rows_still_bad_are_refused_again_with_their_own_line(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, [artist_id(9), "Fine", ""], ["x", "Nina", ""], ["y", "Fela", ""]).encode())
    header, nina, fela = rejects(bench, session)
    assert nina[-1] == "3"
    status = give_back(bench, session, [header, [artist_id(1), *nina[1:]], fela])
    assert (status["total"], status["enriched"], status["rejected"]) == (5, 2, 3)
    again = rejects(bench, session)
    assert again[0] == header
    assert [row[0] for row in again[1:]] == ["x", "y", "y"]  # one header: the returned file has the same
    assert again[-1][-1] == "3"
    assert file_name(session) in again[-1][3]
    assert "line 3" in again[-1][3]
    status = give_back(bench, session, [header, [artist_id(2), *again[-1][1:]]])
    assert (status["enriched"], status["rejected"]) == (3, 3)


def test_a_mended_id_that_the_session_has_is_a_duplicate(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, [artist_id(1), "Nina", ""], ["x", "Nina", ""]).encode())
    bench.run(session)
    header, row = rejects(bench, session)
    status = give_back(bench, session, [header, [artist_id(1), *row[1:]]])
    assert (status["enriched"], status["duplicate"], status["rejected"]) == (1, 1, 1)
    assert len(bench.upstream.requests) == 1


def test_of_a_file_without_a_header(bench: Workbench) -> None:
    session = bench.drop(sheet([artist_id(1), "Nina", "d", "more"], ["x", "Fela", "d", "extra"]).encode())
    header, row = rejects(bench, session)
    assert header == [*HEADER, "column_4", *ADDED]
    status = give_back(bench, session, [header, [artist_id(2), *row[1:]]])
    assert (status["enriched"], status["rejected"]) == (2, 1)
    assert [made[2].get("extra") for made in inputs(bench, session)] == [
        {"column_4": "more"},
        None,
        {"column_4": "extra"},
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_semicolons_and_a_users_own_order(bench: Workbench, encoding: str) -> None:
    header = ["Born", "ARTIST_NAME", " artist_id "]
    hard = 'Мумий "Тролль"; the\nsecond\r\nline\rthird, and more '
    session = bench.drop(sheet(header, ["1983", hard, "x"], delimiter=";").encode(encoding))
    raw = b"".join(reject_lines(bench.db, session))
    # A spreadsheet tells UTF-8 by the mark, and wrote one itself.
    assert raw.startswith(b"\xef\xbb\xbf") == (encoding != "utf-8")
    own, row = rejects(bench, session, delimiter=";")
    assert own == [*header, *ADDED]
    assert row[:2] == ["1983", hard]
    row[2] = artist_id(1)
    status = give_back(bench, session, [own, row], delimiter=";")
    assert (status["enriched"], status["rejected"]) == (1, 1)
    assert inputs(bench, session)[1][2] == {
        "artist_id": artist_id(1), "artist_name": hard.strip(), "artist_data": "", "extra": {"Born": "1983"},
    }  # fmt: skip


def test_a_delimiter_changed_on_the_way_is_no_matter(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, ["x", "Nina", "a,b"]).encode())
    header, row = rejects(bench, session)
    status = give_back(bench, session, [header, [artist_id(1), *row[1:-1], "zwei"]], delimiter=";")
    assert status["rejected"] == 2  # `line` is no number: it may be a row with cells too many
    status = give_back(bench, session, [header, [artist_id(1), *row[1:]]], delimiter=";")
    assert status["enriched"] == 1
    assert rejects(bench, session)[1][:3] == ["x", "Nina", "a,b"]  # all of it with the first file's delimiter
    assert {len(row) for row in rejects(bench, session)} == {6}


def test_letters_that_were_lost_have_to_be_written_again(bench: Workbench) -> None:
    text = sheet(HEADER, [artist_id(1), "Mötley Crüe", "x" * 500], [artist_id(2), "Fela", ""])
    session = bench.drop(text.encode("cp1252"))
    assert bench.run(session)["rejected"] == 1
    header, row = rejects(bench, session)
    assert row[:3] == [artist_id(1), "M\ufffdtley Cr\ufffde", "x" * 500]
    status = give_back(bench, session, [header, row])
    assert (status["enriched"], status["rejected"]) == (1, 2)
    assert bench.item(session, 3)["error_code"] == "input.lost_letters"
    assert rejects(bench, session)[2][3].startswith("Shown with \ufffd")
    row[1] = "Mötley Crüe"
    status = give_back(bench, session, [header, row])
    assert (status["enriched"], status["rejected"]) == (2, 2)


def test_a_row_refused_for_its_content_keeps_its_cells_whole(bench: Workbench) -> None:
    long, wide = "ü" * 200_000, [f"column {i}" for i in range(300)]
    values = [f"value {i}" for i in range(300)]
    session = bench.drop(sheet([*HEADER, *wide], ["x", "Nina", long, *values]).encode())
    header, row = rejects(bench, session)
    assert row[:-3] == ["x", "Nina", long, *values]
    give_back(bench, session, [header, [artist_id(1), *row[1:]]])
    made = inputs(bench, session)[1][2]
    assert made["artist_data"] == long
    assert list(made["extra"].values()) == values


def test_pages_of_rejects_are_bounded_by_bytes(bench: Workbench) -> None:
    rows = [[f"x{i}", "Nina", "".join(chr(0x4E00 + (i * j) % 9_999) for j in range(400_000))] for i in range(1, 5)]
    session = bench.drop(sheet(HEADER, *rows).encode())
    pieces = list(reject_lines(bench.db, session))
    assert len(pieces) > 1
    assert [row[:3] for row in rejects(bench, session)[1:]] == rows


def test_an_excerpt_is_not_taken_for_the_row(bench: Workbench) -> None:
    whole = [artist_id(2), "Nina", "d" * 1_000_001]
    swallowed = f'{artist_id(3)},"Never closed,d\r\n{artist_id(4)},Swallowed,d\r\n'
    session = bench.drop((sheet(HEADER, [artist_id(1), "Fela", ""], whole) + swallowed).encode())
    assert bench.run(session)["rejected"] == 2
    header, long, unclosed = rejects(bench, session)
    assert long[3].startswith(SHORTENED)
    assert unclosed[3].startswith(SHORTENED)
    assert len(long[2]) < 2_000
    calls = len(bench.upstream.requests)
    status = give_back(bench, session, [header, long, unclosed])
    assert (status["enriched"], status["rejected"]) == (1, 4)
    assert len(bench.upstream.requests) == calls
    assert {made[1] for made in inputs(bench, session)[3:]} == {"input.shortened"}
    # Once more, and now as it says: the whole row in its place, the cell cleared.
    header, *shown = rejects(bench, session)
    assert all(row[3].startswith(SHORTENED) for row in shown)
    mended = [artist_id(2), "Nina", "d" * 1_000_000, "", *shown[0][4:]]
    status = give_back(bench, session, [header, mended, [artist_id(3), "Closed", "d", "", "", ""]])
    assert (status["enriched"], status["rejected"]) == (3, 4)


def test_cells_too_many_have_to_be_divided_by_a_person(bench: Workbench) -> None:
    text = sheet(HEADER) + f"{artist_id(1)},Earth, Wind & Fire,type: Group\r\nx,Blank behind,d,,\r\n"
    session = bench.drop(text.encode())
    header, row, blank = rejects(bench, session)
    assert row[:3] == [artist_id(1), "Earth", " Wind & Fire,type: Group"]
    assert blank[:3] == ["x", "Blank behind", "d"]  # blank cells behind the last column were never too many
    status = give_back(bench, session, [header, row, [artist_id(2), *blank[1:]]])
    assert (status["enriched"], status["rejected"]) == (1, 3)
    assert bench.item(session, 3)["error_code"] == "input.joined_cells"
    status = give_back(bench, session, [header, [artist_id(1), "Earth, Wind & Fire", "type: Group", *row[3:]]])
    assert status["enriched"] == 2


def test_formulas_are_guarded_on_the_way_out_and_come_back_as_they_were(bench: Workbench) -> None:
    names = ["=HYPERLINK(1)", "+1", "-1 dB", "@SUM(A1)", "'quoted", "'=meant so", "''-twice"]
    data = "=cmd|' /C calc'!A0"
    session = bench.drop(sheet([*HEADER, "=born"], *[["x", name, data, "-5"] for name in names]).encode())
    header, *rows = rejects(bench, session)
    assert header == [*HEADER, "'=born", *ADDED]
    assert [row[1] for row in rows] == [
        "'=HYPERLINK(1)", "+1", "'-1 dB", "'@SUM(A1)", "'quoted", "''=meant so", "'''-twice",
    ]  # fmt: skip
    assert {(row[2], row[3]) for row in rows} == {(f"'{data}", "-5")}
    bench.run(session)
    in_bucket = bench.store.text("out", f"{session}/rejects.csv")
    assert list(csv.reader(io.StringIO(in_bucket, newline="")))[1:] == rows
    as_they_are = b"".join(reject_lines(bench.db, session, guard=False)).decode()
    assert [row[1] for row in csv.reader(io.StringIO(as_they_are, newline=""))][1:] == names
    mended = [[artist_id(number), *row[1:]] for number, row in enumerate(rows, start=1)]
    half = len(mended) // 2
    for lines in ([header, *mended[:half]], [header[:4], *[row[:4] for row in mended[half:]]]):  # ours may be left out
        give_back(bench, session, lines)
    back = [made for outcome, _, made in inputs(bench, session) if outcome == "enriched"]
    assert [(made["artist_name"], made["artist_data"], made["extra"]) for made in back] == [
        (name, data, {"=born": "-5"}) for name in names
    ]


def test_a_formula_that_is_refused_again_is_guarded_once(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, ["x", "=1+1", ""]).encode())
    header, row = rejects(bench, session)
    assert give_back(bench, session, [header, ["y", *row[1:]]])["rejected"] == 2
    assert [each[1] for each in rejects(bench, session)[1:]] == ["'=1+1", "'=1+1"]


def test_rows_of_files_with_other_headers_are_dropped_back_apart(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, ["x", "Nina", ""]).encode())
    bench.drop(sheet(["artist_name", "artist_id"], ["Fela", "y"], delimiter=";").encode(), "artists/two.csv",
               session=str(session))  # fmt: skip
    bench.run(session)
    rows = rejects(bench, session)
    assert [row[-3:] == list(ADDED) for row in rows] == [True, False, True, False]
    mended = [rows[0], [artist_id(1), *rows[1][1:]], rows[2], ["Fela", artist_id(2), *rows[3][2:]]]
    bench.drop(sheet(*mended).encode(), f"artists/{file_name(session)}")
    status = bench.run(session)
    assert status["enriched"] == 0  # no row below the second header was read under the first
    assert "second header" in status["error_message"]
    bench.assert_sound(session)
    for half in (mended[:2], mended[2:]):
        status = give_back(bench, session, half)
    assert (status["status"], status["enriched"], status["rejected"]) == ("completed", 2, 2)


def test_only_the_same_file_stands_in_for_one_that_could_not_be_read(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, ["x", "Nina", ""], ["y", "Fela", ""]).encode())
    header, nina, fela = rejects(bench, session)
    halves = [sheet(header, [artist_id(n), *row[1:]]).encode() for n, row in enumerate((nina, fela), start=1)]
    name = f"rejects-{session}"
    bench.drop(b"\xff\xfe\x00" + halves[0], f"artists/{name}.csv")  # Nina's half arrives broken
    for other in (f"{name}-2.csv", f"{name} (1).csv"):
        bench.drop(halves[1], f"artists/{other}")
        status = bench.run(session)
        bench.assert_sound(session)
        assert status["status"] == "failed", other
        assert f"artists/{name}.csv" in status["error_message"]
    bench.drop(halves[0], f"artists/again/{name}.csv")
    status = bench.run(session)
    bench.assert_sound(session)
    assert (status["status"], status["enriched"]) == ("completed", 2)


def test_our_columns_may_be_removed_but_not_mixed_up(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, ["x", "Nina", "d"]).encode())
    header, row = rejects(bench, session)
    mended = [artist_id(1), *row[1:]]
    for lines in ([mended], [[*header[-3:], *header[:3]], [*mended[-3:], *mended[:3]]], [header[:5], mended[:5]]):
        bench.drop(sheet(*lines).encode(), f"artists/{file_name(session)}")
        assert "first line" in bench.run(session)["error_message"]
    assert bench.value("SELECT count(*) FROM items") == 1
    status = give_back(bench, session, [header[:3], mended[:3]])
    assert (status["status"], status["enriched"]) == ("completed", 1)
    assert inputs(bench, session)[1][2] == {"artist_id": artist_id(1), "artist_name": "Nina", "artist_data": "d"}


def test_a_name_of_no_session_is_refused_and_says_so(bench: Workbench) -> None:
    stranger = uuid4()
    session = bench.drop(sheet([*HEADER, *ADDED], [artist_id(1), "Nina", "", "", "", "2"]).encode(),
                         f"artists/{file_name(stranger)}")  # fmt: skip
    assert session != stranger
    status = bench.sessions.status(session)
    assert (status["status"], status["error_code"]) == ("failed", "input.session")
    assert str(stranger) in status["error_message"]
    assert bench.value("SELECT count(*) FROM items") == 0


def test_a_session_that_takes_no_more_refuses_them(bench: Workbench) -> None:
    session = bench.drop(sheet(HEADER, ["x", "Nina", ""], [artist_id(5), "Fela", ""]).encode())
    header, row = rejects(bench, session)
    body = sheet(header, [artist_id(1), *row[1:]]).encode()
    bench.sessions.cancel(session)
    other = bench.drop(body, f"artists/{file_name(session)}")
    assert other != session
    assert "is cancelled" in bench.sessions.status(other)["error_message"]
    bench.execute(f"UPDATE sessions SET expired_at = now() WHERE id = '{session}'")
    assert "has expired" in bench.sessions.status(bench.drop(body, f"artists/{session}-rejects.csv"))["error_message"]


def test_records_of_films_come_back_as_what_they_were(bench: Workbench) -> None:
    films = movies_bench(bench)
    text = watched(1).decode().splitlines()
    header, row = text[0], text[1]
    bad = row.split(",")
    bad[0] = "not a day"
    session = films.drop("\r\n".join([header, row, ",".join(bad)]).encode(), "movies/me/likes/films.csv")
    films.run(session)
    shown = rejects(films, session)
    assert len(shown) == 2
    shown[1][0] = "2024-01-01"
    assert films.drop(sheet(*shown).encode(), f"movies/{file_name(session)}") == session
    films.run(session)
    films.assert_sound(session)
    kinds = films.execute(f"SELECT DISTINCT kind FROM film_records WHERE session_id = '{session}'")
    assert kinds == [["like"]]
    # Of two files that read alike it cannot be told which rows are whose.
    films.drop("\r\n".join([header, ",".join(bad)]).encode(), "movies/me/watched.csv")
    shown[1][1] = "Another name"  # the same bytes again would be a repeated file
    films.drop(sheet(*shown).encode(), f"movies/{file_name(session)}")
    found = films.execute(f"SELECT error_code FROM files WHERE session_id = '{session}' AND state = 'failed'")
    assert found == [["input.several_files"]]


FAULTS = ["id", "name", "cells", "short"]
cell = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff\ufffd"), max_size=12)
cell = st.one_of(cell, st.tuples(st.sampled_from(["=", "'=", "''@", "-", "+", "\t"]), cell).map("".join))
name = cell.filter(lambda text: bool(text.strip()))


@given(
    rows=st.lists(st.tuples(name, cell, st.sampled_from([None, None, *FAULTS])), min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    named=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_wrong_and_mended_every_row_is_enriched_once(
    bench: Workbench, rows: list[tuple[str, str, str | None]], delimiter: str, *, named: bool
) -> None:
    made, wanted = [], {}
    for i, (text, data, fault) in enumerate(rows):
        key = str(uuid4())
        wanted[key] = (text.strip(), data)
        made.append({
            None: [key, text, data], "id": [f"bad {i}", text, data], "name": [key, " ", data],
            "cells": [key, text, data, "surplus"], "short": [key],
        }[fault])  # fmt: skip
    # Excel's line says what the delimiter is; a header does as well, unless it is left out.
    session = bench.drop(sheet(HEADER, *made, delimiter=delimiter).encode(), f"artists/{uuid4()}.csv")
    first = bench.run(session)
    wrong = [(key, fault) for key, (_, _, fault) in zip(wanted, rows, strict=True) if fault]
    assert (first["enriched"], first["rejected"]) == (len(rows) - len(wrong), len(wrong))
    if wrong:
        header, *shown = rejects(bench, session, delimiter=delimiter)
        for (key, fault), row in zip(wrong, shown, strict=True):
            text, data = wanted[key]
            match fault:
                case "id":
                    row[0] = key
                case "name":
                    row[1] = guarded(text)
                case "cells":
                    assert row[2] == guarded(f"{data}{delimiter}surplus")
                    row[2], row[3] = guarded(data), ""
                case "short":
                    row[1:3] = [guarded(text), guarded(data)]
        body = sheet(header, *shown, delimiter=delimiter).encode()
        if named:
            bench.drop(body, f"artists/{uuid4()}/{file_name(session)}")
        else:
            bench.drop(body, f"artists/{uuid4()}.csv", session=str(session))
    status = bench.run(session)
    bench.assert_sound(session)
    assert (status["status"], status["total"]) == ("completed", len(rows) + len(wrong))
    assert (status["enriched"], status["rejected"]) == (len(rows), len(wrong))
    found = {
        made["artist_id"]: (made["artist_name"], made["artist_data"])
        for outcome, _, made in inputs(bench, session)
        if outcome == "enriched" and "extra" not in made
    }
    assert found == wanted
    paid = bench.execute(f"SELECT item_no, count(*) FROM calls WHERE session_id = '{session}' GROUP BY 1")
    assert all(calls == 1 for _, calls in paid)
    assert len(paid) == len(rows)
