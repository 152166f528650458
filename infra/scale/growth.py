"""What to raise so that a run ends in time: what binds is raised, one resource after the other, until it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import ceil, floor

from infra.scale.deployment import Deployment
from infra.scale.model import Resource, Run, limits, simulate, walls
from infra.scale.work import Figures, Shape, Work

SPARE = 0.8  # of a limit that is made use of
INSTANCES = 1_000  # of a service, without asking for more (Cloud Run's documented default)
LARGEST_MESSAGE = 32  # items; beyond that one slow answer holds up too much
MOST_STEPS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Something that was raised, because of what."""

    because: str
    raised: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Grown:
    """A deployment that was raised for a run, how, and how the run goes on it. `short` says what cannot be raised."""

    steps: tuple[Step, ...]
    on: Deployment
    run: Run
    short: str | None = None


def grow(rows: float, within: float, on: Deployment, work: Work, figures: Figures) -> Grown:
    """The deployment on which so many rows end within so many seconds."""
    steps: list[Step] = []
    while len(steps) < MOST_STEPS:
        run = simulate(rows, on, work, figures.platform)
        found = _next(rows, within, on, work, figures, run)
        if found is None:
            return Grown(steps=tuple(_joined(steps)), on=on, run=run)
        if isinstance(found, str):
            return Grown(steps=tuple(_joined(steps)), on=on, run=run, short=found)
        step, on = found
        steps.append(step)
    raise AssertionError("raising does not end")  # every raise is by a share, up to a ceiling


def _next(
    rows: float, within: float, on: Deployment, work: Work, figures: Figures, run: Run
) -> tuple[Step, Deployment] | str | None:
    """What to raise now; a sentence if nothing can be, None if nothing need be."""
    if on.connections > on.database.connections:
        return _fewer_connections(rows / within, on, work, figures)
    wall = walls(figures.platform)[0]
    if rows / on.sessions > wall.rows:
        sessions = ceil(rows / (wall.rows * SPARE))
        because = f"a session holds {wall.rows / 1e6:,.0f} million rows: {wall.what}"
        return Step(because=because, raised=f"the rows in {sessions} files, a session each"), replace(
            on, sessions=sessions
        )
    if run.seconds <= within:
        return None
    raised = RAISES[run.bound_by](on, rows / within, work, figures)
    because = f"it is bound by {run.bound_by}"
    if raised is None:
        return f"{run.bound_by} cannot be raised further"
    what, larger = raised
    return Step(because=because, raised=what), larger


Raised = tuple[str, Deployment] | None


def _requests(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    """The upstream's limit is not ours to raise: somebody has to ask for it."""
    needed = _round(rate * work.requests / figures.platform.pace * 60 * 1.05)
    return f"the upstream's limit to {needed:,} requests a minute, by asking for it", replace(on, requests=needed / 60)


def _tokens(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    needed = _round(rate * (work.tokens_in + work.tokens_out) / figures.platform.pace * 60 * 1.05)
    return f"the upstream's limit to {needed:,} tokens a minute, by asking for it", replace(on, tokens=needed / 60)


def _round(limit: float) -> int:
    return ceil(limit / 1_000) * 1_000


def _instances(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    there = limits(on, work, figures.platform)
    least = min(there[one] for one in (Resource.CALLS, Resource.FUNCTION_CPU, Resource.CONNECTIONS))
    needed = max(on.instances + 1, ceil(on.instances * rate * 1.1 / least))
    if needed > INSTANCES:
        return None
    return f"`max_instances` to {needed}", replace(on, instances=needed)


def _window(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    needed = ceil(rate * figures.platform.delivery * 2 / on.sessions)
    return f"`window` to {needed:,}", replace(on, window=needed)


def _sessions(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    each = limits(on, work, figures.platform)[Resource.SESSION_ROW] / on.sessions
    needed = max(on.sessions + 1, ceil(rate * 1.1 / each))
    return f"the rows in {needed} files, a session each", replace(on, sessions=needed)


def _readers(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    needed = max(on.readers, on.sessions) * 2
    return f"the rows in {needed} files, and as many instances of ingest", replace(on, readers=needed, sessions=needed)


def _larger(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    next_one = _next_shape(on, figures)
    return None if next_one is None else (_named(next_one), replace(on, database=next_one))


def _fewer_connections(rate: float, on: Deployment, work: Work, figures: Figures) -> tuple[Step, Deployment] | str:
    """Smaller pools where they are still large enough, else a larger instance, which allows more."""
    because = f"{on.connections:,} connections may be opened and {on.database.connections:,} are allowed"
    smaller = floor((on.database.connections * SPARE - on.elsewhere) / on.instances)
    if 0 < smaller < on.pool_size:
        pools = replace(on, pool_size=smaller)
        if limits(pools, work, figures.platform)[Resource.CONNECTIONS] > rate:
            return Step(because=because, raised=f"`pool_size` to {smaller}"), pools
    found = _next_shape(on, figures)
    if found is None:
        return because
    return Step(because=because, raised=_named(found)), replace(on, database=found)


def _next_shape(on: Deployment, figures: Figures) -> Shape | None:
    return next((shape for shape in figures.shapes if shape.vcpus > on.database.vcpus), None)


def _named(shape: Shape) -> str:
    return f"the instance to {shape.vcpus} vCPUs, {shape.memory:g} GB"


def _messages(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    """More items a push; they settle together, so the slowest holds the others back."""
    if on.items_per_message * 2 > LARGEST_MESSAGE:
        return None
    return f"`items_per_message` to {on.items_per_message * 2}", replace(on, items_per_message=on.items_per_message * 2)


def _nothing(on: Deployment, rate: float, work: Work, figures: Figures) -> Raised:
    return None


RAISES: dict[Resource, Callable[[Deployment, float, Work, Figures], Raised]] = {
    Resource.READING: _readers,
    Resource.REQUESTS: _requests,
    Resource.TOKENS: _tokens,
    Resource.CALLS: _instances,
    Resource.FUNCTION_CPU: _instances,
    Resource.WINDOW: _window,
    Resource.PUSH: _messages,
    Resource.CONNECTIONS: _instances,
    Resource.DATABASE_CPU: _larger,
    Resource.SESSION_ROW: _sessions,
    Resource.LIMITER_ROW: _messages,
    Resource.DISK: _larger,
    Resource.SCATTERED: _larger,
    Resource.MACHINE: _nothing,
    Resource.FINALIZING: _sessions,
}


def _joined(steps: list[Step]) -> Iterator[Step]:
    """Raises of the same thing one after the other as the last of them."""
    for step, after in zip_longest(steps, steps[1:]):
        if after is None or step.raised.split(" to ")[0] != after.raised.split(" to ")[0]:
            yield step
