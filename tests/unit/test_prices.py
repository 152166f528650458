"""What calls cost: whole micro-dollars, never too few."""

from __future__ import annotations

import random
from datetime import date
from fractions import Fraction

import pytest

from shared.upstreams.base import Usage
from shared.upstreams.openai import DEFAULT_MODEL
from shared.upstreams.prices import _prices, price_of, read_on


def test_the_default_model_has_a_price_and_the_prices_have_a_date() -> None:
    price = price_of(DEFAULT_MODEL)
    assert price.known
    assert (price.input, price.cached, price.cache_write, price.output) == (100_000, 10_000, 125_000, 500_000)
    assert date.fromisoformat(read_on()) >= date(2026, 11, 1)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("gpt-5.4-mini-2026-03-17", "gpt-5.4-mini"),
        ("gpt-4.1-nano-2025-04-14", "gpt-4.1-nano"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5", "gpt-5"),
    ],
)
def test_a_dated_snapshot_costs_what_its_family_costs(model: str, family: str) -> None:
    assert price_of(model) == price_of(family)
    assert price_of(model).model == family
    assert price_of(model).known


@pytest.mark.parametrize("model", ["gpt-7", "gpt-5-mini-turbo", "gpt-5-mini-2025", "", "mini"])
def test_an_unknown_model_costs_no_less_than_any_known_one(model: str) -> None:
    unknown = price_of(model)
    assert not unknown.known
    usage = Usage(input_tokens=1000, output_tokens=500, cached_tokens=100, cache_write_tokens=50)
    assert unknown.cost(usage) >= max(price.cost(usage) for price in _prices().values())


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), 0),
        (Usage(input_tokens=1), 1),  # a tenth of a micro-dollar, rounded up
        (Usage(input_tokens=1000, output_tokens=300), 250),
        (Usage(input_tokens=1000, output_tokens=300, cached_tokens=1000), 160),
        (Usage(input_tokens=1000, output_tokens=300, cache_write_tokens=1000), 275),
        (Usage(input_tokens=1_000_000), 200_000),  # above 272,000 the input costs double
        (Usage(input_tokens=300_000, output_tokens=1_000_000), 60_000 + 750_000),
        (Usage(input_tokens=272_000), 27_200),
        (Usage(input_tokens=10, cached_tokens=99, cache_write_tokens=99), 2),  # counts that contradict each other
    ],
)
def test_costs(usage: Usage, cost: int) -> None:
    assert price_of("gpt-6-luna").cost(usage) == cost


def test_a_cost_is_the_exact_sum_rounded_up() -> None:
    chance = random.Random(7)
    for price in _prices().values():
        tokens = chance.randrange(200_000)
        cached = chance.randrange(tokens + 1)
        usage = Usage(input_tokens=tokens, output_tokens=chance.randrange(9_999), cached_tokens=cached)
        exact = Fraction(
            (tokens - cached) * price.input + cached * price.cached + usage.output_tokens * price.output, 10**6
        )
        assert exact <= price.cost(usage) < exact + 1


def test_prices_are_plausible() -> None:
    for price in _prices().values():
        assert 0 < price.cached <= price.input <= price.cache_write < price.output
