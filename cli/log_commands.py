"""rowlift logs: every line of a session, from all functions, in the order of time."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from cli import local
from cli.client import Api
from cli.faults import WrongUsage
from cli.log_lines import SEVERITIES, Line, Reader, write_json
from cli.naming import session_named
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, SessionArgument, StateDir
from cli.stack_commands import reach
from cli.terminal import Terminal

LOOK_EVERY = 0.3
_STYLES = {"DEBUG": "dim", "INFO": "", "NOTICE": "bold", "WARNING": "yellow", "ERROR": "red"}


def logs(
    session: SessionArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come; Ctrl-C ends it.")] = False,
    severity: Annotated[
        str | None, typer.Option("--severity", metavar="LEVEL", help="Only such lines and worse: INFO, WARNING, ERROR.")
    ] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Show what every function logged about a session, in the order of time.

    The local stack's log is read, also while no stack runs. For a deployment (--api) it says how to ask Cloud Logging.
    """
    terminal = Terminal(as_json=as_json)
    wanted = _session(session, api, state_dir)
    least = _severity(severity)
    if api is not None and not Api(api).local:
        return _cloud(wanted, Api(api), least, terminal, follow=follow)
    reader = Reader(_log_of(state_dir), wanted)
    shown: Counter[str] = Counter()

    def show() -> None:
        for line in reader.lines():
            if SEVERITIES.index(line.severity) >= SEVERITIES.index(least):
                shown[line.severity] += 1
                _show(line, terminal)

    show()
    try:
        while follow:
            time.sleep(LOOK_EVERY)
            show()
    except KeyboardInterrupt:  # that is how following ends
        pass
    total = sum(shown.values())
    if not total:
        terminal.say(f"No line of session {wanted} in {reader.path}, nor in the log of the run before this one.")
    terminal.answer({"session_id": str(wanted), "trace_ids": sorted(reader.traces), "lines": total, **_counts(shown)})
    return 0


def _session(text: str, api: str | None, state_dir: Path) -> UUID:
    """The session that is meant; a whole id needs no stack that runs."""
    try:
        return UUID(text)
    except ValueError:
        return session_named(text, reach(api, state_dir))


def _counts(shown: Counter[str]) -> dict[str, dict[str, int]]:
    return {"severities": {name: shown[name] for name in SEVERITIES if shown[name]}}


def _severity(given: str | None) -> str:
    name = (given or SEVERITIES[0]).upper()
    if name not in SEVERITIES:
        raise WrongUsage(f"--severity is {given!r}; choose from {', '.join(SEVERITIES)}.")
    return name


def _log_of(state_dir: Path) -> Path:
    info = local.find(state_dir)
    path = Path(info["log"]) if info else state_dir / "log"
    if not path.exists():
        raise WrongUsage(f"There is no log in {state_dir}: no stack has run there. Name its folder with --state-dir.")
    return path


def _show(line: Line, terminal: Terminal) -> None:
    if terminal.as_json:
        write_json(line)
        return
    text = Text(f"{line.clock()}  {line.source:<16} ")
    text.append(f"{line.severity:<8} {line.sentence}", style=_STYLES[line.severity])
    if fields := line.fields():
        text.append(f"  {fields}", style="dim")
    if line.traceback:
        text.append("\n" + "\n".join(f"    {row}" for row in line.traceback.splitlines()), style="dim")
    if terminal.live:
        terminal.console.print(text, soft_wrap=True)
    else:
        terminal.console.file.write(f"{text.plain}\n")  # a million of them: rich takes 0.1 ms for each


def cloud_filter(session: UUID, status: dict[str, object], least: str) -> str:
    """The query that finds a session's lines in Cloud Logging: its own, and those of its trace that name no other."""
    trace = status.get("trace_id")
    own = f'jsonPayload.session_id="{session}"'
    belongs = f'({own} OR (trace:"{trace}" AND NOT jsonPayload.session_id:*))' if trace else own
    conditions = ['resource.type="cloud_run_revision"', belongs]
    if since := status.get("created_at"):
        conditions.append(f'timestamp>="{since}"')
    if least != SEVERITIES[0]:
        conditions.append(f"severity>={least}")
    return " AND ".join(conditions)


def _cloud(session: UUID, service: Api, least: str, terminal: Terminal, *, follow: bool) -> int:
    """Say how to ask Cloud Logging; its lines need rights that the API's caller may not have."""
    query = cloud_filter(session, service.status(session), least)
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    words = ["gcloud", "beta", "logging", "tail", query] if follow else ["gcloud", "logging", "read", query]
    words += [] if follow else ["--order=asc", "--freshness=30d"]
    words += ["--format=json", *([f"--project={project}"] if project else [])]
    terminal.say("The deployment's lines are in Cloud Logging. In Logs Explorer ask for")
    terminal.say(f"\n  {query}\n")
    terminal.say("or run")
    terminal.say(f"\n  {shlex.join(words)}")
    terminal.answer({"session_id": str(session), "filter": query, "command": shlex.join(words)})
    return 0
