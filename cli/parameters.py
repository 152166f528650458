"""The parameters that commands share, with the words their help has for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.faults import WrongUsage
from shared.errors import InputError
from shared.options import Options
from shared.pipelines import PIPELINES

# Everywhere
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object as the last line of output.")]
StateDir = Annotated[
    Path,
    typer.Option("--state-dir", metavar="DIR", envvar="ROWLIFT_STATE_DIR", help="Which local stack is meant."),
]
ApiUrl = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", help="Speak to the deployment at this address instead of a local stack."),
]
DEFAULT_STATE_DIR = Path(".rowlift")

# Sessions
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="A session id; `rowlift status` lists them.")]
OutputFile = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write to this file; default: standard output.")
]

# Uploads
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="The files to upload; for movies also the folder of an export.")
]
PipelineName = Annotated[
    str, typer.Option("--pipeline", metavar="P", help=f"What to do with the rows: {', '.join(sorted(PIPELINES))}.")
]
WriteMode = Annotated[
    str | None,
    typer.Option("--write-mode", metavar="db|file|both", help="Where answers go: the domain tables, results.jsonl."),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave rows alone whose answer the database has already.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, show what it would cost and ask; call and write nothing.")
]
Budget = Annotated[
    str | None, typer.Option("--budget", metavar="USD", help="The most the session may spend; then it pauses.")
]
Approve = Annotated[
    str | None,
    typer.Option("--approve", metavar="auto|ask", help="ask: parse, show the cost, then wait for `rowlift approve`."),
]
OnMissing = Annotated[
    str | None,
    typer.Option("--on-missing", metavar="create|error", help="What an id the database does not have means."),
]
MaxFailed = Annotated[
    str | None,
    typer.Option("--max-failed", metavar="N|N%", help="More failed rows than this fail the session; default 50%."),
]
Reuse = Annotated[
    str | None,
    typer.Option("--reuse", metavar="always|never", help="Whether an answer that was paid for before is used again."),
]
CallMode = Annotated[
    str | None,
    typer.Option("--call-mode", metavar="direct|background", help="background: after a crash an answer is fetched."),
]
IntoSession = Annotated[
    str | None, typer.Option("--session", metavar="UUID", help="Add the files to this session instead of new ones.")
]
Export = Annotated[
    str | None,
    typer.Option("--export", metavar="NAME", help="movies: which export the files are of; default: by their folder."),
]
Watchlist = Annotated[
    bool, typer.Option("--watchlist", help="movies: enrich films too that are only on the watchlist.")
]


def session_argument(text: str) -> UUID:
    """The session a person named; raises WrongUsage."""
    try:
        return UUID(text)
    except ValueError as error:
        raise WrongUsage(f"{text[:60]!r} is not a session id; `rowlift status` lists the sessions.") from error


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
