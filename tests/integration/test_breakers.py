"""An upstream that is away opens its breaker: no try is lost, no session held; a cause for a person holds it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from shared.config import ConnectionSettings, PipelineSettings, Settings, UpstreamLimits
from shared.db import Database
from shared.health import Heard, Standing, UpstreamHealth
from shared.limits import TokenSlot, reserve_slots, slow_down
from shared.messages import ItemsNotice
from shared.upstreams.base import ErrorClass, Failure, RateLimits
from tests.factories import failure, make_session
from tests.fakes import answer
from tests.workbench import Workbench, artists_csv

TRANSIENT, PERMANENT, SYSTEMIC = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC
AWAY = failure(TRANSIENT, code="upstream.unreachable")
FINE = answer("A bio.")
BAD_KEY = failure(SYSTEMIC, code="upstream.bad_key")


class Ear:
    """One process's ear, and hands on the upstream's row."""

    def __init__(self, db: Database, **limits: Any) -> None:
        self.limits = UpstreamLimits(**limits)
        settings = Settings(
            connection=ConnectionSettings(user="-", database="-"),
            project="-",
            pipelines={"artists": PipelineSettings(topic="artists", upstream="openai")},
            upstreams={"openai": self.limits},
        )
        self.health = UpstreamHealth(db, settings, "openai")
        self.db = db
        self.slots()

    def hear(self, *answers: Any, left: float = 0.0, again: bool = False) -> Standing:
        """What it makes of calls that left so many seconds ago, for rows that had failed like that before, or not."""
        moment = time.monotonic() - left
        return self.health.hear([Heard(answer=one, left_at=moment, slot=TokenSlot(), again=again) for one in answers])

    def slots(self, n: int = 3) -> int:
        """How many requests may leave now."""
        given = reserve_slots(self.db, "openai", self.limits, n=n, tokens=0, max_wait=0.5, probe_timeout=10)
        self.health.ailing = given.ailing
        return len(given.waits)

    def breaker(self) -> str:
        """As the row has it."""
        found = self.db.row("upstream_stands", upstream="openai")
        assert found is not None
        return str(found["breaker"])


def pass_time(db: Database, seconds: float) -> None:
    """Let time pass for the upstream's row."""
    moved = ", ".join(
        f"{c} = {c} - interval '{seconds} s'" for c in ("requests_tat", "next_probe_at", "opened_at", "reset_at")
    )
    with db._checked_out() as connection:
        connection.execute_simple(f"UPDATE upstreams SET {moved}")


def test_failures_that_dominate_open_the_breaker_and_a_probe_closes_it(db: Database) -> None:
    ear = Ear(db, down_failures=5, probe_wait=2)
    assert ear.hear(*[AWAY] * 4) == Standing(dominates=False)
    assert ear.breaker() == "closed"
    standing = ear.hear(AWAY)
    assert standing.tripped
    assert 1 < standing.probe_in <= 2
    assert ear.slots() == 0
    pass_time(db, 3)
    assert (ear.slots(), ear.breaker()) == (1, "half_open")
    assert ear.slots() == 0  # one probe, whoever asks
    assert not ear.hear(FINE).tripped
    assert (ear.breaker(), ear.slots()) == ("closed", 3)


def test_a_failed_probe_waits_twice_as_long_up_to_the_longest(db: Database) -> None:
    ear = Ear(db, down_failures=1, probe_wait=2, probe_wait_max=7)
    waits = [ear.hear(AWAY).probe_in]
    for _ in range(3):
        pass_time(db, 8)
        assert ear.slots() == 1
        waits.append(ear.hear(AWAY).probe_in)
    assert [round(wait) for wait in waits] == [2, 4, 7, 7]


def test_a_probe_that_never_ends_expires(db: Database) -> None:
    ear = Ear(db, down_failures=1)
    ear.hear(AWAY)
    pass_time(db, 3)
    assert (ear.slots(), ear.slots()) == (1, 0)
    pass_time(db, 11)
    assert ear.slots() == 1


def test_one_answer_in_five_keeps_the_breaker_closed(db: Database) -> None:
    ear = Ear(db, down_failures=5)
    for _ in range(50):
        ear.hear(*[AWAY] * 4)
        ear.hear(FINE)
    assert ear.breaker() == "closed"
    ear.hear(*[AWAY] * 40, FINE)
    assert ear.breaker() == "open"


def test_failures_of_a_row_open_nothing(db: Database) -> None:
    ear = Ear(db, down_failures=1)
    ear.hear(failure(PERMANENT, code="upstream.refused"), failure(TRANSIENT, code="upstream.rate_limited"))
    ear.hear(failure(TRANSIENT, code="upstream.empty_answer"))
    assert ear.breaker() == "closed"


def test_calls_from_before_the_opening_say_nothing_of_the_time_since(db: Database) -> None:
    ear = Ear(db, down_failures=1, probe_wait=2)
    ear.hear(AWAY)
    assert ear.hear(FINE, left=5).tripped  # it left before
    assert ear.hear(AWAY, left=5).probe_in <= 2  # and so did this: the wait is not doubled
    pass_time(db, 1)
    assert not ear.hear(FINE, left=0.5).tripped


def test_an_upstream_that_is_well_costs_no_statement(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(db)
    monkeypatch.setattr(Database, "rows", lambda *_, **__: pytest.fail("a statement"))
    assert ear.hear(FINE, FINE) == Standing()


def test_a_systemic_cause_dominates_from_the_third_on_and_a_reset_forgets_it(db: Database) -> None:
    ear = Ear(db, systemic_failures=3)
    assert not ear.hear(BAD_KEY, BAD_KEY).dominates
    assert not ear.hear(failure(SYSTEMIC, code="upstream.forbidden")).dominates  # another signature begins anew
    assert not ear.hear(BAD_KEY).dominates
    assert ear.hear(BAD_KEY, BAD_KEY).dominates
    db.rows("reset_upstream", upstream="openai", probe_wait=2)
    assert not ear.hear(*[BAD_KEY] * 5, left=1).dominates  # they left before it
    assert not ear.hear(BAD_KEY).dominates
    assert ear.breaker() == "closed"


def test_a_systemic_failure_of_the_probe_shows_that_the_upstream_is_there(db: Database) -> None:
    ear = Ear(db, down_failures=1)
    ear.hear(AWAY)
    pass_time(db, 3)
    assert ear.slots() == 1
    assert not ear.hear(BAD_KEY).tripped


def test_an_outage_uses_up_no_try_and_ends_by_itself(db: Database, database_url: str) -> None:
    def script(n: int, _: Any) -> Failure | None:
        return AWAY if n <= 20 else None

    bench = impatient(db, database_url)
    bench.upstream._script = script
    session = bench.drop(artists_csv(40))
    seen = set()
    for _ in range(400):
        if not bench.deliver():
            status = bench.sessions.status(session)
            seen.add((status["status"], status["bound_by"]))
            if status["status"] == "completed":
                break
            bench.pass_time(70)
            bench.rescuer.round()
    status = bench.sessions.status(session)
    assert (status["status"], status["enriched"], status["failed"]) == ("completed", 40, 0)
    assert ("enriching", "breaker") in seen
    assert "paused" not in {one for one, _ in seen}
    assert bench.value("SELECT max(failures) FROM items") == 0
    bench.assert_sound(session)


def test_while_the_breaker_is_open_nothing_goes_out_but_a_probe(db: Database, database_url: str) -> None:
    # On a busy machine five rounds take longer than the two seconds until a first probe.
    bench = replace(impatient(db, database_url), limits={"openai": UpstreamLimits(requests=None, probe_wait=60)})
    bench.upstream._script = lambda n, _: AWAY
    session = bench.drop(artists_csv(500))
    bench.deliver()
    asked = len(bench.upstream.requests)
    assert asked < 500
    for _ in range(5):
        bench.rescuer.round()
        assert bench.publisher.messages == []
    assert len(bench.upstream.requests) == asked
    bench.pass_time(70)
    bench.rescuer.round()
    bench.deliver()
    assert len(bench.upstream.requests) == asked + 1
    status = bench.sessions.status(session)
    assert status["breaker"]["state"] == "open"
    assert "It went wrong." in status["breaker"]["reason"]


def test_a_probe_that_could_not_leave_is_given_to_the_next(db: Database, database_url: str) -> None:
    bench = impatient(db, database_url)
    bench.upstream._script = lambda n, _: AWAY if n <= 8 else None
    poor, rich = make_session(bench, 8, budget=0), make_session(bench, 8)
    bench.processor.handle(ItemsNotice(session=rich, items=tuple(range(1, 9))))
    bench.pass_time(70)
    _handle(bench, poor)  # takes the probe's slot and may not pay for it
    assert len(bench.upstream.requests) == 8
    bench.make_due(rich)
    _handle(bench, rich)
    assert len(bench.upstream.requests) == 9
    assert bench.value("SELECT breaker FROM upstreams") == "closed"


def test_rows_that_fail_again_and_again_open_nothing(db: Database) -> None:
    ear = Ear(db, down_failures=5)
    for _ in range(20):
        ear.hear(*[AWAY] * 4, again=True)
    assert ear.breaker() == "closed"
    ear.hear(*[AWAY] * 5)
    assert ear.breaker() == "open"
    pass_time(db, 3)
    assert ear.slots() == 1
    assert ear.hear(AWAY, again=True).tripped  # a probe that fails keeps it open, whatever the row


def test_poisonous_rows_end_and_starve_nobody(db: Database, database_url: str) -> None:
    """Twenty rows of two hundred always fail, the first eight among them; another session waits beside them."""
    bench = impatient(db, database_url)
    poison = {f" {i}" for i in (*range(1, 9), *range(20, 200, 15))}
    away = failure(TRANSIENT, code="upstream.server_error")
    bench.upstream._script = lambda n, request: away if any(f'{one}"' in request.text for one in poison) else None
    poisoned = bench.drop(artists_csv(200), "artists/poisoned.csv")
    healthy = bench.drop(artists_csv(100, first=1_000), "artists/healthy.csv")
    for _ in range(60):
        if not bench.deliver():
            if {bench.facts(one)["status"] for one in (poisoned, healthy)} == {"completed"}:
                break
            bench.pass_time(3)
            bench.rescuer.round()
    assert bench.sessions.status(healthy)["enriched"] == 100
    status = bench.sessions.status(poisoned)
    assert (status["status"], status["failed"], status["enriched"]) == ("completed", len(poison), 200 - len(poison))


def test_a_poisonous_row_alone_ends_as_failed(db: Database, database_url: str) -> None:
    bench = Workbench(db=db, url=database_url)
    bench.upstream._script = lambda n, _: failure(TRANSIENT, code="upstream.server_error")
    session = bench.drop(artists_csv(1))
    assert bench.run(session)["failed"] == 1
    assert len(bench.upstream.requests) == 3


def test_an_outage_without_end_ends_after_many_probes(db: Database, database_url: str) -> None:
    bench = impatient(db, database_url)
    bench.upstream._script = lambda n, _: AWAY
    session = bench.drop(artists_csv(8), max_failed="100%")
    for _ in range(2_000):
        if not bench.deliver():
            if bench.sessions.status(session)["status"] in ("completed", "failed"):
                break
            bench.pass_time(70)
            bench.rescuer.round()
    assert bench.sessions.status(session)["failed"] == 8
    assert 8 * 15 < len(bench.upstream.requests) < 8 * 30


def test_a_single_401_among_answers_holds_nobody(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: BAD_KEY if n == 5 else None
    session = bench.drop(artists_csv(24))
    assert bench.run(session)["enriched"] == 24
    assert bench.facts(session)["hold"] is None


def test_a_resume_makes_what_waits_due_at_once(bench: Workbench) -> None:
    bench.upstream._script = lambda n, _: (
        failure(TRANSIENT, code="upstream.rate_limited", retry_after=3_000.0) if n == 1 else None
    )
    session = make_session(bench, 1)
    _handle(bench, session)
    assert bench.value("SELECT due_at > now() + interval '40 minutes' FROM items")
    bench.sessions.pause(session)
    bench.sessions.resume(session)
    assert bench.value("SELECT due_at FROM items") is None


def test_limits_are_seeded_from_what_good_answers_say(db: Database) -> None:
    ear = Ear(db, requests=10_000)
    told = replace(FINE, limits=RateLimits(requests=600, tokens=30_000))
    ear.hear(told, told)
    (row,) = _rows(db, "SELECT requests_said, tokens_said FROM upstreams")
    assert list(row) == [600, 30_000]
    slots = reserve_slots(db, "openai", ear.limits, n=3, tokens=3_000, max_wait=100)
    assert slots.waits[2] - slots.waits[1] == pytest.approx(3_000 / 30_000 * 60 / 0.97, rel=0.01)


def test_unused_tokens_are_given_back(db: Database) -> None:
    ear = Ear(db, requests=10_000, tokens=60_000)
    slots = reserve_slots(db, "openai", ear.limits, n=10, tokens=6_000, max_wait=1_000)
    before = _lead(db)
    ear.health.hear([Heard(answer=FINE, left_at=time.monotonic(), slot=slots.tokens)] * 10)  # each used 30
    assert before == pytest.approx(_lead(db), abs=0.1)  # it goes with the next request for slots, or at the end
    ear.health.give_back_unused(at_once=False)
    assert before == pytest.approx(_lead(db), abs=0.1)
    ear.health.give_back_unused(at_once=True)
    assert before - _lead(db) == pytest.approx(10 * 5_970 / 60_000 * 60 / 0.97, rel=0.02)


def test_unused_tokens_go_back_with_the_next_request_for_slots(db: Database) -> None:
    ear = Ear(db, requests=10_000, tokens=60_000)
    slots = reserve_slots(db, "openai", ear.limits, n=10, tokens=6_000, max_wait=1_000)
    ear.health.hear([Heard(answer=FINE, left_at=time.monotonic(), slot=slots.tokens)] * 10)
    # Far too late for the limit as it stood; there is room for one after what came back, and none is taken twice.
    again = reserve_slots(db, "openai", ear.limits, n=1, tokens=6_000, max_wait=1, returned=ear.health.unused())
    assert len(again.waits) == 1
    assert ear.health.unused() == 0
    # Also where no slot is given: others shall have what came back.
    ear.health.hear([Heard(answer=FINE, left_at=time.monotonic(), slot=again.tokens)])
    before = _lead(db)
    refused = reserve_slots(db, "openai", ear.limits, n=1, tokens=60_000, max_wait=-1_000, returned=ear.health.unused())
    assert refused.waits == ()
    assert before - _lead(db) == pytest.approx(5_970 / 60_000 * 60 / 0.97, rel=0.05)


def test_a_lowered_limit_gives_back_no_more_than_was_taken(db: Database) -> None:
    ear = Ear(db, requests=10_000, tokens=600_000)
    slots = reserve_slots(db, "openai", ear.limits, n=10, tokens=6_000, max_wait=1_000)
    slow_down(db, "openai", ear.limits, said=RateLimits(requests=None, tokens=30_000))
    before = _lead(db)
    ear.health.hear([Heard(answer=FINE, left_at=time.monotonic(), slot=slots.tokens)] * 10)
    ear.health.give_back_unused(at_once=True)
    assert before - _lead(db) == pytest.approx(10 * 5_970 / 600_000 * 60 / 0.97, rel=0.1)
    ear.health.hear([Heard(answer=FINE, left_at=time.monotonic(), slot=TokenSlot(tokens=6_000, seconds=1_000.0))])
    ear.health.give_back_unused(at_once=True)
    assert _lead(db) == pytest.approx(0, abs=0.1)  # never before now


def test_a_probe_that_is_told_to_wait_shows_that_the_upstream_is_there(db: Database) -> None:
    for code in ("upstream.rate_limited", "upstream.empty_answer", "upstream.conflict"):
        ear = Ear(db, down_failures=1)
        ear.hear(AWAY)
        pass_time(db, 70)
        assert ear.slots() == 1
        assert not ear.hear(failure(TRANSIENT, code=code)).tripped
        assert ear.breaker() == "closed"


def impatient(db: Database, url: str) -> Workbench:
    """A Rowlift that waits for no slot in the function, so that a test need not either."""
    return Workbench(db=db, url=url, pipeline_changes={"max_wait": 0})


def _lead(db: Database) -> float:
    return float(_rows(db, "SELECT extract(epoch FROM tokens_tat - now()) FROM upstreams")[0][0])


def _rows(db: Database, statement: str) -> list[Any]:
    with db._checked_out() as connection:
        return list(connection.execute_simple(statement).rows)


def _handle(bench: Workbench, session: UUID) -> None:
    bench.processor.handle(ItemsNotice(session=session, items=(1,)))
