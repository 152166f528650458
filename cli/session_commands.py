"""The commands about one session: watch, results, rejects, reprocess, pause, resume, cancel, approve, verify."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.client import Document
from cli.faults import Interrupted, WrongUsage
from cli.parameters import (
    DEFAULT_STATE_DIR,
    ApiUrl,
    AsJson,
    OutputFile,
    SessionArgument,
    StateDir,
    session_argument,
)
from cli.saving import Saved, save
from cli.showing import findings_table, line_of, payment_table
from cli.stack_commands import reach
from cli.terminal import Terminal
from cli.verdict import verdict
from cli.watching import Watcher
from shared.rejects import file_name


def watch(
    session: SessionArgument, api: ApiUrl = None, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False
) -> int:
    """Show a session's progress until it ends, pauses or waits for approval. Ctrl-C leaves it running."""
    terminal = Terminal(as_json=as_json)
    wanted = session_argument(session)
    service = reach(api, state_dir)
    try:
        [found] = Watcher(service, terminal).watch([wanted])
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"No longer watching; session {wanted} goes on. `rowlift watch {wanted}` comes back, "
            f"`rowlift pause {wanted}` pauses it."
        ) from error
    terminal.answer(found)
    return verdict([found], terminal)


def results(
    session: SessionArgument,
    output: OutputFile = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Get a session's result lines (JSON), also while it runs: one for every row that is settled."""
    wanted = session_argument(session)
    return _deliver(wanted, reach(api, state_dir).results(wanted), output, Terminal(as_json=as_json))


def rejects(
    session: SessionArgument,
    output: OutputFile = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Get the rows that were refused as CSV, each with the reason: mend them there and upload that file.

    Under the name it has by itself (--output FOLDER), rejects-SESSION.csv, its rows join their session again.
    """
    wanted = session_argument(session)
    if output is not None and output.is_dir():
        output = output / file_name(wanted)
    return _deliver(wanted, reach(api, state_dir).rejects(wanted), output, Terminal(as_json=as_json))


def _deliver(
    session: UUID, pieces: AbstractContextManager[Iterator[bytes]], output: Path | None, terminal: Terminal
) -> int:
    output = None if output == Path("-") else output
    with pieces as stream:
        saved = save(stream, output) if output is not None else _to_stdout(stream)
    if output is not None:
        terminal.say(f"{saved.lines:,} lines, {saved.bytes:,} bytes in {output}.")
    terminal.answer({"session_id": str(session), **saved.document()})
    return 0


def _to_stdout(pieces: Iterator[bytes]) -> Saved:
    lines = size = 0
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        lines, size = lines + piece.count(b"\n"), size + len(piece)
    sys.stdout.buffer.flush()
    return Saved(output=None, lines=lines, bytes=size)


def reprocess(
    session: SessionArgument,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", metavar="NAME,...", help="Which outcomes; default failed, any with a code or key."),
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
    wanted = session_argument(session)
    chosen = {
        "outcomes": _listed("--outcome", outcome, "failed,not_found"),
        "error_codes": _listed("--error-code", error_code, "upstream.timeout"),
        "key": key,
        "prompt": prompt,
    }
    body = {name: value for name, value in chosen.items() if value}
    answer = reach(api, state_dir).act(wanted, "reprocess", body)
    opened = answer["opened"]
    terminal.say(
        f"{opened:,} rows run again; `rowlift watch {wanted}` shows how." if opened else "No such rows; nothing to do."
    )
    terminal.answer(answer)
    return 0


def _listed(option: str, text: str | None, such_as: str) -> list[str]:
    """The names in a list with commas; raises WrongUsage where one is given and names nothing."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise WrongUsage(f"{option} names none; give one or more, such as {such_as}.")
    return names


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
    wanted = session_argument(session)
    found = reach(api, state_dir).act(wanted, what, body)
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
    wanted = session_argument(session)
    found = reach(api, state_dir).verify(wanted)
    if found["sound"]:
        terminal.say("Sound: no invariant is broken.")
    else:
        terminal.show(findings_table(found["findings"]))
        terminal.say("These invariants are broken (design, section 4). Keep the database as it is and report it.")
    terminal.show(payment_table(found["payment"]))
    terminal.answer(found)
    return 0 if found["sound"] else 1
