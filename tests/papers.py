"""The papers as tests read them: their blocks of commands, their links, and the names they mention.

A block after ```sh is a script: its commands are run as they stand, one after the other. A block after ```console shows
a terminal: `$ ` stands before each command, and below it what it prints, where `…` stands for anything. Other blocks
show something and hold no commands. SESSION stands for the session that the paper made last.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAPERS = (
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
    "CONTRIBUTING.md",
    "examples/README.md",
    "infra/README.md",
    "migrations/README.md",
    "tests/bench/README.md",
)
SHOWS_ONLY = frozenset({"", "http", "ini", "json", "jsonl", "csv", "py", "python", "sql", "text", "yaml"})
_FENCE = re.compile(r"^ {0,3}```([^\n`]*)\n(.*?)^ {0,3}```\s*?$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]+)\"")
_COMMAND = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:\.venv/bin/)?(?:rowlift|make|curl|alembic|gcloud)\s", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block: the word behind the fence, and what is in it."""

    paper: str
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command of a paper, and what the paper says that it prints; None where it does not say."""

    paper: str
    text: str
    prints: str | None


def read(paper: str) -> str:
    """A paper's text."""
    return (ROOT / paper).read_text("utf-8")


def prose(paper: str) -> str:
    """A paper's text without its blocks."""
    return _FENCE.sub("", read(paper))


def blocks(paper: str) -> list[Block]:
    """A paper's fenced blocks in their order."""
    return [Block(paper=paper, kind=kind.strip(), text=text) for kind, text in _FENCE.findall(read(paper))]


def holds_commands(block: Block) -> bool:
    """Whether a reader would take some line of the block for a command."""
    return _COMMAND.search(block.text) is not None


def commands(paper: str, *, kinds: Collection[str] = ("sh", "console")) -> list[Command]:
    """The commands of a paper's blocks of these kinds, in their order."""
    found: list[Command] = []
    for block in blocks(paper):
        if block.kind in kinds:
            typed = _shown(block) if block.kind == "console" else map(_typed, statements(block.text))
            found += [Command(paper=paper, text=text, prints=prints) for text, prints in typed]
    return found


def _typed(text: str) -> tuple[str, None]:
    return text, None


def _shown(block: Block) -> Iterator[tuple[str, str | None]]:
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        length = 1
        while lines[length - 1].endswith("\\"):
            length += 1
        printed = "\n".join(lines[length:]).strip()
        yield "\n".join(lines[:length]), printed or None


def statements(script: str) -> Iterator[str]:
    """A script's commands: lines, taken together until the shell finds them whole."""
    pending = ""
    for line in script.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        if not re.sub(r"^\s*#.*$", "", pending, flags=re.MULTILINE).strip():
            pending = ""
        elif not pending.endswith("\\") and _whole(pending):
            yield pending
            pending = ""
    assert not pending, f"not a whole command: {pending}"


def _whole(text: str) -> bool:
    if not re.search(r"['\"`(){}]|<<|\b(?:do|then|case)\b", text):
        return True  # nothing in it can be left open
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stderr


def as_shown(printed: str, shown: str) -> bool:
    """Whether what was printed is what a paper shows, however it is broken into lines."""
    parts = ["".join(part.split()) for part in re.split(r"…|\.\.\.", shown)]
    return re.search(".*?".join(map(re.escape, parts)), "".join(printed.split())) is not None


def links(paper: str) -> list[str]:
    """Where a paper's links and pictures point."""
    return [one or other for one, other in _LINK.findall(prose(paper))]


def anchors(paper: str) -> set[str]:
    """The places in a paper that a link can name: its headings, as GitHub spells them."""
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", prose(paper), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        again = seen.get(slug, 0)
        seen[slug] = again + 1
        found.add(f"{slug}-{again}" if again else slug)
    return found


def target(paper: str, link: str) -> tuple[Path, str]:
    """The file a link within the project names, and the place in it."""
    path, _, place = link.partition("#")
    return (ROOT / paper).parent / path if path else ROOT / paper, place
