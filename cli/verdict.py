"""What a session's status means for the command that waited for it."""

from __future__ import annotations

from collections.abc import Sequence

from cli.client import Document
from cli.quotes import show_quote
from cli.showing import money, reason
from cli.terminal import Terminal


def verdict(found: Sequence[Document], terminal: Terminal) -> int:
    """The exit status: 0 if every session completed or waits for approval, else 1. Says what to do next."""
    for status in found:
        quote = status.get("quote") or {}
        wanted = status["status"] == "quoted" or "preview" in quote or "error" in quote
        if quote and wanted and status["session_id"] not in terminal.declined:
            show_quote(quote, terminal)
        advice = _advice(status)
        if advice:
            terminal.say(advice)
    return 0 if all(status["status"] in ("completed", "quoted") for status in found) else 1


def _advice(status: Document) -> str:
    session = status["session_id"]
    match status["status"]:
        case "paused":
            why = reason(status).rstrip(".") or "no reason is given"
            return f"Session {session} is paused: {why}. {_resume(status)}"
        case "quoted":
            return (
                f"Session {session} waits for approval: {status.get('open', 0):,} rows would run. "
                f"`rowlift approve {session}` starts it, `rowlift cancel {session}` ends it.{_said(status)}"
            )
        case "failed":
            return f"Session {session} failed: {reason(status) or 'no reason is given'}{_rejects(status)}"
        case "cancelled":
            return f"Session {session} was cancelled."
        case _:
            return f"{_reviews(status)}{_rejects(status)}{_unknown(status)}".strip()


def _said(status: Document) -> str:
    return f" {reason(status)}" if reason(status) else ""


def _reviews(status: Document) -> str:
    """What to do about films that were not found for certain, and entries that belong to none."""
    many = status.get("needs_review", 0)
    need = "needs" if many == 1 else "need"
    return f"{many:,} {need} a look: `rowlift match {status['session_id']}` says why." if many else ""


def _rejects(status: Document) -> str:
    rejected = status.get("rejected", 0)
    return f" {rejected:,} rows were rejected: `rowlift rejects {status['session_id']}` says why." if rejected else ""


def _unknown(status: Document) -> str:
    """That calls may have been charged without an answer: a completed session would not show it otherwise."""
    calls = status.get("calls", {}).get("unknown", 0)
    if not calls:
        return ""
    what = "1 call was" if calls == 1 else f"{calls:,} calls were"
    return (
        f" {what} sent and never answered, and may have been charged; their rows were asked again. "
        f"`rowlift verify {status['session_id']}` adds it up."
    )


def _resume(status: Document) -> str:
    session, budget = status["session_id"], status.get("budget_usd")
    near = budget is not None and status.get("spent_usd", 0) + status.get("reserved_usd", 0) > 0.9 * budget
    if budget is not None and (near or "budget" in reason(status)):
        return f"`rowlift resume {session} --budget USD` goes on with more than {money(budget)}."
    return f"`rowlift resume {session}` goes on."
