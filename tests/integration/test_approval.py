"""Approval: what nobody looked at does not run, what was approved does; a failed quote keeps nothing from its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from shared import comparing, paging
from shared.db import Database
from shared.errors import Conflict, LedgerDown, StatementFailed, TooSlow
from shared.quoting import UNQUOTED
from shared.states import SessionStatus
from tests.factories import claim, make_session, planned, start
from tests.movies import drop_files, movies_bench, watched
from tests.workbench import Workbench, artist_id, artists_csv

OWN = artist_id(77)
AMOUNT = 0.005  # dollars: likely enough for seven artists, not for fifty


@pytest.fixture
def watchful(bench: Workbench) -> Workbench:
    """A workbench that looks at every cost, and messages of one item."""
    return Workbench(
        db=bench.db, url=bench.url, changes={"approve_above_usd": AMOUNT}, pipeline_changes={"items_per_message": 1}
    )


def running(bench: Workbench) -> UUID:
    """A cheap session that went on by itself; the notices of its five items are out."""
    session = bench.drop(artists_csv(5), session=OWN)
    assert bench.publisher.take("finalize")
    bench.finalizer.finalize(session)
    assert (bench.facts(session)["status"], bench.facts(session)["approval"]) == ("enriching", "passed")
    return session


@contextmanager
def statement_fails(bench: Workbench, name: str, sqlstate: str) -> Iterator[list[str]]:
    """A ledger that refuses one statement; gives what was refused."""
    real, refused = Database.rows, list[str]()

    def rows(self: Database, asked: str, **params: Any) -> Any:
        if asked != name:
            return real(self, asked, **params)
        refused.append(asked)
        failure = StatementFailed(f"PostgreSQL says {sqlstate}", sqlstate=sqlstate, constraint=None)
        if failure.timed_out:
            raise TooSlow(str(failure)) from failure
        raise failure

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Database, "rows", rows)
        yield refused


def manifest(bench: Workbench, session: UUID) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.store.text("out", f"{session}/manifest.json"))
    return found


class TestAFileThatJoins:
    @pytest.mark.parametrize("ended", [False, True])
    def test_what_went_on_by_itself_is_asked_about_again(self, watchful: Workbench, ended: bool) -> None:
        session = running(watchful)
        if ended:
            assert watchful.run(session)["status"] == "completed"
        asked = len(watchful.upstream.requests)
        assert watchful.drop(artists_csv(500, first=6), "artists/b.csv", session=OWN) == session
        status = watchful.run(session)
        assert (status["status"], status["quote"]["to_run"]) == ("quoted", 500 if ended else 505)
        assert "is above APPROVE_ABOVE_USD" in status["pause_reason"]
        assert len(watchful.upstream.requests) == asked  # the notices that were out ran nothing
        watchful.sessions.approve(session)
        assert watchful.run(session)["enriched"] == 505
        watchful.assert_sound(session)

    def test_a_cheap_one_goes_on_and_loses_no_time(self, watchful: Workbench) -> None:
        """Notices that came while it waited were acknowledged; were they held for lost it would stand for 30 s."""
        session = running(watchful)
        out = watchful.value("SELECT count(*) FROM items WHERE dispatched_at IS NOT NULL")
        assert out == 5
        watchful.drop(artists_csv(2, first=6), "artists/b.csv", session=OWN)
        while watchful.deliver():
            pass
        ended = watchful.sessions.status(session)
        assert (ended["status"], ended["enriched"]) == ("completed", 7)

    def test_nothing_of_it_is_called_before_it_is_read(self, watchful: Workbench) -> None:
        session = running(watchful)
        (item,) = claim(watchful, session, [1])
        watchful.drop(artists_csv(500, first=6), "artists/b.csv", session=OWN)
        assert set(start(watchful, planned(item)).values()) == {"held"}
        assert claim(watchful, session, [2]) == ()

    def test_what_a_person_approved_stays_approved(self, watchful: Workbench) -> None:
        session = watchful.drop(artists_csv(50), session=OWN)
        assert watchful.run(session)["status"] == "quoted"
        watchful.sessions.approve(session)
        watchful.drop(artists_csv(500, first=51), "artists/b.csv", session=OWN)
        assert watchful.facts(session)["approval"] == "given"
        assert watchful.run(session)["enriched"] == 550

    def test_the_same_file_announced_again_asks_nobody(self, watchful: Workbench) -> None:
        uploaded = watchful.store.put("up", "artists/list.csv", artists_csv(5))
        session = watchful.ingest.take(uploaded)
        watchful.deliver()
        watchful.ingest.take(uploaded)
        assert watchful.facts(session)["approval"] == "passed"


class TestApproving:
    def test_a_lost_answer_of_the_ledger_is_made_good(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        session = bench.drop(artists_csv(3), approve="ask")
        assert bench.run(session)["status"] == "quoted"
        _lose_first_answer(monkeypatch, "approve_session")
        bench.sessions.approve(session)
        assert len(bench.publisher.messages) == 1
        assert bench.run(session)["status"] == "completed"

    def test_what_does_not_wait_is_not_approved(self, bench: Workbench) -> None:
        plain = bench.drop(artists_csv(3))
        with pytest.raises(Conflict):
            bench.sessions.approve(plain)
        asked = bench.drop(artists_csv(3), "artists/b.csv", approve="ask")
        bench.sessions.approve(asked)
        with pytest.raises(Conflict):
            bench.sessions.approve(asked)


def _lose_first_answer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the first run of a statement commit and its answer get lost."""
    from shared import db

    real, lost = db._run, list[str]()

    def run(connection: Any, asked: str, params: dict[str, Any]) -> Any:
        found = real(connection, asked, params)
        if asked == name and not lost:
            lost.append(asked)
            raise LedgerDown
        return found

    monkeypatch.setattr(db, "_run", run)


class TestAQuoteThatCannotBeMade:
    @pytest.mark.parametrize("sqlstate", ["57014", "42P01"])
    def test_it_waits_for_a_person_and_is_tried_once(
        self, watchful: Workbench, capfd: pytest.CaptureFixture[str], sqlstate: str
    ) -> None:
        session = watchful.drop(artists_csv(3))
        with statement_fails(watchful, "artists_forecast", sqlstate) as refused:
            watchful.run(session)
            for _ in range(3):
                status = watchful.sessions.status(session)
            assert refused == ["artists_forecast"]
        assert (status["status"], status["pause_reason"]) == ("quoted", UNQUOTED)
        assert status["quote"] == {"error": f"PostgreSQL says {sqlstate}", "waits_because": UNQUOTED}
        assert capfd.readouterr().out.count("Session cannot be quoted") == 1
        assert watchful.calls(session) == []
        watchful.sessions.approve(session)
        ended = watchful.run(session)
        assert (ended["status"], ended["pause_reason"], ended["enriched"]) == ("completed", None, 3)

    def test_a_dry_run_ends_and_says_why_it_has_none(self, bench: Workbench) -> None:
        with statement_fails(bench, "artists_forecast", "57014"):
            ended = bench.run(bench.drop(artists_csv(3), dry_run="true"))
        assert (ended["status"], ended["quote"]["waits_because"]) == ("completed", None)
        assert ended["quote"]["error"] == "PostgreSQL says 57014"

    def test_a_ledger_that_is_away_is_no_reason(self, watchful: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        session = watchful.drop(artists_csv(3))
        watchful.publisher.take("finalize")
        monkeypatch.setattr(watchful.pipeline.__class__, "forecast", _away)
        with pytest.raises(LedgerDown):
            watchful.finalizer.finalize(session)
        assert watchful.facts(session)["quote"] is None


def _away(*_: Any) -> Any:
    raise LedgerDown


class TestInPages:
    def test_changes_are_the_same_page_by_page(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        first = bench.drop(artists_csv(20))
        bench.run(first)
        data = artists_csv(3).replace(b"Person", b"Group") + _rows(*range(9, 12), *range(30, 41))
        second = bench.drop(data)
        bench.run(second)
        whole = manifest(bench, second)["changes"]
        assert whole == {
            "compared_with": str(first), "added": 11, "changed": 3, "unchanged": 3, "gone": 14,
            "gone_keys": [artist_id(i) for i in (*range(4, 9), *range(12, 21))],
        }  # fmt: skip
        pages = _counted(monkeypatch, "gone")
        for size in (1, 3, 20):
            monkeypatch.setattr(paging, "PAGE", size)
            assert comparing.changes(bench.db, second) == {"changes": whole}
        assert len(pages) == 20 + 7 + 1

    def test_forecasts_are_the_same_page_by_page(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        assert bench.run(bench.drop(artists_csv(4)))["enriched"] == 4
        session = bench.drop(artists_csv(11), "artists/b.csv", approve="ask")
        whole = bench.run(session)["quote"]
        assert (whole["to_run"], whole["reusable"]) == (7, 4)
        pages = _counted(monkeypatch, "artists_forecast")
        monkeypatch.setattr(paging, "PAGE", 5)
        bench.execute("UPDATE sessions SET quoted_epoch = NULL")
        assert bench.sessions.status(session)["quote"] == whole
        assert len(pages) == 3

    def test_films_too(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(paging, "PAGE", 2)
        made = movies_bench(bench)
        quote = made.run(drop_files(made, {"watched.csv": watched(1, 2, 3, 4, 5)}, approve="ask"))["quote"]
        assert (quote["to_run"], quote["requests"]["likely"]) == (5, 10)


def _rows(*numbers: int) -> bytes:
    """Records of `artists_csv` by their numbers."""
    return b"".join(artists_csv(1, first=i).split(b"\r\n", 1)[1] for i in numbers)


def _counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """A list that grows with each run of a statement."""
    real, seen = Database.rows, list[str]()

    def rows(self: Database, asked: str, **params: Any) -> Any:
        seen.extend([asked] if asked == name else [])
        return real(self, asked, **params)

    monkeypatch.setattr(Database, "rows", rows)
    return seen


class TestAnEndThatNothingKeepsBack:
    @pytest.mark.parametrize("statement", ["changes", "compare_with"])
    def test_a_session_ends_although_its_changes_take_too_long(self, bench: Workbench, statement: str) -> None:
        bench.run(bench.drop(artists_csv(3)))
        session = bench.drop(artists_csv(4))
        with statement_fails(bench, statement, "57014"):
            assert bench.run(session)["status"] == SessionStatus.COMPLETED
        found = manifest(bench, session)
        assert (found["changes"], "too long" in found["changes_error"]) == (None, True)

    def test_what_the_ledger_refuses_for_another_reason_is_raised(self, bench: Workbench) -> None:
        session = bench.drop(artists_csv(4))
        with statement_fails(bench, "compare_with", "42P01"), pytest.raises(StatementFailed):
            bench.run(session)

    def test_a_statement_that_is_cut_off_says_that_it_was_too_slow(self, bench: Workbench) -> None:
        session = make_session(bench, 20_000)
        with bench.db._checked_out() as connection:
            connection.execute_simple("SET statement_timeout = 1")
        with pytest.raises(TooSlow):
            bench.db.rows(
                "artists_forecast", session=session, after=0, upto=20_000, configuration="x", skip_existing=True,
                must_exist=True,
            )  # fmt: skip


def test_nothing_of_the_rows_outlives_their_thirty_days(bench: Workbench) -> None:
    session = bench.drop(artists_csv(3), dry_run="true")
    before = bench.run(session)["quote"]
    assert before["preview"]["items"]
    bench.pass_time(30 * 86_400 + 1)
    assert bench.rescuer.round().expired == 1
    after = bench.facts(session)["quote"]
    assert after == {name: value for name, value in before.items() if name != "preview"}
    assert "Nina" not in bench.value("SELECT string_agg(sessions::text, '') FROM sessions")
