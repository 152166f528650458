"""Items that expand into further ones: each made once, however often and by however many it is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from shared.items import Child, Item, Settlement
from shared.states import Outcome
from tests.factories import LEASE, at_once, blocked_statements, claim, make_session, settle, until
from tests.workbench import Workbench, artist_id

MANY = 16


def child(n: int) -> Child:
    """The artist that is the nth child."""
    return Child(key=artist_id(n), input={"artist_id": artist_id(n), "artist_name": f"Child {n}", "artist_data": ""})


def expanding(item: Item, *children: int, **changes: Any) -> Settlement:
    """A free answer of an item that expands."""
    made = Settlement(item=item, outcome=Outcome.ENRICHED, result={"text": "?"}, children=[child(n) for n in children])
    return replace(made, **changes)


def rows(bench: Workbench, session: UUID) -> list[tuple[Any, ...]]:
    """Number, parent, line, key and state of what has a parent."""
    found = bench.execute(
        f"SELECT item_no, parent, line, key, state FROM items WHERE session_id = '{session}' AND parent IS NOT NULL "
        "ORDER BY item_no"
    )
    return [tuple(row) for row in found]


def expansion(bench: Workbench, session: UUID, number: int = 1) -> Any:
    return bench.item(session, number)["result"]["expansion"]


def test_children_come_behind_their_session_with_file_and_line_of_their_parent(bench: Workbench) -> None:
    session = make_session(bench, 2)
    (first, second) = claim(bench, session, [1, 2])
    epoch = bench.facts(session)["epoch"]
    assert settle(bench, expanding(second, 11, 12), expanding(first, 10, 12)) == {1: "settled", 2: "settled"}
    assert rows(bench, session) == [
        (3, 1, 2, artist_id(10), "available"), (4, 1, 2, artist_id(12), "available"),
        (5, 2, 3, artist_id(11), "available"),
    ]  # fmt: skip
    assert expansion(bench, session, 1) == {"made": 2, "known": 0, "cut": 0}
    assert expansion(bench, session, 2) == {"made": 1, "known": 1, "cut": 0}
    assert bench.facts(session)["epoch"] == epoch + 1
    status = bench.sessions.status(session)
    assert (status["total"], status["open"], status["enriched"]) == (5, 3, 2)
    bench.assert_sound(session)


def test_a_child_has_the_hash_that_a_row_of_the_same_input_has(bench: Workbench) -> None:
    line = f"{artist_id(20)},Nina,x\n".encode()
    session = bench.drop(b"artist_id,artist_name,artist_data\n" + line)
    other = make_session(bench, 1)
    (item,) = claim(bench, other, [1])
    same = Child(key=artist_id(20), input={"artist_id": artist_id(20), "artist_name": "Nina", "artist_data": "x"})
    settle(bench, expanding(item, children=[same]))
    found = bench.execute(
        f"SELECT count(DISTINCT input_hash), count(input_hash) FROM items WHERE session_id IN ('{session}', '{other}') "
        f"AND key = '{artist_id(20)}'"
    )
    assert found == [[1, 2]]


def test_one_of_sixteen_settlements_of_an_attempt_expands(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    verdicts = at_once(MANY, lambda i: settle(bench, expanding(item, *range(100 * i + 10, 100 * i + 15)))[1])
    assert sorted(verdicts) == ["already"] * (MANY - 1) + ["settled"]
    winner = verdicts.index("settled")
    assert [row[3] for row in rows(bench, session)] == [artist_id(100 * winner + n) for n in range(10, 15)]
    bench.assert_sound(session)


def test_sixteen_items_that_expand_into_the_same_make_each_once(bench: Workbench) -> None:
    session = make_session(bench, MANY)
    items = claim(bench, session, range(1, MANY + 1))
    at_once(MANY, lambda i: settle(bench, expanding(items[i], *range(50 + i, 80 + i))))
    found = rows(bench, session)
    assert [row[0] for row in found] == list(range(MANY + 1, MANY + 1 + 45))
    assert {row[3] for row in found} == {artist_id(n) for n in range(50, 95)}
    counts = [expansion(bench, session, n) for n in range(1, MANY + 1)]
    assert sum(one["made"] for one in counts) == 45
    assert all(one["made"] + one["known"] == 30 for one in counts)
    bench.assert_sound(session)


def test_one_who_waited_for_the_session_sees_what_another_made_meanwhile(bench: Workbench) -> None:
    session = make_session(bench, 2)
    first, second = claim(bench, session, [1, 2])

    def act(i: int) -> Any:
        if i:
            until(lambda: bench.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 1)
            return settle(bench, expanding(second, 10, 11))
        with bench.db.transaction() as transaction:
            transaction.rows("hold_for_decision", session=session)
            transaction._connection.execute_simple("SELECT pg_advisory_xact_lock(1)")
            until(lambda: blocked_statements(bench, "jsonb_to_recordset") == 1)
            one = expanding(first, 10)
            return transaction.rows("settle/none", **_given(one))

    at_once(2, act)
    assert [row[:2] for row in rows(bench, session)] == [(3, 1), (4, 2)]
    assert expansion(bench, session, 2) == {"made": 1, "known": 1, "cut": 0}
    bench.assert_sound(session)


def _given(one: Settlement) -> dict[str, Any]:
    import orjson

    from shared import items as ledger

    return {
        "session": one.item.session, "batch": orjson.dumps([ledger.to_batch(one)]).decode(), "pipeline": "artists",
        "configuration": "", "skip_existing": False,
    }  # fmt: skip


def test_a_superseded_attempt_makes_nothing(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (late,) = claim(bench, session, [1])
    bench.execute(f"UPDATE items SET state = 'retryable', lease_expires_at = NULL WHERE session_id = '{session}'")
    claim(bench, session, [1])
    assert settle(bench, expanding(late, 10, 11)) == {1: "superseded"}
    assert rows(bench, session) == []
    bench.assert_sound(session)


def test_one_that_is_handed_back_makes_nothing_yet(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    assert settle(bench, expanding(item, 10, outcome=None, result=None)) == {1: "settled"}
    assert rows(bench, session) == []


def test_a_failed_item_expands_as_well(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    settle(bench, expanding(item, 10, outcome=Outcome.FAILED, result=None, error_code="upstream.private"))
    assert len(rows(bench, session)) == 1
    assert expansion(bench, session)["made"] == 1
    bench.assert_sound(session)


def test_children_of_a_cancelled_session_are_cancelled(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    bench.sessions.cancel(session)
    assert settle(bench, expanding(item, 10, 11)) == {1: "settled"}
    assert [row[4] for row in rows(bench, session)] == ["cancelled", "cancelled"]
    assert bench.sessions.status(session)["cancelled"] == 2
    bench.rescuer.round()
    bench.deliver()
    assert bench.facts(session)["completed_epoch"] == bench.facts(session)["epoch"]
    bench.assert_sound(session)


def test_children_of_a_paused_session_wait(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    bench.sessions.pause(session)
    settle(bench, expanding(item, 10))
    assert bench.dispatcher.nudge(session).dispatched == 0
    bench.sessions.resume(session)
    assert bench.publisher.take("artists")


def test_a_new_round_of_the_parent_adds_only_what_is_new(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    settle(bench, expanding(item, 10, 11))
    bench.sessions.reprocess(session, outcomes=["enriched"])
    (again,) = claim(bench, session, [1])
    settle(bench, expanding(again, 10, 11, 12))
    assert [(row[0], row[3]) for row in rows(bench, session)] == [(n - 8, artist_id(n)) for n in (10, 11, 12)]
    assert expansion(bench, session) == {"made": 1, "known": 2, "cut": 0}
    bench.assert_sound(session)


def test_a_completed_session_has_work_again_only_until_its_children_have_ended(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    settle(bench, expanding(item, 10))
    assert not bench.dispatcher.nudge(session).finished
    bench.execute("UPDATE items SET dispatched_at = NULL")
    (one,) = claim(bench, session, [2])
    settle(bench, replace(expanding(one), children=()))
    assert bench.dispatcher.nudge(session).finished
    bench.deliver()
    assert bench.facts(session)["status"] == "completed"


def test_children_expand_too(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    settle(bench, expanding(item, 10))
    (one,) = claim(bench, session, [2])
    settle(bench, expanding(one, 10, 11))  # itself again, as a folder that holds a link to itself
    assert [row[:3] for row in rows(bench, session)] == [(2, 1, 2), (3, 2, 2)]
    assert expansion(bench, session, 2) == {"made": 1, "known": 1, "cut": 0}
    bench.assert_sound(session)


def test_a_row_that_a_file_brings_later_is_a_duplicate_of_the_child(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    settle(bench, expanding(item, 10))
    bench.drop(f"artist_id,artist_name\n{artist_id(10)},Ten\n".encode(), "artists/more.csv", session=str(session))
    assert bench.item(session, 3)["outcome"] == "duplicate"
    bench.assert_sound(session)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("UPDATE items SET parent = 9 WHERE item_no = 2", "item 2 expands from item 9, which does not exist"),
        ("UPDATE items SET parent = 3 WHERE item_no = 2", "item 2 expands from item 3, which is a later one"),
        ("UPDATE items SET line = 9 WHERE item_no = 2", "item 2 expands from item 1, which is of another record"),
        ("DELETE FROM items WHERE item_no = 3", "3 item numbers were taken, there are 2 items"),
        ("UPDATE items SET parent = NULL WHERE item_no = 2", "file gs: 1 records read, 2 items made, 0 ignored"),
    ],
)
def test_verify_knows_of_children(bench: Workbench, fault: str, said: str) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    settle(bench, expanding(item, 10, 11))
    bench.assert_sound(session)
    bench.execute(fault)
    (finding,) = bench.sessions.verify(session)["findings"]
    assert finding["rule"] == "I1"
    assert finding["finding"].endswith(said.removeprefix("file gs"))


@pytest.mark.parametrize("key", ["", "k" * 1_001])
def test_a_key_has_a_size(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 1000 bytes"):
        Child(key=key, input={})


def test_ten_thousand_at_once(bench: Workbench) -> None:
    session = make_session(bench, 1)
    (item,) = claim(bench, session, [1])
    assert settle(bench, expanding(item, *range(10, 10_010))) == {1: "settled"}
    assert bench.sessions.status(session)["open"] == 10_000
    bench.pass_time(LEASE)
    bench.assert_sound(session)
