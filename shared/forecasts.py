"""What work will take before it is begun: a forecast of requests, tokens and money, each low, likely and high."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.upstreams.base import Usage

# OpenAI's rule of thumb: a token is about four characters of English. In other scripts a character is two or three
# bytes and a token fewer characters, so that bytes are the better measure. The low figure takes long words for granted.
BYTES_PER_TOKEN: Final = 4
BYTES_PER_TOKEN_AT_BEST: Final = 5
# Fewer calls than this say too little about the next ones.
ENOUGH_CALLS: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A figure that is not known yet: hardly less than `low`, about `likely`, at most `high`."""

    low: int = 0
    likely: int = 0
    high: int = 0

    def document(self, unit: int = 1) -> dict[str, float]:
        """The range as JSON shows it, in so many of its own units."""
        values = (("low", self.low), ("likely", self.likely), ("high", self.high))
        return {name: value if unit == 1 else value / unit for name, value in values}


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What the waiting items of a session will take. High is one worst case for each, as admission reserves it."""

    to_run: int  # items that need the upstream
    reusable: int = 0  # items whose answer was paid for before
    free: int = 0  # items that end without a request, such as those skip-existing leaves alone
    requests: Range = Range()
    tokens_in: Range = Range()
    tokens_out: Range = Range()
    micros: Range = Range()
    seconds: float  # one request takes about so long
    basis: str  # what the likely figures rest on, for people
    model: str | None = None
    prompt: str | None = None
    prices_read_on: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Foretold:
    """What some files would take: rows that would run, and what that costs at the price of a model."""

    rows: int
    rejected: int
    exact: bool  # whether the files were read to their end
    micros: Range
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What would be asked for one item, and what would be done with the answer."""

    request: Mapping[str, Any]
    effect: str | None  # the SQL statement; None where nothing is written to the domain tables

    def document(self) -> dict[str, Any]:
        """The preview as JSON shows it."""
        return {"request": dict(self.request), "effect": self.effect}


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """What answers to one prompt by one model have taken: output tokens and seconds a call."""

    low: int
    likely: int
    seconds: float
    basis: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompted:
    """Tokens and micro-dollars of prompts that each get one answer."""

    tokens_in: Range
    tokens_out: Range
    micros: Range


def prompted(
    sizes: Sequence[tuple[int, int]],
    *,
    overhead: int,
    worst_output: int,
    spoken: Spoken,
    cost: Callable[[Usage], int],
) -> Prompted:
    """What prompts will take, given as pairs of bytes and how many have so many.

    At worst each byte is a token, `overhead` tokens come on top, all of it is written to the prompt cache, and the
    answer is as long as it may be: no call can cost more.
    """
    calls = sum(count for _, count in sizes)
    low = likely = high = 0
    cheap = usual = dear = 0
    expected, least = min(spoken.likely, worst_output), min(spoken.low, worst_output)
    for size, count in sizes:
        short, middle, long = size // BYTES_PER_TOKEN_AT_BEST, size // BYTES_PER_TOKEN + overhead // 2, size + overhead
        low, likely, high = low + count * short, likely + count * middle, high + count * long
        cheap += count * cost(Usage(input_tokens=short, output_tokens=least))
        usual += count * cost(Usage(input_tokens=middle, output_tokens=expected))
        dear += count * cost(Usage(input_tokens=long, output_tokens=worst_output, cache_write_tokens=long))
    return Prompted(
        tokens_in=Range(low=low, likely=likely, high=high),
        tokens_out=Range(low=calls * least, likely=calls * expected, high=calls * worst_output),
        micros=Range(low=cheap, likely=usual, high=dear),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an upstream may be asked now per `period` seconds (None: anything), and how many requests run at once."""

    requests: float | None
    tokens: float | None
    period: float
    concurrency: int | None


PACE: Final = 0.97  # of a limit is what the limiter hands out


def duration(forecast: Forecast, limits: Limits) -> tuple[float | None, str | None]:
    """Seconds the work takes, and what binds it: `requests`, `tokens` or `concurrency`.

    Both None where nothing is left to do; without any limit known only that `upstream` decides is.
    """
    requests = forecast.requests.likely
    if not requests:
        return 0.0, None
    tokens = forecast.tokens_in.likely + forecast.tokens_out.likely
    waits = {
        "requests": requests * limits.period / (PACE * limits.requests) if limits.requests else 0.0,
        "tokens": tokens * limits.period / (PACE * limits.tokens) if limits.tokens else 0.0,
        "concurrency": requests * forecast.seconds / limits.concurrency if limits.concurrency else 0.0,
    }
    bound_by = max(waits, key=lambda name: waits[name])
    if not waits[bound_by]:
        return None, "upstream"
    return round(waits[bound_by] + forecast.seconds, 1), bound_by
