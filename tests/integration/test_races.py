"""Many at once and one winner: claims, settlements, dispatchers, calls."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from uuid import uuid4

import pytest

from shared.calls import Verdict
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.items import Item
from shared.rescuing import LATE
from shared.states import SessionStatus
from tests.factories import (
    COST,
    LEASE,
    RESERVE,
    at_once,
    blocked_statements,
    broken,
    claim,
    enriched,
    make_session,
    planned,
    settle,
    start,
    started,
    until,
)
from tests.workbench import Workbench, artists_csv

MANY = 16


def test_one_of_sixteen_settlements_of_an_attempt_wins(bench: Workbench) -> None:
    session = make_session(bench, 1)
    call = started(bench, session)
    verdicts = at_once(MANY, lambda i: settle(bench, enriched(call, f"Bio {i}."))[1])
    assert Counter(verdicts) == {"settled": 1, "already": MANY - 1}
    winner = f"Bio {verdicts.index('settled')}."
    assert bench.item(session)["result"]["text"] == winner
    assert bench.value("SELECT bio FROM artists") == winner
    assert bench.facts(session)["spent"] == COST
    bench.assert_sound(session)


def test_a_late_writer_changes_nothing_once_a_newer_attempt_was_claimed(bench: Workbench) -> None:
    session = make_session(bench, 1)
    late = started(bench, session)
    bench.pass_time(LEASE + 1)
    bench.rescuer.round()
    bench.pass_time(LATE)
    newer = started(bench, session)
    before = (bench.facts(session), bench.item(session), bench.execute("SELECT count(*) FROM artists"))
    assert settle(bench, enriched(late, "Too late.")) == {1: "superseded"}
    after = (bench.facts(session), bench.item(session), bench.execute("SELECT count(*) FROM artists"))
    assert _timeless(after[0]) == _timeless(before[0])
    assert after[1:] == before[1:]
    assert bench.calls(session) == [(1, 1, "unknown", RESERVE, COST), (1, 2, "started", RESERVE, None)]
    assert settle(bench, enriched(newer, "In time.")) == {1: "settled"}
    assert bench.value("SELECT bio FROM artists") == "In time."
    bench.assert_sound(session)


def test_a_late_failure_frees_no_money_once_a_newer_attempt_was_claimed(bench: Workbench) -> None:
    session = make_session(bench, 1)
    late = started(bench, session)
    bench.pass_time(LEASE + 1)
    bench.rescuer.round()
    bench.pass_time(LATE)
    claim(bench, session, [1])
    assert settle(bench, broken(late)) == {1: "superseded"}
    assert bench.item(session)["failures"] == 0
    assert (bench.facts(session)["reserved"], bench.facts(session)["spent"]) == (RESERVE, 0)
    bench.assert_sound(session)


def test_a_late_answer_is_welcome_while_no_newer_attempt_was_claimed(bench: Workbench) -> None:
    session = make_session(bench, 1)
    late = started(bench, session)
    bench.pass_time(LEASE + 1)
    assert bench.rescuer.round().freed == 1
    assert bench.calls(session) == [(1, 1, "unknown", RESERVE, None)]
    assert bench.facts(session)["reserved"] == RESERVE
    assert settle(bench, enriched(late)) == {1: "settled"}
    assert bench.calls(session) == [(1, 1, "succeeded", RESERVE, COST)]
    assert (bench.facts(session)["reserved"], bench.facts(session)["spent"]) == (0, COST)
    assert bench.value("SELECT bio FROM artists") == "A bio."
    bench.assert_sound(session)


def test_a_late_answer_that_could_not_be_written_is_kept_for_the_next_attempt(bench: Workbench) -> None:
    session = make_session(bench, 1)
    late = started(bench, session)
    bench.pass_time(LEASE + 1)
    bench.rescuer.round()
    kept = replace(enriched(late), outcome=None, code="answered", domain=None)
    assert settle(bench, kept) == {1: "settled"}
    assert bench.calls(session) == [(1, 1, "succeeded", RESERVE, COST)]
    assert bench.run(session)["enriched"] == 1
    assert bench.upstream.requests == []  # it is not paid for again
    assert bench.value("SELECT bio FROM artists") == "A bio."
    bench.assert_sound(session)


def test_sixteen_dispatchers_never_overrun_the_window(bench: Workbench) -> None:
    session = make_session(bench, 1_700)
    sent = at_once(MANY, lambda i: bench.dispatcher.nudge(session).dispatched)
    window = bench.settings.window("artists")
    assert sum(sent) == window == 5_000 or sum(sent) == min(window, 1_700)
    named = [i for m in bench.publisher.take("artists") for i in _items(m.data)]
    assert len(named) == len(set(named)) == sum(sent)


def test_sixteen_dispatchers_never_overrun_a_small_window(db: Database, database_url: str) -> None:
    bench = Workbench(db=db, url=database_url, pipeline_changes={"window": 100})
    session = make_session(bench, 1_700)
    for taken in (0, 30):  # an empty window, then one low by 30
        claim(bench, session, range(1, taken + 1))
        sent = at_once(MANY, lambda i: bench.dispatcher.nudge(session).dispatched)
        assert sum(sent) == (taken or 100)
        assert bench.value("SELECT count(*) FROM items WHERE dispatched_at IS NOT NULL") == 100


def test_a_dispatcher_held_up_leaves_items_alone_that_are_due_later(bench: Workbench) -> None:
    session = make_session(bench, 2)
    (item,) = claim(bench, session, [2])
    with bench.db.transaction() as other:
        other._connection.execute_simple(f"SELECT FROM items WHERE session_id = '{session}' FOR UPDATE")
        bench.execute("SELECT 1")
        waiting = threading.Thread(target=bench.dispatcher.nudge, args=(session,))
        waiting.start()
        until(lambda: blocked_statements(bench, "outside AS MATERIALIZED"))
        other._connection.execute_simple(
            f"UPDATE items SET due_at = now() + interval '1 hour' WHERE session_id = '{session}' AND item_no = 1"
        )
    waiting.join(10)
    assert item.number == 2
    assert bench.value("SELECT count(*) FROM items WHERE dispatched_at IS NOT NULL") == 0


@pytest.mark.parametrize("first", range(4))
def test_two_last_items_settling_together_always_lead_to_finalize(db: Database, database_url: str, first: int) -> None:
    # Two processes: within one the last to leave nudges, which would hide the race.
    one, two = (Workbench(db=db, url=database_url) for _ in range(2))
    sessions = [make_session(one, 2) for _ in range(15)]
    for session in sessions:
        calls = [started(one, session, number) for number in (1, 2)]

        def end(i: int, calls: list = calls) -> bool:  # type: ignore[type-arg]
            mine = (one, two)[i]
            assert settle(mine, enriched(calls[i]))[i + 1] == "settled"
            return mine.dispatcher.nudge(calls[i].item.session).finished

        assert any(at_once(2, end))
    for session in sessions:
        assert one.finalizer.finalize(session) is SessionStatus.COMPLETED
        one.assert_sound(session)


def test_one_of_sixteen_claims_of_an_item_wins(bench: Workbench) -> None:
    session = make_session(bench, 1)
    claims = at_once(MANY, lambda i: claim(bench, session, [1]))
    assert Counter(map(len, claims)) == {1: 1, 0: MANY - 1}
    assert bench.item(session)["attempt"] == 1


def test_sixteen_claims_of_many_items_share_them(bench: Workbench) -> None:
    session = make_session(bench, 64)
    claims = at_once(MANY, lambda i: claim(bench, session, [1 + (i * 4 + k) % 64 for k in range(16)]))
    numbers = sorted(item.number for got in claims for item in got)
    assert numbers == list(range(1, 65))


def test_the_same_claim_repeated_finds_its_items_again(bench: Workbench) -> None:
    session = make_session(bench, 3)
    token = uuid4()
    first = claim(bench, session, [1, 2, 3], token)
    assert claim(bench, session, [1, 2, 3], token) == first
    assert claim(bench, session, [1, 2, 3]) == ()
    assert [item.attempt for item in first] == [1, 1, 1]


def test_a_claim_held_up_answers_the_attempt_the_ledger_has(bench: Workbench) -> None:
    session = make_session(bench, 2)
    got: list[tuple[Item, ...]] = []
    with bench.db.transaction() as other:
        other._connection.execute_simple(f"SELECT FROM items WHERE session_id = '{session}' AND item_no = 1 FOR UPDATE")
        waiting = threading.Thread(target=lambda: got.append(claim(bench, session, [1, 2])))
        waiting.start()
        until(lambda: blocked_statements(bench, "SELECT id, options, trace_id FROM sessions"))
        # Meanwhile item 2 is run, fails for good, and a person opens it again.
        settle(bench, broken(started(bench, session, 2), outcome=_failed()))
        bench.execute(
            f"UPDATE items SET state = 'available', outcome = NULL, finalized_at = NULL, round = 2 "
            f"WHERE session_id = '{session}' AND item_no = 2"
        )
    waiting.join(10)
    for item in got[0]:
        found = bench.item(session, item.number)
        assert (item.attempt, item.round, item.failures) == (found["attempt"], found["round"], found["failures"])


def test_the_same_calls_started_twice_reserve_once(bench: Workbench) -> None:
    session = make_session(bench, 2)
    calls = [planned(item) for item in claim(bench, session, [1, 2])]
    first = start(bench, *calls)
    assert start(bench, *calls) == first == {1: Verdict.STARTED, 2: Verdict.STARTED}
    assert bench.facts(session)["reserved"] == 2 * RESERVE
    assert len(bench.calls(session)) == 2


def test_the_same_calls_started_by_sixteen_at_once_reserve_once(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    call = planned(item)
    verdicts = at_once(MANY, lambda i: start(bench, call)[1])
    assert set(verdicts) == {Verdict.STARTED}
    assert bench.facts(session)["reserved"] == RESERVE
    bench.assert_sound(session)


def test_sixteen_threads_starting_calls_never_pass_the_budget(bench: Workbench) -> None:
    budget = 20 * RESERVE + RESERVE // 2
    session = make_session(bench, 64, budget=budget)
    held = {item.number: item for item in claim(bench, session, range(1, 65))}

    def spend(i: int) -> list[Verdict]:
        found = []
        for k in range(2):
            calls = [planned(held[1 + i * 4 + k * 2 + j]) for j in range(2)]
            verdicts = start(bench, *calls)
            found += verdicts.values()
            facts = bench.facts(session)
            assert facts["spent"] + facts["reserved"] <= budget
            going = [call for call in calls if verdicts[call.item.number] is Verdict.STARTED]
            if i % 2 and going:
                settle(bench, *(enriched(call, cost=RESERVE) for call in going))
        return found

    verdicts = Counter(v for found in at_once(MANY, spend) for v in found)
    assert verdicts[Verdict.STARTED] == 20
    assert verdicts[Verdict.BUDGET_BUSY] + verdicts[Verdict.BUDGET_GONE] == 44
    bench.assert_sound(session)


def test_sixteen_tellings_of_one_upload_make_one_session(bench: Workbench) -> None:
    uploaded = bench.store.put("up", "artists/list.csv", artists_csv(500))
    sessions = at_once(MANY, lambda i: bench.ingest.take(uploaded))
    assert len(set(sessions)) == 1
    assert bench.execute("SELECT count(*) FROM sessions UNION ALL SELECT count(*) FROM files") == [[1], [1]]
    assert bench.facts(sessions[0])["files_known"] == 1
    status = bench.run(sessions[0])
    assert (status["status"], status["total"], status["enriched"]) == ("completed", 500, 500)
    assert len(bench.upstream.requests) == 500
    bench.assert_sound(sessions[0])


def test_sixteen_registrations_answer_the_same_file(database_url: str, bench: Workbench) -> None:
    wide = Workbench(db=Database(connector(parse_database_url(database_url)), size=MANY), url=database_url)
    params = {"session": uuid4(), "pipeline": "artists", "options": {}, "source": "s", "budget": None,
              "approval": "none", "trace_id": None, "bucket": "up", "object_name": "artists/x.csv", "generation": 1,
              "member": "", "part": "", "ignored": None, "checksum": None, "fault_code": None, "fault": None,
              "size": 1}  # fmt: skip
    for generation in range(20):
        rows = at_once(MANY, lambda i, g=generation: wide.db.row("register_file", **{**params, "generation": g}))
        assert len({row["file_id"] for row in rows if row}) == 1
        assert [row["is_new"] for row in rows if row].count(True) == 1
    wide.db.close()


def _failed():  # type: ignore[no-untyped-def]
    from shared.states import Outcome

    return Outcome.FAILED


def _timeless(facts: dict) -> dict:  # type: ignore[type-arg]
    return {name: value for name, value in facts.items() if name not in ("updated_at", "worked_at")}


def _items(data: bytes) -> tuple[int, ...]:
    from shared.messages import ItemsNotice

    return ItemsNotice.decode(data).items
