"""What people see: pictures of sessions, tables of them, lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.client import Document
from shared.pipelines import PIPELINES
from shared.states import Outcome

BAR_WIDTH = 36

STYLES = {
    "completed": "green", "enriching": "cyan", "processing": "cyan", "uploading": "cyan",
    "paused": "yellow", "quoted": "yellow", "failed": "red", "cancelled": "magenta",
}  # fmt: skip
MOVING = ("uploading", "processing", "enriching")
_OUTCOME_STYLES = {
    Outcome.ENRICHED: "green", Outcome.FAILED: "red", Outcome.REJECTED: "yellow", Outcome.NEEDS_REVIEW: "yellow",
}  # fmt: skip


def money(usd: float | None) -> str:
    """An amount of dollars, small ones with the digits they need."""
    if usd is None:
        return "none"
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.6f}".rstrip("0")


def duration(seconds: float) -> str:
    """A time in the two units that matter."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counts(status: Document) -> list[tuple[str, int]]:
    """The outcomes that occurred, with how often."""
    return [(outcome.value, status[outcome]) for outcome in Outcome if status.get(outcome)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """How much a session has to do and has done, in what people count: films, not the records they come from."""

    total: int
    done: int
    unit: str = ""


def work(status: Document) -> Work | None:
    """A session's work; None while that is not known."""
    films = status.get("total_movies")
    if films is None:
        known = "total" in status and "total_movies" not in status
        return Work(total=status["total"], done=status["total"] - status["open"]) if known else None
    return Work(total=films, done=max(0, films - status["open"]), unit="films")


def tally(status: Document) -> list[tuple[Outcome, str]]:
    """The outcomes that occurred, each as counted words. What went into another item's film is part of that."""
    merged = ("merged", "duplicate") if "total_movies" in status else ()
    return [(Outcome(name), _counted(count, name)) for name, count in counts(status) if name not in merged]


def _counted(count: int, outcome: str) -> str:
    if outcome == Outcome.NEEDS_REVIEW:
        return f"{count:,} {'needs' if count == 1 else 'need'} a look"
    return f"{count:,} {outcome.replace('_', ' ')}"


def costs(status: Document) -> str:
    """What a session has spent; empty where nothing costs money."""
    pipeline = PIPELINES.get(str(status.get("pipeline")))
    return f"{money(status['spent_usd'])} spent" if "spent_usd" in status and (not pipeline or pipeline.paid) else ""


def pace(status: Document) -> str:
    """Rate and remaining time, as far as they are known; empty once nothing moves."""
    if not status.get("open") or status["status"] not in MOVING:
        return ""
    parts = []
    if status.get("items_per_second"):
        parts.append(f"{status['items_per_second']:.1f}/s")
    if status.get("eta_seconds"):
        parts.append(f"{duration(status['eta_seconds'])} left")
    return ", ".join(parts)


def reason(status: Document) -> str:
    """Why a session stands, waits or failed, or an empty text."""
    breaker = status.get("breaker")
    waits = f"{breaker['reason'].rstrip('.')}. It goes on by itself once the upstream answers again." if breaker else ""
    if status.get("bound_by") == "lease":
        waits = f"{status['open']:,} rows wait for a worker that is gone; they run again within three minutes."
    return str(status.get("error_message") or status.get("pause_reason") or waits)


def name_of(status: Document, names: Mapping[UUID, str] = {}) -> str:  # it is only read
    """What a person calls the session: its file's or export's name, else its id."""
    session = status.get("session_id")
    if session is None:
        return f"{len(status.get('session_ids', ()))} sessions"
    return names.get(UUID(session)) or source_of(status) or str(session)


def source_of(status: Document) -> str:
    """The name of the file or of the export a session began with."""
    name = str(status.get("source", "")).removeprefix("gs://").partition("/")[2]
    pipeline = PIPELINES.get(str(status.get("pipeline")))
    return (pipeline.grouping.export(name) if pipeline and pipeline.grouping else name).rpartition("/")[2]


def line_of(status: Document, names: Mapping[UUID, str] = {}) -> str:
    """One line on how a session stands."""
    parts = [f"{name_of(status, names)}: {status['status']}"]
    if units := work(status):
        parts.append(_share(units, status))
    elif "total" in status:
        parts.append(f"{status['total']:,} records read")
    parts += [words for _, words in tally(status)]
    return " · ".join([*parts, *filter(None, (pace(status), costs(status), reason(status)))])


def _share(units: Work, status: Document) -> str:
    """How much of a session's work is done."""
    if units.unit and units.done == units.total:
        return f"{units.total:,} {units.unit}"
    percent = round(100 * units.done / units.total, 1) if units.unit else status["progress_percent"]
    return f"{units.done:,} of {f'{units.total:,} {units.unit}'.strip()} ({percent:g} %)"


def picture(
    found: Sequence[Document],
    names: Mapping[UUID, str] = {},
    *,
    spinner: RenderableType = "…",
) -> RenderableType:
    """Progress bars with counts and money below, one of each per session; the spinner turns where work goes on."""
    return Group(*[each for status in found for each in (_bar(status, names, spinner), _below(status))])


def _bar(status: Document, names: Mapping[UUID, str], spinner: RenderableType) -> RenderableType:
    units = work(status) or Work(total=0, done=0)
    word, style = status["status"], STYLES.get(status["status"], "white")
    moving = word in MOVING
    sign = spinner if moving else Text("●", style=style)
    row = Table.grid(padding=(0, 1))
    row.add_row(
        sign,
        Text(name_of(status, names), style="bold", overflow="ellipsis", no_wrap=True),
        Text(word, style=style),
        ProgressBar(
            total=units.total or None,
            completed=units.done,
            width=BAR_WIDTH,
            pulse=moving and not units.total,
            complete_style=style,
            finished_style=style,
        ),
        Text(f"{units.done:,}/{units.total:,} {units.unit}".strip() if units.total else "", no_wrap=True),
    )
    return row


def _below(status: Document) -> RenderableType:
    said = [Text(words, style=_OUTCOME_STYLES.get(outcome, "")) for outcome, words in tally(status)]
    if costs(status):
        budget = "" if status.get("budget_usd") is None else f" of {money(status['budget_usd'])}"
        said.append(Text.assemble((costs(status), "bold"), budget))
    if pace(status):
        said.append(Text(pace(status), style="dim"))
    text = Text.assemble("  ", Text(" · ", style="dim").join(said))
    if reason(status):
        text.append(f"\n  {reason(status)}", style=STYLES.get(status["status"], ""))
    return text


def findings_table(findings: Sequence[Document]) -> Table:
    """Broken invariants, a line each."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("rule", style="red", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for finding in findings:
        table.add_row(str(finding["rule"]), Text(str(finding["finding"])))
    return table


def payment_table(payment: Document) -> Table:
    """What was paid, and what may have been paid twice."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    states = ("succeeded", "failed", "unknown", "started")
    calls = [f"{payment[state]:,} {'in flight' if state == 'started' else state}" for state in states if payment[state]]
    table.add_row("calls", ", ".join(calls) or "none")
    for each in payment["by_model"]:
        used = f"{each['calls']:,} calls, {each['tokens_in']:,} tokens in, {each['tokens_out']:,} out"
        table.add_row(Text(str(each["model"] or "not answered")), f"{used}, {money(each['cost_usd'])}")
    budget = f" of a budget of {money(payment['budget_usd'])}" if payment["budget_usd"] is not None else ""
    table.add_row("spent", f"{money(payment['spent_usd'])}{budget}, {money(payment['reserved_usd'])} reserved")
    table.add_row("paid more than once", f"{payment['items_paid_more_than_once']:,} items")
    table.add_row("perhaps paid twice", f"{payment['repeated']:,} items, asked again when no answer had come")
    table.add_row("duplicates absorbed", f"{payment['duplicates_absorbed']:,} deliveries")
    return table


def answers_table(answers: Sequence[Document], *, size: int = 100) -> Table:
    """A few enriched artists with the beginning of what was written about them."""
    table = Table(padding=(0, 1), header_style="bold")
    table.add_column("artist", no_wrap=True, style="cyan")
    table.add_column("biography")
    for answer in answers:
        text = " ".join(str(answer.get("response_text") or "").split())
        table.add_row(Text(str(answer["artist_name"])), Text(text if len(text) <= size else text[: size - 1] + "…"))
    return table


def reconciliation(status: Document) -> list[str]:
    """What a sheet held and where it disagrees, in sentences; empty for a session without one."""
    found = status.get("sheet")
    if not found:
        return []
    lines = [
        f"{found['rows']:,} rows about {found['people']:,} people; {found['uploaded']:,} files are here, "
        f"{found['listed']:,} are listed by the sheet only, {found['pending']:,} to come, {found['failed']:,} failed"
    ]
    lines += [f"{rows:,} × {name.replace('_', ' ')}" for name, rows in sorted(found["disagreements"].items())]
    return lines
