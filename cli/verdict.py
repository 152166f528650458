"""What a session's status means for the command that waited for it."""

from __future__ import annotations

from collections.abc import Sequence

from cli.client import Document
from cli.naming import short
from cli.quotes import show_quote
from cli.showing import line_of, money, reason, reconciliation
from cli.terminal import Terminal, speaks_to_deployment
from cli.watching import summed


def show_ends(found: Sequence[Document], terminal: Terminal) -> None:
    """Tell how some sessions ended, unless that stands on the screen already; of several also their sum."""
    if not terminal.drawn:
        for status in found:
            terminal.say(line_of(status))
    if len(found) > 1:
        terminal.say(line_of(summed(found)))
    for status in found:
        for number, sentence in enumerate(reconciliation(status)):
            terminal.say(f"{'' if number else 'sheet':<11}{sentence}")


def verdict(found: Sequence[Document], terminal: Terminal) -> int:
    """The exit status: 0 if every session completed, else 1. Says what to do next."""
    for status in found:
        quote = status.get("quote") or {}
        wanted = status["status"] == "quoted" or "preview" in quote or "error" in quote
        if quote and wanted and status["session_id"] not in terminal.declined:
            show_quote(quote, terminal)
        advice = advice_on(status)
        if advice:
            terminal.say(advice)
    return 0 if all(status["status"] == "completed" for status in found) else 1


def advice_on(status: Document) -> str:
    """What to do next about a session; empty if nothing is to be done."""
    session, digits = status["session_id"], short(status["session_id"])
    match status["status"]:
        case "paused":
            why = reason(status).rstrip(".") or "no reason is given"
            return f"Session {session} is paused: {why}. {_key(status)}{_resume(status)}"
        case "quoted":
            return (
                f"Session {session} waits for approval: {_would_run(status)}. "
                f"`rowlift approve {digits}` starts it, `rowlift cancel {digits}` ends it.{_said(status)}"
            )
        case "failed":
            return f"Session {session} failed: {reason(status) or 'no reason is given'}{_rejects(status)}"
        case "cancelled":
            return f"Session {session} was cancelled."
        case _:
            return f"{_reviews(status)}{_rejects(status)}{_unknown(status)}".strip()


def _would_run(status: Document) -> str:
    """How much waits; of what can be quoted also how much of it has to be asked for."""
    waiting, asked = status.get("open", 0), (status.get("quote") or {}).get("to_run")
    rows = f"{waiting:,} row{'' if waiting == 1 else 's'} would run"
    return rows if asked in (None, waiting) else f"{rows}, {asked:,} of them with a request"


def _key(status: Document) -> str:
    """What a stack of this machine needs before another key counts."""
    if "bad_key" not in reason(status) or speaks_to_deployment():
        return ""
    return "A stack keeps the key it was started with: set the right one, `rowlift down`, `rowlift up --detach`; then "


def _said(status: Document) -> str:
    return f" {reason(status)}" if reason(status) else ""


def _reviews(status: Document) -> str:
    """What to do about films that were not found for certain, entries that belong to none, links to no file."""
    many = status.get("needs_review", 0)
    need = "needs" if many == 1 else "need"
    how = "results" if status.get("pipeline") == "assets" else "match"
    return f"{many:,} {need} a look: `rowlift {how} {short(status['session_id'])}` says why." if many else ""


def _rejects(status: Document) -> str:
    rejected, session = status.get("rejected", 0), short(status["session_id"])
    return f" {rejected:,} rows were rejected: `rowlift rejects {session}` says why." if rejected else ""


def _unknown(status: Document) -> str:
    """That calls may have been charged without an answer: a completed session would not show it otherwise."""
    calls = status.get("calls", {}).get("unknown", 0)
    if not calls:
        return ""
    what = "1 call was" if calls == 1 else f"{calls:,} calls were"
    return (
        f" {what} sent and never answered, and may have been charged; their rows were asked again. "
        f"`rowlift verify {short(status['session_id'])}` adds it up."
    )


def _resume(status: Document) -> str:
    session, budget = short(status["session_id"]), status.get("budget_usd")
    near = budget is not None and status.get("spent_usd", 0) + status.get("reserved_usd", 0) > 0.9 * budget
    if budget is not None and (near or "budget" in reason(status)):
        return f"`rowlift resume {session} --budget USD` goes on with more than {money(budget)}."
    return f"`rowlift resume {session}` goes on."
