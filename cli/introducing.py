"""What a `run` says before it begins: who is asked, whether that costs money, and how much."""

from __future__ import annotations

import contextlib
import os

from cli import local
from cli.batches import Batch
from cli.client import Api
from cli.environment import stack_settings
from cli.faults import Fault, WrongUsage
from cli.foretelling import foretold, sentence
from cli.terminal import Terminal
from shared.options import Options
from shared.pipelines import PIPELINES


def note_what_runs(info: local.Info, batch: Batch, pipeline: str, terminal: Terminal, *, started: bool) -> None:
    """Tell a person on a stack of this machine what is asked, what it will cost, and where to look."""
    if info.get("api"):
        terminal.note(f"{'dashboard':<11}{info['api']}/")
    if said := _upstream(info, pipeline, started=started):
        terminal.note(f"{'upstream':<11}{said}")
    try:
        found = foretold(batch.inputs, pipeline, stack_settings())
    except WrongUsage:  # a stack that runs already has settings of its own
        found = None
    if found is not None:
        service = PIPELINES[pipeline].service
        simulated = service is not None and bool(info.get(service.stand_in))
        terminal.note(f"{'work':<11}{sentence(found, Options.parse(batch.options), simulated=simulated)}")


def note_deployment(service: Api, pipeline: str, terminal: Terminal) -> None:
    """Tell a person on a deployment where to look and whether what is asked costs money, if it tells."""
    terminal.note(f"{'dashboard':<11}{service.base}/")
    with contextlib.suppress(Fault, KeyError):  # an older deployment does not tell
        chosen = next((one for one in service.pipelines()["pipelines"] if one["slug"] == pipeline), None)
        if chosen is not None:
            asked = PIPELINES[pipeline].service
            called = asked.called if asked else pipeline
            real = f"{called} itself{': calls cost money' if chosen['paid'] else ''}"
            terminal.note(f"{'upstream':<11}{f'simulated {called}: nothing is paid' if chosen['simulated'] else real}")


def _upstream(info: local.Info, pipeline: str, *, started: bool) -> str:
    """Who is asked; empty where that is nobody with a name."""
    service = PIPELINES[pipeline].service
    if service is None:
        return ""
    if not service.key:
        return (
            f"simulated {service.called}: nothing leaves this machine" if info.get(service.stand_in) else service.called
        )
    if not info.get(service.stand_in):
        return f"{service.called} itself{': calls cost money' if PIPELINES[pipeline].paid else ''}"
    said = f"simulated {service.called}: nothing is paid. Real with {service.key} set"
    if os.environ.get(service.key) and not started:
        return f"{said}, as it is now: end this stack with `rowlift down`, then run again."
    return f"{said}."
