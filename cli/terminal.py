"""Where a command's words go: to people, or with --json to standard error, one JSON object on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape

from cli.faults import Fault

PLAIN_WIDTH = 140  # of tables that go into a pipe


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


class Terminal:
    """One command's output."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = _console(stderr=as_json)

    @property
    def live(self) -> bool:
        """Whether a person looks at a screen that can be drawn on."""
        return self.console.is_terminal

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Tell a person something; brackets in the text are just brackets."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Show a table or the like to a person."""
        self.console.print(what)

    @contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """Say what is going on for as long as a block lasts; gives a function that says how far it is.

        A spinner where there is a screen, else one line.
        """
        if not self.live:
            self.say(f"{what} …")
            yield lambda _: None
            return
        with self.console.status(escape(what)) as spinner:
            yield lambda detail: spinner.update(escape(f"{what} · {detail}"))

    def answer(self, document: dict[str, Any]) -> None:
        """The command's answer for programs, on one line; nothing without --json."""
        if self.as_json:
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()


def report(fault: Fault, *, as_json: bool) -> int:
    """Tell what went wrong, to people and with --json to programs; the exit status."""
    Console(stderr=True, highlight=False).print(str(fault), markup=False, soft_wrap=True)
    error: dict[str, Any] = {"message": str(fault), "exit_status": fault.status}
    if fault.problem is not None:
        error["problem"] = fault.problem
    Terminal(as_json=as_json).answer({"error": error})
    return fault.status
