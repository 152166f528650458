"""SQL by name: every `.sql` file of this folder, cut at its `-- name:` lines and loaded once."""

from __future__ import annotations

import functools
import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def statement(name: str) -> str:
    """The text of the statement called `name`; a name nobody wrote is a KeyError.

    `settle/artists` is the statement `settle` with the artists pipeline's write (`artists_domain`) in its place,
    `settle/none` the one without any; `results/artists` is `results` with the form of that pipeline's lines.
    """
    base, _, pipeline = name.partition("/")
    text = _statements()[base]
    for part in ("domain", "lines") if pipeline else ():
        if f"{{{part}}}" in text:
            text = text.replace(f"{{{part}}}", _statements()[f"{pipeline}_{part}"])
    return text


def names() -> list[str]:
    """The names of all statements."""
    return sorted(_statements())


@functools.cache
def _statements() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.sql")):
        parts = _NAME.split(path.read_text("utf-8"))[1:]
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            if name in found:
                raise ValueError(f"{path.name}: two statements are called {name}")
            found[name] = body.strip().rstrip(";")
    return found
