"""The command that runs settled rows again: reprocess."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from cli.client import Api, Document
from cli.completing import several_of
from cli.faults import Fault, WrongUsage
from cli.naming import session_named, short
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, SessionArgument, StateDir
from cli.showing import counts, money
from cli.stack_commands import reach
from cli.terminal import Terminal
from shared.pipelines import PIPELINES
from shared.sessions import REPROCESSABLE


def reprocess(
    session: SessionArgument,
    outcome: Annotated[
        str | None,
        typer.Option(
            "--outcome",
            metavar="NAME,...",
            help="Rows that ended so; default: failed, or any with a code or key.",
            autocompletion=several_of(*sorted(REPROCESSABLE)),
        ),
    ] = None,
    error_code: Annotated[
        str | None, typer.Option("--error-code", metavar="CODE,...", help="Only rows that ended with such a code.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="K", help="Only the row with this key.")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="NAME/N", help="Only rows whose answer this prompt made.")
    ] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Run rows again that are settled already, for instance those that failed. What is given narrows.

    Every row is asked for anew and paid for anew; how it ended before is kept.
    """
    terminal = Terminal(as_json=as_json)
    chosen = {
        "outcomes": _listed("--outcome", outcome, "failed,not_found"),
        "error_codes": _listed("--error-code", error_code, "upstream.timeout"),
        "key": key,
        "prompt": prompt,
    }
    body = {name: value for name, value in chosen.items() if value}
    service = reach(api, state_dir)
    wanted = session_named(session, service)
    answer = service.act(wanted, "reprocess", body)
    mean = _mean_cost(wanted, answer["status"], service) if answer["opened"] else None
    terminal.say(_told(wanted, answer, body, mean))
    terminal.answer({**answer, "estimated_usd": None if mean is None else round(mean * answer["opened"], 6)})
    return 0


def _listed(option: str, text: str | None, such_as: str) -> list[str]:
    """The names in a list with commas; raises WrongUsage where one is given and names nothing."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise WrongUsage(f"{option} names none; give one or more, such as {such_as}.")
    return names


def _mean_cost(session: UUID, status: Document, service: Api) -> float | None:
    """What a call of this session has cost so far on average; None where nothing was paid or that is not known."""
    pipeline = PIPELINES.get(str(status.get("pipeline")))
    if pipeline is not None and not pipeline.paid:
        return None
    try:
        models = [each for each in service.calls(session)["by_model"] if each["cost_usd"]]
    except (Fault, KeyError):  # the rows run, whatever they cost
        return None
    calls = sum(each["calls"] for each in models)
    return sum(each["cost_usd"] for each in models) / calls if calls else None


def _told(session: UUID, answer: Document, body: Document, mean: float | None) -> str:
    """What was opened and what that will cost, or why there was nothing to open."""
    opened, status = answer["opened"], answer["status"]
    if not opened:
        return _nothing(status, body)
    rows = "1 row runs" if opened == 1 else f"{opened:,} rows run"
    cost = "" if mean is None else f", for about {money(mean * opened)} if a call costs what it did so far"
    budget, spent = status.get("budget_usd"), status.get("spent_usd", 0) + status.get("reserved_usd", 0)
    tight = budget is not None and mean is not None and spent + mean * opened > budget
    pauses = (
        f" The budget of {money(budget)} leaves {money(max(0.0, budget - spent))}: it will pause before the end; "
        f"`rowlift resume {short(session)} --budget USD` goes on."
        if tight and budget is not None
        else ""
    )
    return f"{rows} again{cost}; `rowlift watch {short(session)}` shows how.{pauses}"


def _nothing(status: Document, body: Document) -> str:
    """Why no row was opened, with how the rows stand."""
    asked = []
    if outcomes := body.get("outcomes", [] if len(body) else ["failed"]):
        asked.append(f"ended {' or '.join(outcomes)}")
    if codes := body.get("error_codes"):
        asked.append(f"has code {' or '.join(codes)}")
    if "key" in body:
        asked.append(f"has key {body['key']}")
    if "prompt" in body:
        asked.append(f"was made by prompt {body['prompt']}")
    stand = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts(status))
    ways = " --outcome NAME chooses others." if stand and "outcomes" not in body else ""
    return f"No row {' and '.join(asked)}, so nothing runs again. Rows by outcome: {stand or 'none yet'}.{ways}"
