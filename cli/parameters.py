"""The parameters that commands share, with the words their help has for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.completing import one_of, sessions_completed
from cli.faults import WrongUsage
from cli.naming import checked
from shared.errors import InputError
from shared.options import Options
from shared.pipelines import PIPELINES

WHERE, ROWS, MONEY, SESSIONS = "Where it runs", "What happens to the rows", "Money", "Which session it becomes"

# Everywhere
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object as the last line of output.")]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        envvar="ROWLIFT_STATE_DIR",
        help="Which local stack is meant.",
        rich_help_panel=WHERE,
    ),
]
ApiUrl = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", help="A deployment instead of a local stack.", rich_help_panel=WHERE),
]
DEFAULT_STATE_DIR = Path(".rowlift")

# Sessions
SessionArgument = Annotated[
    str,
    typer.Argument(
        metavar="SESSION",
        help="A session's id or the beginning of it; `rowlift status` lists them.",
        autocompletion=sessions_completed,
        callback=checked,
    ),
]
OutputFile = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write to this file; default: standard output.")
]

# Uploads
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="The files to upload; for movies also an export's folder, for assets also a Google Sheet's link.",
    ),
]
PipelineName = Annotated[
    str | None,
    typer.Option(
        "--pipeline",
        metavar="P",
        help=f"{' or '.join(sorted(PIPELINES))}; may be left out where the files tell it.",
        autocompletion=one_of(*sorted(PIPELINES)),
    ),
]
WriteMode = Annotated[
    str | None,
    typer.Option(
        "--write-mode",
        metavar="MODE",
        help="Where answers go: db (the tables), file (results.jsonl), both (the default).",
        autocompletion=one_of("db", "file", "both"),
        rich_help_panel=ROWS,
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave rows alone whose answer the database has already.",
        rich_help_panel=ROWS,
    ),
]
OnMissing = Annotated[
    str | None,
    typer.Option(
        "--on-missing",
        metavar="WHAT",
        help="An id the table does not have: create it (the default), or error.",
        autocompletion=one_of("create", "error"),
        rich_help_panel=ROWS,
    ),
]
MaxFailed = Annotated[
    str | None,
    typer.Option(
        "--max-failed",
        metavar="N",
        help="More failed rows than this, a count or a share, stop the session; default 50%.",
        rich_help_panel=ROWS,
    ),
]
Reuse = Annotated[
    str | None,
    typer.Option(
        "--reuse",
        metavar="WHEN",
        help="Take an answer that was paid for before: always (the default), or never.",
        autocompletion=one_of("always", "never"),
        rich_help_panel=MONEY,
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="assets: fetch nothing (basic), documents and transcripts (text), all (full).",
        autocompletion=one_of("basic", "text", "full"),
        rich_help_panel=ROWS,
    ),
]
DualWrite = Annotated[
    bool,
    typer.Option("--dual-write", help="assets: keep the sheet in the results bucket up to date.", rich_help_panel=ROWS),
]
Watchlist = Annotated[
    bool,
    typer.Option("--watchlist", help="movies: also films that are only on the watchlist.", rich_help_panel=ROWS),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="USD",
        help="The most the session may spend; it pauses before it would spend more.",
        rich_help_panel=MONEY,
    ),
]
Approve = Annotated[
    str | None,
    typer.Option(
        "--approve",
        metavar="HOW",
        help="auto (the default), or ask: show the cost and wait for `rowlift approve`.",
        autocompletion=one_of("auto", "ask"),
        rich_help_panel=MONEY,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check all, show cost and prompts; call and write nothing.", rich_help_panel=MONEY),
]
CallMode = Annotated[
    str | None,
    typer.Option(
        "--call-mode",
        metavar="MODE",
        help="direct (the default), or background: a crash pays nothing twice.",
        autocompletion=one_of("direct", "background"),
        rich_help_panel=MONEY,
    ),
]
IntoSession = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="SESSION",
        help="Add the files to this session; its options stay.",
        autocompletion=sessions_completed,
        rich_help_panel=SESSIONS,
    ),
]
ResumeFile = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="EARLIER",
        help="Results of an earlier run, torn or not: rows they hold are not run again.",
        rich_help_panel=ROWS,
    ),
]
Export = Annotated[
    str | None,
    typer.Option(
        "--export",
        metavar="NAME",
        help="movies: which export the files are of; default: by their folder.",
        rich_help_panel=SESSIONS,
    ),
]


def checked_pipeline(name: str, *, export: str | None, watchlist: bool) -> str:
    """The pipeline, if there is one of this name that knows the options given; raises WrongUsage."""
    if name not in PIPELINES:
        raise WrongUsage(f"There is no pipeline {name!r}; choose from {', '.join(sorted(PIPELINES))}.")
    if PIPELINES[name].grouping is None and (export is not None or watchlist):
        option = "--export" if export is not None else "--watchlist"
        raise WrongUsage(f"{option} means nothing to pipeline {name}: its files are no exports. Leave it out.")
    if export is not None and (not export.strip(". ") or not export.isprintable() or "/" in export):
        raise WrongUsage(f"--export is {export[:60]!r}; give a name, such as my-films.")
    return name


def checked_options(**given: str | bool | None) -> dict[str, str]:
    """The options as object metadata spells them, only those that were given; raises WrongUsage with the choices."""
    metadata = {
        name.replace("_", "-"): "true" if value is True else str(value)
        for name, value in given.items()
        if value is not None and value is not False
    }
    try:
        Options.parse(metadata)
    except InputError as error:
        raise WrongUsage(str(error)) from error
    return metadata
