"""The pipelines by slug. A new one is a class, a migration, a block in infra/topology.yaml, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from shared.config import Settings
from shared.errors import ConfigError
from shared.pipelines.artists import Artists
from shared.pipelines.base import Pipeline

PIPELINES: dict[str, Callable[[Settings], Pipeline]] = {"artists": Artists}


def pipeline(slug: str, settings: Settings) -> Pipeline:
    """The pipeline called `slug`; raises ConfigError for one that does not exist."""
    try:
        return PIPELINES[slug](settings)
    except KeyError as error:
        raise ConfigError(f"There is no pipeline {slug!r}; there are {', '.join(sorted(PIPELINES))}.") from error
