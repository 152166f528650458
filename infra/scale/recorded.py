"""The model held against what was measured on a local stack, where one machine of two cores carries everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from infra.scale.deployment import Deployment
from infra.scale.model import Resource, simulate
from infra.scale.work import Figures

CORES = 2
ANY = 10_000_000 / 60  # requests a second, as tests/bench allows where the upstream must not bind


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A recorded run and what the model says of it, in seconds."""

    what: str
    recorded: float
    predicted: float

    @property
    def off(self) -> float:
        """How far the prediction is off, as a share of what was recorded."""
        return self.predicted / self.recorded - 1


def compared(figures: Figures) -> list[Compared]:
    """Every recorded run beside its prediction."""
    return [
        Compared(what=what, recorded=run["seconds"], predicted=_predicted(what, run, figures))
        for what, run in figures.recorded.items()
    ]


def _predicted(what: str, run: Mapping[str, float], figures: Figures) -> float:
    slug = "artists" if "artists" in what else "movies"
    deployed = Deployment.of(slug, figures.shapes[0])
    on = replace(
        deployed,
        machine=CORES,
        instances=1,
        threads=int(run.get("threads", deployed.threads)),
        calls=int(run["calls"]) if "calls" in run else None,
        requests=run.get("requests", ANY),
    )
    own = figures.pipelines[slug]
    work = replace(own, latency=run["latency"], requests=run.get("each", own.requests))
    found = simulate(run["rows"], on, work, figures.platform)
    if run["whole"]:
        return found.seconds
    return sum(p.seconds for p in found.phases if p.bound_by not in (Resource.READING, Resource.FINALIZING))
