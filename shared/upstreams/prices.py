"""What a call costs, in whole micro-dollars; the prices are in `prices.json` with the day they were read."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from shared.upstreams.base import Usage

_FILE: Final = Path(__file__).with_name("prices.json")
_DATE: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_MILLION: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What one model costs, in micro-dollars per million tokens."""

    model: str
    input: int
    cached: int  # input read from the prompt cache
    cache_write: int  # input written to the prompt cache
    output: int
    long_above: int | None  # input tokens beyond which the whole call costs double, its output half as much again
    known: bool = True  # false: the model is not in the file and the dearest of all prices stands in

    def cost(self, usage: Usage) -> int:
        """Micro-dollars for a call, rounded up."""
        written = min(usage.cache_write_tokens, usage.input_tokens)
        cached = min(usage.cached_tokens, usage.input_tokens - written)
        plain = usage.input_tokens - written - cached
        read = plain * self.input + cached * self.cached + written * self.cache_write
        wrote = usage.output_tokens * self.output
        if self.long_above is not None and usage.input_tokens > self.long_above:
            read, wrote = read * 2, wrote * 3 // 2 + wrote * 3 % 2
        return -(-(read + wrote) // _MILLION)


@functools.cache
def price_of(model: str) -> Price:
    """The price of a model, a dated snapshot at its family's; one that is not in the file at the dearest of all."""
    prices = _prices()
    return prices.get(model) or prices.get(undated(model)) or _dearest(model, prices)


def undated(model: str) -> str:
    """The name without a snapshot's date: 'gpt-5-mini-2025-08-07' is 'gpt-5-mini'."""
    return _DATE.sub("", model)


def read_on() -> str:
    """The day the prices were read, as in ISO 8601."""
    return str(_file()["read_on"])


@functools.cache
def _file() -> dict[str, Any]:
    return orjson.loads(_FILE.read_bytes())  # type: ignore[no-any-return]


@functools.cache
def _prices() -> dict[str, Price]:
    file = _file()
    prices = {}
    for model, row in file["models"].items():
        prices[model] = Price(
            model=model,
            input=row["input"],
            cached=row.get("cached", row["input"]),
            cache_write=row.get("cache_write", row["input"]),
            output=row["output"],
            long_above=file["long_above"] if row.get("long") else None,
        )
    return prices


def _dearest(model: str, prices: dict[str, Price]) -> Price:
    return Price(
        model=model,
        input=max(price.input for price in prices.values()),
        cached=max(price.cached for price in prices.values()),
        cache_write=max(price.cache_write for price in prices.values()),
        output=max(price.output for price in prices.values()),
        long_above=min((price.long_above for price in prices.values() if price.long_above), default=None),
        known=False,
    )
