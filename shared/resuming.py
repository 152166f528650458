"""Resume: the rows that an earlier run's results hold are found out before a session's first row is read, and not run.

Every line is compared with the database, a chunk at a time. Each chunk is one transaction that finds the session where
the last one left it, so a chunk is kept once whoever reads it, and however often.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson

from shared.db import Database, Row, Transaction
from shared.errors import InputError, LedgerDown, ObjectGone, StatementFailed
from shared.items import LONGEST_KEY
from shared.logs import log
from shared.options import Options, WriteMode
from shared.pipelines.base import Pipeline, Told
from shared.rows import Stream
from shared.states import Outcome
from shared.storage import Store
from shared.text import shortened

CHUNK_LINES: Final = 5_000
CHUNK_BYTES: Final = 4 << 20  # no line may be longer
PAGE: Final = 50_000  # lines a statement looks at
SHOWN: Final = 80  # characters of an answer in a message


class Finding(StrEnum):
    """What comparing a line with the database came to. The first two hold their row: it is not run."""

    CONFIRMED = "confirmed"  # the database has the same answer
    UNKNOWN = "unknown"  # the database knows nothing of it
    CONTRADICTED = "contradicted"  # the database says otherwise
    FAILED = "failed"  # the line has no answer
    REPEATED = "repeated"  # an earlier line is about the same row
    UNREADABLE = "unreadable"  # no JSON, or no row named
    TORN = "torn"  # the last line, whose writer was stopped


_HELD = (Finding.CONFIRMED, Finding.UNKNOWN)
_COUNTED = ("lines", *(finding.value for finding in Finding), "held")
# Lines of these outcomes hold an answer, or say that it was there already; of this code, and of those that a pipeline
# names as `never_ran`, nothing was looked for.
_ENDED = (Outcome.ENRICHED, Outcome.UNCHANGED, Outcome.SKIPPED, Outcome.NOT_FOUND, Outcome.NEEDS_REVIEW)
_DRY_RUN = "dry_run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """How far an object is loaded."""

    generation: int
    size: int
    offset: int = 0
    line: int = 0
    skipping: bool = False  # in the midst of a line that is too long


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some lines by their numbers, None for one that is too long, and the place behind them."""

    lines: list[tuple[int, bytes | None]]
    after: Place
    open_end: bool = False  # whether the last of them has no line end

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.after.offset >= self.after.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """The reader of a file, who loads what its session resumes before anything else."""

    session: UUID
    bucket: str
    file: int
    attempt: int
    lease: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What was found out about a line."""

    line: int
    finding: Finding
    key: str | None = None
    message: str | None = None  # None: nobody need know

    @property
    def kept(self) -> bool:
        """Whether anybody will ask for it."""
        return self.finding in _HELD or self.message is not None

    def row(self) -> dict[str, Any]:
        """The row of table resumed_rows."""
        return {"line": self.line, "key": self.key, "finding": self.finding, "message": self.message}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """A line that says how its row ended, or that it ended earlier."""

    line: int
    key: str
    told: Told


def resumed_summary(kept: Row | None) -> Row | None:
    """What people are told of what a session resumes: not how far its loading has come."""
    return kept and {name: value for name, value in kept.items() if name != "loading"}


class Resumption:
    """What a session resumes, as the reader of one of its files loads it."""

    def __init__(self, db: Database, store: Store, line: Pipeline, options: Options, reader: Reader) -> None:
        self._db, self._store, self._line, self._reader = db, store, line, reader
        self._name = str(options.resume)
        self._domain = options.write_mode is not WriteMode.FILE

    def load(self, *, until: float) -> bool:
        """Whether all of it is loaded; False if the time was over first, or another reads the file now.

        Raises InputError if it is not there or holds no results of the pipeline's, LedgerDown and StorageDown.
        """
        try:
            while (place := self._place()) is not None:
                stream = self._store.open(
                    self._reader.bucket, self._name, place.generation, offset=place.offset, size=place.size
                )
                for piece in pieces(stream, place):
                    kept = self._keep(piece, place)
                    if kept is None or (kept and not piece.last and time.monotonic() > until):
                        return False
                    if not kept:  # another reader of the session was quicker
                        break
                    place = piece.after
        except ObjectGone as error:
            remedy = "upload the earlier results again, or drop the file without option resume"
            raise _refused(f"{self._name} is not in the upload bucket; {remedy}.") from error
        except StatementFailed as error:
            if error.passes:
                raise LedgerDown(str(error)) from error
            raise
        return True

    def _place(self) -> Place | None:
        """Where loading goes on; None once all is loaded."""
        facts = self._db.row("session", session=self._reader.session)
        summary = facts["resumed"] if facts else None
        if summary is not None:
            return Place(**summary["loading"]) if "loading" in summary else None
        found = self._store.find(self._reader.bucket, self._name)
        if not found.size:
            raise _refused(f"{self._name} is empty; drop the file without option resume to run every row.")
        return Place(generation=found.generation, size=found.size)

    def _keep(self, piece: Piece, place: Place) -> bool | None:
        """Keep a piece; False if the session is not where it begins, None if another reads the file now."""
        last = piece.lines[-1][0] if piece.open_end and piece.lines else None
        read = [_read(self._line, number, raw, open_end=number == last) for number, raw in piece.lines]
        told = [one for one in read if one is not None]
        if not place.offset:
            self._check_results(piece, told)
        reader = self._reader
        with self._db.transaction() as transaction:
            begun = transaction.row("begin_resumed_chunk", file=reader.file, attempt=reader.attempt, lease=reader.lease)
            if begun is None:
                return None
            summary = begun["resumed"] or {
                **dict.fromkeys(_COUNTED, 0),
                "not_in_upload": None,
                "loading": asdict(place),
            }
            if summary.get("loading") != asdict(place):
                return False
            found = self._compared(transaction, told)
            rows = [one.row() for one in found if one.kept]
            transaction.rows("keep_resumed_rows", session=reader.session, rows=orjson.dumps(rows).decode())
            summary = _summed(summary, found) | {"loading": asdict(piece.after)}
            if piece.last:
                del summary["loading"]
            transaction.rows("keep_resumed", session=reader.session, resumed=summary)
        if piece.last:
            log("INFO", "Earlier results loaded", session_id=reader.session, object=self._name, **summary)
        return True

    def _check_results(self, piece: Piece, told: Sequence[_Found | _Ended]) -> None:
        """Raise InputError if the first lines are no results of the pipeline's."""
        if any(isinstance(one, _Ended) or one.finding is not Finding.UNREADABLE for one in told):
            return
        first = next((raw for _, raw in piece.lines if raw is None or raw.strip()), b"")
        shown = (
            "a line too long to be one"
            if first is None
            else repr(shortened(first[:200].decode("utf-8", "replace"), 60))
        )
        message = (
            f"{self._name} holds no lines of {self._line.slug} results; it begins with {shown}. Give the results.jsonl "
            "of an earlier run, or drop the file without option resume."
        )
        raise _refused(message)

    def _compared(self, transaction: Transaction, told: Sequence[_Found | _Ended]) -> list[_Found]:
        """What was found out about the lines, those that hold an answer compared with the database."""
        ended = [one for one in told if isinstance(one, _Ended)]
        keys = list(dict.fromkeys(one.key for one in ended))
        session = self._reader.session
        first = {row["key"]: int(row["line"]) for row in transaction.rows("resumed_keys", session=session, keys=keys)}
        lines = [
            {"line": one.line, "key": one.key, "answer": one.told.answer}
            for one in ended
            if first.setdefault(one.key, one.line) == one.line
        ]
        held = transaction.rows(
            f"{self._line.slug}_held", session=session, domain=self._domain, lines=orjson.dumps(lines).decode()
        )
        has = {row["line"]: row for row in held}
        return [one if isinstance(one, _Found) else _judged(one, has.get(one.line), first[one.key]) for one in told]


def pieces(stream: Stream, place: Place) -> Iterator[Piece]:
    """The lines of an object from a place on, so many at a time that memory stays bounded."""
    buffer, offset, line, skipping = b"", place.offset, place.line, place.skipping
    while offset < place.size:
        while len(buffer) < CHUNK_BYTES and offset + len(buffer) < place.size:
            if not (block := stream.read(CHUNK_BYTES)):
                raise ObjectGone
            buffer += block
        ends_here = offset + len(buffer) >= place.size
        found: list[tuple[int, bytes | None]] = []
        start = 0
        while len(found) < CHUNK_LINES and (cut := buffer.find(b"\n", start)) >= 0:
            line += 1
            if not skipping:
                found.append((line, buffer[start:cut]))
            skipping, start = False, cut + 1
        rest = buffer[start:]
        open_end = ends_here and bool(rest) and len(found) < CHUNK_LINES
        if open_end or not start:  # what has no line end, or none within a chunk
            if not skipping:
                found.append((line + 1, rest if open_end and len(rest) <= CHUNK_BYTES else None))
            skipping, rest = True, b""
        offset += len(buffer) - len(rest)
        buffer = rest
        after = Place(generation=place.generation, size=place.size, offset=offset, line=line, skipping=skipping)
        yield Piece(lines=found, after=after, open_end=open_end)


def skip_held(transaction: Transaction, session: UUID, keys: Sequence[str]) -> None:
    """Settle those of the keys' items that the session holds by the results it resumes."""
    if keys:
        transaction.rows("skip_resumed", session=session, keys=list(keys))


def count_missing(db: Database, session: UUID) -> None:
    """Have the summary say how many held rows the upload does not have; to be asked when every file is read."""
    facts = db.row("session", session=session)
    if facts is None or facts["resumed"] is None:
        return
    found = db.row("resumed_lines", session=session)
    last = found["last"] if found else 0
    counted = (
        db.rows("not_in_upload", session=session, after=after, upto=after + PAGE) for after in range(0, last, PAGE)
    )
    db.rows("note_not_in_upload", session=session, rows=sum(row["rows"] for rows in counted for row in rows))


def findings(db: Database, session: UUID, *, after: int = 0, limit: int = 100) -> list[Row]:
    """The lines a person should know of, behind a line number: line, key, finding, message."""
    return db.rows("resumed_findings", session=session, after=after, size=limit)


def _read(pipeline: Pipeline, number: int, raw: bytes | None, *, open_end: bool) -> _Found | _Ended | None:
    """What a line says by itself; None for an empty one."""
    if raw is None:
        return _unreadable(number, f"it is longer than {CHUNK_BYTES:,} bytes")
    text = raw.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        return None
    try:
        line = orjson.loads(text)
    except ValueError:
        if open_end and text.startswith(b"{"):
            message = f"Line {number}, the last, is torn: whoever wrote it was stopped. Its row runs."
            return _Found(line=number, finding=Finding.TORN, message=message)
        return _unreadable(number, f"it is no JSON: {_shown(text.decode('utf-8', 'replace'))}")
    told = pipeline.told(line) if isinstance(line, dict) else None
    if told is None:
        return _unreadable(number, f"it is no line of {pipeline.slug} results: {_shown(text.decode())}")
    key = told.key if told.key is not None and len(told.key.encode()) <= LONGEST_KEY else None
    if told.part or line.get("outcome") in (Outcome.MERGED, Outcome.DUPLICATE):
        return _Found(line=number, finding=Finding.REPEATED, key=key)  # as it should
    if not has_ended(line, told, pipeline):
        return _Found(line=number, finding=Finding.FAILED, key=key)
    if key is None:
        return _unreadable(number, f"it names no row: {_shown(text.decode())}")
    return _Ended(line=number, key=key, told=told)


def has_ended(line: Mapping[str, Any], told: Told, pipeline: Pipeline | type[Pipeline]) -> bool:
    """Whether a line says that its row ended well. Short lines say so by their db_status."""
    if isinstance(line.get("outcome"), str):
        answered = told.answer is not None or line["outcome"] not in (Outcome.ENRICHED, Outcome.UNCHANGED)
        return answered and line["outcome"] in _ENDED and line.get("code") not in (_DRY_RUN, *pipeline.never_ran)
    if isinstance(line.get("db_status"), str):
        return line["db_status"] in ("updated", "skipped")
    return told.answer is not None and not line.get("error")


def _judged(one: _Ended, has: Row | None, first: int) -> _Found:
    """What a line comes to by what the database has."""
    if has is None:
        message = f"Line {one.line}, {_shown(one.key)}: line {first} is about the same row, and counts."
        return _Found(line=one.line, finding=Finding.REPEATED, key=one.key, message=message)
    if has["same"]:
        return _Found(line=one.line, finding=Finding.CONFIRMED, key=one.key)
    says = (
        f"the file says {_shown(one.told.says)}" if one.told.answer is not None else "the file has no answer of its own"
    )
    where = f"Line {one.line}, {_shown(one.key)}: {says}"
    if has["known"]:
        finding, message = Finding.CONTRADICTED, f"{where}, the database {_shown(has['says'] or '')}. The row runs."
    elif one.told.answer is None:
        finding, message = Finding.CONTRADICTED, f"{where}, the database knows nothing of it. The row runs."
    else:
        finding, message = Finding.UNKNOWN, f"{where}, the database knows nothing of it. The row is not run."
    return _Found(line=one.line, finding=finding, key=one.key, message=message)


def _summed(summary: Mapping[str, Any], found: Sequence[_Found]) -> dict[str, Any]:
    """The summary with some lines more."""
    counts = Counter(one.finding.value for one in found)
    more: dict[str, int] = {**counts, "lines": len(found), "held": sum(counts[finding] for finding in _HELD)}
    return {**summary, **{name: summary[name] + n for name, n in more.items()}}


def _unreadable(number: int, why: str) -> _Found:
    return _Found(line=number, finding=Finding.UNREADABLE, message=f"Line {number} cannot be used: {why}.")


def _shown(text: str) -> str:
    """Some text of the file's or the database's, for a message."""
    return repr(shortened(" ".join(text[: 4 * SHOWN].split()), SHOWN))


def _refused(message: str) -> InputError:
    return InputError(message, code="input.resume")
