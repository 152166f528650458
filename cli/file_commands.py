"""The commands that bring files in: upload and run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import local
from cli.batches import Batch, run_batches, save_results, sessions_of, watch_uploads
from cli.client import Api, Document
from cli.environment import stack_environment
from cli.faults import Failed, Interrupted, WrongUsage
from cli.films import films_table, first_films
from cli.guessing import guessed
from cli.introducing import note_deployment, note_what_runs
from cli.leaving import wait_until_known
from cli.naming import begins_id, session_named, short
from cli.parameters import (
    DEFAULT_STATE_DIR,
    ApiUrl,
    Approve,
    AsJson,
    Budget,
    CallMode,
    DryRun,
    DualWrite,
    Export,
    Files,
    IntoSession,
    MaxFailed,
    Mode,
    OnMissing,
    PipelineName,
    ResumeFile,
    Reuse,
    SkipExisting,
    StateDir,
    Watchlist,
    WriteMode,
)
from cli.resuming import Earlier, show_findings, with_findings
from cli.saving import Saved
from cli.sheet_links import saved_sheets
from cli.stack_commands import reach
from cli.terminal import Terminal
from cli.uploading import Uploaded
from cli.verdict import show_ends, verdict
from cli.watching import summed
from shared.rejects import session_of_name

FILMS_SHOWN = 5


def upload(
    files: Files,
    pipeline: PipelineName = None,
    export: Export = None,
    watchlist: Watchlist = False,
    mode: Mode = None,
    dual_write: DualWrite = False,
    write_mode: WriteMode = None,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    budget: Budget = None,
    approve: Approve = None,
    on_missing: OnMissing = None,
    max_failed: MaxFailed = None,
    reuse: Reuse = None,
    call_mode: CallMode = None,
    resume: ResumeFile = None,
    session: IntoSession = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show the progress until the end.")] = False,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Upload files; each becomes a session whose rows are enriched from now on, files of one export one session."""
    terminal = Terminal(as_json=as_json)
    files = saved_sheets(files, pipeline, terminal)
    chosen = _pipeline(files, pipeline, terminal)
    batch = Batch.checked(
        files, chosen, export=export, watchlist=watchlist, mode=mode, dual_write=dual_write,
        write_mode=write_mode, skip_existing=skip_existing,
        dry_run=dry_run, budget=budget, approve=approve, on_missing=on_missing, max_failed=max_failed, reuse=reuse,
        call_mode=call_mode, resume=resume, session=_joined(session, api, state_dir),
    )  # fmt: skip
    service = reach(api, state_dir)
    storage = None if api else str(local.require(state_dir)["storage"])
    uploads = list(batch.upload(service, storage, terminal))
    for wanted in sessions_of(uploads):
        terminal.say(_told([each for each in uploads if each.session == wanted]))
    if watch:
        return _watch(uploads, service, terminal)
    wait_until_known(service, uploads)
    terminal.say(f"`rowlift watch {short(uploads[0].session)}` shows the progress.")
    if resume is not None:
        again = f"`rowlift results {short(uploads[0].session)} --resume {resume} --output FILE`"
        terminal.say(f"{again} then writes the lines of all rows, of those that {resume.name} holds too.")
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
            f"No longer watching; the work goes on. `rowlift watch {short(uploads[0].session)}` comes back."
        ) from error
    show_ends(found, terminal)
    found = [with_findings(status, service) for status in found]
    show_findings(found, terminal)
    terminal.answer(summed(found))
    return verdict(found, terminal)


def run(
    files: Files,
    pipeline: PipelineName = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Results of all files; default: INPUT.results.jsonl of each."),
    ] = None,
    export: Export = None,
    watchlist: Watchlist = False,
    mode: Mode = None,
    dual_write: DualWrite = False,
    write_mode: WriteMode = None,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    budget: Budget = None,
    approve: Approve = None,
    on_missing: OnMissing = None,
    max_failed: MaxFailed = None,
    reuse: Reuse = None,
    call_mode: CallMode = None,
    resume: ResumeFile = None,
    session: IntoSession = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Upload files, show the progress, and write the results beside them. Starts a local stack if none runs."""
    terminal = Terminal(as_json=as_json)
    files = saved_sheets(files, pipeline, terminal)
    chosen = _pipeline(files, pipeline, terminal)
    batch = Batch.checked(
        files, chosen, export=export, watchlist=watchlist, mode=mode, dual_write=dual_write,
        write_mode=write_mode, skip_existing=skip_existing,
        dry_run=dry_run, budget=budget, approve=approve, on_missing=on_missing, max_failed=max_failed, reuse=reuse,
        call_mode=call_mode, resume=resume, session=_joined(session, api, state_dir),
    )  # fmt: skip
    if output is not None and not output.absolute().parent.is_dir():
        raise WrongUsage(f"Cannot write {output}: there is no folder {output.absolute().parent}.")
    if output is not None and output.resolve() in [one.file.resolve() for one in batch.inputs]:
        raise WrongUsage(f"--output {output} is one of the input files; name another.")
    if output is not None and resume is not None and output.resolve() == resume.resolve():
        raise WrongUsage(f"--output {output} is the file of earlier results, which stays as it is; name another.")
    if output is not None and output.suffix.lower() in (".csv", ".parquet"):
        raise WrongUsage(
            f"run writes JSON lines: name --output {output.with_suffix('.jsonl')}, and afterwards "
            f"`rowlift results SESSION --output {output}` makes that of them."
        )
    if api is not None:
        service = Api(api)
        note_deployment(service, chosen, terminal)
        return _finish(*_run(batch, service, None, output, terminal), terminal)
    env = stack_environment() if local.present(state_dir) is None else None  # one that runs has its own
    with local.running(state_dir, terminal=terminal, env=env) as (info, started):
        note_what_runs(info, batch, chosen, terminal, started=started)
        ran = _run(batch, Api(str(info["api"])), str(info["storage"]), output, terminal, started=started)
    return _finish(*ran, terminal, stopped=started)


def _pipeline(files: Sequence[Path], named: str | None, terminal: Terminal) -> str:
    """The pipeline that was named, else the one the files tell; raises WrongUsage."""
    if named is not None:
        return named
    found = guessed(files)
    terminal.note(f"Taken for {found}, by the looks of {files[0] if len(files) == 1 else 'the files'}.")
    return found


def _joined(session: str | None, api: str | None, state_dir: Path) -> str | None:
    """The id of the session that files are to join, whole; one that is none is left for the options to refuse."""
    if session is None or not begins_id(session):
        return session
    return str(session_named(session, reach(api, state_dir)))


def _run(
    batch: Batch, service: Api, storage: str | None, output: Path | None, terminal: Terminal, *, started: bool = False
) -> tuple[list[Document], list[Saved]]:
    try:
        found, uploads = run_batches([batch], service, storage, terminal, started=started, ask=True)
        saved = _saved(found, uploads, service, output, batch.earlier)
        return [with_findings(status, service) for status in found], saved
    except Interrupted as left:
        if started and not left.goes_on:
            raise Interrupted(f"{left} {STOPPED}") from left
        raise


def _saved(
    found: list[Document], uploads: list[Uploaded], service: Api, output: Path | None, earlier: Earlier | None
) -> list[Saved]:
    try:
        return save_results(found, uploads, service, output, earlier)
    except KeyboardInterrupt as error:
        session = short(uploads[0].session)
        raise Interrupted(
            f"Stopped while the results were written; they are kept: `rowlift results {session} --output FILE`."
        ) from error
    except (Failed, WrongUsage) as error:  # the work is done and paid for: nobody shall run it again for its results
        session = short(uploads[0].session)
        raise type(error)(f"{error} The results are kept: `rowlift results {session} --output FILE`.") from error


STOPPED = "The stack that was started for this has stopped; `rowlift up --detach` brings it back, with all in it."


def _finish(found: list[Document], saved: list[Saved], terminal: Terminal, *, stopped: bool = False) -> int:
    """Show how a run ended and what there is to do now; `stopped`: its stack was its own."""
    for each in saved:
        if each.output and (films := first_films(each.output, FILMS_SHOWN)):
            terminal.show(films_table(films))
    total = summed(found)
    show_ends(found, terminal)
    show_findings(found, terminal)
    for status in found:
        terminal.say(f"{'session':<11}{status['session_id']}")
    for each in saved:
        terminal.say(f"{'results':<11}{_nearby(each.output)}, {each.lines:,} lines")
    outputs = [str(each.output) for each in saved]
    code = verdict(found, terminal)
    first = short(found[0]["session_id"])
    terminal.say(f"`rowlift status {first}` shows it again, `rowlift verify {first}` proves its books.")
    if stopped:
        terminal.say(STOPPED)
    terminal.answer(
        {
            **total,
            "output": outputs[0] if outputs else None,
            "outputs": outputs,
            "lines": sum(each.lines for each in saved),
            "bytes": sum(each.bytes for each in saved),
        }
    )
    return code


def _nearby(path: Path | None) -> str:
    """A path as it is typed from here."""
    try:
        return str(path.relative_to(Path.cwd())) if path else ""
    except ValueError:
        return str(path)
