"""docs/recording/demo.svg: `make demo` as a terminal showed it, drawn as an animated picture.

    python docs/recording/record.py "make demo" docs/recording/demo.svg

It runs the command in a terminal of its own, keeps what the screen showed and when, and draws that as SVG with CSS
alone, which is all that GitHub shows of a picture. Waits are shortened to PAUSE; nothing else is changed. It needs the
packages in requirements.txt beside it.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

COLUMNS, LINES = 100, 30
EVERY = 0.2  # seconds between two pictures of the screen, at least
PAUSE = 1.2  # longer waits are shown as long as this
LAST = 6.0  # and the last picture as long as this
TYPING = 0.05  # seconds a letter
CELL, ROW, SIZE, MARGIN, TOP = 8.4, 18, 14, 14, 34

# Light and dark by what the reader's system asks for; the window has a ground of its own in either.
STYLE = """\
.w{fill:#fbfbfa;stroke:#d0d4d9}text{font:%dpx ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#24292f;\
white-space:pre}.b{font-weight:600}.d{opacity:.6}.red{fill:#b3261e}.green{fill:#14702e}.brown{fill:#855a00}\
.blue{fill:#0a58ca}.magenta{fill:#8a3ab9}.cyan{fill:#04727c}
@media(prefers-color-scheme:dark){.w{fill:#14181d;stroke:#30363d}text{fill:#d7dde4}.red{fill:#ff8178}\
.green{fill:#5fd17a}.brown{fill:#e3b341}.blue{fill:#79b8ff}.magenta{fill:#d2a8ff}.cyan{fill:#56d4dd}}
"""

Run = tuple[int, str, str]  # column, classes, text
Line = tuple[Run, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What the screen showed, and for how long."""

    lines: tuple[Line, ...]
    seconds: float


def screens(command: str) -> Iterator[tuple[float, tuple[Line, ...]]]:
    """The screen whenever it changed, with the time: first the command being typed, then what it does."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    clock = 0.0
    stream.feed(b"$ ")
    for letter in command:
        yield clock, shown(screen)
        stream.feed(letter.encode())
        clock += TYPING
    stream.feed(b"\r\n")
    began = time.monotonic() - clock
    for piece in output(command):
        stream.feed(piece)
        yield time.monotonic() - began, shown(screen)


def output(command: str) -> Iterator[bytes]:
    """What a command writes to a terminal, as it writes it."""
    ours, its = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
    with subprocess.Popen(command, shell=True, stdin=its, stdout=its, stderr=its, env=env) as running:  # noqa: S602
        os.close(its)
        while True:
            ready, _, _ = select.select([ours], [], [], 0.1)
            if not ready:
                continue
            try:
                yield os.read(ours, 65_536)
            except OSError:  # its end of the terminal is closed
                break
    os.close(ours)
    if running.returncode:
        raise SystemExit(f"{command} ended with status {running.returncode}")


def shown(screen: pyte.Screen) -> tuple[Line, ...]:
    """The screen's lines as runs of one look each."""
    return tuple(line(screen.buffer[row]) for row in range(LINES))


def line(cells: dict[int, pyte.screens.Char]) -> Line:
    """One line without what is blank; a run ends behind a wide letter too, whose width no two fonts agree on."""
    runs: list[list[int | str]] = []
    joins = False
    for column in range(COLUMNS):
        char = cells[column]
        if not char.data.strip():
            if joins and char.data:
                runs[-1][2] = f"{runs[-1][2]} "
            joins = joins and bool(char.data)
            continue
        look = classes(char)
        if joins and runs[-1][1] == look:
            runs[-1][2] = f"{runs[-1][2]}{char.data}"
        else:
            runs.append([column, look, char.data])
        joins = True
    return tuple((int(column), str(look), str(text).rstrip()) for column, look, text in runs)


def classes(char: pyte.screens.Char) -> str:
    """The CSS classes of a letter's look."""
    named = "" if char.fg in ("default", "white", "brightblack") else char.fg.removeprefix("bright")
    known = named if named in ("red", "green", "brown", "blue", "magenta", "cyan") else ""
    dim = "d" if char.fg == "brightblack" or (named and not known) else ""
    return " ".join(filter(None, (known, "b" if char.bold else "", dim)))


def frames(taken: list[tuple[float, tuple[Line, ...]]]) -> list[Frame]:
    """The pictures worth showing: none shorter than EVERY but for typing, none longer than PAUSE."""
    kept: list[tuple[float, tuple[Line, ...]]] = []
    for at, lines in taken:
        least = EVERY if any(lines[1]) else TYPING  # only the command stands there while it is typed
        if kept and at - kept[-1][0] < least:
            kept[-1] = (kept[-1][0], lines)
        elif not kept or lines != kept[-1][1]:
            kept.append((at, lines))
    ends = [at for at, _ in kept[1:]]
    return [Frame(lines=lines, seconds=min(end - at, PAUSE)) for (at, lines), end in zip(kept, ends, strict=False)] + [
        Frame(lines=kept[-1][1], seconds=LAST)
    ]


def drawing(pictures: list[Frame]) -> str:
    """The animated picture: every line is drawn once, a frame names its lines, and CSS moves from frame to frame."""
    height = LINES * ROW
    names: dict[Line, str] = {}
    for lines in (one.lines for one in pictures):
        for each in filter(None, lines):
            names.setdefault(each, f"l{len(names)}")
    total = sum(one.seconds for one in pictures)
    begins, steps = 0.0, []
    for number, one in enumerate(pictures):
        steps.append(f"{100 * begins / total:.2f}%{{transform:translateY({-number * height}px)}}")
        begins += one.seconds
    last = f"translateY({-(len(pictures) - 1) * height}px)"
    motion = (
        f"#f{{animation:play {total:.1f}s step-end infinite}}@keyframes play{{{''.join(steps)}}}"
        f"@media(prefers-reduced-motion:reduce){{#f{{animation:none;transform:{last}}}}}"
    )
    drawn = "".join(f'<g id="{name}">{"".join(map(text, each))}</g>' for each, name in names.items())
    film = "".join(
        f'<g transform="translate(0 {number * height})">'
        + "".join(f'<use href="#{names[each]}" y="{row * ROW}"/>' for row, each in enumerate(one.lines) if each)
        + "</g>"
        for number, one in enumerate(pictures)
    )
    width, whole = COLUMNS * CELL + 2 * MARGIN, height + TOP + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {whole:g}" role="img">'
        f"<title>make demo in a terminal</title><style>{STYLE % SIZE}{motion}</style><defs>{drawn}</defs>"
        f'<rect class="w" x=".5" y=".5" width="{width - 1:g}" height="{whole - 1:g}" rx="8"/>'
        '<g><circle cx="18" cy="17" r="5" fill="#ff5f57"/><circle cx="36" cy="17" r="5" fill="#febc2e"/>'
        '<circle cx="54" cy="17" r="5" fill="#28c840"/></g>'
        f'<svg x="{MARGIN}" y="{TOP}" width="{COLUMNS * CELL:g}" height="{height}"><g id="f">{film}</g></svg></svg>\n'
    )


def text(run: Run) -> str:
    """One run of letters, as wide as its cells whatever font is there."""
    column, look, letters = run
    spaced = f' textLength="{len(letters) * CELL:g}"' if len(letters) > 1 else ""
    named = f' class="{look}"' if look else ""
    return f'<text x="{column * CELL:g}" y="{SIZE}"{named}{spaced}>{escape(letters)}</text>'


def main() -> None:
    """Record the command that the first word holds into the file that the second names."""
    command, file = sys.argv[1], Path(sys.argv[2])
    pictures = frames(list(screens(command)))
    file.write_text(drawing(pictures), "utf-8")
    print(
        f"{file}: {len(pictures)} pictures, {sum(one.seconds for one in pictures):.0f} s, {file.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
