"""The commands about one session: watch, pause, resume, cancel, approve, verify."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from cli.client import Document
from cli.faults import Interrupted, WrongUsage
from cli.naming import session_named, short
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, SessionArgument, StateDir
from cli.showing import findings_table, line_of, payment_table
from cli.stack_commands import reach
from cli.terminal import Terminal
from cli.verdict import verdict
from cli.watching import Watcher


def watch(
    session: SessionArgument, api: ApiUrl = None, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False
) -> int:
    """Show a session's progress until it ends, pauses or waits for approval. Ctrl-C leaves it running."""
    terminal = Terminal(as_json=as_json)
    service = reach(api, state_dir)
    wanted = session_named(session, service)
    try:
        [found] = Watcher(service, terminal).watch([wanted])
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"No longer watching; session {wanted} goes on. `rowlift watch {short(wanted)}` comes back, "
            f"`rowlift pause {short(wanted)}` pauses it."
        ) from error
    if not terminal.drawn:
        terminal.say(line_of(found))
    terminal.answer(found)
    return verdict([found], terminal)


def pause(
    session: SessionArgument, api: ApiUrl = None, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False
) -> int:
    """Stop handing out rows; what is being asked right now is still taken in. `resume` goes on."""
    return _act("pause", session, api, state_dir, as_json=as_json)


def resume(
    session: SessionArgument,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="USD", help="A new budget for the whole session.")
    ] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Go on with a paused session, with a new budget if one is given."""
    body = {} if budget is None else {"budget_usd": _dollars(budget)}
    return _act("resume", session, api, state_dir, as_json=as_json, body=body)


def cancel(
    session: SessionArgument, api: ApiUrl = None, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False
) -> int:
    """Stop a session for good; what is done stays."""
    return _act("cancel", session, api, state_dir, as_json=as_json)


def approve(
    session: SessionArgument, api: ApiUrl = None, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False
) -> int:
    """Let a session start that was uploaded with --approve ask."""
    return _act("approve", session, api, state_dir, as_json=as_json)


def _act(
    what: str, session: str, api: str | None, state_dir: Path, *, as_json: bool, body: Document | None = None
) -> int:
    terminal = Terminal(as_json=as_json)
    service = reach(api, state_dir)
    found = service.act(session_named(session, service), what, body)
    terminal.say(line_of(found))
    terminal.answer(found)
    return 0


def _dollars(text: str) -> float:
    try:
        amount = Decimal(text.strip().lstrip("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= 10**9:
        raise WrongUsage(f"--budget is {text[:30]!r}; give an amount of dollars, such as 2.50.")
    return float(amount)


def verify(
    session: SessionArgument, api: ApiUrl = None, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False
) -> int:
    """Check that a session's books balance, and show what was paid; exit status 1 if they do not balance."""
    terminal = Terminal(as_json=as_json)
    service = reach(api, state_dir)
    found = service.verify(session_named(session, service))
    if found["sound"]:
        terminal.say("Sound: no invariant is broken.")
    else:
        terminal.show(findings_table(found["findings"]))
        terminal.say("These invariants are broken (design, section 4). Keep the database as it is and report it.")
    terminal.show(payment_table(found["payment"]))
    terminal.answer(found)
    return 0 if found["sound"] else 1
