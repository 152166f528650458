"""What a session would cost, as people see it, and whether they want it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.client import Api, Document
from cli.faults import Interrupted
from cli.naming import short
from cli.showing import duration, money
from cli.terminal import Terminal

_BINDS = {
    "requests": "the limit of requests", "tokens": "the limit of tokens",
    "concurrency": "how many requests run at once", "upstream": "the upstream alone",
}  # fmt: skip


def quote_table(quote: Document) -> RenderableType:
    """A quote, a line for each of its figures."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(quote):
        table.add_row(name, Text(value))
    return table


def _lines(quote: Document) -> list[tuple[str, str]]:
    if "error" in quote:
        return [("no quote", quote["error"])]
    rows = [f"{quote['rows']:,}"]
    rows += [f"{quote[name]:,} {name}" for name in ("rejected", "duplicates") if quote[name]]
    lines = [("rows", ", ".join(rows)), ("to run", f"{quote['to_run']:,}")]
    if quote["reusable"]:
        lines.append(("reused", f"{quote['reusable']:,} answers that were paid for before"))
    if quote["free"]:
        lines.append(("unpaid", f"{quote['free']:,} that the options settle without a request"))
    lines.append(("requests", _range(quote["requests"])))
    if quote["usd"]["high"]:
        lines.append(("tokens in", _range(quote["tokens_in"])))
        lines.append(("tokens out", _range(quote["tokens_out"])))
        lines.append(("cost", _cost(quote["usd"])))
        lines.append(("", f"{quote['model']}, {quote['prompt']}, prices of {quote['prices_read_on']}"))
    lines.append(("", quote["basis"]))
    if quote["budget_usd"] is not None:
        lines.append(("budget", f"{money(quote['budget_usd'])}, {_fits(quote)}"))
    if quote["bound_by"]:
        takes = "not known" if quote["duration_seconds"] is None else f"about {duration(quote['duration_seconds'])}"
        lines.append(("time", f"{takes}, bound by {_BINDS[quote['bound_by']]}"))
    return lines


def _range(figures: Document) -> str:
    if figures["low"] == figures["high"]:
        return f"{figures['likely']:,}"
    return f"about {figures['likely']:,} (from {figures['low']:,} to {figures['high']:,})"


def _cost(usd: Document) -> str:
    return f"about {money(usd['likely'])} (from {money(usd['low'])} to {money(usd['high'])})"


def _fits(quote: Document) -> str:
    if quote["budget_holds_high"]:
        return "enough whatever happens"
    return "enough for the likely cost" if quote["budget_holds_likely"] else "below the likely cost: it will pause"


def show_quote(quote: Document, terminal: Terminal) -> None:
    """Show a quote, with what a dry run found out about the first rows."""
    terminal.show(quote_table(quote))
    preview = quote.get("preview")
    if not preview:
        return
    for each in preview["items"]:
        terminal.say(f"\nItem {each['item_no']}, {each['key']}", style="bold")
        for name, value in each["request"].items():
            terminal.say(f"{name}: {value}")
        if each["effect"]:
            terminal.say(each["effect"], style="dim")
    terminal.say(f"\nIt would run with {json.dumps(preview['pool'])}.")


def approved(found: Sequence[Document], service: Api, terminal: Terminal) -> bool:
    """Whether a person at the screen approved any of the sessions that wait for it; nobody else can be asked.

    Raises Interrupted where the person leaves instead of answering.
    """
    waiting = [status for status in found if status["status"] == "quoted" and status.get("quote")]
    if not waiting or not terminal.asks:
        return False
    answers = [_approved(status, service, terminal) for status in waiting]
    return any(answers)


def _approved(status: Document, service: Api, terminal: Terminal) -> bool:
    session = status["session_id"]
    show_quote(status["quote"], terminal)
    try:
        wanted = terminal.ask("Go on?", default=False)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Stopped; session {session} waits for approval, and nothing is paid until then. "
            f"`rowlift approve {short(session)}` starts it, `rowlift cancel {short(session)}` ends it."
        ) from error
    if wanted:
        service.act(UUID(session), "approve")
    else:
        terminal.declined.add(session)
    return wanted
