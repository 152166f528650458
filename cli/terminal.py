"""Where a command's words go.

The answer goes to standard output: for people, or with --json for programs, as one JSON object on its last line, all
else then going to standard error. How far it is goes there too, unless people look at the screen.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape

from cli.faults import Fault

PLAIN_WIDTH = 140  # of tables that go into a pipe
_REACHES = "up|down|status|watch|results|rejects|reprocess|match|pause|resume|cancel|approve|verify|logs|doctor"
_COMMAND = re.compile(rf"`(rowlift (?:{_REACHES})\b[^`]*)`")
_place: ContextVar[str] = ContextVar("place", default="")  # the --state-dir or --api this command was given


def speak_of(words: Sequence[str]) -> None:
    """From now on name, in every command that is suggested, the stack or deployment that these words name."""
    given = [
        f" {option} {shlex.quote(word.partition('=')[2] if '=' in word else value)}"
        for option in ("--state-dir", "--api")
        for word, value in zip(words, [*words[1:], ""], strict=False)
        if word == option or word.startswith(f"{option}=")
    ]
    _place.set("".join(given))


def hinted(text: str) -> str:
    """The text with suggested commands that reach the same stack as this one."""
    place = _place.get()
    if not place:
        return text
    return _COMMAND.sub(lambda m: m[0] if "--state-dir" in m[1] else f"`{m[1]}{_reaches(m[1], place)}`", text)


def speaks_to_deployment() -> bool:
    """Whether this command speaks to a deployment, not to a stack of this machine."""
    return "--api" in _place.get()


def _reaches(command: str, place: str) -> str:
    """What the command needs to reach the place; `up` and `down` are about stacks of this machine alone."""
    return "" if "--api" in place and command.split()[1] in ("up", "down") else place


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


class Terminal:
    """One command's output."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = _console(stderr=as_json)
        # Whoever pipes standard output wants the answer in it, and still to see how far it is.
        self.progress = self.console if self.console.is_terminal else _console(stderr=True)
        self.declined: set[str] = set()  # sessions whose quote was shown to a person who did not approve it

    @property
    def live(self) -> bool:
        """Whether a person looks at a screen that can be drawn on."""
        return self.progress.is_terminal and not self.progress.is_dumb_terminal

    @property
    def drawn(self) -> bool:
        """Whether what `live` drew stands where the answer goes, so that it need not be told again."""
        return self.live and self.progress is self.console

    @property
    def asks(self) -> bool:
        """Whether there is a person who can be asked."""
        return self.progress.is_terminal and not self.as_json and sys.stdin.isatty()

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Tell a person something; brackets in the text are just brackets."""
        self.console.print(hinted(text), style=style, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell a person something that is no part of the answer: what goes on, what is left out."""
        self.progress.print(hinted(text), markup=False, soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Show a table or the like to a person."""
        self.console.print(what)

    def ask(self, question: str, *, default: bool) -> bool:
        """A person's yes or no; the end of input means the default. Ctrl-C raises KeyboardInterrupt."""
        while True:
            self.progress.print(f"{question} [{'Y/n' if default else 'y/N'}] ", end="", markup=False, soft_wrap=True)
            typed = sys.stdin.readline()
            word = typed.strip().lower()
            if not typed:
                self.progress.print()
            if not word:
                return default
            if word in ("y", "yes", "n", "no"):
                return word[0] == "y"

    @contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """Say what is going on for as long as a block lasts; gives a function that says how far it is.

        A spinner where there is a screen, else one line.
        """
        if not self.live:
            self.note(f"{what} …")
            yield lambda _: None
            return
        with self.progress.status(escape(what)) as spinner:
            yield lambda detail: spinner.update(escape(f"{what} · {detail}"))

    def answer(self, document: dict[str, Any]) -> None:
        """The command's answer for programs, on one line; nothing without --json."""
        if self.as_json:
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()


def report(fault: Fault, *, as_json: bool) -> int:
    """Tell what went wrong, to people and with --json to programs; the exit status."""
    message = hinted(str(fault))
    Console(stderr=True, highlight=False).print(message, markup=False, soft_wrap=True)
    error: dict[str, Any] = {"message": message, "exit_status": fault.status}
    if fault.problem is not None:
        error["problem"] = fault.problem
    Terminal(as_json=as_json).answer({"error": error})
    return fault.status
