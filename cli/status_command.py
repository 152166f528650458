"""The command that says how things stand: status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import local
from cli.client import Api, Document
from cli.completing import sessions_completed
from cli.faults import WrongUsage
from cli.naming import PAGE, checked, session_named, short
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, StateDir
from cli.quotes import show_quote
from cli.sheets import details, sessions_table
from cli.stack_commands import dashboard_of, reach, show_stack, stack_document
from cli.terminal import Terminal

LISTED = 10


def status(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="SESSION",
            help="A session's id or the beginning of it; without: the stack and its newest sessions.",
            autocompletion=sessions_completed,
            callback=lambda text: text and checked(text),
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=PAGE, help="How many sessions are listed.")
    ] = LISTED,
    before: Annotated[
        str | None, typer.Option("--before", metavar="SESSION", help="List the sessions that are older than this one.")
    ] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Show how a session stands, or without one the stack and its newest sessions."""
    terminal = Terminal(as_json=as_json)
    if session is not None:
        if before is not None:
            raise WrongUsage("--before lists sessions; leave it out where one is named.")
        service = reach(api, state_dir)
        return _one(service.status(session_named(session, service)), terminal)
    return _all(api, state_dir, terminal, limit=limit, before=before)


def _one(found: Document, terminal: Terminal) -> int:
    terminal.show(details(found))
    if found.get("quote"):
        terminal.say("\nquote")
        show_quote(found["quote"], terminal)
    terminal.answer(found)
    return 0


def _all(api: str | None, state_dir: Path, terminal: Terminal, *, limit: int, before: str | None) -> int:
    info = None if api else local.require(state_dir)
    service = Api(api or str(info and info["api"]))
    health = service.health()
    page = service.sessions(limit=limit, before=session_named(before, service) if before else None)
    newest = page["sessions"]
    if info is not None:
        show_stack(info, terminal)
    else:
        terminal.say(f"{'dashboard':<11}{dashboard_of(service.base)}\n{'api':<11}{service.base}")
    terminal.say(f"{'status':<11}{health.get('status')}, version {health.get('version')}\n")
    if newest:
        terminal.show(sessions_table(newest, terminal.console.width))
        terminal.say("\n" + _hint(newest[0]["session_id"], page.get("next")))
    elif before:
        terminal.say(f"No session is older than {before}.")
    else:
        terminal.say("No sessions yet: `rowlift run FILE` makes one.")
    about = stack_document(info) if info is not None else {"running": True, **_deployment(service)}
    terminal.answer({**about, "health": health, "sessions": newest, "next": page.get("next")})
    return 0


def _deployment(service: Api) -> Document:
    return {"api": service.base, "dashboard": dashboard_of(service.base)}


def _hint(newest: str, older: str | None) -> str:
    """How to see more."""
    one = f"`rowlift status {short(newest)}` says more of one."
    return f"{one} Older ones: `rowlift status --before {short(older)}`." if older else one
