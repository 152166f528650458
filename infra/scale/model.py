"""A fluid model of a run: rows flow at the rate that the scarcest resource lets through.

Fluid and not event by event, because a billion rows are one number to it and a queue of messages would tell no more:
all of Rowlift's queues are bounded (the window), so what counts is which rate is the lowest, and when that changes. It
does change: reading ends, indexes outgrow memory, disks fill. So a run goes in a hundred steps, each at the rates that
hold at its start. What it leaves out stands in docs/scale.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from infra.scale.deployment import Deployment
from infra.scale.work import Platform, Work

STEPS = 100
READING_SHARE = 0.5  # of the database at most goes to reading files while items are worked on


class Resource(StrEnum):
    """What can bind a run; the words are those of docs/scale.md."""

    READING = "reading the files"
    REQUESTS = "the upstream's requests"
    TOKENS = "the upstream's tokens"
    CALLS = "calls at once"
    FUNCTION_CPU = "CPU of the process function"
    WINDOW = "the window"
    PUSH = "pushes under way"
    CONNECTIONS = "connections"
    DATABASE_CPU = "CPU of the database"
    SESSION_ROW = "the session's row"
    LIMITER_ROW = "the upstream's row"
    DISK = "writes to disk"
    SCATTERED = "reads of scattered indexes"
    MACHINE = "the one machine"
    FINALIZING = "writing the results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of a run in which one resource binds."""

    bound_by: Resource
    seconds: float
    rows: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How a run went."""

    phases: tuple[Phase, ...]
    rows: float
    stored: float  # bytes on disk at its end
    logged_ahead: float  # bytes of WAL
    asked: float  # requests to the upstream
    busy: float  # seconds of instances of the process function

    @property
    def seconds(self) -> float:
        """From the drop to the results."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def bound_by(self) -> Resource:
        """What bound it for the longest."""
        return max(self.phases, key=lambda phase: phase.seconds).bound_by


def simulate(rows: float, on: Deployment, work: Work, platform: Platform) -> Run:
    """A run of so many rows, dropped at once."""
    read = settled = asked = busy = wal = 0.0
    phases: list[Phase] = []
    calling = work.requests * min(1.0, work.different / rows)
    while rows - settled > 0.5:
        waits = read - settled >= 1 or read >= rows
        taken = 0.0 if read >= rows else _reading(on, work, platform, beside_work=waits)
        rates = limits(on, work, platform, settled=settled, reading=taken, calling=calling)
        bound_by = min(rates, key=lambda one: rates[one])
        if not waits and taken < rates[bound_by]:
            rates, bound_by = {Resource.READING: taken}, Resource.READING
        rate = rates[bound_by]
        seconds = min(
            rows / STEPS / rate,
            _until(rows - read, taken),
            _until(rows - settled, rate),
            _until(read - settled, rate - taken) if waits else inf,
        )
        done = rate * seconds
        read, settled = min(rows, read + taken * seconds), settled + done
        asked, busy = asked + done * calling, busy + seconds * _instances(rate, on, work, platform, calling)
        wal += done * (work.wal + _images(settled, on, work, platform))
        phases.append(Phase(bound_by=bound_by, seconds=seconds, rows=done))
    last = rows / on.sessions * platform.finalizing  # earlier sessions are finalized while later ones are worked on
    phases.append(Phase(bound_by=Resource.FINALIZING, seconds=last, rows=0))
    return Run(
        phases=tuple(_joined(phases)), rows=rows, stored=rows * work.disk, logged_ahead=wal, asked=asked, busy=busy
    )


def limits(
    on: Deployment,
    work: Work,
    platform: Platform,
    *,
    settled: float = 0,
    reading: float = 0,
    calling: float | None = None,
) -> dict[Resource, float]:
    """Rows a second that each resource lets through, once so many are settled and while so many a second are read."""
    asks = work.requests if calling is None else calling
    share = asks / work.requests
    message = (
        on.items_per_message / share if share else inf
    )  # rows that cost as many statements as a message of requests
    tokens = (work.tokens_in + work.tokens_out) * share
    statements = work.database + work.commits / on.items_per_message * platform.commit
    locked = work.row_locks * (platform.commit + platform.row_hold)
    wal = work.wal + _images(settled, on, work, platform)
    held = _held(on, work, share)
    cores = on.database.vcpus * platform.core * platform.busy - reading * work.reading_database
    missing = _missing(settled, on, work, platform)
    found = {
        Resource.REQUESTS: _over(platform.pace * on.requests, asks) if on.requests else inf,
        Resource.TOKENS: _over(platform.pace * on.tokens, tokens) if on.tokens else inf,
        Resource.CALLS: on.instances
        * min(on.threads * on.items_per_message / held, _over(on.calls or inf, work.latency * share)),
        Resource.FUNCTION_CPU: on.instances / work.function,
        Resource.WINDOW: on.sessions * on.out / platform.delivery,
        Resource.PUSH: platform.outstanding * on.items_per_message / held,
        Resource.CONNECTIONS: on.instances * on.pool_size / statements,
        Resource.DATABASE_CPU: max(cores, 1e-9) / work.database,
        Resource.SESSION_ROW: on.sessions * on.items_per_message / locked,
        Resource.LIMITER_ROW: platform.limiter * message,
        Resource.DISK: on.database.throughput / (platform.disk_writes * wal),
        Resource.SCATTERED: _over(on.database.iops, 2 * work.pages * missing),  # each is read, and written later
        Resource.MACHINE: _over(on.machine, work.function + work.database + work.beside) if on.machine else inf,
    }  # fmt: skip
    return {one: rate for one, rate in found.items() if one in _HERE or not on.machine}


# What a local stack shares is one machine: no vCPUs or disks of its own, and a commit is a write to memory.
_HERE = frozenset({Resource.REQUESTS, Resource.TOKENS, Resource.CALLS, Resource.MACHINE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Wall:
    """How many rows one session holds, and what stops a larger one."""

    rows: float
    what: str


def walls(platform: Platform) -> tuple[Wall, ...]:
    """What stops a session that is too large however long one waits, the nearest first."""
    found = (
        Wall(rows=platform.statement / platform.counting, what="its sums are proved in one statement of 30 s"),
        Wall(rows=platform.call / platform.finalizing, what="its results are written in one call of 600 s"),
    )
    return tuple(sorted(found, key=lambda wall: wall.rows))


def _reading(on: Deployment, work: Work, platform: Platform, *, beside_work: bool) -> float:
    """Rows read a second."""
    readers = min(on.readers, on.sessions)
    cores = on.machine or on.database.vcpus * platform.core * platform.busy
    share = READING_SHARE if beside_work else 1.0
    return min(readers / work.reading, share * cores / (work.reading if on.machine else work.reading_database))


def _held(on: Deployment, work: Work, share: float) -> float:
    """Seconds a thread is busy with a message."""
    return work.latency * share + on.items_per_message * (work.function + work.database)


def _instances(rate: float, on: Deployment, work: Work, platform: Platform, calling: float) -> float:
    """How many instances the platform has running at a rate."""
    threads = rate / on.items_per_message * _held(on, work, calling / work.requests)
    return min(on.instances, max(threads / (on.threads * platform.instance_use), rate * work.function))


def _missing(settled: float, on: Deployment, work: Work, platform: Platform) -> float:
    """The share of pages of scattered indexes that are not in memory."""
    size = settled * work.scattered
    return max(0.0, 1 - platform.index_memory * on.database.memory * 1e9 / size) if size else 0.0


def _images(settled: float, on: Deployment, work: Work, platform: Platform) -> float:
    """Bytes of WAL a row adds because pages that nobody touched since the last checkpoint are logged whole."""
    return work.pages * platform.page * _missing(settled, on, work, platform)


def _over(amount: float, each: float) -> float:
    return amount / each if each else inf


def _until(amount: float, rate: float) -> float:
    return amount / rate if rate > 0 and amount > 0 else inf


def _joined(phases: list[Phase]) -> Iterator[Phase]:
    """Neighbours that the same resource binds as one."""
    last: Phase | None = None
    for phase in phases:
        if last is not None and last.bound_by == phase.bound_by:
            last = Phase(bound_by=last.bound_by, seconds=last.seconds + phase.seconds, rows=last.rows + phase.rows)
            continue
        if last is not None:
            yield last
        last = phase
    if last is not None:
        yield last
