"""What a month costs: amounts of what is charged for, times the list prices of prices.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from infra.local.topology import DEFAULT_TOPOLOGY
from infra.scale.deployment import Deployment
from infra.scale.model import Run
from infra.scale.work import Shape, Work
from shared.upstreams.base import Usage
from shared.upstreams.openai import DEFAULT_MODEL
from shared.upstreams.prices import price_of

PRICES = Path(__file__).with_name("prices.yaml")
GIB, TIB, GB = 2**30, 2**40, 1e9
HOURS, DAYS = 730, 30.4  # of a month
MONTH = HOURS * 3600.0
KEPT = 30 / DAYS  # months that uploads, items and results stay
ENVELOPE = 1_000  # bytes a push request is charged at least
WRITES = 10  # operations a session takes: upload, results, manifest, rejects
SPARE_DISK = 0.5  # of the smallest disk is there for rows
MEMORY = 512  # MB of every function
NOTICE = 250  # bytes of a published notice: ids, item numbers, attributes

Amounts = Mapping[str, float]


class PricesError(Exception):
    """prices.yaml lacks a price, or says not where one comes from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """One price, how much is free each month, and how sure it is."""

    service: str
    usd: float
    unit: str
    sure: str
    of: str
    source: str
    free: float = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """All of prices.yaml."""

    read_on: str
    of: Mapping[str, Price]
    standing: Mapping[str, float]
    instance: Mapping[str, float]

    @classmethod
    def load(cls, path: Path = PRICES) -> Self:
        """The prices of a file; raises PricesError."""
        content = yaml.safe_load(path.read_text("utf-8"))
        try:
            of = {name: _price(one) for name, one in content["prices"].items()}
        except (KeyError, TypeError) as error:
            raise PricesError(f"{path.name}: a price lacks {error}") from error
        standing = {name: float(one["is"]) for name, one in content["standing"].items()}
        return cls(read_on=str(content["read_on"]), of=of, standing=standing, instance=content["instance"])

    def bill(self, amounts: Amounts) -> dict[str, float]:
        """Dollars by service, of a month with these amounts."""
        lines = dict.fromkeys((price.service for price in self.of.values()), 0.0)
        for name, amount in amounts.items():
            price = self.of[name]
            lines[price.service] += max(0.0, amount - price.free) * price.usd
        return lines


def _price(given: Mapping[str, Any]) -> Price:
    rest = {name: value for name, value in given.items() if name not in ("from", "of")}
    return Price(**rest, of=str(given["of"]), source=given["from"])


def together(*parts: Amounts) -> dict[str, float]:
    """The amounts of several things in one month; what is free is free once."""
    names = {name for part in parts for name in part}
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def standing(prices: Prices, shape: Shape, *, disk_gb: float, zones: int = 1) -> dict[str, float]:
    """What a deployment uses in a month in which nobody drops anything."""
    topology = yaml.safe_load(DEFAULT_TOPOLOGY.read_text("utf-8"))
    functions = topology["functions"]
    secrets = {name for one in functions.values() for name in one.get("secrets", ())}
    calls = MONTH / topology["schedules"]["rescue"]["every"]
    own = prices.standing
    return together(
        instance(shape, hours=HOURS, zones=zones),
        {
            "sql_disk": disk_gb * zones,
            "sql_backup": own["backups"],  # of a database that is next to empty: a GB
            **_running(calls * own["rescue_seconds"], calls, functions["rescue"]["memory_mb"]),
            "logs": calls * own["request_log"] / GIB,
            "alerts": own["alert_conditions"],
            "scheduler": len(topology["schedules"]),
            "secrets": len(secrets),
            "registry": own["image_gb"] * len(functions),
        },
    )


def instance(shape: Shape, *, hours: float, zones: int = 1) -> dict[str, float]:
    """What an instance of the database uses; in two zones it is two."""
    return {"sql_vcpu": shape.vcpus * hours * zones, "sql_memory": shape.memory * hours * zones}


def of_run(
    run: Run, on: Deployment, work: Work, prices: Prices, *, finalizing: float, times: float = 1
) -> dict[str, float]:
    """What so many such runs in a month use beyond what stands there anyway, what is kept of them included."""
    messages = run.rows / on.items_per_message
    requests = messages * 2  # a push, and what else is called on its behalf
    seconds = run.busy + run.seconds + run.rows * (work.reading + finalizing)
    disk = max(0.0, times * run.rows * work.disk / GB - prices.instance["disk_gb"] * SPARE_DISK)
    once = {
        **_running(seconds, requests, MEMORY),
        "pubsub": messages * (NOTICE + ENVELOPE) / TIB,
        "storage": run.rows * (work.uploaded + work.results) / GB * KEPT,
        "storage_writes": WRITES * on.sessions,
        "logs": (run.rows * work.logged + requests * prices.standing["request_log"]) / GIB,
        "egress": run.asked * work.sent / work.requests / GIB,
        "sql_backup": run.rows * work.disk / GB * KEPT * prices.standing["backups"],
    }
    return {**{name: amount * times for name, amount in once.items()}, "sql_disk": disk}


def _running(seconds: float, requests: float, memory_mb: float) -> dict[str, float]:
    return {"run_cpu": seconds, "run_memory": seconds * memory_mb / 1024, "run_requests": requests}


def upstream(run: Run, work: Work, pipeline: str) -> float:
    """Dollars for what the upstream is asked: OpenAI's tokens at the default model; TMDB costs nothing."""
    if pipeline != "artists":
        return 0.0
    usage = Usage(input_tokens=round(work.tokens_in), output_tokens=round(work.tokens_out))
    return run.asked * price_of(DEFAULT_MODEL).cost(usage) / 1e6
