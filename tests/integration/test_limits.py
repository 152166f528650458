"""The shared limiter in one process: what a 429 changes for everybody, and for how long."""

from __future__ import annotations

import itertools
import time

import pytest

from shared.config import UpstreamLimits
from shared.db import Database
from shared.limits import AHEAD, Slots, reserve_slots, slow_down
from shared.upstreams.base import RateLimits

FORTY = UpstreamLimits(requests=40, period=1)
PER_MINUTE = UpstreamLimits(requests=10_000, tokens=2_000_000)
MOMENTS = ("recovers_at", "requests_tat", "tokens_tat")


def ask(db: Database, limits: UpstreamLimits | None, *, n: int = 2, tokens: int = 0, max_wait: float = 1e6) -> Slots:
    return reserve_slots(db, "up", limits, n=n, tokens=tokens, max_wait=max_wait)


def allowed(db: Database, limits: UpstreamLimits, *, tokens: int = 0) -> float:
    """What is given per period at present: requests, or tokens where so many are asked with each request."""
    execute(db, "UPDATE upstreams SET requests_tat = now(), tokens_tat = now()")
    ask(db, limits, n=100, tokens=tokens)  # past the burst, which starts together
    first, second = ask(db, limits, tokens=tokens).waits
    return limits.period / 0.97 / (second - first) * (tokens or 1)


def pass_time(db: Database, seconds: float) -> None:
    """Let that much time pass for the limiter's row."""
    moved = ", ".join(f"{moment} = {moment} - interval '{seconds} s'" for moment in MOMENTS)
    execute(db, f"UPDATE upstreams SET {moved}")


def execute(db: Database, statement: str) -> None:
    with db._checked_out() as connection:
        connection.execute_simple(statement)


@pytest.mark.parametrize("period", [0.1, 1, 2, 10, 60, 3600])
@pytest.mark.parametrize("requests", [1, 40, 10_000])
def test_one_more_than_the_limit_spans_more_than_a_period_however_late_the_first(requests: int, period: float) -> None:
    limits = UpstreamLimits(requests=requests, period=period)
    first, last = 0.0, requests * period / (0.97 * requests)
    assert (last - 0.01 * period) - (first + limits.lateness) > period
    assert 0 < limits.lateness <= 0.1


def test_slots_of_a_slow_answer_lie_where_the_server_gave_them(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(db, FORTY)
    quick = Database.row

    def slow(self: Database, name: str, **params: object) -> object:
        found = quick(self, name, **params)
        time.sleep(0.15)  # an instance that is stalled while the answer is on its way
        return found

    monkeypatch.setattr(Database, "row", slow)
    asked_at = time.monotonic()
    slots = ask(db, FORTY, n=10)
    assert slots.given_at - asked_at < 0.1
    assert slots.lateness == pytest.approx(0.02)
    pass_time(db, 60)
    one = ask(db, FORTY, n=1)  # by its first answer it would have gone 0.15 s ago; so it lies ahead
    assert one.given_at + one.waits[0] + one.lateness > time.monotonic()


def test_what_a_429_names_takes_the_place_of_the_setting_for_a_minute(db: Database) -> None:
    said = RateLimits(requests=500, tokens=30_000, period=60)
    assert slow_down(db, "up", PER_MINUTE, said=said) == 500
    assert allowed(db, PER_MINUTE) == pytest.approx(500)
    assert allowed(db, PER_MINUTE, tokens=6_000) == pytest.approx(30_000)
    pass_time(db, 59)
    assert allowed(db, PER_MINUTE) == pytest.approx(500)
    pass_time(db, 21)
    assert allowed(db, PER_MINUTE) == pytest.approx(500 + 0.02 * 10_000 * 20, rel=0.05)


def test_what_a_429_names_is_converted_to_the_settings_period(db: Database) -> None:
    assert slow_down(db, "up", FORTY, said=RateLimits(requests=30, tokens=None, period=60)) == 0.5
    assert allowed(db, FORTY) == pytest.approx(0.5)


def test_a_429_that_names_more_than_is_asked_cuts_like_one_that_names_nothing(db: Database) -> None:
    assert slow_down(db, "up", FORTY, said=RateLimits(requests=100, tokens=None, period=1)) == pytest.approx(39.33)
    assert allowed(db, FORTY) <= 40


def test_each_429_takes_its_share_and_never_more_than_a_quarter(db: Database) -> None:
    assert slow_down(db, "up", FORTY) == pytest.approx(40 - 0.67)
    assert slow_down(db, "up", FORTY) == pytest.approx(40 - 2 * 0.67, abs=0.2)
    ten = UpstreamLimits(requests=10)
    assert slow_down(db, "other", ten) == pytest.approx(7.5)


def test_a_storm_of_429s_ends_at_a_twentieth_and_is_over_in_a_minute(db: Database) -> None:
    lowest = min(slow_down(db, "up", FORTY) or 0 for _ in range(80))
    assert lowest == pytest.approx(2)
    pass_time(db, 10)
    assert allowed(db, FORTY) == pytest.approx(2 + 0.02 * 40 * 10, abs=1)
    pass_time(db, 40)
    assert allowed(db, FORTY) == pytest.approx(40)


def test_tokens_are_cut_in_the_same_proportion(db: Database) -> None:
    slow = UpstreamLimits(requests=60, tokens=1_000)
    assert slow_down(db, "up", slow) == pytest.approx(45)
    assert allowed(db, slow, tokens=500) == pytest.approx(750, rel=0.05)


def test_retry_after_keeps_everybody_from_new_slots(db: Database) -> None:
    assert ask(db, PER_MINUTE, max_wait=0).waits == (0, 0)
    slow_down(db, "up", PER_MINUTE, retry_after=5)
    slots = ask(db, PER_MINUTE, max_wait=AHEAD)
    assert slots.waits == ()
    assert 4 < slots.later <= 5
    assert slots.later - AHEAD / 2 <= slots.again <= slots.later
    slow_down(db, "up", PER_MINUTE, retry_after=1)  # a shorter one ends it no sooner
    assert 4 < ask(db, PER_MINUTE, max_wait=AHEAD).later <= 5
    pass_time(db, 5)
    assert ask(db, PER_MINUTE, max_wait=AHEAD).waits


def test_a_long_retry_after_holds_everybody_for_a_minute_at_most(db: Database) -> None:
    slow_down(db, "up", FORTY, retry_after=7200)
    assert 58 < ask(db, FORTY, max_wait=AHEAD).later <= 60


def test_limits_do_not_rise_while_everybody_waits(db: Database) -> None:
    slow_down(db, "up", FORTY, said=RateLimits(requests=10, tokens=None, period=1), retry_after=30)
    pass_time(db, 29)
    assert allowed(db, FORTY) == pytest.approx(10)


def test_the_setting_is_never_passed_and_a_lower_one_holds_at_once(db: Database) -> None:
    slow_down(db, "up", FORTY)
    pass_time(db, 3600)
    assert allowed(db, FORTY) == pytest.approx(40)
    lower = UpstreamLimits(requests=4, period=1)
    assert allowed(db, lower) == pytest.approx(4)
    assert slow_down(db, "up", lower) == pytest.approx(4 - 0.67)


def test_an_upstream_without_limits_stops_when_asked_and_keeps_to_what_is_named(db: Database) -> None:
    assert slow_down(db, "up", None, retry_after=2) is None
    assert 1 < ask(db, None, max_wait=0).later <= 2
    pass_time(db, 2)
    assert set(ask(db, None, n=1000, max_wait=0).waits) == {0}
    assert slow_down(db, "up", None, said=RateLimits(requests=60, tokens=None)) == 60
    assert allowed(db, UpstreamLimits(requests=None)) == pytest.approx(60)
    assert slow_down(db, "up", None) == pytest.approx(45)


def test_a_zero_is_no_name_of_a_limit(db: Database) -> None:
    said = RateLimits(requests=0, tokens=0, period=60)
    cuts = [slow_down(db, "up", FORTY, said=said) or 0 for _ in range(3)]
    assert all(0 < later < sooner for sooner, later in itertools.pairwise(cuts))
