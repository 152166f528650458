"""A stack and a Chromium for the tests of the dashboard; what a page does wrong behind the scenes fails its test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from infra.local.client import Stack
from tests.browser.visitor import WAIT, Visitor
from tests.e2e.stacks import Deck, topology

# Nothing that reaches outside: no updates, no sync, no look-ups of its own.
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
OWN = ("DATABASE_URL", "OPENAI_API_KEY", "TMDB_API_TOKEN")  # of the developer's shell; no test pays
TIMES = {"request_timeout": 4, "max_wait": 2, "deadline": 8, "lease": 10, "retry_base": 0.2}


# A module's, not the session's: Playwright's loop would stay in this thread and disturb tests of other files.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; tests are skipped where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium here; `apt-get install chromium` brings one")
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*QUIET])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def deck(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deck]:
    """A stack for the whole file."""
    folder = tmp_path_factory.mktemp("dashboard")
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    with Stack.start(folder / "state", "--topology", str(topology(folder, **TIMES)), env=environment) as stack:
        deck = Deck(stack)
        yield deck
        deck.api.close()
        deck.db.close()


@pytest.fixture
def visitor(chromium: Browser, deck: Deck) -> Iterator[Visitor]:
    """Somebody at a screen of usual size with the dashboard's address."""
    with Visitor.of(chromium, deck) as visitor:
        yield visitor


@pytest.fixture(autouse=True)
def behaving(deck: Deck) -> Iterator[None]:
    """The simulated upstreams behave again after each test."""
    yield
    deck.openai.misbehave(latency=0, faults={}, named={})
    deck.tmdb.misbehave(latency=0, faults={}, named={})
