"""One session's lines in the log of a local stack, read as a stream and put in the order of time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

SEVERITIES: Final = ("DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL")
HELD: Final = 1_000  # lines until the earliest of them is certain: a dozen processes write into one file
_TRACE: Final = "logging.googleapis.com/trace"
# What is shown in a place of its own, is the same on every line, or means little to a person.
_NOT_SHOWN: Final = frozenset(
    ("severity", "message", "time", "instance", "session_id", _TRACE, "logging.googleapis.com/spanId")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One log line, and which process wrote it."""

    source: str
    document: dict[str, Any]

    @property
    def severity(self) -> str:
        found = self.document.get("severity")
        return found if found in SEVERITIES else "INFO"

    @property
    def time(self) -> str:
        return str(self.document.get("time", ""))

    @property
    def trace(self) -> str | None:
        found = str(self.document.get(_TRACE, "")).rpartition("/")[2]
        return found or None

    @property
    def sentence(self) -> str:
        return str(self.document.get("message", "")).partition("\n")[0]

    @property
    def traceback(self) -> str:
        return str(self.document.get("message", "")).partition("\n")[2]

    def clock(self) -> str:
        """When it was written, by this machine's clock."""
        try:
            return datetime.fromisoformat(self.time).astimezone().strftime("%H:%M:%S.%f")[:-3]
        except ValueError:
            return " " * 12

    def fields(self) -> str:
        """What varies, as name=value."""
        return " ".join(
            f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in self.document.items()
            if name not in _NOT_SHOWN
        )


class Reader:
    """Finds the lines of one session: those that name it, and those of its trace that name no other.

    The log of the stack's run before this one is read first. Memory does not grow with the log.
    """

    def __init__(self, path: Path, session: UUID) -> None:
        self.path, self.traces = path, set[str]()
        self._session, self._earlier = str(session), path.with_name(path.name + ".1")
        self._at: tuple[int | None, int] = (None, 0)  # which file was read last, by its inode, and how far
        self._held: list[tuple[str, int, Line]] = []
        self._numbers, self._latest = itertools.count(), ""
        for _ in self._new():  # a line of the trace may come before the first that names the session
            pass
        self._at = (None, 0)

    def lines(self) -> Iterator[Line]:
        """The lines since the last call, earliest first."""
        for line in self._new():
            self._latest = line.time or self._latest
            heapq.heappush(self._held, (self._latest, next(self._numbers), line))
            if len(self._held) > HELD:
                yield heapq.heappop(self._held)[2]
        while self._held:
            yield heapq.heappop(self._held)[2]

    def _new(self) -> Iterator[Line]:
        """The session's lines since the last call as they were written, in the run before too."""
        inode, _ = self._at
        now = _inode(self.path)
        if inode in (None, _inode(self._earlier)) and now != inode:  # a stack that starts moves its log there
            yield from self._read(self._earlier)
        if now not in (None, inode):
            self._at = (now, 0)
        yield from self._read(self.path)

    def _read(self, path: Path) -> Iterator[Line]:
        """Its lines from where it was read to; a torn last line waits for its end."""
        marks = self._marks()
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(self._at[1])
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                self._at = (self._at[0], self._at[1] + len(raw))
                if any(mark in raw for mark in marks) and (line := _parsed(raw)) and self._belongs(line):
                    if line.trace and line.trace not in self.traces:
                        self.traces.add(line.trace)
                        marks = self._marks()
                    yield line

    def _marks(self) -> list[bytes]:
        """What one of its lines contains at least; most of a log is passed over without being parsed."""
        return [self._session.encode(), *(trace.encode() for trace in self.traces)]

    def _belongs(self, line: Line) -> bool:
        named = line.document.get("session_id")
        return named == self._session or (named is None and line.trace in self.traces)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _parsed(raw: bytes) -> Line | None:
    source, bar, text = raw.decode("utf-8", "replace").partition(" | ")
    if not bar or not text.startswith("{"):
        return None
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return Line(source=source, document=document) if isinstance(document, dict) else None


def write_json(line: Line) -> None:
    """Print the line as it was written, and in `function` which process did."""
    sys.stdout.write(json.dumps({"function": line.source, **line.document}, ensure_ascii=False) + "\n")
