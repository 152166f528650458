"""Results of an earlier run that another goes on with: looked at, uploaded with the files, and their lines kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import orjson

from cli.client import Api, Document
from cli.faults import WrongUsage
from cli.terminal import Terminal
from shared.options import RESUME_FOLDER
from shared.pipelines import PIPELINES
from shared.resuming import has_ended
from shared.text import clean

HEAD = 4 << 20  # no line may be longer
SHOWN = 20  # findings
LOOKED_AT = 1_000
_COUNTS = (
    ("confirmed", "held, and the database says the same"),
    ("unknown", "held, and the database knows nothing of it: its answer stands in the file alone"),
    ("contradicted", "contradicted by the database: run"), ("failed", "without an answer: run"),
    ("repeated", "about a row that has a line already"), ("unreadable", "not readable"), ("torn", "torn: run"),
    ("not_in_upload", "held, but not in what was uploaded"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """A file of earlier results of a pipeline, and the name it gets in the upload bucket."""

    file: Path
    pipeline: str
    object: str

    @classmethod
    def checked(cls, file: Path, pipeline: str) -> Earlier:
        """The file, if its first line is one of this pipeline's results; raises WrongUsage."""
        try:
            with file.open("rb") as opened:
                first = next((line for line in iter(lambda: opened.readline(HEAD), b"") if line.strip()), b"")
        except OSError as error:
            raise WrongUsage(f"Cannot read {file}: {error.strerror}. --resume takes the results of a run.") from error
        line = _object(first)
        torn = line is None and first.startswith(b"{") and not first.endswith(b"\n")
        if not torn and (line is None or PIPELINES[pipeline].told(line) is None):
            what = "is empty" if not first else f"does not begin with a line of {pipeline} results"
            raise WrongUsage(f"{file} {what}. --resume takes the JSON lines of a run; without it every row runs.")
        return cls(file=file, pipeline=pipeline, object=f"{RESUME_FOLDER}{uuid4().hex}/{clean(file.name)[-200:]}")

    @contextmanager
    def completed(self, pieces: Iterable[bytes]) -> Iterator[Iterator[bytes]]:
        """Result lines, those of rows that were skipped because the file held them with the answers it has.

        Of the row itself they tell what was uploaded now. Memory stays constant: which line of the file is about which
        row is kept on the disk meanwhile.
        """
        with self.file.open("rb") as file, closing(sqlite3.connect("")) as index:
            index.execute("CREATE TABLE held (key TEXT PRIMARY KEY, start INTEGER) WITHOUT ROWID")
            index.executemany("INSERT OR IGNORE INTO held VALUES (?, ?)", _held(file, self.pipeline))
            yield _completed(pieces, file, index, self.pipeline)


def _held(file: BinaryIO, pipeline: str) -> Iterator[tuple[str, int]]:
    """The key of every row that a line says the end of, and where that line begins."""
    kind, start = PIPELINES[pipeline], 0
    for raw in file:
        line = _object(raw)
        told = None if line is None else kind.told(line)
        whole = line and line.get("outcome") not in ("merged", "duplicate")
        if line and whole and told and told.key and has_ended(line, told, kind):
            yield told.key, start
        start += len(raw)


def _completed(pieces: Iterable[bytes], file: BinaryIO, index: sqlite3.Connection, pipeline: str) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield b"".join(_line(line, file, index, pipeline) + b"\n" for line in whole)
    yield rest


def _line(raw: bytes, file: BinaryIO, index: sqlite3.Connection, pipeline: str) -> bytes:
    """A line; if its row was held, with the answer that held it."""
    new = _object(raw) if b'"skipped"' in raw else None
    told = PIPELINES[pipeline].told(new) if new else None
    if not new or not told or new.get("code", "resumed") != "resumed":
        return raw
    found = index.execute("SELECT start FROM held WHERE key = ?", (told.key,)).fetchone()
    if found is None:
        return raw
    file.seek(found[0])
    old = _object(file.readline()) or {}
    own = PIPELINES[pipeline].of_the_row
    return orjson.dumps({name: value if name in own else old.get(name, value) for name, value in new.items()})


def _object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None if it is none."""
    try:
        found = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def with_findings(status: Document, service: Api) -> Document:
    """A status with the first of what was odd in the earlier results its session went on with, if it did."""
    if not status.get("resumed"):
        return status
    found = service.resumed(UUID(status["session_id"]), limit=LOOKED_AT)["findings"]
    found.sort(key=lambda one: one["finding"] == "unknown")  # all are that where the database is a new one
    return {**status, "resumed_findings": found[:SHOWN]}


def show_findings(found: Sequence[Document], terminal: Terminal) -> None:
    """Tell what the earlier results that sessions went on with were found to be."""
    for status in found:
        if not (summary := status.get("resumed")):
            continue
        counted = [f"{summary[name]:,} {what}" for name, what in _COUNTS if summary.get(name)]
        terminal.say(f"Of {summary['lines']:,} earlier lines: {'; '.join(counted) or 'none'}.")
        findings = status.get("resumed_findings", [])
        for finding in findings:
            terminal.say(f"  {finding['message']}")
        if len(findings) == SHOWN:
            terminal.say(f"  GET /api/session/{status['session_id']}/resumed of the API has more of them.")
