"""An answer that cannot be written because PostgreSQL is away waits in the results bucket, and is not paid again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson
import pytest

from shared.db import Database
from shared.errors import LedgerDown, StorageDown
from shared.messages import ItemsNotice
from tests.factories import claim, make_session
from tests.workbench import Workbench, artist_id


@pytest.fixture
def hasty(db: Database, database_url: str) -> Workbench:
    """A Rowlift whose handlers give up after a second."""
    return Workbench(db=db, url=database_url, pipeline_changes={"deadline": 1.0, "request_timeout": 0.2, "max_wait": 0})


@contextmanager
def away(patch: pytest.MonkeyPatch, when: Callable[[str], bool]) -> Iterator[None]:
    """A ledger that is away for some statements while the block lasts."""
    rows = Database.rows

    def lost(self: Database, name: str, **params: Any) -> Any:
        if when(name):
            raise LedgerDown("away")
        return rows(self, name, **params)

    with patch.context() as inner:
        inner.setattr(Database, "rows", lost)
        yield


def settles(name: str) -> bool:
    """Whether the statement is one of those that settle."""
    return name.startswith("settle/")


def lose_answers(bench: Workbench, patch: pytest.MonkeyPatch, n: int = 3) -> UUID:
    """A session whose items were answered while the ledger was away."""
    session = make_session(bench, n)
    with away(patch, settles), pytest.raises(LedgerDown):
        bench.processor.handle(ItemsNotice(session=session, items=tuple(range(1, n + 1))))
    return session


def put_aside(bench: Workbench, session: UUID) -> list[str]:
    """The objects that hold answers of a session."""
    return bench.store.names("out", f"{session}/pending/")


def test_answers_are_put_aside_and_settled_by_rescue(hasty: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    session = lose_answers(hasty, monkeypatch)
    (name,) = put_aside(hasty, session)
    assert len(orjson.loads(hasty.store.read("out", name))["settlements"]) == 3
    assert {call[2] for call in hasty.calls(session)} == {"started"}
    hasty.pass_time(131)
    hasty.rescuer.round()
    assert put_aside(hasty, session) == []
    assert [hasty.item(session, n)["outcome"] for n in (1, 2, 3)] == ["enriched"] * 3
    assert {call[2] for call in hasty.calls(session)} == {"succeeded"}
    assert hasty.value(f"SELECT bio FROM artists WHERE id = '{artist_id(2)}'").startswith("A bio")
    assert hasty.run(session)["enriched"] == 3
    assert len(hasty.upstream.requests) == 3  # paid once
    hasty.assert_sound(session)


def test_calls_still_under_way_when_the_ledger_leaves_are_put_aside_too(
    hasty: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answers at once, the second while the ledger is waited for, the others after it was given up."""
    gone, given_up = threading.Event(), threading.Event()
    hasty.upstream._script = lambda n, _: _after(*{1: (), 2: (gone,)}.get(n, (given_up,)))
    session = make_session(hasty, 4)
    write = type(hasty.store).write

    def put(self: Any, *args: Any, **more: Any) -> Any:
        threading.Timer(0.3, given_up.set).start()
        return write(self, *args, **more)

    def when(name: str) -> bool:
        if settles(name):
            gone.set()
        return gone.is_set()

    monkeypatch.setattr(type(hasty.store), "write", put)
    with away(monkeypatch, when):
        worker = threading.Thread(target=_handled, args=(hasty, session, 4))
        worker.start()
        worker.join(20)
    hasty.pass_time(131)
    hasty.rescuer.round()
    assert [hasty.item(session, n)["outcome"] for n in (1, 2, 3, 4)] == ["enriched"] * 4
    assert len(hasty.upstream.requests) == 4
    hasty.assert_sound(session)


def test_a_refused_row_and_then_no_ledger_lose_no_answer(hasty: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(hasty, 4)
    hasty.execute(f"ALTER TABLE artists ADD CONSTRAINT not_him CHECK (id <> '{artist_id(1)}')")
    asked = iter(range(100))
    with away(monkeypatch, lambda name: settles(name) and next(asked) >= 2), pytest.raises(LedgerDown):
        hasty.processor.handle(ItemsNotice(session=session, items=(1, 2, 3, 4)))
    hasty.execute("ALTER TABLE artists DROP CONSTRAINT not_him")
    hasty.pass_time(131)
    hasty.rescuer.round()
    status = hasty.run(session)
    assert (status["enriched"], status["failed"]) == (3, 1)
    hasty.sessions.reprocess(session)
    assert hasty.run(session)["enriched"] == 4
    assert len(hasty.upstream.requests) == 4
    hasty.assert_sound(session)


def test_a_kept_answer_survives_a_ledger_that_blinks(hasty: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(hasty, 1, options='{"on_missing": "error"}')
    hasty.execute(f"INSERT INTO artists (id) VALUES ('{artist_id(1)}')")
    hasty.upstream._script = lambda n, _: hasty.execute("ALTER TABLE artists RENAME TO elsewhere") and None
    hasty.processor.handle(ItemsNotice(session=session, items=(1,)))
    assert hasty.item(session)["code"] == "answered"
    hasty.execute("ALTER TABLE elsewhere RENAME TO artists")
    hasty.sessions.resume(session)
    with away(monkeypatch, lambda name: name == "artists_known"), pytest.raises(LedgerDown):
        hasty.processor.handle(ItemsNotice(session=session, items=(1,)))
    assert hasty.item(session)["result"]["text"].startswith("A bio")
    assert hasty.run(session)["enriched"] == 1
    assert len(hasty.upstream.requests) == 1
    hasty.assert_sound(session)


def test_a_second_paid_answer_of_a_round_is_shown_and_asks_for_no_third(hasty: Workbench) -> None:
    session = make_session(hasty, 1)
    hasty.processor.handle(ItemsNotice(session=session, items=(1,)))
    hasty.execute("UPDATE items SET state = 'available', outcome = NULL, finalized_at = NULL, result = NULL")
    hasty.processor.handle(ItemsNotice(session=session, items=(1,)))
    assert hasty.item(session)["outcome"] == "enriched"
    assert sorted(call[2] for call in hasty.calls(session)) == ["succeeded", "unknown"]
    assert len(hasty.upstream.requests) == 2
    hasty.assert_sound(session)


def test_an_object_that_is_none_of_ours_stops_nobody(hasty: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    session = lose_answers(hasty, monkeypatch)
    for name, data in (("0", b"not json"), ("1", b"[]"), ("2", b'{"terms": {}, "settlements": []}')):
        hasty.store.put("out", f"{session}/pending/{name}.json", data)
    (ours,) = [name for name in put_aside(hasty, session) if len(name) > len(f"{session}/pending/2.json")]
    newer = orjson.loads(hasty.store.read("out", ours))
    newer["terms"]["of_a_later_version"] = True
    hasty.store.put("out", ours, orjson.dumps(newer))
    hasty.pass_time(131)
    hasty.rescuer.round()
    assert hasty.run(session)["enriched"] == 3
    assert len(hasty.upstream.requests) == 3
    assert len(put_aside(hasty, session)) == 3  # for a person


def test_a_missing_table_holds_the_session_and_keeps_what_was_put_aside(
    hasty: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = lose_answers(hasty, monkeypatch, 1)
    hasty.execute("ALTER TABLE artists RENAME TO elsewhere")
    hasty.pass_time(131)
    hasty.rescuer.round()
    assert hasty.facts(session)["hold"] == "systemic"
    assert hasty.item(session)["result"]["text"].startswith("A bio")
    hasty.execute("ALTER TABLE elsewhere RENAME TO artists")
    hasty.sessions.resume(session)
    assert hasty.run(session)["enriched"] == 1
    assert len(hasty.upstream.requests) == 1


def test_nothing_is_freed_while_the_bucket_cannot_be_read(hasty: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    session = lose_answers(hasty, monkeypatch)
    hasty.pass_time(131)
    with monkeypatch.context() as patch:
        patch.setattr(type(hasty.store), "names", _down)
        hasty.rescuer.round()
        assert hasty.item(session)["state"] == "running"
    assert hasty.run(session)["enriched"] == 3
    assert len(hasty.upstream.requests) == 3


def test_an_answer_nobody_could_keep_ends_as_unknown_and_is_asked_again(
    hasty: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(hasty.store), "write", _down)
    session = lose_answers(hasty, monkeypatch, 1)
    monkeypatch.undo()
    hasty.pass_time(131)
    assert hasty.run(session)["enriched"] == 1
    assert sorted(call[2] for call in hasty.calls(session)) == ["succeeded", "unknown"]
    hasty.assert_sound(session)


def test_an_answer_put_aside_too_late_is_unknown_and_stays_reserved(
    hasty: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = lose_answers(hasty, monkeypatch, 1)
    kept = {key: hasty.store.objects.pop(key) for key in list(hasty.store.objects) if "/pending/" in key[1]}
    hasty.pass_time(131)
    hasty.rescuer.round()
    hasty.pass_time(6)
    (item,) = claim(hasty, session, [1])
    hasty.store.objects |= kept  # a worker that was stopped for longer than its lease writes now
    assert hasty.pending.take_in(hasty.db, session) == 0
    assert (hasty.item(session)["state"], hasty.item(session)["attempt"]) == ("running", item.attempt)
    ((_, _, state, reserved, cost),) = hasty.calls(session)
    assert state == "unknown"
    assert cost is not None
    assert hasty.facts(session)["reserved"] == reserved
    hasty.assert_sound(session)


def test_an_answer_put_aside_after_its_lease_is_found_before_its_item_runs_again(
    hasty: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = lose_answers(hasty, monkeypatch)
    kept = {key: hasty.store.objects.pop(key) for key in list(hasty.store.objects) if "/pending/" in key[1]}
    hasty.pass_time(131)
    hasty.rescuer.round()
    assert [hasty.item(session, n)["state"] for n in (1, 2, 3)] == ["retryable"] * 3
    assert claim(hasty, session, [1, 2, 3]) == ()
    hasty.store.objects |= kept  # bucket or machine were slow
    hasty.rescuer.round()
    assert [hasty.item(session, n)["outcome"] for n in (1, 2, 3)] == ["enriched"] * 3
    assert {call[2] for call in hasty.calls(session)} == {"succeeded"}
    assert hasty.facts(session)["reserved"] == 0
    assert hasty.run(session)["enriched"] == 3
    assert len(hasty.upstream.requests) == 3
    hasty.assert_sound(session)


def test_the_bucket_is_asked_only_while_an_answer_may_still_come(
    hasty: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = lose_answers(hasty, monkeypatch)
    asked: list[str] = []
    names = type(hasty.store).names
    monkeypatch.setattr(type(hasty.store), "names", lambda self, *of: asked.append(of[1]) or names(self, *of))
    hasty.rescuer.round()
    assert asked == []  # its lease has not expired
    hasty.store.objects.clear()
    hasty.pass_time(131)
    hasty.rescuer.round()
    hasty.rescuer.round()
    assert len(asked) == 2
    hasty.pass_time(6)
    assert len(claim(hasty, session, [1, 2, 3])) == 3
    hasty.rescuer.round()
    assert len(asked) == 2


def test_taking_in_twice_changes_nothing(hasty: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    session = lose_answers(hasty, monkeypatch)
    objects = dict(hasty.store.objects)
    assert hasty.pending.take_in(hasty.db, session) == 3
    hasty.store.objects.update(objects)
    assert hasty.pending.take_in(hasty.db, session) == 0
    assert hasty.facts(session)["spent"] == sum(call[4] or 0 for call in hasty.calls(session))
    hasty.assert_sound(session)


def test_a_refused_domain_row_among_them_keeps_its_answer_with_its_item(
    hasty: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = lose_answers(hasty, monkeypatch)
    hasty.execute(f"ALTER TABLE artists ADD CONSTRAINT not_him CHECK (id <> '{artist_id(2)}')")
    hasty.pass_time(131)
    hasty.rescuer.round()
    assert [hasty.item(session, n)["outcome"] for n in (1, 2, 3)] == ["enriched", "failed", "enriched"]
    assert hasty.item(session, 2)["result"]["text"].startswith("A bio")


def test_what_was_put_aside_of_a_failure_is_taken_in_too(hasty: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.upstreams.base import ErrorClass
    from tests.factories import failure

    hasty.upstream._script = lambda n, _: failure(ErrorClass.PERMANENT, code="upstream.refused")
    session = lose_answers(hasty, monkeypatch, 1)
    hasty.pass_time(131)
    hasty.rescuer.round()
    assert hasty.item(session)["outcome"] == "failed"


def _after(*events: threading.Event) -> None:
    assert all(event.wait(10) for event in events)


def _handled(bench: Workbench, session: UUID, n: int) -> None:
    with contextlib.suppress(LedgerDown):
        bench.processor.handle(ItemsNotice(session=session, items=tuple(range(1, n + 1))))


def _down(*_: Any, **__: Any) -> Any:
    raise StorageDown("away")
