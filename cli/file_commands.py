"""The commands that bring files in: upload and run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli import local
from cli.client import Api, Document, NoSuchSession
from cli.faults import Fault, Interrupted, WrongUsage
from cli.parameters import (
    DEFAULT_STATE_DIR,
    ApiUrl,
    Approve,
    AsJson,
    Budget,
    DryRun,
    Files,
    IntoSession,
    MaxFailed,
    OnMissing,
    PipelineName,
    SkipExisting,
    StateDir,
    WriteMode,
    checked_options,
)
from cli.saving import Saved, save, unused
from cli.showing import line_of
from cli.stack_commands import check_database_url, reach
from cli.terminal import Terminal
from cli.uploading import Uploaded, Uploader, check_files, object_names
from cli.verdict import verdict
from cli.watching import ENDED, Watcher, summed

KNOWN_WITHIN = 10.0  # seconds `upload` waits until what it uploaded can be asked about


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Files to upload, checked as far as that is possible from here."""

    files: Sequence[Path]
    pipeline: str
    options: dict[str, str]

    @classmethod
    def checked(cls, files: Sequence[Path], pipeline: str, **options: str | bool | None) -> Batch:
        """The batch a command line describes; raises WrongUsage."""
        metadata = checked_options(pipeline, **options)
        check_files(files)
        twice = {file for file in files if [other.resolve() for other in files].count(file.resolve()) > 1}
        if twice:
            raise WrongUsage(f"{next(iter(twice))} is named twice; its rows would be paid for twice.")
        return cls(files=files, pipeline=pipeline, options=metadata)

    def upload(self, api: Api, storage: str | None, terminal: Terminal) -> Iterator[Uploaded]:
        """Upload every file, one after the other. Raises Fault."""
        if "session" in self.options:
            api.status(UUID(self.options["session"]))  # a mistyped one would be made anew
        uploader = Uploader(str(api.health()["upload_bucket"]), storage=storage)
        for file, name in zip(self.files, object_names(self.files, self.pipeline), strict=True):
            with terminal.busy(f"uploading {file}, {file.stat().st_size:,} bytes"):
                done = uploader.put(file, name, self.options)
            yield done


def sessions_of(uploads: Sequence[Uploaded]) -> dict[UUID, str]:
    """The sessions of some uploads in order, each with the name of its first file."""
    names: dict[UUID, str] = {}
    for each in uploads:
        names.setdefault(each.session, each.file.name)
    return names


def upload(
    files: Files,
    pipeline: PipelineName,
    write_mode: WriteMode = None,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    budget: Budget = None,
    approve: Approve = None,
    on_missing: OnMissing = None,
    max_failed: MaxFailed = None,
    session: IntoSession = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show the progress until the end.")] = False,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Upload files; each becomes a session whose rows are enriched from now on."""
    terminal = Terminal(as_json=as_json)
    batch = Batch.checked(
        files, pipeline, write_mode=write_mode, skip_existing=skip_existing, dry_run=dry_run, budget=budget,
        approve=approve, on_missing=on_missing, max_failed=max_failed, session=session,
    )  # fmt: skip
    service = reach(api, state_dir)
    storage = None if api else str(local.require(state_dir)["storage"])
    uploads = list(batch.upload(service, storage, terminal))
    names = sessions_of(uploads)
    for each in uploads:
        terminal.say(f"{each.file} is session {each.session}.")
    if watch:
        return _watch_uploads(service, names, terminal)
    _wait_until_known(service, list(names))
    terminal.say(f"`rowlift watch {next(iter(names))}` shows the progress.")
    terminal.answer({"session_id": str(uploads[0].session), "sessions": [each.document() for each in uploads]})
    return 0


def _watch_uploads(service: Api, names: dict[UUID, str], terminal: Terminal) -> int:
    try:
        found = Watcher(service, terminal).watch(list(names), fresh=True, names=names)
    except KeyboardInterrupt as error:
        first = next(iter(names))
        raise Interrupted(f"No longer watching; the work goes on. `rowlift watch {first}` comes back.") from error
    terminal.answer(summed(found))
    return verdict(found, terminal)


def _wait_until_known(service: Api, sessions: Sequence[UUID]) -> None:
    """Return when the API knows the sessions, or after a while: the upload itself is done."""
    deadline = time.monotonic() + KNOWN_WITHIN
    for session in sessions:
        while time.monotonic() < deadline:
            try:
                service.status(session)
            except NoSuchSession:
                time.sleep(0.1)
            except Fault:
                return
            else:
                break


def run(
    files: Files,
    pipeline: PipelineName,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Results of all files; default: INPUT.results.jsonl of each."),
    ] = None,
    write_mode: WriteMode = None,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    budget: Budget = None,
    approve: Approve = None,
    on_missing: OnMissing = None,
    max_failed: MaxFailed = None,
    session: IntoSession = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Upload files, show the progress, and write the results beside them. Starts a local stack if none runs."""
    terminal = Terminal(as_json=as_json)
    batch = Batch.checked(
        files, pipeline, write_mode=write_mode, skip_existing=skip_existing, dry_run=dry_run, budget=budget,
        approve=approve, on_missing=on_missing, max_failed=max_failed, session=session,
    )  # fmt: skip
    if output is not None and not output.absolute().parent.is_dir():
        raise WrongUsage(f"Cannot write {output}: there is no folder {output.absolute().parent}.")
    if output is not None and output.resolve() in [file.resolve() for file in files]:
        raise WrongUsage(f"--output {output} is one of the input files; name another.")
    if api is not None:
        return _finish(*run_batch(batch, Api(api), None, output, terminal), terminal)
    check_environment()
    with local.running(state_dir, terminal=terminal) as (info, started):
        hint = "`rowlift up --detach`, then " if started else ""
        ran = run_batch(batch, Api(str(info["api"])), str(info["storage"]), output, terminal, hint=hint)
    return _finish(*ran, terminal)


def check_environment() -> None:
    """Return if DATABASE_URL, where it is set, can be one; raises WrongUsage."""
    if os.environ.get("DATABASE_URL"):
        check_database_url(os.environ["DATABASE_URL"])


def run_batch(
    batch: Batch, service: Api, storage: str | None, output: Path | None, terminal: Terminal, *, hint: str = ""
) -> tuple[list[Document], list[Saved]]:
    """How the sessions of a batch ended, and the results of those that did, in files. Raises Fault.

    `hint` is what must be done before a paused session can be resumed.
    """
    uploads: list[Uploaded] = []
    try:
        uploads.extend(batch.upload(service, storage, terminal))
        names = sessions_of(uploads)
        found = Watcher(service, terminal).watch(list(names), fresh=True, names=names)
    except KeyboardInterrupt as error:
        raise Interrupted(_paused(service, list(sessions_of(uploads)), hint)) from error
    ended = [UUID(status["session_id"]) for status in found if status["status"] in ENDED]
    return found, _save_results(service, ended, uploads, output)


def _paused(service: Api, sessions: Sequence[UUID], hint: str) -> str:
    """Pause the sessions; what to tell the person who stopped them."""
    _wait_until_known(service, sessions)
    paused = []
    for each in sessions:
        try:
            service.act(each, "pause")
            paused.append(str(each))
        except Fault:  # it has ended meanwhile, or nothing of it is known yet
            continue
    if not paused:
        return "Stopped; nothing was left to pause. `rowlift status` lists the sessions."
    again = " and ".join(f"`rowlift resume {each}`" for each in paused)
    return f"Stopped; session {', '.join(paused)} is paused and loses nothing. {hint}{again} goes on."


def _save_results(service: Api, ended: Sequence[UUID], uploads: Sequence[Uploaded], output: Path | None) -> list[Saved]:
    if output is None:
        first = {each.session: each.file for each in reversed(uploads)}
        # Results of an earlier run may have been paid for: they stay.
        return [_save([each], service, unused(Path(f"{first[each]}.results.jsonl"))) for each in ended]
    return [_save(ended, service, output)] if ended else []


def _save(sessions: Sequence[UUID], service: Api, output: Path) -> Saved:
    def pieces() -> Iterator[bytes]:
        for session in sessions:
            with service.results(session) as stream:
                yield from stream

    return save(pieces(), output)


def _finish(found: list[Document], saved: list[Saved], terminal: Terminal) -> int:
    total = summed(found)
    terminal.say(line_of(total) if len(found) > 1 else line_of(found[0]))
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
