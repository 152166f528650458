"""Prompts are files of ours, named and versioned: `artist-bio/1` is `artist-bio/1.md` in this folder.

A file has a part under `# Instructions`, sent as it stands, and one under `# Input`, in which `{variable}` stands for
text of the row. That text is JSON in quotes, on one line, with `<` and `>` escaped: it cannot leave its quotes, begin a
line of its own or spell one of the markers that fence it off. A version that was used is never changed; a better
prompt is a new file.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import ConfigError
from shared.text import clean

VARIABLES: Final = ("artist_name", "artist_data")
_FOLDER: Final = Path(__file__).parent
_NAME: Final = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)/([0-9]+)")
_PARTS: Final = re.compile(r"\A# Instructions\n(.*?)^# Input\n(.*)\Z", re.MULTILINE | re.DOTALL)
_PLACE: Final = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A prompt filled in for one row."""

    instructions: str  # ours, the same for every row
    input: str  # holds the row's text, fenced

    @property
    def text(self) -> str:
        """All that is sent, for estimates."""
        return self.instructions + self.input


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A prompt file as read."""

    name: str  # as 'artist-bio'
    version: str  # as '1'
    instructions: str  # sent as they stand
    template: str  # the input, with {artist_name} and {artist_data}
    pieces: tuple[str, ...]  # the template cut at its variables: text, variable, text, …

    @property
    def id(self) -> str:
        """What results record and PROMPT names, as 'artist-bio/1'."""
        return f"{self.name}/{self.version}"

    def __str__(self) -> str:
        return self.id

    def render(self, *, artist_name: str, artist_data: str) -> Rendered:
        """The prompt for one row; nothing in the row's text is interpreted, braces included."""
        values = {"artist_name": artist_name, "artist_data": artist_data}
        filled = list(self.pieces)
        for place in range(1, len(filled), 2):
            filled[place] = _quoted(values[filled[place]])
        return Rendered(instructions=self.instructions, input="".join(filled))


@functools.cache
def load(name_and_version: str) -> Prompt:
    """The prompt of that name and version, as 'artist-bio/1'; raises ConfigError, naming those there are."""
    match = _NAME.fullmatch(name_and_version)
    if match is None or not (path := _FOLDER / match[1] / f"{match[2]}.md").is_file():
        raise ConfigError(f"There is no prompt {name_and_version!r}. PROMPT can be: {', '.join(available())}.")
    return parse(match[1], match[2], path.read_text(encoding="utf-8"))


def parse(name: str, version: str, text: str) -> Prompt:
    """The prompt a file's text spells; raises ConfigError where a part is missing or a variable unknown."""
    parts = _PARTS.match(text.replace("\r\n", "\n"))
    if parts is None:
        raise ConfigError(f"Prompt {name}/{version} needs a part '# Instructions' and after it a part '# Input'.")
    template = parts[2].strip()
    pieces = tuple(_PLACE.split(template))
    unknown = sorted(set(pieces[1::2]) - set(VARIABLES))
    if unknown:
        raise ConfigError(f"Prompt {name}/{version} has unknown variables {unknown}; there are {', '.join(VARIABLES)}.")
    return Prompt(name=name, version=version, instructions=parts[1].strip(), template=template, pieces=pieces)


def available() -> list[str]:
    """Every prompt there is, as 'name/version'."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in _FOLDER.glob("*/*.md"))


def _quoted(text: str) -> str:
    """Row text as one JSON string that spells no marker; names in any script stay readable."""
    quoted = json.dumps(clean(text), ensure_ascii=False)
    if "<" in quoted or ">" in quoted:
        quoted = quoted.replace("<", "\\u003c").replace(">", "\\u003e")
    # Line ends that JSON leaves alone and some readers see as such.
    return (
        quoted
        if quoted.isascii()
        else quoted.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )
