"""What a `run` says before it begins: who is asked, whether that costs money, and how much."""

from __future__ import annotations

import contextlib
import os

from cli import local
from cli.batches import Batch
from cli.client import Api
from cli.environment import stack_settings
from cli.faults import Fault, WrongUsage
from cli.foretelling import foretold
from cli.terminal import Terminal
from shared.options import Options

_UPSTREAMS = {"artists": ("openai", "OPENAI_API_KEY", "OpenAI"), "movies": ("tmdb", "TMDB_API_TOKEN", "TMDB")}


def note_what_runs(info: local.Info, batch: Batch, pipeline: str, terminal: Terminal, *, started: bool) -> None:
    """Tell a person on a stack of this machine what is asked, what it will cost, and where to look."""
    if info.get("api"):
        terminal.note(f"{'dashboard':<11}{info['api']}/")
    terminal.note(f"{'upstream':<11}{_upstream(info, pipeline, started=started)}")
    try:
        found = foretold(batch.inputs, pipeline, stack_settings())
    except WrongUsage:  # a stack that runs already has settings of its own
        found = None
    if found is not None:
        sentence = found.sentence(Options.parse(batch.options), simulated=bool(info.get("openai")))
        terminal.note(f"{'work':<11}{sentence}")


def note_deployment(service: Api, pipeline: str, terminal: Terminal) -> None:
    """Tell a person on a deployment where to look and whether what is asked costs money, if it tells."""
    terminal.note(f"{'dashboard':<11}{service.base}/")
    with contextlib.suppress(Fault, KeyError):  # an older deployment does not tell
        chosen = next((one for one in service.pipelines()["pipelines"] if one["slug"] == pipeline), None)
        if chosen is not None:
            _, _, called = _UPSTREAMS.get(pipeline, ("", "", pipeline))
            real = f"{called} itself{': calls cost money' if chosen['paid'] else ''}"
            terminal.note(f"{'upstream':<11}{f'simulated {called}: nothing is paid' if chosen['simulated'] else real}")


def _upstream(info: local.Info, pipeline: str, *, started: bool) -> str:
    name, key, called = _UPSTREAMS.get(pipeline, ("", "", pipeline))
    if not info.get(name):
        return f"{called} itself: calls cost money" if name == "openai" else f"{called} itself"
    said = f"simulated {called}: nothing is paid. Real with {key} set"
    if os.environ.get(key) and not started:
        return f"{said}, as it is now: end this stack with `rowlift down`, then run again."
    return f"{said}."
