"""SQL by name: every `.sql` file of this folder, cut at its `-- name:` lines and loaded once."""

from __future__ import annotations

import functools
import re
from pathlib import Path

PLAIN = "plain"
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def statement(name: str) -> str:
    """The text of the statement called `name`; a name nobody wrote is a KeyError.

    `settle/artists` is the statement `settle` with the artists pipeline's write (`artists_domain`) in its place,
    `settle/none` the one without any; `results/artists` is `results` with the form of that pipeline's lines. What a
    pipeline has not written itself (`tracks_verify`) is what all have that are plain: `plain_verify` for its table.
    Other statements are varied in the same way: `tracks_up/title` is `tracks_up` in the order of `title_sort_key`.
    """
    base, _, pipeline = name.partition("/")
    text = _named(base)
    for part in ("domain", "lines", "ranked", "sort_key", "sort_type") if pipeline else ():
        if f"{{{part}}}" in text:
            text = text.replace(f"{{{part}}}", _named(f"{pipeline}_{part}"))
    return text


def _named(name: str) -> str:
    """The statement of that name, or the plain one in its place."""
    if name in _statements():
        return _statements()[name]
    slug, _, part = name.rpartition("_")
    if slug not in ("", PLAIN) and f"{PLAIN}_{part}" in _statements():
        return _statements()[f"{PLAIN}_{part}"].replace("{slug}", slug)
    raise KeyError(name)


def names() -> list[str]:
    """The names of all statements."""
    return sorted(_statements())


@functools.cache
def _statements() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(path for folder in __path__ for path in Path(folder).glob("*.sql")):
        parts = _NAME.split(path.read_text("utf-8"))[1:]
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            if name in found:
                raise ValueError(f"{path.name}: two statements are called {name}")
            found[name] = body.strip().rstrip(";")
    return found
