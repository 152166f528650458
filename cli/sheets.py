"""What `rowlift status` shows: everything of one session, or the newest of them, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from cli.client import Document
from cli.naming import SHORT
from cli.showing import STYLES, costs, money, pace, reason, reconciliation, source_of, tally, work

_WHOLE_ID_FROM = 110  # columns from which on whole ids leave enough room for sources
_LEAST_SOURCE = 15
_WORDS = {"started": "in flight", "unknown": "never answered, may have been charged"}
_FINDINGS = ("confirmed", "unknown", "contradicted", "failed", "repeated", "unreadable", "torn", "not_in_upload")


def details(status: Document) -> Table:
    """Everything a person wants to know of one session."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_standing(status), *_work(status), *_books(status)):
        if value not in (None, ""):
            table.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return table


Line = tuple[str, str | Text | None]


def _standing(status: Document) -> Iterator[Line]:
    yield "session", status.get("session_id")
    yield "sessions", ", ".join(status.get("session_ids", ()))
    yield "pipeline", status.get("pipeline")
    yield "source", status.get("source")
    yield "status", Text(status["status"], style=STYLES.get(status["status"], ""))
    yield "reason", reason(status)


def _work(status: Document) -> Iterator[Line]:
    units = work(status)
    if units:
        percent = round(100 * units.done / units.total, 1) if units.total else status.get("progress_percent", 100.0)
        yield units.unit or "rows", f"{units.total:,}, {units.total - units.done:,} open ({percent:g} % done)"
    if "total_movies" in status:
        yield "records", f"{status['total']:,} read, {status.get('merged', 0):,} merged into the others"
    yield "outcomes", ", ".join(words for _, words in tally(status))
    for number, sentence in enumerate(reconciliation(status)):
        yield "" if number else "sheet", sentence
    yield "resumed", _resumed(status.get("resumed"))
    yield "pace", pace(status)
    yield "bound by", status.get("bound_by")


def _resumed(summary: Document | None) -> str:
    """What became of the lines of an earlier run."""
    if not summary:
        return ""
    found = [f"{summary[name]:,} {name.replace('_', ' ')}" for name in _FINDINGS if summary.get(name)]
    return f"{summary.get('held', 0):,} of {summary.get('lines', 0):,} lines held ({', '.join(found) or 'no findings'})"


def _books(status: Document) -> Iterator[Line]:
    calls = status.get("calls") or {}
    yield "calls", ", ".join(f"{number:,} {_WORDS.get(state, state)}" for state, number in calls.items() if number)
    if costs(status):
        yield "spent", f"{money(status['spent_usd'])}, budget {money(status.get('budget_usd'))}"
    if status.get("reserved_usd"):
        yield "reserved", money(status["reserved_usd"])
    for name in ("created", "completed", "expires"):
        yield name, moment(status.get(f"{name}_at"))
    yield "trace", status.get("trace_id")


def moment(text: str | None, *, brief: bool = False) -> str:
    """A time as people here read it; empty for none."""
    if not text:
        return ""
    try:
        local = datetime.fromisoformat(text).astimezone()
    except ValueError:
        return text
    return f"{local:%m-%d %H:%M}" if brief else f"{local:%Y-%m-%d %H:%M:%S %Z}"


def cut(text: str, width: int) -> str:
    """The text, its middle left out where it is longer: beginning and end tell names apart."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def sessions_table(sessions: Sequence[Document], width: int) -> Table:
    """Sessions, a line each that fits the width: what matters least goes first where it is narrow."""
    ids = [str(each["session_id"]) for each in sessions]
    digits = 36 if width >= _WHOLE_ID_FROM else _telling(ids)
    columns: dict[str, list[str | Text]] = {
        "session": [identity[:digits] for identity in ids],
        "status": [Text(each["status"], style=STYLES.get(each["status"], "")) for each in sessions],
        "rows": [_rows(each) for each in sessions],
        "spent": [money(each["spent_usd"]) if each["spent_usd"] else "" for each in sessions],
        "created": [moment(each["created_at"], brief=True) for each in sessions],
    }
    for dispensable in ("created", "rows", "spent"):
        if width - _widths(columns) < _LEAST_SOURCE:
            del columns[dispensable]
    room = max(_LEAST_SOURCE, width - _widths(columns))
    columns["source"] = [cut(f"{each['pipeline']}/{source_of(each)}", room) for each in sessions]
    table = Table.grid(padding=(0, 2))
    table.show_header, table.header_style = True, "dim"
    for heading in columns:
        table.add_column(heading, no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def _widths(columns: dict[str, list[str | Text]]) -> int:
    return sum(2 + max(len(str(cell)) for cell in (heading, *cells)) for heading, cells in columns.items())


def _rows(each: Document) -> str:
    """How many rows a session has, and how many of them are done while some are not."""
    total, opened = each.get("total"), each.get("open", 0)
    return "" if total is None else f"{total - opened:,}/{total:,}" if opened else f"{total:,}"


def _telling(ids: Sequence[str]) -> int:
    """How many digits tell these ids apart; at least those that are usually enough."""
    digits = SHORT
    while len({identity[:digits] for identity in ids}) < len(set(ids)):
        digits += 1
    return digits
