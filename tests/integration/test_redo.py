"""Redo: settled items run again by what they ended with, what they ended with is kept, and payment is proven."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import Conflict, Gone, NotFound, UsageError
from shared.payment import calls_page, item_document, payment
from shared.states import CallState, Outcome
from shared.upstreams.base import ErrorClass
from tests.factories import (
    COST,
    at_once,
    blocked_statements,
    broken,
    claim,
    enriched,
    failure,
    make_session,
    planned,
    settle,
    start,
    started,
    until,
)
from tests.movies import drop_files, movies_bench, watched
from tests.workbench import Workbench, artist_id, artists_csv


def ended(bench: Workbench, n: int, **errors: str) -> UUID:
    """A completed session of n artists; `i3="code"` makes the third one fail with it."""
    session = bench.drop(artists_csv(n), max_failed="100%", reuse="never")
    bench.run(session)
    for name, code in errors.items():
        bench.execute(
            f"UPDATE items SET state = 'discarded', outcome = 'failed', code = '{code}', error_code = '{code}', "
            f"error_message = 'It went wrong.', result = NULL WHERE session_id = '{session}' AND item_no = {name[1:]}"
        )
        bench.execute(f"DELETE FROM artists WHERE item_no = {name[1:]}")
    return session


def opened(bench: Workbench, session: UUID) -> list[int]:
    """The numbers of the items that wait."""
    return [row[0] for row in bench.execute(
        f"SELECT item_no FROM items WHERE session_id = '{session}' AND finalized_at IS NULL ORDER BY 1")]  # fmt: skip


def history(bench: Workbench, session: UUID, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = item_document(bench.db, session, number)["history"]
    return found


@pytest.mark.parametrize(("given", "expected"), [
    ({}, [2, 3, 4]),
    ({"outcomes": ["enriched"]}, [1, 5]),
    ({"error_codes": ["upstream.timeout"]}, [2, 3]),
    ({"error_codes": ["upstream.timeout", "db.refused"]}, [2, 3, 4]),
    ({"key": artist_id(1)}, [1]),
    ({"prompt": "artist-bio/1"}, [1, 5]),
    ({"prompt": "artist-bio/7"}, []),
    ({"error_codes": ["upstream.timeout"], "key": artist_id(3)}, [3]),
    ({"error_codes": ["upstream.timeout"], "outcomes": ["enriched"]}, []),
    ({"key": artist_id(5), "prompt": "artist-bio/1"}, [5]),
    ({"key": artist_id(4), "outcomes": ["enriched"]}, []),
    ({"key": "nobody's"}, []),
])  # fmt: skip
def test_what_is_given_narrows(bench: Workbench, given: dict[str, Any], expected: list[int]) -> None:
    session = ended(bench, 5, i2="upstream.timeout", i3="upstream.timeout", i4="db.refused")
    assert bench.sessions.reprocess(session, **given) == len(expected)
    assert opened(bench, session) == expected
    kept = bench.execute(f"SELECT item_no FROM item_history WHERE session_id = '{session}' ORDER BY 1")
    assert [number for (number,) in kept] == expected
    assert (bench.run(session)["status"]) == "completed"
    bench.assert_sound(session)


def test_a_code_that_is_no_error_counts_too(bench: Workbench) -> None:
    session = bench.drop(artists_csv(2), skip_existing="true")
    bench.run(session)
    again = bench.drop(artists_csv(3), "artists/again.csv", skip_existing="true")
    bench.run(again)
    assert bench.sessions.reprocess(again, error_codes=["skip_existing"]) == 2


def test_every_earlier_end_is_kept_over_three_rounds(bench: Workbench) -> None:
    session = ended(bench, 2, i1="upstream.timeout")
    before = bench.item(session)
    assert bench.sessions.reprocess(session) == 1
    bench.run(session)
    second = bench.item(session)
    assert bench.sessions.reprocess(session, key=artist_id(1)) == 1
    bench.run(session)
    third = bench.item(session)
    assert [one["round"] for one in (before, second, third)] == [1, 2, 3]
    rounds = history(bench, session, 1)
    assert [one["round"] for one in rounds] == [1, 2]
    attempts = [*(one["attempt"] for one in rounds), third["attempt"]]
    assert attempts == sorted(set(attempts))
    for was, kept in zip((before, second), rounds, strict=True):
        for name in ("attempt", "outcome", "code", "result", "error_code", "error_message"):
            assert kept[name] == was[name]
        assert kept["finalized_at"] is not None
    assert second["outcome"] == third["outcome"] == "enriched"
    assert second["result"]["text"] != third["result"]["text"]  # asked anew, not answered from before
    assert history(bench, session, 2) == []
    bench.assert_sound(session)


def test_a_late_answer_of_the_old_round_changes_nothing(bench: Workbench) -> None:
    session = make_session(bench, 1)
    late = started(bench, session)
    assert settle(bench, broken(late, CallState.UNKNOWN, outcome=Outcome.FAILED)) == {1: "settled"}
    assert bench.sessions.reprocess(session) == 1
    assert settle(bench, enriched(late, "late")) == {1: "superseded"}
    assert bench.item(session)["result"] is None
    assert [one["outcome"] for one in history(bench, session, 1)] == ["failed"]
    bench.assert_sound(session)


def test_a_running_session_may_be_asked_too(bench: Workbench) -> None:
    session = make_session(bench, 3)
    assert settle(bench, broken(started(bench, session, 1), outcome=Outcome.FAILED)) == {1: "settled"}
    going = started(bench, session, 2)
    assert bench.sessions.reprocess(session) == 1
    assert opened(bench, session) == [1, 2, 3]
    assert bench.item(session, 2)["state"] == "running"
    assert settle(bench, enriched(going)) == {2: "settled"}
    assert bench.run(session)["enriched"] == 3
    bench.assert_sound(session)


def test_an_old_session_is_reprocessed_until_it_expires(bench: Workbench) -> None:
    session = ended(bench, 1, i1="upstream.timeout")
    bench.pass_time(29 * 86_400)
    assert bench.sessions.reprocess(session) == 1
    bench.run(session)
    bench.pass_time(2 * 86_400)
    with pytest.raises(Gone):
        bench.sessions.reprocess(session, outcomes=["enriched"])
    assert bench.value("SELECT count(*) FROM item_history") == 1
    bench.rescuer.round()
    assert bench.value("SELECT count(*) FROM item_history") == 0
    with pytest.raises(Gone):
        bench.sessions.reprocess(session)
    assert payment(bench.db, session)["succeeded"] == 2  # what was paid is known for ever


def test_what_cannot_run_again_is_refused(bench: Workbench) -> None:
    session = ended(bench, 1)
    with pytest.raises(UsageError, match="rejected"):
        bench.sessions.reprocess(session, outcomes=["rejected"])
    waiting = bench.drop(artists_csv(1), "artists/other.csv")
    bench.sessions.cancel(waiting)
    with pytest.raises(Conflict):
        bench.sessions.reprocess(waiting, key=artist_id(1))


def test_sixteen_at_once_open_each_item_once(bench: Workbench) -> None:
    session = make_session(bench, 300)
    bench.execute(
        "UPDATE items SET state = 'discarded', outcome = 'failed', attempt = 1, finalized_at = now() "
        f"WHERE session_id = '{session}'"
    )
    assert sum(at_once(16, lambda _: bench.sessions.reprocess(session))) == 300
    assert bench.execute("SELECT DISTINCT round, attempt FROM items") == [[2, 2]]
    assert bench.execute("SELECT count(*), count(DISTINCT item_no), max(round) FROM item_history") == [[300, 300, 1]]


def test_what_is_kept_is_what_is_replaced_and_not_what_was_seen_before_a_wait(bench: Workbench) -> None:
    session = make_session(bench, 1)
    settle(bench, broken(started(bench, session), outcome=Outcome.FAILED))
    with ThreadPoolExecutor(1) as pool:
        with bench.db.transaction() as other:
            other.row("hold_for_decision", session=session)
            waiting = pool.submit(bench.sessions.reprocess, session)
            until(lambda: blocked_statements(bench, "chosen AS MATERIALIZED"))
            bench.execute("UPDATE items SET round = 2, attempt = 2, error_code = 'db.refused'")  # it ended once more
        assert waiting.result(10) == 1
    assert [(one["round"], one["error_code"]) for one in history(bench, session, 1)] == [(2, "db.refused")]
    assert bench.item(session)["round"] == 3


def test_a_page_is_5000_and_a_repeated_statement_opens_nothing_twice(bench: Workbench) -> None:
    session = make_session(bench, 5_001)
    bench.execute("UPDATE items SET state = 'discarded', outcome = 'failed', attempt = 1, finalized_at = now()")
    params = {"session": session, "outcomes": ["failed"], "error_codes": [], "key": None, "prompt": None, "after": 0}
    first, again = (bench.db.row("reprocess_items", **params) for _ in range(2))
    assert (first and first["opened"], again and again["opened"]) == (5_000, 1)
    assert bench.value("SELECT count(*) FROM item_history") == 5_001
    assert bench.execute("SELECT DISTINCT round FROM items") == [[2]]


def test_what_a_film_was_before_a_person_decided_is_kept(bench: Workbench) -> None:
    films = movies_bench(bench)
    films.upstream.unknown.add("Film 1")
    session = drop_files(films, {"watched.csv": watched(1, 2)})
    assert films.run(session)["not_found"] == 1
    number = films.value(f"SELECT item_no FROM items WHERE session_id = '{session}' AND outcome = 'not_found'")
    films.sessions.match(session, number, tmdb_id=None)
    films.sessions.match(session, number, tmdb_id=None)  # while it waits: nothing has ended since
    assert [(one["round"], one["outcome"]) for one in history(films, session, number)] == [(1, "not_found")]


class TestPayment:
    def test_of_a_session_without_calls_is_all_noughts(self, bench: Workbench) -> None:
        session = make_session(bench, 1)
        found = payment(bench.db, session)
        assert found.pop("session_id") == str(session)
        assert found.pop("budget_usd") is None
        assert found.pop("by_model") == []
        assert set(found.values()) == {0}
        assert calls_page(bench.db, session, size=10) == []

    def test_counts_what_is_in_flight_and_what_may_have_been_paid_twice(self, bench: Workbench) -> None:
        session = make_session(bench, 5, budget=100_000)
        settle(bench, enriched(started(bench, session, 1)))
        settle(bench, broken(started(bench, session, 2), CallState.UNKNOWN))
        assert payment(bench.db, session)["repeated"] == 0  # nobody has asked again
        settle(bench, enriched(started(bench, session, 2)))
        settle(bench, broken(started(bench, session, 3)))  # answered with an error: asked again without a doubt
        settle(bench, enriched(started(bench, session, 3)))
        settle(bench, enriched(started(bench, session, 4)))
        bench.execute("UPDATE items SET outcome = 'failed', state = 'discarded' WHERE item_no = 4")
        bench.sessions.reprocess(session)
        settle(bench, enriched(started(bench, session, 4)))  # a deliberate second round is no repetition
        started(bench, session, 5)
        bench.execute("UPDATE sessions SET absorbed = 7")
        bench.execute(
            "UPDATE calls SET model = 'gpt-5-mini', tokens_in = 10, tokens_out = 20 WHERE state = 'succeeded'"
        )
        found = payment(bench.db, session)
        assert {name: found[name] for name in ("started", "succeeded", "failed", "unknown")} == {
            "started": 1, "succeeded": 5, "failed": 1, "unknown": 1,
        }  # fmt: skip
        assert (found["repeated"], found["items_paid_more_than_once"], found["duplicates_absorbed"]) == (1, 0, 7)
        assert found["by_model"] == [
            {"model": "gpt-5-mini", "calls": 5, "tokens_in": 50, "tokens_out": 100, "cost_usd": 5 * COST / 1e6},
            {"model": None, "calls": 3, "tokens_in": 0, "tokens_out": 0, "cost_usd": 0.0},
        ]
        assert (found["spent_usd"], found["reserved_usd"], found["budget_usd"]) == (5 * COST / 1e6, 0.002, 0.1)
        assert bench.sessions.verify(session)["payment"] == found

    def test_finds_an_item_that_was_paid_twice(self, bench: Workbench) -> None:
        session = make_session(bench, 2)
        settle(bench, enriched(started(bench, session, 1)))
        settle(bench, enriched(started(bench, session, 2)))
        bench.execute("DROP INDEX calls_paid_once_per_round")  # which forbids it
        bench.execute(
            "INSERT INTO calls (id, session_id, item_no, attempt, round, try, upstream, reserved, state, finished_at, "
            "cost) SELECT gen_random_uuid(), session_id, 2, attempt, round, 2, upstream, reserved, state, now(), cost "
            "FROM calls"
        )
        assert payment(bench.db, session)["items_paid_more_than_once"] == 1
        assert not bench.sessions.verify(session)["sound"]

    def test_pages_name_every_call_once(self, bench: Workbench) -> None:
        session, other = make_session(bench, 7), make_session(bench, 1)
        items = claim(bench, session, range(1, 8))
        calls = [planned(item) for item in items]
        start(bench, *calls)
        settle(bench, *map(enriched, calls[:5]))
        strange = started(bench, other)
        seen: list[dict[str, Any]] = []
        while page := calls_page(bench.db, session, after=seen[-1]["id"] if seen else None, size=3):
            seen += page
        assert [call["item_no"] for call in seen] == list(range(1, 8))
        assert {call["id"] for call in seen} == {call.id for call in calls}
        assert (seen[0]["reserved_usd"], seen[0]["cost_usd"], seen[-1]["cost_usd"]) == (0.001, COST / 1e6, None)
        flying = calls_page(bench.db, session, state="started", size=10)
        assert [call["item_no"] for call in flying] == [6, 7]
        for unknown in (strange.id, uuid4()):  # a page behind it would look like the last one
            with pytest.raises(NotFound):
                calls_page(bench.db, session, after=unknown, size=10)


def test_an_item_shows_its_rounds_and_calls(bench: Workbench) -> None:
    codes = iter(["upstream.timeout"])
    bench.upstream._script = lambda n, _: (
        failure(ErrorClass.PERMANENT, code=code) if (code := next(codes, None)) else None
    )
    session = bench.drop(artists_csv(1), max_failed="100%")
    bench.run(session)
    bench.sessions.reprocess(session, error_codes=["upstream.timeout"])
    bench.run(session)
    found = item_document(bench.db, session, 1)
    assert (found["outcome"], found["round"], found["key"]) == ("enriched", 2, artist_id(1))
    assert [(one["round"], one["error_code"]) for one in found["history"]] == [(1, "upstream.timeout")]
    assert [(one["round"], one["state"], one["error_code"]) for one in found["calls"]] == [
        (1, "failed", "upstream.timeout"), (2, "succeeded", None),
    ]  # fmt: skip
    assert found["calls"][1]["cost_usd"] > 0
    with pytest.raises(NotFound):
        item_document(bench.db, session, 2)
