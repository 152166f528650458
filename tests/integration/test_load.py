"""Everything at once on one session and its neighbours: no deadlock, no lost work, every invariant true."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from shared.calls import Verdict
from shared.config import parse_database_url
from shared.db import Database, connector
from shared.errors import RowliftError
from shared.states import CallState, Outcome
from tests.factories import broken, claim, enriched, make_session, planned, settle, start
from tests.workbench import Workbench, artists_csv

SECONDS = 2.5
ITEMS = 400


def _work(bench: Workbench, sessions: list[UUID]) -> None:
    """Claim some items, call for them, settle them one way or another."""
    session = random.choice(sessions)
    numbers = random.sample(range(1, ITEMS + 1), 16)
    items = claim(bench, session, numbers)
    if not items:
        return
    calls = [planned(item) for item in items]
    random.shuffle(calls)
    verdicts = start(bench, *calls)
    going = [call for call in calls if verdicts[call.item.number] is Verdict.STARTED]
    made = [
        enriched(call) if random.random() < 0.6
        else broken(call, random.choice([CallState.FAILED, CallState.UNKNOWN]),
                    outcome=random.choice([None, Outcome.FAILED]))
        for call in going
    ]  # fmt: skip
    random.shuffle(made)
    if made and random.random() < 0.95:
        settle(bench, *made)


def test_everything_at_once_ends_well(database_url: str) -> None:
    database = Database(connector(parse_database_url(database_url)), size=20)
    bench = Workbench(db=database, url=database_url, pipeline_changes={"window": 200})
    bench.ingest._chunk_rows = 50
    sessions = [make_session(bench, ITEMS) for _ in range(2)]
    end = time.monotonic() + SECONDS
    errors: list[BaseException] = []
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

    def until_the_end(act: Callable[[], Any]) -> None:
        while time.monotonic() < end and not errors:
            try:
                act()
            except RowliftError as error:
                errors.append(error)

    def drop_more() -> None:
        session = random.choice(sessions)
        name = f"artists/{uuid4()}.csv"
        bench.drop(artists_csv(60, first=random.randint(1, 2_000)), name=name, session=str(session))

    def expire_leases() -> None:
        for row in bench.execute("SELECT session_id, item_no FROM items WHERE state = 'running' AND item_no % 7 = 0"):
            bench.execute("UPDATE items SET lease_expires_at = now() - interval '1 s' "
                          f"WHERE session_id = '{row[0]}' AND item_no = {row[1]} AND state = 'running'")  # fmt: skip
        time.sleep(0.05)  # a moment in which leases live

    acts: list[Callable[[], Any]] = [
        *[lambda: _work(bench, sessions)] * 6,
        *[lambda: bench.dispatcher.nudge(random.choice(sessions))] * 2,
        *[bench.rescuer.round] * 2,
        lambda: bench.sessions.reprocess(random.choice(sessions), outcomes=["failed", "enriched"]),
        lambda: bench.db.rows("lost_notices", session=sessions[0], pipeline="artists", lost_after=0),
        drop_more,
        expire_leases,
    ]
    threads = [threading.Thread(target=until_the_end, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    bench.execute("SELECT pg_stat_force_next_flush()")
    assert bench.value(deadlocks) == 0
    for session in sessions:
        bench.assert_sound(session)
        bench.pass_time(3_600)
        assert bench.run(session, rounds=500)["open"] == 0
        bench.assert_sound(session)
    database.close()
