"""The pipelines by slug: each module or package of this folder but `base` is one, loaded when first asked for."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Final

from shared.config import Settings
from shared.errors import ConfigError
from shared.pipelines.base import Pipeline


class _Pipelines(Mapping[str, type[Pipeline]]):
    """The classes by slug. Which there are is known without loading any: a function loads only its own."""

    def __getitem__(self, slug: str) -> type[Pipeline]:
        if slug not in self:
            raise KeyError(slug)
        return _load(slug)

    def __contains__(self, slug: object) -> bool:
        return slug in _slugs(tuple(__path__))

    def __iter__(self) -> Iterator[str]:
        return iter(_slugs(tuple(__path__)))

    def __len__(self) -> int:
        return len(_slugs(tuple(__path__)))


PIPELINES: Final = _Pipelines()


@cache
def _slugs(folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folders) if module.name != "base"))


def _load(slug: str) -> type[Pipeline]:
    module = import_module(f"{__name__}.{slug}")
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, Pipeline) and getattr(found, "slug", None) == slug:
            return found
    raise ConfigError(f"{module.__name__} defines no Pipeline whose slug is {slug!r}.")


def needs(slug: str | None) -> tuple[str, ...]:
    """The variables the pipeline's function cannot do without; those of all pipelines while none is named."""
    chosen = [PIPELINES[slug]] if slug is not None and slug in PIPELINES else list(PIPELINES.values())
    return tuple(sorted({name for one in chosen for name in one.needs}))


def pipeline(slug: str, settings: Settings) -> Pipeline:
    """The pipeline called `slug`; raises ConfigError for one that does not exist."""
    try:
        return PIPELINES[slug](settings)
    except KeyError as error:
        raise ConfigError(f"There is no pipeline {slug!r}; there are {', '.join(sorted(PIPELINES))}.") from error
