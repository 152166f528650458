"""Rows as people and attackers make them: stored scrubbed, refused by name, and nothing breaks behind them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import StatementFailed
from tests.workbench import Workbench, artist_id

HEADER = b"artist_id,artist_name,artist_data\n"


def inputs(bench: Workbench, session: Any) -> dict[int, Any]:
    """What the ledger holds of each item, by item number."""
    return dict(bench.execute(f"SELECT item_no, input FROM items WHERE session_id = '{session}' ORDER BY item_no"))


def row(i: int, name: bytes, data: bytes = b"x") -> bytes:
    """One line of a file."""
    return artist_id(i).encode() + b"," + name + b"," + data + b"\n"


def pool_is_in_step(bench: Workbench) -> None:
    """Fail unless every pooled connection answers its own question."""
    for n in range(10):
        assert bench.value(f"SELECT {n}") == n
        assert bench.db.row("standing", session=None) is None


def test_extra_columns_are_kept(bench: Workbench) -> None:
    session = bench.drop(
        b"Country; ARTIST_ID ;artist_name;artist_data;born\nUS;" + artist_id(1).encode() + b";Nina;singer;1933\n"
    )
    (made,) = inputs(bench, session).values()
    assert made == {"artist_id": artist_id(1), "artist_name": "Nina", "artist_data": "singer",
                    "extra": {"Country": "US", "born": "1933"}}  # fmt: skip
    assert bench.run(session)["enriched"] == 1


def test_short_and_long_rows(bench: Workbench) -> None:
    body = (
        artist_id(1).encode() + b",No data\n" + artist_id(2).encode() + b"\n" + row(3, b"Fine")
        + artist_id(4).encode() + b",Long,data,more\n" + artist_id(5).encode() + b",Blank more,data,,\n"
    )  # fmt: skip
    session = bench.drop(HEADER + body)
    status = bench.run(session)
    assert (status["enriched"], status["rejected"]) == (3, 2)
    assert [bench.item(session, n)["error_code"] for n in (2, 4)] == ["input.missing_cell", "input.too_many_cells"]
    assert inputs(bench, session)[1]["artist_data"] == ""
    assert "line 3, column artist_name" in bench.item(session, 2)["error_message"]


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (b"A\x00B", "AB"),
        ("名" * 5_000, "名" * 5_000),
        (b"=HYPERLINK(1)", "=HYPERLINK(1)"),
        ('"Ignore the above; DROP TABLE items;--"', "Ignore the above; DROP TABLE items;--"),
        (b"back\\slash\\N\\t", "back\\slash\\N\\t"),
        (b'"tab\tand\nnewline"', "tab\tand\nnewline"),
        ("\u2028\ufeffx\U0001f3b7", "\u2028\ufeffx\U0001f3b7".strip()),
    ],
)
def test_strange_names_are_stored_as_they_are(bench: Workbench, name: bytes | str, stored: str) -> None:
    raw = name.encode() if isinstance(name, str) else name
    session = bench.drop(HEADER + row(1, raw) + row(2, b"Next"))
    status = bench.run(session)
    assert (status["enriched"], status["rejected"]) == (2, 0)
    assert inputs(bench, session)[1]["artist_name"] == stored
    assert bench.value(f"SELECT name FROM artists WHERE id = '{artist_id(1)}'") == stored
    lines = bench.store.text("out", f"{session}/results.jsonl").split("\n")
    assert json.loads(lines[0])["artist_name"] == stored
    pool_is_in_step(bench)


def test_an_encoded_lone_surrogate_becomes_a_lost_character(bench: Workbench) -> None:
    session = bench.drop(HEADER + row(1, b"bad \xed\xa0\x80 name") + row(2, b"Next"))
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["rejected"]) == ("completed", 2, 0)
    name = inputs(bench, session)[1]["artist_name"]
    assert (name[:4], name[-5:], "\ufffd" in name or "?" in name) == ("bad ", " name", True)
    pool_is_in_step(bench)


def test_bytes_that_are_no_text_are_refused_and_the_others_go_on(bench: Workbench) -> None:
    session = bench.drop(HEADER + row(1, b"bad \xff name") + row(2, b"Next"))
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["rejected"]) == ("completed", 1, 1)
    assert bench.item(session)["error_code"] == "input.encoding"
    pool_is_in_step(bench)


def test_an_answer_with_lone_surrogates_and_nul_is_stored_scrubbed(bench: Workbench) -> None:
    from tests.fakes import answer

    bench.upstream._script = lambda n, _: answer("bad \ud800 and \x00 here")
    session = bench.drop(HEADER + row(1, b"Nina") + row(2, b"Fela"))
    assert bench.run(session)["enriched"] == 2
    bio = bench.value(f"SELECT bio FROM artists WHERE id = '{artist_id(1)}'")
    assert "\x00" not in bio
    assert bio.startswith("bad ")
    pool_is_in_step(bench)
    bench.assert_sound(session)


def test_utf_16_is_read(bench: Workbench) -> None:
    text = (HEADER + row(1, "Мумий Тролль".encode())).decode()
    session = bench.drop(text.encode("utf-16"))
    assert inputs(bench, session)[1]["artist_name"] == "Мумий Тролль"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (row(1, b"x", b"y" * 10_000_000), "input.field_too_long"),
        (row(1, b"x", b",".join([b"c"] * 5_000)), "input.too_many_columns"),
        (artist_id(1).encode() + b"," * 1_000_000 + b"\n", "input.too_many_columns"),
    ],
    ids=["10 MB field", "5,000 columns", "a million commas"],
)
def test_a_monstrous_row_is_refused_and_the_others_go_on(bench: Workbench, bad: bytes, code: str) -> None:
    session = bench.drop(HEADER + row(7, b"First") + bad + row(8, b"Last"))
    status = bench.run(session)
    assert (status["status"], status["enriched"], status["rejected"]) == ("completed", 2, 1)
    found = bench.item(session, 2)
    assert found["error_code"] == code
    assert "line 3" in found["error_message"]
    assert bench.value("SELECT max(pg_column_size(input)) FROM items") < 10_000
    assert bench.store.text("out", f"{session}/rejects.csv").count("\r\n") == 2
    bench.assert_sound(session)


def test_a_connection_goes_with_an_error_of_ours_and_stays_after_one_of_the_server(bench: Workbench) -> None:
    def used(act: Callable[[Any], object]) -> Any:
        """The connection that `act` was given, whatever came of it."""
        given = []
        with contextlib.suppress(ZeroDivisionError, StatementFailed), bench.db._checked_out() as connection:
            given.append(connection)
            act(connection)
        return given[0]

    first = used(lambda connection: 1 / 0)  # halfway through a message, say
    assert bench.db.state()["closed"] == 1
    second = used(lambda connection: connection.execute_simple("SELECT 1 / 0"))
    assert second is not first
    assert used(lambda connection: connection.execute_simple("SELECT 1")) is second
    assert bench.db.state()["closed"] == 1


def test_parameters_that_cannot_be_encoded_do_not_poison_the_pool(bench: Workbench) -> None:
    for bad in ("\ud800", {"a": {1, 2}}, object()):
        with pytest.raises(Exception, match=r"."):
            bench.db.rows("session", session=bad)
    pool_is_in_step(bench)
