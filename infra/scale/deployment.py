"""A deployment as far as its speed goes: what infra/topology.yaml says, and the database beneath it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from infra.local.topology import DEFAULT_TOPOLOGY
from infra.scale.work import Shape
from shared.config import MAX_WINDOW, MIN_WINDOW, WINDOW_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What one pipeline runs on."""

    requests: float | None  # its upstream may be asked, a second; None: any number
    tokens: float | None
    instances: int
    threads: int
    items_per_message: int
    pool_size: int
    window: int | None  # items of a session that are out at most; None: what the upstream allows in 30 s
    readers: int  # files that are read at once
    calls: int | None  # that one instance makes at once; None: all those of its messages in hand
    elsewhere: int  # connections of all other functions
    database: Shape
    sessions: int = 1  # the rows come in so many, of a file each
    machine: float | None = None  # cores that carry everything, as a local stack's; None: the cloud

    @classmethod
    def of(cls, pipeline: str, database: Shape, path: Path = DEFAULT_TOPOLOGY) -> Self:
        """The pipeline as a topology has it."""
        content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
        chosen = content["pipelines"][pipeline]
        limits = content["upstreams"][chosen["upstream"]]
        functions = content["functions"]
        name, process = next((name, one) for name, one in functions.items() if one.get("pipeline") == pipeline)
        return cls(
            requests=_a_second(limits, "requests"),
            tokens=_a_second(limits, "tokens"),
            instances=process["max_instances"],
            threads=process["threads"],
            items_per_message=chosen["items_per_message"],
            pool_size=process["pool_size"],
            window=chosen.get("window"),
            calls=chosen.get("calls"),
            readers=functions["ingest"]["max_instances"],
            elsewhere=sum(one["max_instances"] * one["pool_size"] for key, one in functions.items() if key != name),
            database=database,
        )

    @property
    def connections(self) -> int:
        """How many connections all functions together may open."""
        return self.elsewhere + self.instances * self.pool_size

    @property
    def out(self) -> float:
        """How many items of one session may be out, as shared/config.py has it."""
        if self.window is not None:
            return self.window
        if self.requests is None:
            return MAX_WINDOW
        return max(MIN_WINDOW, min(MAX_WINDOW, round(self.requests * WINDOW_SECONDS)))


def _a_second(limits: dict[str, Any], what: str) -> float | None:
    return limits[what] / limits["period"] if limits.get(what) else None
