"""What the shell offers when a person presses Tab: quickly, and nothing where it is not known."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

WITHIN = 1.0  # seconds a person waits for it at most
OFFERED = 20  # newest sessions


def one_of(*choices: str) -> Callable[[str], list[str]]:
    """Offers these words."""

    def offered(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return offered


def several_of(*choices: str) -> Callable[[str], list[str]]:
    """Offers these words for a list with commas."""

    def offered(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        named = before.split(",")
        return [f"{before}{comma}{choice}" for choice in choices if choice.startswith(last) and choice not in named]

    return offered


def sessions_completed(context: typer.Context, incomplete: str) -> Sequence[tuple[str, str]]:
    """The newest sessions of the stack or deployment that the line names, each with what it is."""
    from cli import local
    from cli.client import Api
    from cli.showing import source_of

    given = context.params
    with contextlib.suppress(Exception):  # whatever it is: a line that is being typed is no place to tell it
        place = Path(given.get("state_dir") or os.environ.get("ROWLIFT_STATE_DIR") or ".rowlift")
        info = None if given.get("api") else local.find(place)
        address = given.get("api") or (info and info["api"])
        if address:
            page = Api(str(address), timeout=WITHIN).sessions(limit=OFFERED)
            return [
                (each["session_id"], f"{each['status']}, {source_of(each)}")
                for each in page["sessions"]
                if each["session_id"].startswith(incomplete)
            ]
    return []
