"""The pipelines by slug. A new one is a class, a migration, a block in infra/topology.yaml, and a line here."""

from __future__ import annotations

from shared.config import Settings
from shared.errors import ConfigError
from shared.pipelines.artists import Artists
from shared.pipelines.base import Pipeline
from shared.pipelines.movies import Movies

PIPELINES: dict[str, type[Artists] | type[Movies]] = {"artists": Artists, "movies": Movies}


def needs(slug: str | None) -> tuple[str, ...]:
    """The variables the pipeline's function cannot do without; those of all pipelines while none is named."""
    chosen = [PIPELINES[slug]] if slug in PIPELINES else list(PIPELINES.values())
    return tuple(sorted({name for one in chosen for name in one.needs}))


def pipeline(slug: str, settings: Settings) -> Pipeline:
    """The pipeline called `slug`; raises ConfigError for one that does not exist."""
    try:
        return PIPELINES[slug](settings)
    except KeyError as error:
        raise ConfigError(f"There is no pipeline {slug!r}; there are {', '.join(sorted(PIPELINES))}.") from error
