"""Quotes in the rowlift command: what people see, and that a person at the screen is asked."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from cli.naming import short
from cli.quotes import quote_table
from tests.fake_api import SESSION, FakeApi, FakeBucket, quote_of, status_of, working
from tests.unit.conftest import Run

ID = str(SESSION)
CSV = b"artist_id,artist_name,artist_data\n5b11f4ce-a62d-471e-81fc-a69a8278c7da,Nirvana,\n"


def seen(quote: dict[str, Any]) -> str:
    console = Console(width=140, file=io.StringIO())
    with console.capture() as said:
        console.print(quote_table(quote))
    return said.get()


def waiting(**changes: Any) -> dict[str, Any]:
    return working(0, status="quoted", quote=quote_of(**changes))


def test_a_quote_says_what_it_costs_and_takes() -> None:
    text = seen(quote_of(reusable=3, free=2, budget_usd=0.001, budget_holds_likely=False, budget_holds_high=False))
    for words in (
        "12, 1 rejected, 1 duplicates", "3 answers that were paid for before", "2 that the options settle",
        "about $0.001867 (from $0.000581 to $0.007778)", "about 3,600 (from 2,700 to 14,000)",
        "gpt-6-luna, artist-bio/1, prices of 2026-11-20", "below the likely cost: it will pause",
        "about 1 min 4 s, bound by the limit of requests",
    ):  # fmt: skip
        assert words in text


def test_what_costs_nothing_shows_no_money() -> None:
    free = {"low": 0, "likely": 0, "high": 0}
    text = seen(
        quote_of(usd=free, requests={"low": 5, "likely": 10, "high": 25}, bound_by="upstream", duration_seconds=None)
    )
    assert "about 10 (from 5 to 25)" in text
    assert "not known, bound by the upstream alone" in text
    assert "$" not in text
    assert "tokens" not in text


def test_status_shows_the_quote(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    api.statuses[SESSION] = [waiting()]
    ran = run("status", ID)
    assert "about $0.001867" in ran.out
    assert run("status", ID, "--json").answer["quote"] == quote_of()


def test_a_waiting_session_comes_with_its_quote_and_both_ways_out(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    Path("a.csv").write_bytes(CSV)
    api.default = [working(0, status="processing"), waiting()]
    ran = run("run", "a.csv", "--pipeline", "artists", "--approve", "ask")
    assert ran.code == 1  # nothing ran
    assert "about $0.001867" in ran.out
    session = bucket.session()
    assert f"`rowlift approve {short(session)}` starts it, `rowlift cancel {short(session)}` ends it." in ran.out
    assert api.sent("POST", f"/api/session/{session}/approve") == []  # nobody was there to be asked


def test_one_above_the_amount_says_why_it_waits(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    why = "The likely cost of $12.30 is above APPROVE_ABOVE_USD, $10.00; approve it, or cancel."
    api.statuses[SESSION] = [{**waiting(waits_because=why), "pause_reason": why}]
    assert why in run("watch", ID).out


@pytest.mark.parametrize(("typed", "goes_on"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_a_person_at_the_screen_is_asked(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch, typed: str,
    goes_on: bool,
) -> None:  # fmt: skip
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    Path("a.csv").write_bytes(CSV)
    api.default = [waiting(), waiting(), waiting(), status_of()] if goes_on else [waiting()]
    monkeypatch.setattr(sys, "stdin", Keyboard(typed))
    monkeypatch.setattr("cli.terminal.Terminal.asks", property(lambda self: True))
    ran = run("run", "a.csv", "--pipeline", "artists", "--approve", "ask")
    assert ran.code == (0 if goes_on else 1)
    assert "Go on? [y/N]" in ran.err
    session: UUID = bucket.session()
    assert len(api.sent("POST", f"/api/session/{session}/approve")) == goes_on
    assert ("waits for approval" in ran.out) is not goes_on
    assert ran.out.count("about $0.001867") == 1  # the verdict does not repeat it


def test_one_that_could_not_be_quoted_says_why(run: Run, api: FakeApi, stack: dict[str, Any]) -> None:
    why = "The session could not be quoted; approve it, or cancel."
    quote = {"error": "There is no prompt 'x/1'.", "waits_because": why}
    api.statuses[SESSION] = [working(0, status="quoted", quote=quote, pause_reason=why)]
    ran = run("watch", ID)
    assert (ran.code, why in ran.out, ran.out.count("There is no prompt 'x/1'.")) == (1, True, 1)
    assert "There is no prompt 'x/1'." in run("status", ID).out


def test_a_dry_run_shows_prompts_and_statements(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    Path("a.csv").write_bytes(CSV)
    item = {
        "item_no": 1,
        "key": "5b11",
        "request": {"instructions": "Write.", "input": "[Nirvana]"},
        "effect": "INSERT INTO artists",
    }
    preview = {"items": [item], "pool": {"pool_size": 8, "window": 5000}}
    api.default = [status_of(enriched=0, skipped=10, quote=quote_of(preview=preview))]
    out = run("run", "a.csv", "--pipeline", "artists", "--dry-run").out
    for words in (
        "about $0.001867",
        "Item 1, 5b11",
        "instructions: Write.",
        "input: [Nirvana]",
        "INSERT INTO artists",
        '"window": 5000',
    ):
        assert words in out


def test_reuse_and_call_mode_travel_as_metadata(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket
) -> None:
    Path("a.csv").write_bytes(CSV)
    api.default = [status_of()]
    assert run("upload", "a.csv", "--pipeline", "artists", "--reuse", "never", "--call-mode", "background").code == 0
    assert bucket.uploaded[0]["metadata"] == {"reuse": "never", "call-mode": "background"}
    refused = run("run", "a.csv", "--pipeline", "artists", "--reuse", "maybe")
    assert (refused.code, "'always' or 'never'" in refused.err) == (2, True)
