"""`rowlift status`: the stack, its sessions, one session."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from cli.sheets import cut, details, sessions_table
from cli.showing import line_of
from tests.fake_api import (
    LOCAL,
    FakeApi,
    status_of,
    working,
)
from tests.unit.conftest import ID, Run


def test_status_of_a_session_is_the_apis_document(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    ran = run("status", ID, "--json")
    assert (ran.code, ran.answer) == (0, status_of())
    assert "10 enriched" in ran.err
    assert len(ran.out.splitlines()) == 1
    assert "10 enriched" in run("status", ID).out


def test_status_of_the_stack_names_its_api_and_newest_sessions(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    ran = run("status", "--json")
    assert (ran.answer["running"], ran.answer["api"]) == (True, LOCAL)
    assert ran.answer["sessions"][0]["session_id"] == ID
    assert ran.answer["processes"] == {"api": "running"}
    assert ID in ran.err
    assert "secret" not in ran.out + ran.err


def test_status_of_a_deployment_without_sessions(run: Run, api: FakeApi) -> None:
    api.answers["GET /api/sessions"] = {"sessions": [], "next": None}
    ran = run("status", "--api", LOCAL)
    assert "No sessions yet" in ran.out
    assert LOCAL in ran.out


def listing(api: FakeApi, count: int, *, more: bool = False) -> list[dict[str, Any]]:
    """Makes a page of sessions with long names, and perhaps more behind it."""
    name = "a-very-long-name-of-a-file-that-somebody-exported-in-2026-and-never-shortened.csv"
    page = [
        status_of(UUID(int=number << 96), source=f"gs://up/artists/{name}", total=1_234_567, open=number)
        for number in range(1, count + 1)
    ]
    api.answers["GET /api/sessions"] = {"sessions": page, "next": page[-1]["session_id"] if more else None}
    return page


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_list_fits_the_screen_and_long_names_are_cut_in_the_middle(
    run: Run, api: FakeApi, stack: dict[str, Any], width: int
) -> None:
    screen = Console(width=width, file=io.StringIO())
    screen.print(sessions_table(listing(api, 3), width))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert all("…" in line and line.rstrip().endswith(".csv") for line in lines[1:])
    assert ("00000001-0000-0000-0000-000000000000" in lines[1]) == (width >= 110)
    assert lines[1].startswith("00000001")
    assert ("1,234,566/1,234,567" in lines[1]) == (width > 60)


def test_ids_that_begin_alike_are_shown_as_far_as_they_differ() -> None:
    alike = [status_of(UUID(f"2f1c3b9e-5a{digit}d-5d57-9c1e-8f4f5a1b7c11")) for digit in "01"]
    screen = Console(width=80, file=io.StringIO())
    screen.print(sessions_table(alike, 80))
    assert {line[:12].strip() for line in screen.file.getvalue().splitlines()[1:]} == {  # type: ignore[attr-defined]
        "2f1c3b9e-5a0", "2f1c3b9e-5a1",
    }  # fmt: skip


def test_older_sessions_are_a_command_away(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    page = listing(api, 3, more=True)
    ran = run("status", "--limit", "3")
    assert "Older ones: `rowlift status --before 00000003`." in ran.out
    assert api.requests[-1].url.params["limit"] == "3"
    ran = run("status", "--before", page[-1]["session_id"], "--json")
    assert api.requests[-1].url.params["before"] == page[-1]["session_id"]
    assert ran.answer["next"] == page[-1]["session_id"]
    listing(api, 1)
    assert "Older ones" not in run("status").out
    assert run("status", ID, "--before", ID).code == 2
    api.answers["GET /api/sessions"] = {"sessions": [], "next": None}
    assert f"No session is older than {ID}." in run("status", "--before", ID).out


def shown(**changes: Any) -> str:
    screen = Console(width=80, file=io.StringIO())
    screen.print(details(status_of(**changes)))
    return screen.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_details_hold_calls_trace_and_what_was_resumed() -> None:
    resumed = {"lines": 12, "held": 9, "confirmed": 8, "unknown": 1, "contradicted": 2, "failed": 0, "torn": 1}
    text = shown(calls={"started": 2, "unknown": 1}, resumed=resumed)
    for words in (
        "2 in flight, 1 never answered, may have been charged", "abab" * 8,
        "9 of 12 lines held (8 confirmed, 1 unknown, 2 contradicted, 1 torn)", "rows       10, 0 open (100 % done)",
    ):  # fmt: skip
        assert words in " ".join(text.split()).replace("rows 10", "rows       10")


@pytest.mark.parametrize("status", ["paused", "cancelled", "quoted", "failed"])
def test_what_does_not_move_has_no_pace(status: str) -> None:
    standing = working(4, status=status)
    assert "s left" not in shown(**{name: value for name, value in standing.items() if name != "session_id"})
    assert "s left" not in line_of(standing)
    assert "3 s left" in line_of(working(4))


def test_a_stack_in_pieces_and_its_dashboard_are_shown(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    assert "not up" not in run("status").out
    stack["processes"]["ingest"] = {"state": "restarting"}
    out = run("status").out
    assert "not up     ingest; the logs say why" in out
    assert f"dashboard  {LOCAL}/" in out


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [("abcdefghij", 7, "abc…hij"), ("abcdefghij", 10, "abcdefghij"), ("abcdef", 5, "ab…ef")],
)
def test_names_are_cut_in_the_middle(text: str, width: int, short: str) -> None:
    assert cut(text, width) == short
