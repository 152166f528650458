"""Stacks for end-to-end tests, one of each kind a run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from infra.local import emulator
from infra.local.client import Stack
from tests.e2e.stacks import Deck, topology

# Leases and graces short enough that a killed worker's items run again within a test.
QUICK = ("--set", "LEASE_GRACE=1", "--set", "NOTICE_LOST_AFTER=3", "--set", "RESCUE_SECONDS=4")
# Whatever the developer's shell has set: no test pays, and none writes to a database of somebody's own.
OWN = ("DATABASE_URL", "OPENAI_API_KEY", "TMDB_API_TOKEN")
TIMES = {"request_timeout": 4, "max_wait": 2, "deadline": 8, "lease": 10, "retry_base": 0.2}


@pytest.fixture(scope="session")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deck]:
    """A stack on the embedded broker."""
    folder = tmp_path_factory.mktemp("stack")
    arguments = ("--topology", str(topology(folder, **TIMES)), *QUICK)
    with Stack.start(folder / "state", *arguments, env=_environment()) as stack:
        yield from _open(Deck(stack))


@pytest.fixture(scope="session")
def gcloud_deck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deck]:
    """A stack on Google's own emulator."""
    command, reason = emulator.locate()
    if command is None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("gcloud")
    arguments = ("--pubsub", "gcloud", "--topology", str(topology(folder, **TIMES)), *QUICK)
    with Stack.start(folder / "state", *arguments, env=_environment()) as stack:
        yield from _open(Deck(stack))


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in OWN}
    return {**own, "FETCH_SIMULATED": "1", "FETCH_PER_SECOND": "1000"}  # and none asks the real web


def _open(deck: Deck) -> Iterator[Deck]:
    yield deck
    deck.api.close()
    deck.db.close()


@pytest.fixture(autouse=True)
def behaving(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test finds the simulated upstreams well-behaved and leaves them so."""
    yield
    for name in ("deck", "gcloud_deck"):
        if name in request.fixturenames:
            found: Deck = request.getfixturevalue(name)
            found.openai.misbehave(latency=0, faults={}, named={}, key_ok=True, quota=True)
            found.web.misbehave(latency=0, faults={}, named={}, ranges=True)
            found.tmdb.misbehave(latency=0, faults={}, named={}, key_ok=True, down=False, limit=50)
