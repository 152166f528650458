"""Each broker once a run; tests that take `broker` or `kind` run on both."""

from collections.abc import Iterator

import pytest

from infra.local.emulator import locate
from tests.conformance.brokers import Clients, only_embedded, running

KINDS = [pytest.param("embedded"), pytest.param("gcloud", marks=pytest.mark.gcloud)]


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which broker; Google's is skipped, with the reason, where it is not installed."""
    command, reason = locate()
    if request.param == "gcloud" and command is None:
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session")
def broker(kind: str) -> Iterator[Clients]:
    """A broker all tests share; each makes topics of its own."""
    with running(kind) as clients:
        yield clients


@pytest.fixture
def strict_broker(broker: Clients) -> Clients:
    """A broker that enforces the limits of the real service."""
    only_embedded(broker, "Google's emulator 0.8.20 does not enforce this limit")
    return broker
