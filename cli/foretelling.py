"""What files hold and would cost, as far as this machine can tell before anything is uploaded."""

from __future__ import annotations

from collections.abc import Sequence

from cli.inputs import Input
from cli.showing import money
from shared.config import Settings
from shared.errors import ConfigError, InputError
from shared.forecasts import Foretold
from shared.options import MICROS, Options, Reuse
from shared.pipelines import PIPELINES


def foretold(inputs: Sequence[Input], pipeline: str, settings: Settings) -> Foretold | None:
    """What these files would take; None where nothing is paid or they cannot be read."""
    try:
        found = PIPELINES[pipeline].foretell([one.file for one in inputs], settings)
    except (InputError, ConfigError, OSError):  # ingest says it better
        return None
    return found if found and found.rows else None


def sentence(found: Foretold, options: Options, *, simulated: bool = False) -> str:
    """It for people, with what the budget makes of it."""
    about = "" if found.exact else "about "
    bad = f" ({found.rejected:,} more will be rejected)" if found.rejected else ""
    usual, most = (money(figure / MICROS) for figure in (found.micros.likely, found.micros.high))
    return (
        f"{about}{found.rows:,} row{'' if found.rows == 1 else 's'}{bad} for {found.model}: about {usual}, "
        f"{most} at most{' at its real price' if simulated else ''}{_reused(options)}{_fits(found, options)}"
    )


def _reused(options: Options) -> str:
    return "" if options.reuse is Reuse.NEVER else ", less what was answered before"


def _fits(found: Foretold, options: Options) -> str:
    if options.budget is None:
        return ""
    if found.micros.high <= options.budget:
        return "; the budget is enough whatever happens"
    return "; the budget is enough for that" if found.micros.likely <= options.budget else "; more than the budget"
