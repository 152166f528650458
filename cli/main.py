"""The `rowlift` command: its commands put together, and every error turned into an exit status (design §6)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from cli import (
    asset_commands,
    demo,
    doctor,
    file_commands,
    log_commands,
    match_command,
    reprocess_command,
    result_commands,
    session_commands,
    stack_commands,
    status_command,
)
from cli.faults import Failed, Fault, Interrupted, Terminated, Unreachable, WrongUsage
from cli.terminal import report, speak_of
from shared.errors import ConfigError, InputError, LedgerDown, RowliftError, StorageDown, UsageError

DEBUG = "ROWLIFT_DEBUG"


class _Plain:
    """A command whose help names things as people do: typer would put Python's types beside them."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's options and arguments."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the class this is mixed into
        for parameter in found:
            if isinstance(parameter, TyperArgument):
                parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
            elif parameter.is_flag and parameter.metavar is None:
                parameter.metavar = ""
            parameter._get_number_range_help_str = lambda: None
        return found


class Command(_Plain, TyperCommand):
    """One of the commands."""


class Commands(_Plain, TyperGroup):
    """All of them."""


app = typer.Typer(
    name="rowlift",
    cls=Commands,
    help="Drop a CSV in a bucket; every row is enriched once, paid for at most once, accounted for always.",
    epilog="Examples:\n  rowlift demo\n  rowlift run artists.csv --budget 2.50\n  rowlift run letterboxd-me.zip",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUNNING, _FILES, _SESSIONS = "Where it runs", "Bring files in", "Look after a session"
_PEOPLE = "People and their files"
# Each command with its panel and its examples.
_COMMANDS: tuple[tuple[str, Callable[..., int], tuple[str, ...]], ...] = (
    (_FILES, demo.demo, ("rowlift demo",)),
    (
        _FILES,
        file_commands.run,
        (
            "rowlift run artists.csv --budget 2.50",
            "rowlift run artists.csv --dry-run",
            "rowlift run letterboxd-me.zip --output films.jsonl",
        ),
    ),
    (
        _FILES,
        file_commands.upload,
        (
            "rowlift upload artists.csv --skip-existing --watch",
            "rowlift upload artists.csv --approve ask",
            "rowlift upload a.csv b.csv --api https://api-x.a.run.app",
        ),
    ),
    (_SESSIONS, status_command.status, ("rowlift status", "rowlift status 2f1c3b9e", "rowlift status --limit 50")),
    (_SESSIONS, session_commands.watch, ("rowlift watch 2f1c3b9e",)),
    (
        _SESSIONS,
        result_commands.results,
        (
            "rowlift results 2f1c3b9e --output bios.jsonl",
            "rowlift results 2f1c3b9e --follow --output bios.jsonl",
            "rowlift results 2f1c3b9e --output bios.parquet",
            "rowlift results 2f1c3b9e | jq .response_text",
        ),
    ),
    (_SESSIONS, result_commands.rejects, ("rowlift rejects 2f1c3b9e --output .",)),
    (
        _SESSIONS,
        reprocess_command.reprocess,
        (
            "rowlift reprocess 2f1c3b9e",
            "rowlift reprocess 2f1c3b9e --outcome failed,not_found",
            "rowlift reprocess 2f1c3b9e --error-code upstream.timeout",
        ),
    ),
    (
        _SESSIONS,
        match_command.match,
        ("rowlift match 2f1c3b9e", "rowlift match 2f1c3b9e 12", "rowlift match 2f1c3b9e 12 593"),
    ),
    (
        _PEOPLE,
        asset_commands.export,
        ("rowlift export assets --output sheet.csv", "rowlift export assets --session 2f1c3b9e --keep-formulas"),
    ),
    (
        _PEOPLE,
        asset_commands.import_,
        ("rowlift import assets sheet.csv", "rowlift import assets sheet.csv --files downloads/"),
    ),
    (_SESSIONS, session_commands.pause, ("rowlift pause 2f1c3b9e",)),
    (_SESSIONS, session_commands.resume, ("rowlift resume 2f1c3b9e", "rowlift resume 2f1c3b9e --budget 5")),
    (_SESSIONS, session_commands.cancel, ("rowlift cancel 2f1c3b9e",)),
    (_SESSIONS, session_commands.approve, ("rowlift approve 2f1c3b9e",)),
    (_SESSIONS, session_commands.verify, ("rowlift verify 2f1c3b9e",)),
    (_SESSIONS, log_commands.logs, ("rowlift logs 2f1c3b9e --follow", "rowlift logs 2f1c3b9e --severity WARNING")),
    (_RUNNING, stack_commands.up, ("rowlift up --detach", "rowlift up --port-base 8080 --db-url postgresql://me@db/x")),
    (_RUNNING, stack_commands.down, ("rowlift down",)),
    (_RUNNING, doctor.doctor, ("rowlift doctor", "rowlift doctor --api https://api-x.a.run.app")),
    (_RUNNING, stack_commands.migrate, ("rowlift migrate --db-url postgresql://me@localhost/rowlift",)),
)


def _name(command: Callable[..., int]) -> str:
    """What a command is called: its function has a `_` behind it where Python keeps the word for itself."""
    return command.__name__.rstrip("_")


for _panel, _command, _examples in _COMMANDS:
    _epilog = "\n  ".join(("Examples:" if len(_examples) > 1 else "Example:", *_examples))
    app.command(_name(_command), cls=Command, epilog=_epilog, rich_help_panel=_panel)(_command)


@app.callback(invoke_without_command=True)
def rowlift(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    if show_version:
        typer.echo(f"rowlift {version('rowlift')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = command_first(list(sys.argv[1:] if arguments is None else arguments))
    as_json = "--json" in words
    speak_of(words)
    try:
        with terminated_as_interrupted():
            status = typer.main.get_command(app).main(args=words, prog_name="rowlift", standalone_mode=False)
    except Exception as error:  # whatever happens becomes a sentence and an exit status
        if os.environ.get(DEBUG):
            raise
        return report(_fault(error, words), as_json=as_json)
    if status == Interrupted.status:
        return report(Interrupted("Stopped."), as_json=as_json)
    return status if isinstance(status, int) else 0


def _fault(error: Exception, words: Sequence[str]) -> Fault:
    if isinstance(error, Fault):
        return error
    if isinstance(error, typer.TyperException):
        known = words and any(words[0] == _name(command) for _, command, _ in _COMMANDS)
        command = f"rowlift {words[0]}" if known else "rowlift"
        told = error.format_message().rstrip(".").replace("?.", "?")
        return WrongUsage(f"{told}{'' if told.endswith('?') else '.'} `{command} --help` shows how it is used.")
    if isinstance(error, InputError | UsageError | ConfigError):
        return WrongUsage(str(error))
    if isinstance(error, StorageDown | LedgerDown):
        return Unreachable(str(error))
    if isinstance(error, RowliftError):
        return Failed(str(error))
    return Failed(
        f"This should not happen: {type(error).__name__}: {error}. Please report it; "
        f"{DEBUG}=1 in the environment shows where it comes from."
    )


def command_first(words: list[str]) -> list[str]:
    """The words with what every command takes moved behind the command's name: `rowlift --json status` works too."""
    ahead = 0
    while ahead < len(words):
        word = words[ahead]
        if word in ("--state-dir", "--api"):
            ahead += 2
        elif word == "--json" or word.startswith(("--state-dir=", "--api=")):
            ahead += 1
        else:
            break
    return [*words[ahead : ahead + 1], *words[:ahead], *words[ahead + 1 :]]


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that a stack is not left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
