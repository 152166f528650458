"""Sessions, attempts, calls and settlements made by hand: defaults for all but what a test is about."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from shared import items as ledger
from shared.calls import PlannedCall, Verdict, start_calls
from shared.items import CallEnd, Claimed, Item, Settlement, Terms
from shared.states import CallState, Outcome
from shared.upstreams.base import ErrorClass, Failure
from tests.workbench import Workbench, artist_id

_T = TypeVar("_T")
LEASE = 130.0
TERMS = Terms(pipeline="artists", configuration="artist-bio/1 gpt-5-mini")
RESERVE = 1_000
COST = 300


def make_session(bench: Workbench, n: int, *, budget: int | None = None, options: str = "{}") -> UUID:
    """A session whose one file is read and whose n artists wait, made without ingest."""
    session = uuid4()
    bench.execute(
        f"""
        WITH session AS (
            INSERT INTO sessions (id, pipeline, options, source, files_known, files_open, epoch, next_item_no, budget)
            VALUES ('{session}', 'artists', '{options}', 'gs://up/artists/{session}.csv', 1, 0, 1, {n + 1},
                    {"NULL" if budget is None else budget})
        ), file AS (
            INSERT INTO files (session_id, bucket, object_name, generation, state, records_read, next_record)
            VALUES ('{session}', 'up', 'artists/{session}.csv', 1, 'read', {n}, {n + 1}) RETURNING id
        )
        INSERT INTO items (session_id, item_no, file, line, key, input)
        SELECT '{session}', i, file.id, i + 1, {ARTIST_KEY}, jsonb_build_object(
                   'artist_id', {ARTIST_KEY}, 'artist_name', 'Artist ' || i, 'artist_data', '')
          FROM file, generate_series(1, {n}) AS i
        """
    )
    return session


ARTIST_KEY = f"'{artist_id(0)[:-12]}' || lpad(i::text, 12, '0')"


def claim(bench: Workbench, session: UUID, numbers: Sequence[int], token: UUID | None = None) -> tuple[Item, ...]:
    """The items a claim got; none is an empty tuple."""
    found: Claimed | None = ledger.claim(
        bench.db, session, numbers, pipeline="artists", lease=LEASE, token=token or uuid4()
    )
    return found.items if found else ()


def planned(item: Item, *, reserve: int = RESERVE, call: UUID | None = None) -> PlannedCall:
    """A request about to leave for an item."""
    return PlannedCall(id=call or uuid4(), item=item, request="?", digest="00", tokens=10, reserve=reserve)


def start(bench: Workbench, *calls: PlannedCall) -> dict[int, Verdict]:
    """By item whether its call may leave."""
    return start_calls(bench.db, calls[0].item.session, calls, upstream="openai", lease=LEASE)


def started(bench: Workbench, session: UUID, number: int = 1, *, reserve: int = RESERVE) -> PlannedCall:
    """A call under way for one item, just claimed."""
    (item,) = claim(bench, session, [number])
    call = planned(item, reserve=reserve)
    assert start(bench, call) == {number: Verdict.STARTED}
    return call


def enriched(call: PlannedCall, bio: str = "A bio.", *, cost: int = COST) -> Settlement:
    """The settlement of an answer."""
    row = call.item.input
    result = {"text": bio, "response_id": "resp_1", "model": "gpt-5-mini", "prompt": "artist-bio/1"}
    domain = {"id": row["artist_id"], "name": row["artist_name"], "bio": bio, "response_id": "resp_1", "model": "m",
              "prompt": "p"}  # fmt: skip
    end = CallEnd(id=call.id, state=CallState.SUCCEEDED, response_id="resp_1", cost=cost)
    return Settlement(item=call.item, outcome=Outcome.ENRICHED, result=result, domain=domain, call=end)


def broken(call: PlannedCall, state: CallState = CallState.FAILED, *, outcome: Outcome | None = None) -> Settlement:
    """The settlement of a call without an answer: handed back, or with an outcome ended."""
    cost = None if state is CallState.UNKNOWN else 0
    return Settlement(
        item=call.item,
        outcome=outcome,
        code="upstream.server_error",
        counts=True,
        error_code="upstream.server_error",
        call=CallEnd(id=call.id, state=state, cost=cost),
    )


def settle(bench: Workbench, *settlements: Settlement) -> dict[int, str]:
    """By item what became of its settlement."""
    session = settlements[0].item.session
    return ledger.settle(bench.db, session, settlements, terms=TERMS)


def failure(kind: ErrorClass, *, code: str = "upstream.server_error", **more: Any) -> Failure:
    """Why there is no answer."""
    return Failure(kind=kind, code=code, message="It went wrong.", **more)


def at_once(n: int, act: Callable[[int], _T]) -> list[_T]:
    """What n threads got that acted at the same moment."""
    barrier = Barrier(n)

    def one(i: int) -> _T:
        barrier.wait(10)
        return act(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(one, range(n)))


def until(condition: Callable[[], Any], *, seconds: float = 10) -> None:
    """Wait for a condition to hold; the test fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain")
        time.sleep(0.005)


def blocked_statements(bench: Workbench, like: str) -> int:
    """How many statements with this text wait for a lock of another's."""
    return int(
        bench.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() "
            f"AND query LIKE '%{like}%'"
        )
    )
