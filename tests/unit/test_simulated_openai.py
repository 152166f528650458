"""How long the simulated OpenAI takes."""

from __future__ import annotations

import statistics
from math import log

import pytest

from infra.local.upstreams.openai import Behaviour


def test_answers_take_alike_long_unless_they_are_spread() -> None:
    behaviour = Behaviour(latency=2.0)
    assert {behaviour.seconds(f"Artist {i}", 1, None) for i in range(100)} == {2.0}
    assert behaviour.seconds("Nina", 1, "slow") == behaviour.slow


def test_spread_answers_are_lognormal_with_the_latency_as_their_mean() -> None:
    behaviour = Behaviour(latency=2.0, spread=0.5)
    found = [behaviour.seconds(f"Artist {i}", 1, None) for i in range(20_000)]
    assert statistics.mean(found) == pytest.approx(2.0, rel=0.02)
    assert statistics.stdev(map(log, found)) == pytest.approx(0.5, rel=0.02)
    assert found[:10] == [behaviour.seconds(f"Artist {i}", 1, None) for i in range(10)]
    assert behaviour.seconds("Nina", 1, None) != behaviour.seconds("Nina", 2, None)
    assert behaviour.changed({"seed": 1}).seconds("Nina", 1, None) != behaviour.seconds("Nina", 1, None)
