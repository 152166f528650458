"""Watching: when it ends, what it puts up with, and what is shown meanwhile."""

from __future__ import annotations

import io
import itertools
from typing import Any
from uuid import UUID

import httpx
import pytest
from rich.console import Console

from cli.client import Api, NoSuchSession
from cli.faults import Unreachable
from cli.sheets import details, sessions_table
from cli.showing import answers_table, duration, findings_table, line_of, money, picture
from cli.terminal import Terminal, speak_of
from cli.verdict import verdict
from cli.watching import Pace, Watcher, summed
from tests.fake_api import LOCAL, SESSION, FakeApi, FakeBucket, problem, quote_of, status_of, uploaded, working

OTHER = UUID("11111111-5a0d-5d57-9c1e-8f4f5a1b7c11")


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watcher(fake: FakeApi, *, clock: Clock | None = None, screen: io.StringIO | None = None) -> Watcher:
    clock = clock or Clock()
    terminal = Terminal(as_json=False)
    if screen is not None:
        terminal.progress = Console(file=screen, force_terminal=True, width=110)
    service = Api(LOCAL, transport=httpx.MockTransport(fake))
    return Watcher(service, terminal, clock=clock, sleep=clock.sleep)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "paused", "quoted"])
def test_it_ends_when_nothing_more_happens_without_a_person(end: str, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeApi({SESSION: [working(0), working(4), status_of(status=end)]})
    [found] = watcher(fake).watch([SESSION])
    assert found["status"] == end
    told = capsys.readouterr()
    said = told.err.splitlines()
    assert len(said) == 1  # a line for each change of status where there is no screen, the end being the answer's
    assert said[0].startswith("list.csv: enriching · 0 of 10 (0 %)")
    assert told.out == ""


def test_without_a_screen_a_line_comes_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeApi({SESSION: [*(working(1 + i // 10) for i in range(45)), status_of()]})
    watcher(fake).watch([SESSION])
    assert len(capsys.readouterr().err.splitlines()) == 3  # at 0, 5 and 10 seconds


def test_a_fresh_upload_may_take_a_minute_to_appear() -> None:
    unknown = problem(404, "There is no such session.")
    fake = FakeApi(
        {SESSION: [unknown] * 200 + [working(5), status_of()]}, bucket=FakeBucket.holding("artists/list.csv")
    )
    [found] = watcher(fake).watch([SESSION], uploads=[uploaded()])
    assert found["status"] == "completed"


def test_an_upload_nobody_is_told_of_ends_the_watch_after_a_minute() -> None:
    clock = Clock()
    with pytest.raises(Unreachable, match="notification of the upload has not arrived"):
        watcher(FakeApi(), clock=clock).watch([SESSION], uploads=[uploaded()])
    assert 160 <= clock.now <= 162


def test_a_session_that_is_not_fresh_must_exist() -> None:
    with pytest.raises(NoSuchSession):
        watcher(FakeApi()).watch([SESSION])


def test_an_api_that_restarts_does_not_end_the_watch() -> None:
    away = httpx.ConnectError("refused")
    fake = FakeApi({SESSION: [working(1), *[away] * 50, working(2), *[away] * 50, status_of()]})
    assert watcher(fake).watch([SESSION])[0]["status"] == "completed"


def test_an_api_that_stays_away_does() -> None:
    clock = Clock()
    fake = FakeApi({SESSION: [working(1), httpx.ConnectError("refused")]})
    with pytest.raises(Unreachable):
        watcher(fake, clock=clock).watch([SESSION])
    assert 130 <= clock.now <= 131


def test_a_cancelled_session_is_waited_for_until_its_last_items_are_settled() -> None:
    ending = status_of(status="cancelled", open=2, running=2, completed_at=None)
    fake = FakeApi({SESSION: [ending, ending, status_of(status="cancelled")]})
    [found] = watcher(fake).watch([SESSION])
    assert found["completed_at"]


def test_but_not_for_ever() -> None:
    clock = Clock()
    fake = FakeApi({SESSION: [status_of(status="failed", open=2, completed_at=None)]})
    assert watcher(fake, clock=clock).watch([SESSION])[0]["status"] == "failed"
    assert 110 <= clock.now <= 111


def test_of_several_sessions_only_those_at_work_are_asked_again() -> None:
    fake = FakeApi({SESSION: [status_of()], OTHER: [working(1), working(9), status_of(OTHER)]})
    found = watcher(fake).watch([SESSION, OTHER])
    assert [each["session_id"] for each in found] == [str(SESSION), str(OTHER)]
    asked = [str(request.url.path).split("/")[3] for request in fake.requests]
    assert asked.count(str(SESSION)) == 1
    assert asked.count(str(OTHER)) == 3


def test_a_slow_answer_is_asked_for_less_often() -> None:
    clock, asked = Clock(), []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(clock.now)
        clock.now += 1.0
        return httpx.Response(200, json=status_of() if len(asked) == 3 else working(1))

    service = Api(LOCAL, transport=httpx.MockTransport(handler))
    Watcher(service, Terminal(as_json=False), clock=clock, sleep=clock.sleep).watch([SESSION])
    assert [later - earlier for earlier, later in itertools.pairwise(asked)] == [6.0, 6.0]


def test_on_a_screen_a_bar_moves_with_counts_pace_and_money() -> None:
    screen = io.StringIO()
    fake = FakeApi({SESSION: [working(0), working(5), status_of()]})
    watcher(fake, screen=screen).watch([SESSION], names={SESSION: "mine.csv"})
    for words in ("mine.csv", "completed", "10/10", "10 enriched", "$0.0125 spent", "━"):
        assert words in screen.getvalue()
    moving = plain(picture([working(5)]))
    for words in ("list.csv", "enriching", "5/10", "5 enriched", "2.0/s, 2 s left", "━", "…"):
        assert words in moving


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.seen({"status": "uploading"}, 0.0) == {"status": "uploading"}
    for now in (0.0, 1.0, 2.0, 3.0):
        assert pace.seen(working(0, 100), now)["items_per_second"] == 2.0  # the API's, until there is one of our own
    assert pace.seen(working(20, 100), 4.0) == {**working(20, 100), "items_per_second": 20.0, "eta_seconds": 4.0}
    for second in range(5, 16):
        found = pace.seen(working(20 + second - 4, 100), float(second))
    assert found["items_per_second"] == pytest.approx(1.0)


def test_sums_add_counts_and_money_and_keep_the_worst_status() -> None:
    failed = status_of(
        OTHER, status="failed", total=4, enriched=1, failed=3, error_message="Too many failed.", budget_usd=1.0
    )
    total = summed([status_of(), failed])
    assert (total["status"], total["total"], total["enriched"], total["failed"]) == ("failed", 14, 11, 3)
    assert total["spent_usd"] == pytest.approx(0.025)
    assert total["budget_usd"] is None
    assert total["error_message"] == "Too many failed."
    assert total["session_ids"] == [str(SESSION), str(OTHER)]
    assert total["progress_percent"] == 100.0
    assert summed([failed]) == failed
    assert summed([failed, failed])["budget_usd"] == 2.0


@pytest.mark.parametrize(
    ("usd", "words"), [(None, "none"), (0, "$0.00"), (0.003824, "$0.003824"), (0.5, "$0.5"), (12.345, "$12.35")]
)
def test_money(usd: float | None, words: str) -> None:
    assert money(usd) == words


@pytest.mark.parametrize(("seconds", "words"), [(3.4, "3 s"), (75, "1 min 15 s"), (7290, "2 h 1 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def plain(what: Any) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(what)
    return console.file.getvalue()


def test_pictures_say_why_a_session_stands_and_what_its_budget_is() -> None:
    text = plain(picture([status_of(status="paused", pause_reason="The budget is spent.", budget_usd=2.0, open=4)]))
    assert "The budget is spent." in text
    assert "spent of $2.00" in text
    assert "●" in text


def test_details_and_lines_hold_what_was_asked_for_and_take_brackets_as_they_are() -> None:
    status = status_of(
        status="failed", error_message="Column [artist_id] is missing.", reserved_usd=0.1, source="gs://up/[red]x"
    )
    for text in (plain(details(status)), line_of(status)):
        assert "Column [artist_id] is missing." in text
        assert "10 enriched" in text
    assert "gs://up/[red]x" in plain(details(status))
    assert "reserved" in plain(details(status))
    assert line_of({"session_id": None, "session_ids": ["a", "b"], "status": "failed"}) == "2 sessions: failed"
    assert "5.0/s" in line_of(working(5, items_per_second=5.0))


def test_tables() -> None:
    assert str(SESSION) in plain(sessions_table([status_of()], 140))
    assert "I5" in plain(findings_table([{"rule": "I5", "finding": "item 3 was paid for twice"}]))
    long = plain(
        answers_table(
            [{"artist_name": "AC/DC", "response_text": "loud " * 50}, {"artist_name": "B", "response_text": None}]
        )
    )
    assert "AC/DC" in long
    assert "…" in long


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (status_of(), 0, ""),
        (status_of(status="quoted", open=7), 1, "7 rows would run. `rowlift approve"),
        (status_of(status="paused", pause_reason="No hurry", open=3), 1, "paused: No hurry. `rowlift resume"),
        (status_of(status="paused", budget_usd=0.0125, open=3), 1, "--budget USD` goes on with more than $0.0125"),
        (status_of(status="failed", error_message="No column."), 1, "failed: No column."),
        (status_of(status="cancelled"), 1, "was cancelled"),
    ],
)  # fmt: skip
def test_verdicts(status: dict[str, Any], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict([status], Terminal(as_json=False)) == code
    assert words in capsys.readouterr().out


def test_one_bad_session_spoils_the_verdict() -> None:
    assert verdict([status_of(), status_of(status="failed")], Terminal(as_json=False)) == 1


def test_a_wrong_key_says_that_a_stack_keeps_the_one_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    held = status_of(status="paused", pause_reason="upstream.bad_key: OpenAI does not accept the key", open=3)
    verdict([held], Terminal(as_json=False))
    assert "set the right one, `rowlift down`, `rowlift up --detach`; then `rowlift resume" in capsys.readouterr().out
    speak_of(["watch", "--api", "https://api-x.a.run.app"])
    verdict([held], Terminal(as_json=False))
    speak_of([])
    assert "rowlift down" not in capsys.readouterr().out


def test_what_waits_for_approval_says_how_much_of_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    verdict([status_of(status="quoted", open=25, quote=quote_of(to_run=3))], Terminal(as_json=False))
    assert "25 rows would run, 3 of them with a request." in capsys.readouterr().out
