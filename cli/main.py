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
from typing import Annotated

import typer

from cli import demo, file_commands, match_command, session_commands, stack_commands
from cli.faults import Failed, Fault, Interrupted, Unreachable, WrongUsage
from cli.terminal import report, speak_of
from shared.errors import ConfigError, InputError, LedgerDown, RowliftError, StorageDown, UsageError

DEBUG = "ROWLIFT_DEBUG"

app = typer.Typer(
    name="rowlift",
    help="Drop a CSV in a bucket; every row is enriched once, paid for at most once, accounted for always.",
    epilog="Example: rowlift demo",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUNNING, _FILES, _SESSIONS = "Where it runs", "Bring files in", "Look after a session"
_COMMANDS: tuple[tuple[str, Callable[..., int], str], ...] = (
    (_FILES, demo.demo, "rowlift demo"),
    (_FILES, file_commands.run, "rowlift run artists.csv --pipeline artists --budget 2.50"),
    (_FILES, file_commands.upload, "rowlift upload artists.csv --pipeline artists --skip-existing --watch"),
    (_SESSIONS, stack_commands.status, "rowlift status"),
    (_SESSIONS, session_commands.watch, "rowlift watch 2f1c3b9e-5a0d-5d57-9c1e-8f4f5a1b7c11"),
    (_SESSIONS, session_commands.results, "rowlift results SESSION --output bios.jsonl"),
    (_SESSIONS, session_commands.rejects, "rowlift rejects SESSION --output ."),
    (_SESSIONS, session_commands.reprocess, "rowlift reprocess SESSION --outcome failed,not_found"),
    (_SESSIONS, match_command.match, "rowlift match SESSION 12 593"),
    (_SESSIONS, session_commands.pause, "rowlift pause SESSION"),
    (_SESSIONS, session_commands.resume, "rowlift resume SESSION --budget 5"),
    (_SESSIONS, session_commands.cancel, "rowlift cancel SESSION"),
    (_SESSIONS, session_commands.approve, "rowlift approve SESSION"),
    (_SESSIONS, session_commands.verify, "rowlift verify SESSION"),
    (_RUNNING, stack_commands.up, "rowlift up --detach"),
    (_RUNNING, stack_commands.down, "rowlift down"),
    (_RUNNING, stack_commands.migrate, "rowlift migrate --db-url postgresql://me@localhost/rowlift"),
)
for _panel, _command, _example in _COMMANDS:
    app.command(epilog=f"Example: {_example}", rich_help_panel=_panel)(_command)


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
        known = words and any(words[0] == command.__name__ for _, command, _ in _COMMANDS)
        command = f"rowlift {words[0]}" if known else "rowlift"
        return WrongUsage(f"{error.format_message().rstrip('.')}. `{command} --help` shows how it is used.")
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
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
