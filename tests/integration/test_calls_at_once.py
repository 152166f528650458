"""How many calls a process makes at once, and how often it asks the ledger for a message."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from shared.config import UpstreamLimits, parse_database_url
from shared.db import Database, connector
from shared.errors import LedgerDown
from shared.messages import ItemsNotice
from shared.upstreams.base import ErrorClass
from tests.factories import failure, make_session
from tests.faults.proxy import Proxy
from tests.workbench import Workbench, artists_csv

CALLS, MESSAGE, THREADS = 8, 4, 6


def crowded(db: Database, url: str) -> Workbench:
    """A process that may have more items in hand than it may make calls."""
    changes = {"items_per_message": MESSAGE, "calls": CALLS}
    return Workbench(db=db, url=url, changes={"threads": THREADS}, pipeline_changes=changes)


@pytest.fixture
def large(database_url: str) -> Iterator[Database]:
    database = Database(connector(parse_database_url(database_url)), size=THREADS)
    yield database
    database.close()


def test_never_more_calls_than_may_be_and_no_fewer(
    large: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = crowded(large, database_url)
    lock, under_way, most = threading.Lock(), [0], [0]
    full = threading.Barrier(CALLS)  # calls end only when so many are under way

    def call(*_: object) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        full.wait(20)
        with lock:
            under_way[0] -= 1

    handed_over: list[Future[object]] = []
    waiting: list[int] = []  # how many calls were handed over and not over, whenever one was
    hand_over = bench.processor.caller.call

    def counted(*planned: object) -> object:
        with lock:
            handed_over.append(future := hand_over(*planned))
            waiting.append(sum(not one.done() for one in handed_over))
        return future

    bench.upstream._script = call
    monkeypatch.setattr(bench.processor.caller, "call", counted)
    session = bench.drop(artists_csv(6 * CALLS))
    messages = bench.publisher.take("artists")
    assert len(messages) == 6 * CALLS / MESSAGE
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda one: bench.processor.handle(ItemsNotice.decode(one.data)), messages))
    assert most == [CALLS]
    assert max(waiting) <= CALLS  # none waits for a thread behind its slot
    assert not bench.processor.places.taken
    assert bench.run(session)["enriched"] == 6 * CALLS
    assert bench.value("SELECT max(attempt) FROM items") == 1
    bench.assert_sound(session)


def test_a_message_that_waited_too_long_for_its_turn_is_handed_back(large: Database, database_url: str) -> None:
    bench = crowded(large, database_url)
    bench.processor.settings = bench.processor.settings.model_copy(
        update={"request_timeout": 1.0, "max_wait": 0.0, "deadline": 1.1}
    )
    session = make_session(bench, MESSAGE)
    assert bench.processor.places.take(CALLS, within=0)  # others have them all
    bench.processor.handle(ItemsNotice(session=session, items=(1, 2, 3, 4)))
    assert bench.calls(session) == bench.upstream.requests == []
    for number in range(1, MESSAGE + 1):
        item = bench.item(session, number)
        assert (item["state"], item["code"], item["failures"]) == ("retryable", "deadline", 0)
    bench.processor.places.give_back(CALLS)
    assert bench.run(session)["enriched"] == MESSAGE
    bench.assert_sound(session)


def test_places_come_back_whatever_happens(large: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = crowded(large, database_url)
    bench.upstream._script = lambda n, _: failure(ErrorClass.TRANSIENT) if n % 3 == 0 else None
    session = bench.drop(artists_csv(CALLS))
    for act in (bench.sessions.pause, bench.sessions.resume):
        bench.deliver()
        assert not bench.processor.places.taken
        act(session)
    with monkeypatch.context() as patch:
        patch.setattr("shared.processing.reserve_slots", _away)
        first, *_ = bench.publisher.take("artists") or [None]
        if first is not None:
            with pytest.raises(LedgerDown):
                bench.processor.handle(ItemsNotice.decode(first.data))
    assert not bench.processor.places.taken
    bench.pass_time(600)
    assert bench.run(session)["enriched"] == CALLS
    assert not bench.processor.places.taken


def _away(*_: object, **__: object) -> None:
    raise LedgerDown


def test_old_messages_may_hold_more_items_than_there_are_places(large: Database, database_url: str) -> None:
    bench = crowded(large, database_url)
    session = make_session(bench, 3 * CALLS)
    bench.processor.handle(ItemsNotice(session=session, items=tuple(range(1, 3 * CALLS + 1))))
    assert bench.value("SELECT count(*) FROM items WHERE outcome = 'enriched'") == 3 * CALLS
    assert not bench.processor.places.taken


@pytest.mark.parametrize("items", [1, 8, 50])
def test_a_message_is_four_round_trips_whatever_the_number_of_its_items(database_url: str, items: int) -> None:
    """Claim, slots, start, settle; tokens are paced, as they are with every real account."""
    parts = urlsplit(database_url)
    with Proxy(lambda: (parts.hostname or "127.0.0.1", parts.port or 5432)) as proxy:
        proxy.delay = 0.001
        far = database_url.replace(f":{parts.port}/", f":{proxy.port}/")
        db = Database(connector(parse_database_url(far)), size=1)
        limits = {"openai": UpstreamLimits(requests=1_000_000, tokens=1_000_000_000)}
        bench = Workbench(db=db, url=far, changes={"threads": 64}, limits=limits)
        session = make_session(bench, 4 * items)
        taken = []
        with bench.dispatcher.nudging(session, 0):  # as long as there are others, they nudge
            assert bench.processor.places.take(1, within=0)  # and take along what tokens were not used
            for turn in range(4):
                before = proxy.round_trips
                numbers = tuple(range(1 + turn * items, 1 + (turn + 1) * items))
                bench.processor.handle(ItemsNotice(session=session, items=numbers))
                taken.append(proxy.round_trips - before)
        assert bench.value("SELECT count(*) FROM items WHERE outcome = 'enriched'") == 4 * items
        db.close()
    assert taken[-1] == 4, taken  # the first messages prepare the statements
