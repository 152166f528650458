"""Where a campaign plays: a local stack with short leases, PostgreSQL behind a proxy, and witnesses in its database."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from infra.local.client import Stack
from infra.local.postgres import Cluster
from infra.local.topology import ROOT
from tests.e2e.stacks import Deck
from tests.faults.proxy import Place, Proxy

REQUEST_TIMEOUT, DEADLINE, LEASE, GRACE = (
    3.0,
    6.0,
    10.0,
    1.0,
)  # Pub/Sub knows no ack deadline below 10 s, and a lease is no shorter
TIMES = {
    "request_timeout": REQUEST_TIMEOUT,
    "max_wait": 1.5,
    "deadline": DEADLINE,
    "lease": LEASE,
    "linger": 3,
    "retry_base": 0.2,
}
RATE = 80  # requests a second, so that files take about as long as the faults do
THREADS, ITEMS, WORKERS = 8, 8, 2  # of the function that pays: threads, items of a message, processes
# Calls under way at once. So many may leave late, and with others, when a fault holds them up between their slot and
# the upstream; more may not.
CONCURRENT = THREADS * ITEMS * WORKERS
QUICK = ("LEASE_GRACE=1", "NOTICE_LOST_AFTER=4", "RESCUE_SECONDS=4.5", "INGEST_BUDGET=0.3")
# No test pays, and none writes to a database of somebody's own.
OWN = ("DATABASE_URL", "OPENAI_API_KEY", "TMDB_API_TOKEN")


@dataclass
class Stage:
    """A running stack and what stands between its parts."""

    deck: Deck
    proxy: Proxy

    @property
    def stack(self) -> Stack:
        """The stack."""
        return self.deck.stack

    def workers(self, function: str) -> list[psutil.Process]:
        """A function's worker processes."""
        pid = self.stack.pid_of(function)
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).children() if pid is not None else []
        return []


def make_topology(folder: Path, *, rate: int = RATE) -> Path:
    """A copy of infra/topology.yaml with times short enough for leases to expire within a seed."""
    content = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
    for slug, settings in content["pipelines"].items():
        settings.update(TIMES)
        settings["items_per_message"] = ITEMS
        content["subscriptions"][slug]["ack_deadline"] = 10
    content["upstreams"]["openai"] = {"requests": rate, "period": 1}
    for subscription in content["subscriptions"].values():
        subscription |= {"min_backoff": 0.5, "max_backoff": 2}
    paying = content["functions"]["process-artists"]
    paying |= {"threads": THREADS, "env": [*paying["env"], "WORKERS"]}  # gunicorn's: two, so that one can be stopped
    content["schedules"]["rescue"]["every"] = 5
    path = folder / "topology.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@contextlib.contextmanager
def open_stage(folder: Path, *, rate: int = RATE, workers: int = WORKERS) -> Iterator[Stage]:
    """A stage in `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    state = folder / "state"
    state.mkdir()
    # The stack finds this cluster again and chooses the port; the server's own pid file says which.
    cluster = Cluster.prepare(state / "postgres", 0, lambda _: None)
    with Proxy(lambda: _server(cluster.data)) as proxy:
        url = cluster.url.replace(":0/", f":{proxy.port}/")
        words = [word for pair in (f"DATABASE_URL={url}", *QUICK) for word in ("--set", pair)]
        topology = make_topology(folder, rate=rate)
        env = {name: value for name, value in os.environ.items() if name not in OWN} | {"WORKERS": str(workers)}
        with Stack.start(state, "--topology", str(topology), *words, env=env) as stack:
            deck = Deck(stack)
            try:
                install_witnesses(deck)
                yield Stage(deck, proxy)
            finally:
                proxy.speak()
                deck.api.close()
                deck.db.close()


def _server(data: Path) -> Place:
    """Where the server on this directory listens; raises OSError while none does."""
    lines = (data / "postmaster.pid").read_text("ascii").splitlines()
    if len(lines) < 4:
        raise ConnectionRefusedError
    return "127.0.0.1", int(lines[3])


# A reader's lease is a minute, which nobody can wait for here; everything else only watches.
WITNESSES = """
CREATE TABLE witnessed (at timestamptz NOT NULL DEFAULT clock_timestamp(), session_id uuid, what text);

CREATE FUNCTION witness_budget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witnessed (session_id, what) VALUES (NEW.id,
        format('spent %s and reserved %s pass the budget of %s', NEW.spent, NEW.reserved, NEW.budget));
    RETURN NULL;
END $$;
CREATE TRIGGER witness_budget AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (NEW.spent + NEW.reserved > NEW.budget) EXECUTE FUNCTION witness_budget();

CREATE FUNCTION witness_settled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witnessed (session_id, what) VALUES (NEW.session_id,
        format('item %s, settled as %s, became %s in the same round', NEW.item_no, OLD.outcome,
               coalesce(NEW.outcome, 'open')));
    RETURN NULL;
END $$;
CREATE TRIGGER witness_settled AFTER UPDATE ON items FOR EACH ROW
    WHEN (OLD.finalized_at IS NOT NULL AND NEW.round = OLD.round AND NEW.key IS NOT DISTINCT FROM OLD.key
          AND (NEW.finalized_at IS DISTINCT FROM OLD.finalized_at OR NEW.outcome IS DISTINCT FROM OLD.outcome
               OR NEW.result IS DISTINCT FROM OLD.result)
          AND NEW.input ? 'artist_id')
    EXECUTE FUNCTION witness_settled();

CREATE FUNCTION witness_attempt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witnessed (session_id, what) VALUES (NEW.session_id,
        format('item %s fell from attempt %s to %s', NEW.item_no, OLD.attempt, NEW.attempt));
    RETURN NULL;
END $$;
CREATE TRIGGER witness_attempt AFTER UPDATE ON items FOR EACH ROW
    WHEN (NEW.attempt < OLD.attempt OR NEW.round < OLD.round) EXECUTE FUNCTION witness_attempt();

CREATE FUNCTION shorten_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.lease_expires_at := now() + interval '6 seconds';
    RETURN NEW;
END $$;
CREATE TRIGGER shorten_lease BEFORE UPDATE ON files FOR EACH ROW
    WHEN (NEW.lease_expires_at > now() + interval '6 seconds') EXECUTE FUNCTION shorten_lease();
"""


def install_witnesses(deck: Deck) -> None:
    """Triggers that write down what must never be, however briefly."""
    deck.execute(WITNESSES)


def rows(deck: Deck, statement: str, *names: str) -> list[dict[str, Any]]:
    """The rows of a statement under these names."""
    return [dict(zip(names, row, strict=True)) for row in deck.execute(statement)]
