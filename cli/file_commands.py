"""The commands that bring files in: upload and run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import local
from cli.batches import Batch, run_batches, save_results, sessions_of, wait_until_known, watch_uploads
from cli.client import Api, Document
from cli.faults import Interrupted, WrongUsage
from cli.films import films_table, first_films
from cli.parameters import (
    DEFAULT_STATE_DIR,
    ApiUrl,
    Approve,
    AsJson,
    Budget,
    CallMode,
    DryRun,
    Export,
    Files,
    IntoSession,
    MaxFailed,
    OnMissing,
    PipelineName,
    Reuse,
    SkipExisting,
    StateDir,
    Watchlist,
    WriteMode,
)
from cli.saving import Saved
from cli.showing import line_of
from cli.stack_commands import check_database_url, reach, say_if_simulated
from cli.terminal import Terminal
from cli.uploading import Uploaded
from cli.verdict import verdict
from cli.watching import summed
from shared.rejects import session_of_name

FILMS_SHOWN = 5


def upload(
    files: Files,
    pipeline: PipelineName,
    export: Export = None,
    watchlist: Watchlist = False,
    write_mode: WriteMode = None,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    budget: Budget = None,
    approve: Approve = None,
    on_missing: OnMissing = None,
    max_failed: MaxFailed = None,
    reuse: Reuse = None,
    call_mode: CallMode = None,
    session: IntoSession = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show the progress until the end.")] = False,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Upload files; each becomes a session whose rows are enriched from now on, files of one export one session."""
    terminal = Terminal(as_json=as_json)
    batch = Batch.checked(
        files, pipeline, export=export, watchlist=watchlist, write_mode=write_mode, skip_existing=skip_existing,
        dry_run=dry_run, budget=budget, approve=approve, on_missing=on_missing, max_failed=max_failed, reuse=reuse,
        call_mode=call_mode, session=session,
    )  # fmt: skip
    service = reach(api, state_dir)
    storage = None if api else str(local.require(state_dir)["storage"])
    uploads = list(batch.upload(service, storage, terminal))
    for wanted in sessions_of(uploads):
        terminal.say(_told([each for each in uploads if each.session == wanted]))
    if watch:
        return _watch(uploads, service, terminal)
    wait_until_known(service, uploads)
    terminal.say(f"`rowlift watch {uploads[0].session}` shows the progress.")
    terminal.answer({"session_id": str(uploads[0].session), "sessions": [each.document() for each in uploads]})
    return 0


def _told(files: Sequence[Uploaded]) -> str:
    """Which session some files of it are."""
    first = files[0]
    if session_of_name(first.object) == first.session:
        return f"{first.input.file} goes back to its session {first.session}."
    what = f"{first.input.file} is" if len(files) == 1 else f"{len(files)} files of {first.input.title} are"
    return f"{what} session {first.session}."


def _watch(uploads: Sequence[Uploaded], service: Api, terminal: Terminal) -> int:
    try:
        found = watch_uploads(uploads, service, terminal)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"No longer watching; the work goes on. `rowlift watch {uploads[0].session}` comes back."
        ) from error
    terminal.answer(summed(found))
    return verdict(found, terminal)


def run(
    files: Files,
    pipeline: PipelineName,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Results of all files; default: INPUT.results.jsonl of each."),
    ] = None,
    export: Export = None,
    watchlist: Watchlist = False,
    write_mode: WriteMode = None,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    budget: Budget = None,
    approve: Approve = None,
    on_missing: OnMissing = None,
    max_failed: MaxFailed = None,
    reuse: Reuse = None,
    call_mode: CallMode = None,
    session: IntoSession = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Upload files, show the progress, and write the results beside them. Starts a local stack if none runs."""
    terminal = Terminal(as_json=as_json)
    batch = Batch.checked(
        files, pipeline, export=export, watchlist=watchlist, write_mode=write_mode, skip_existing=skip_existing,
        dry_run=dry_run, budget=budget, approve=approve, on_missing=on_missing, max_failed=max_failed, reuse=reuse,
        call_mode=call_mode, session=session,
    )  # fmt: skip
    if output is not None and not output.absolute().parent.is_dir():
        raise WrongUsage(f"Cannot write {output}: there is no folder {output.absolute().parent}.")
    if output is not None and output.resolve() in [one.file.resolve() for one in batch.inputs]:
        raise WrongUsage(f"--output {output} is one of the input files; name another.")
    if api is not None:
        return _finish(*_run(batch, Api(api), None, output, terminal), terminal)
    if os.environ.get("DATABASE_URL"):
        check_database_url(os.environ["DATABASE_URL"])
    with local.running(state_dir, terminal=terminal) as (info, started):
        say_if_simulated(info, pipeline, terminal)
        hint = "`rowlift up --detach`, then " if started else ""
        ran = _run(batch, Api(str(info["api"])), str(info["storage"]), output, terminal, hint=hint)
    return _finish(*ran, terminal)


def _run(
    batch: Batch, service: Api, storage: str | None, output: Path | None, terminal: Terminal, *, hint: str = ""
) -> tuple[list[Document], list[Saved]]:
    found, uploads = run_batches([batch], service, storage, terminal, hint=hint)
    return found, save_results(found, uploads, service, output)


def _finish(found: list[Document], saved: list[Saved], terminal: Terminal) -> int:
    for each in saved:
        if each.output and (films := first_films(each.output, FILMS_SHOWN)):
            terminal.show(films_table(films))
    total = summed(found)
    terminal.say(line_of(total))
    for each in saved:
        terminal.say(f"{each.lines:,} lines in {each.output}")
    outputs = [str(each.output) for each in saved]
    terminal.answer(
        {
            **total,
            "output": outputs[0] if outputs else None,
            "outputs": outputs,
            "lines": sum(each.lines for each in saved),
            "bytes": sum(each.bytes for each in saved),
        }
    )
    return verdict(found, terminal)
