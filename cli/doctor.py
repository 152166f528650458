"""The command that looks whether all that Rowlift needs is there: doctor."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.checks import (
    Finding,
    Level,
    check_emulator,
    check_environment,
    check_ports,
    check_postgres,
    check_python,
    check_state_dir,
)
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, StateDir
from cli.service_checks import check_cloud, check_openai, check_stack, check_tmdb
from cli.stack_commands import DbUrl, PortBase, PubSub, check_pubsub
from cli.terminal import Terminal, hinted

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.WRONG: "bold red"}


def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask neither OpenAI nor TMDB whether keys are good.")
    ] = False,
    pubsub: PubSub = None,
    port_base: PortBase = None,
    db_url: DbUrl = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Look whether everything is there, and say what to do where it is not. Nothing is changed, nothing is paid."""
    terminal = Terminal(as_json=as_json)
    check_pubsub(pubsub)
    findings = []
    with terminal.busy("looking") as progress:
        for finding in _looks(
            online=not offline, pubsub=pubsub, port_base=port_base, db_url=db_url, api=api, state_dir=state_dir
        ):
            progress(finding.name)
            findings.append(finding)
    terminal.show(_table(findings))
    count = Counter(finding.level for finding in findings)
    sound = not count[Level.WRONG]
    warned = f", {count[Level.WARNING]} to know of" if count[Level.WARNING] else ""
    terminal.say(f"{'Nothing is wrong' if sound else f'{count[Level.WRONG]} wrong'}{warned}.")
    terminal.answer({"sound": sound, "checks": [finding.document() for finding in findings]})
    return 0 if sound else 1


def _looks(
    *, online: bool, pubsub: str | None, port_base: int | None, db_url: str | None, api: str | None, state_dir: Path
) -> Iterator[Finding]:
    yield check_python()
    if api is None:
        yield from check_state_dir(state_dir)
        yield check_ports(port_base)
        yield check_postgres(db_url or os.environ.get("DATABASE_URL"), state_dir)
        yield check_environment()
        if pubsub == "gcloud":
            yield from check_emulator()
        yield check_openai(online=online)
        yield check_tmdb(online=online)
        yield from check_stack(state_dir)
    yield from check_cloud(api)


def _table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        told = Text(hinted(each.found))
        if each.remedy:
            told.append(f"\n{hinted(each.remedy)}", style="bold" if each.level is Level.WRONG else "dim")
        table.add_row(Text(each.level.value, style=_STYLES[each.level]), each.name, told)
    return table
