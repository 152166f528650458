"""What one row costs and what the platform allows, read from figures.yaml; every figure says where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import yaml

FIGURES = Path(__file__).with_name("figures.yaml")
SURE = ("measured", "documented", "guessed")


class FiguresError(Exception):
    """figures.yaml lacks a figure, has one too many, or one without a source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one row of a pipeline takes. Times in seconds, sizes in bytes."""

    reading: float  # of a reader, to put a row in the ledger
    reading_database: float  # of one of the database's cores, for the same
    requests: float  # made to the upstream
    different: float  # rows beyond so many ask for nothing new
    latency: float  # until the upstream has answered all requests of a row
    tokens_in: float
    tokens_out: float
    function: float  # CPU of the process function
    database: float  # CPU of PostgreSQL, from dispatch to settle
    beside: float  # CPU of everything else a local stack runs
    row_locks: float  # how often a message holds its session's row until a commit
    commits: float
    wal: float
    disk: float  # while its session is kept
    kept: float  # of that, after its session has expired
    scattered: float  # of indexes that grow in no order
    pages: float  # of such indexes, written for each row
    uploaded: float
    results: float
    logged: float
    sent: float  # to the upstream


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """What platform and database allow. Times in seconds, sizes in bytes."""

    pace: float  # share of an upstream's limit that is used
    core: float  # what a vCPU of the database does of a core here
    busy: float  # share of its CPU a database may be kept at
    commit: float  # until a commit is durable
    row_hold: float  # for which a settlement holds its session's row before it commits
    limiter: float  # statements a second on an upstream's row
    outstanding: float  # messages a push subscription has under way at most
    delivery: float  # from dispatch to claim
    page: float
    index_memory: float  # share of the memory that holds indexes
    disk_writes: float  # bytes written for a byte of WAL
    instance_use: float  # share of its threads the platform keeps an instance's busy
    counting: float  # a row, in the statement that proves a session's sums
    statement: float  # that a statement may take
    finalizing: float  # a row, in the call that writes a session's results
    call: float  # that the call may take
    session: float  # until a session expires
    largest_disk: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A size of database instance."""

    vcpus: int
    memory: float  # GB
    connections: int  # that it allows unless a flag says otherwise
    iops: float
    throughput: float  # bytes a second


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """All of figures.yaml."""

    platform: Platform
    pipelines: Mapping[str, Work]
    shapes: tuple[Shape, ...]
    recorded: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, path: Path = FIGURES) -> Self:
        """The figures of a file; raises FiguresError."""
        content = yaml.safe_load(path.read_text("utf-8"))
        return cls(
            platform=_filled(Platform, content["platform"], "platform"),
            pipelines={slug: _filled(Work, own, slug) for slug, own in content["pipelines"].items()},
            shapes=tuple(Shape(**{**one, "throughput": one["throughput"] * 1e6}) for one in content["shapes"]["are"]),
            recorded={name: one["is"] for name, one in content["recorded"].items()},
        )


def _filled(kind: type[Any], given: Mapping[str, Any], where: str) -> Any:
    """A `kind` of the figures in `given`, every one of which has a value and its source."""
    wanted = {field.name for field in fields(kind)}
    if wanted != set(given):
        raise FiguresError(f"figures.yaml, {where}: {sorted(wanted ^ set(given))} missing or not known")
    for name, figure in given.items():
        if figure.get("sure") not in SURE or not figure.get("from"):
            raise FiguresError(f"figures.yaml, {where}.{name}: say `from`, and `sure` as one of {', '.join(SURE)}")
    return kind(**{name: float(figure["is"]) for name, figure in given.items()})
