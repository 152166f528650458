"""Forecasts: ranges of tokens and money from sizes, and what the work will wait for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.forecasts import Forecast, Limits, Range, Spoken, duration, prompted
from shared.upstreams.base import Usage
from shared.upstreams.prices import price_of

SPOKEN = Spoken(low=60, likely=300, seconds=4.0, basis="")


def worth(*sizes: tuple[int, int], worst: int = 1_200, spoken: Spoken = SPOKEN, model: str = "gpt-6-luna") -> Any:
    return prompted(sizes, overhead=32, worst_output=worst, spoken=spoken, cost=price_of(model).cost)


def test_nothing_costs_nothing() -> None:
    found = worth()
    assert (found.tokens_in, found.tokens_out, found.micros) == (Range(), Range(), Range())


def test_two_sizes_worked_out_by_hand() -> None:
    found = worth((1_000, 2), (2_000, 1))
    assert found.tokens_in == Range(low=2 * 200 + 400, likely=2 * 266 + 516, high=2 * 1_032 + 2_032)
    assert found.tokens_out == Range(low=180, likely=900, high=3_600)
    # gpt-6-luna: $0.10 a million in, $0.125 written to the cache, $0.50 out; each call rounded up
    assert found.micros == Range(low=2 * 50 + 70, likely=2 * 177 + 202, high=2 * 729 + 854)


def test_answers_are_never_taken_for_longer_than_they_may_be() -> None:
    found = worth((1_000, 1), worst=100)
    assert found.tokens_out == Range(low=60, likely=100, high=100)


def test_a_prompt_so_long_that_it_costs_double_does_so_in_the_worst_case() -> None:
    below, above = worth((271_000, 1)), worth((280_000, 1))
    assert above.micros.high > 1.9 * below.micros.high
    assert above.micros.likely < 1.1 * below.micros.likely


@given(
    st.lists(st.tuples(st.integers(1, 300_000), st.integers(1, 1_000)), max_size=20),
    st.sampled_from(("gpt-6-luna", "gpt-5-mini", "gpt-6-astra", "nobody-knows-it")),
    st.integers(16, 4_000),
    st.integers(1, 3_000),
)
def test_no_call_can_cost_more_than_high_or_likely_less_than_low(
    sizes: list[tuple[int, int]], model: str, worst: int, usual: int
) -> None:
    found = worth(*sizes, worst=worst, spoken=Spoken(low=usual // 2, likely=usual, seconds=1, basis=""), model=model)
    for each in (found.tokens_in, found.tokens_out, found.micros):
        assert each.low <= each.likely <= each.high
    dearest = sum(count * price_of(model).cost(Usage(input_tokens=size, output_tokens=worst)) for size, count in sizes)
    assert dearest <= found.micros.high


def forecast(**changes: Any) -> Forecast:
    figures = {
        "to_run": 600, "requests": Range(low=600, likely=600, high=600), "seconds": 5.0, "basis": "",
        "tokens_in": Range(likely=240_000), "tokens_out": Range(likely=60_000),
    }  # fmt: skip
    return Forecast(**{**figures, **changes})


def limits(**changes: Any) -> Limits:
    return Limits(**{"requests": None, "tokens": None, "period": 60.0, "concurrency": None, **changes})


@pytest.mark.parametrize(("present", "seconds", "bound_by"), [
    ({"requests": 60.0}, 600 / 0.97 + 5, "requests"),
    ({"requests": 60.0, "tokens": 15_000.0}, 20 * 60 / 0.97 + 5, "tokens"),
    ({"requests": 60_000.0, "concurrency": 10}, 300 + 5, "concurrency"),
    ({"requests": 60.0, "concurrency": 10}, 600 / 0.97 + 5, "requests"),
])  # fmt: skip
def test_the_slowest_of_the_limits_binds(present: dict[str, Any], seconds: float, bound_by: str) -> None:
    found, what = duration(forecast(), limits(**present))
    assert (found, what) == (pytest.approx(seconds, abs=0.1), bound_by)


def test_what_nobody_limits_takes_what_the_upstream_takes() -> None:
    assert duration(forecast(), limits()) == (None, "upstream")


def test_what_is_done_takes_no_time() -> None:
    assert duration(forecast(to_run=0, requests=Range()), limits(requests=60.0)) == (0.0, None)


def test_a_range_shows_its_own_units() -> None:
    assert Range(low=1, likely=2, high=3).document() == {"low": 1, "likely": 2, "high": 3}
    assert Range(low=1, likely=2, high=3_000_000).document(1_000_000) == {"low": 1e-06, "likely": 2e-06, "high": 3.0}
