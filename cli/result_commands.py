"""The commands that bring back what came of a session: results and rejects."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.client import Api
from cli.completing import one_of
from cli.faults import WrongUsage
from cli.following import Follower
from cli.naming import session_named
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, OutputFile, SessionArgument, StateDir
from cli.resuming import Earlier
from cli.saving import Saved, full, save
from cli.showing import line_of
from cli.stack_commands import reach
from cli.terminal import Terminal
from cli.verdict import verdict
from shared.columns import Type
from shared.pipelines import PIPELINES
from shared.rejects import file_name
from shared.results import is_minimal


class Format(StrEnum):
    """What results are written as."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


KeepFormulas = Annotated[
    bool,
    typer.Option("--keep-formulas", help="CSV: leave cells as they are that a spreadsheet would run as formulas."),
]


def results(
    session: SessionArgument,
    output: OutputFile = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the session ends; the same command again goes on later.")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="jsonl, csv or parquet; default: by FILE's ending, else jsonl.",
            autocompletion=one_of(*Format),
        ),
    ] = None,
    keep_formulas: KeepFormulas = False,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="EARLIER", help="Rows skipped because EARLIER held them: its lines instead."),
    ] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Get a session's result lines, also while it runs: one for every row that is settled."""
    output = None if output == Path("-") else output
    wanted_form = _format(form, output)
    _check(wanted_form, output, follow=follow, keep_formulas=keep_formulas, resume=resume)
    terminal = Terminal(as_json=as_json)
    service = reach(api, state_dir)
    wanted = session_named(session, service)
    if follow and output is not None:
        return _follow(wanted, output, service, terminal)
    with _lines(wanted, wanted_form, service, keep_formulas=keep_formulas, resume=resume) as pieces:
        if wanted_form is Format.PARQUET and output is not None:
            from cli.parquet import save_parquet

            saved = save_parquet(pieces, _columns(wanted, service), output)
        else:
            saved = written(pieces, output, json_lines=wanted_form is Format.JSONL)
    return _told(wanted, saved, terminal)


def rejects(
    session: SessionArgument,
    output: OutputFile = None,
    keep_formulas: KeepFormulas = False,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Get the rows that were refused as CSV, each with the reason: mend them there and upload that file.

    Under the name it has by itself (--output FOLDER), rejects-SESSION.csv, its rows join their session again.
    """
    output = None if output == Path("-") else output
    service = reach(api, state_dir)
    wanted = session_named(session, service)
    if output is not None and output.is_dir():
        output = output / file_name(wanted)
    with service.rejects(wanted, **_formulas(keep=keep_formulas)) as pieces:
        saved = written(pieces, output)
    return _told(wanted, saved, Terminal(as_json=as_json))


def _format(form: str | None, output: Path | None) -> Format:
    """The format asked for, else the one a file's ending names; raises WrongUsage."""
    if form is None:
        ending = output.suffix.lower().removeprefix(".") if output is not None else ""
        return Format(ending) if ending in [*Format] else Format.JSONL
    try:
        return Format(form.lower())
    except ValueError as error:
        raise WrongUsage(f"--format is {form[:30]!r}; choose from {', '.join(Format)}.") from error


def _check(form: Format, output: Path | None, *, follow: bool, keep_formulas: bool, resume: Path | None) -> None:
    """Raise WrongUsage for what does not go together."""
    if follow and output is None:
        raise WrongUsage("--follow writes to a file that it can go on with; name it with --output FILE.")
    if follow and (form is not Format.JSONL or resume is not None):
        what = "--resume" if resume is not None else f"Format {form}"
        raise WrongUsage(f"--follow writes the session's own JSON lines. {what} goes without it, once they are there.")
    if form is Format.PARQUET and output is None:
        raise WrongUsage("Parquet is written to a file; name it with --output FILE.")
    if keep_formulas and form is not Format.CSV:
        raise WrongUsage(f"--keep-formulas is about CSV; {form} leaves every value as it is. Leave it out.")
    if resume is not None and form is Format.CSV:
        raise WrongUsage("--resume completes JSON lines and Parquet; take one of those, or leave it out.")
    if resume is not None and output is not None and output.resolve() == resume.resolve():
        raise WrongUsage(f"--output {output} is the earlier file, which stays as it is; name another.")


@contextmanager
def _lines(
    session: UUID, form: Format, service: Api, *, keep_formulas: bool, resume: Path | None
) -> Iterator[Iterator[bytes]]:
    """What the API has of a session's results in this form; Parquet is made of lines."""
    if form is Format.CSV:
        with service.results(session, format="csv", **_formulas(keep=keep_formulas)) as pieces:
            yield pieces
        return
    with service.results(session) as pieces:
        if resume is None:
            yield pieces
            return
        with Earlier.checked(resume, str(service.session(session)["pipeline"])).completed(pieces) as whole:
            yield whole


def _formulas(*, keep: bool) -> dict[str, str]:
    return {"formulas": "keep"} if keep else {}


def _columns(session: UUID, service: Api) -> Mapping[str, Type]:
    found = service.session(session)
    if found["pipeline"] not in PIPELINES:
        raise WrongUsage(f"Session {session} belongs to no pipeline, so it has no results: {found['error_message']}")
    return PIPELINES[found["pipeline"]].columns(minimal=is_minimal(found["options"]))


def _follow(session: UUID, output: Path, service: Api, terminal: Terminal) -> int:
    found = Follower(service, terminal).follow(session, output)
    if found["differed"]:
        terminal.say(f"{found['differed']:,} lines were no longer the final ones; the file has the final ones now.")
    terminal.say(f"{line_of(found)}\n{found['lines']:,} lines, {found['bytes']:,} bytes in {output}.")
    terminal.answer(found)
    return verdict([found], terminal)


def written(pieces: Iterable[bytes], output: Path | None, *, json_lines: bool = False) -> Saved:
    return save(pieces, output, json_lines=json_lines) if output is not None else _to_stdout(pieces)


def _to_stdout(pieces: Iterable[bytes]) -> Saved:
    lines = size = 0
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            lines, size = lines + piece.count(b"\n"), size + len(piece)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise full(error, None) from error
    return Saved(output=None, lines=lines, bytes=size)


def _told(session: UUID, saved: Saved, terminal: Terminal) -> int:
    if saved.output is not None:
        terminal.say(f"{saved.lines:,} lines, {saved.bytes:,} bytes in {saved.output}.")
    terminal.answer({"session_id": str(session), **saved.document()})
    return 0
