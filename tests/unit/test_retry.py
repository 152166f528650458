"""What follows a failure: how long, how often, and when not again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retry import MAX_BACKOFF, MAX_SNOOZE, MAX_SNOOZES, NextStep, RetryPolicy, next_step
from shared.upstreams.base import ErrorClass

POLICY = RetryPolicy()


def transient(
    failures: int, *, jitter: float = 0.0, policy: RetryPolicy = POLICY, after: float | None = None
) -> NextStep:
    return next_step(ErrorClass.TRANSIENT, failures=failures, policy=policy, retry_after=after, jitter=lambda: jitter)


def test_by_default_a_transient_failure_waits_two_and_four_seconds_and_then_fails() -> None:
    assert [transient(failures).wait for failures in range(4)] == [2.0, 4.0, None, None]
    assert all(transient(failures).counts for failures in range(3))


def test_a_wait_is_up_to_a_quarter_longer() -> None:
    assert transient(0, jitter=1.0).wait == 2.5
    assert transient(1, jitter=0.5).wait == 4.5


def test_waits_differ_from_each_other_without_a_jitter_of_ones_own() -> None:
    waits = {next_step(ErrorClass.TRANSIENT, failures=0, policy=POLICY).wait for _ in range(20)}
    assert len(waits) > 1


def test_never_before_the_upstream_asked_for() -> None:
    assert transient(0, after=30.0).wait == 30.0
    assert transient(0, after=0.5).wait == 2.0
    assert transient(2, after=30.0).wait is None


@given(failures=st.integers(0, 900), tries=st.integers(1, 1_000), base=st.floats(0, 1e6), jitter=st.floats(0, 1))
def test_an_item_is_tried_as_often_as_its_policy_says_and_waits_within_bounds(
    failures: int, tries: int, base: float, jitter: float
) -> None:
    wait = transient(failures, jitter=jitter, policy=RetryPolicy(max_failures=tries, base=base)).wait
    assert (wait is None) == (failures + 1 >= tries)
    assert wait is None or 0 <= wait <= MAX_BACKOFF * 1.25


def snoozed(snoozes: int, *, failures: int = 0, after: float | None = None) -> NextStep:
    return next_step(
        ErrorClass.TRANSIENT, failures=failures, policy=POLICY, retry_after=after, snoozes=snoozes, jitter=lambda: 0.0
    )


def test_one_who_only_asks_for_patience_waits_ever_longer_and_uses_up_no_try() -> None:
    steps = [snoozed(n, failures=2) for n in range(MAX_SNOOZES)]
    assert [step.wait for step in steps[:4]] == [2.0, 4.0, 8.0, 16.0]
    assert steps[-1].wait == MAX_SNOOZE
    assert not any(step.counts or step.hold for step in steps)
    assert snoozed(0, after=45.0).wait == 45.0


def test_patience_ends() -> None:
    assert snoozed(MAX_SNOOZES) == NextStep(wait=2.0, counts=True)
    assert snoozed(MAX_SNOOZES, failures=2) == NextStep(wait=None)


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_a_permanent_failure_is_not_tried_again(failures: int) -> None:
    assert next_step(ErrorClass.PERMANENT, failures=failures, policy=POLICY) == NextStep(wait=None)


@pytest.mark.parametrize("failures", [0, 2, 5])
def test_a_systemic_failure_holds_the_session_and_uses_up_no_try(failures: int) -> None:
    step = next_step(ErrorClass.SYSTEMIC, failures=failures, policy=POLICY)
    assert step == NextStep(wait=0.0, counts=False, hold=True)
