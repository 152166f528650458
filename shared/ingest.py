"""Ingest: an uploaded object becomes a session, a file, and an item for every record of it.

The file is claimed by lease and attempt as items are. Each chunk is one transaction that begins by moving the file's
cursor from where it is expected: whatever else happens, a record is written once. At most one chunk is in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID, uuid4

import orjson

from shared.config import Settings
from shared.db import Database, Transaction
from shared.dispatch import Dispatcher
from shared.errors import InputError, LedgerDown, ObjectGone, StorageDown
from shared.events import UploadedObject
from shared.logs import log
from shared.messages import continuation
from shared.options import Approve, Options
from shared.pipelines import PIPELINES, pipeline
from shared.pipelines.base import InvalidRow, Pipeline, ValidRow
from shared.publisher import Publisher
from shared.rows import Chunk, Cursor, Defect, Layout, Limits, detect, read
from shared.sessions import session_id
from shared.storage import Store
from shared.text import clean, shortened
from shared.tracing import new_trace_id, traceparent

HEAD = 1 << 20  # bytes the dialect is found from
CHUNK_ROWS = 2_000
CHUNK_BYTES = 1 << 18
FILE_LEASE = 60.0  # renewed by every chunk
MAX_ATTEMPTS = 1_000  # a continuation is an attempt too
COPY_PIECE = 500  # rows handed to COPY at once, about 64 KB and more
NUDGE_EVERY = 2.0  # seconds between nudges while reading


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """The file as its claim found it."""

    id: int
    session: UUID
    attempt: int
    bucket: str
    name: str
    generation: int
    size: int
    layout: Layout | None
    cursor: Cursor
    trace_id: str | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> _File:
        return cls(
            id=row["id"],
            session=row["session_id"],
            attempt=row["attempt"],
            bucket=row["bucket"],
            name=row["object_name"],
            generation=row["generation"],
            size=row["size"] or 0,
            layout=Layout.from_dict(row["layout"]) if row["layout"] else None,
            cursor=Cursor(offset=row["cursor"], record=row["next_record"] - 1, line=row["next_line"] - 1),
            trace_id=row["trace_id"],
        )


class Ingest:
    """Reads uploaded objects into the ledger."""

    def __init__(
        self,
        db: Database,
        store: Store,
        dispatcher: Dispatcher,
        publisher: Publisher,
        settings: Settings,
        *,
        limits: Limits | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self._db, self._store, self._dispatcher = db, store, dispatcher
        self._publisher, self._settings = publisher, settings
        self._limits = limits or Limits(
            max_field_chars=settings.max_field_chars,
            max_columns=settings.max_columns,
            max_record_bytes=settings.max_record_bytes,
        )
        self._chunk_rows = chunk_rows

    def take(self, uploaded: UploadedObject, *, trace_id: str | None = None) -> UUID:
        """The session of an uploaded object, its file read as far as the time budget allows.

        Being told of the same generation again adds nothing. Raises LedgerDown or StorageDown, for the notification to
        come again; what is wrong with the object itself is written to the session.
        """
        slug = uploaded.name.split("/", 1)[0]
        session = session_id(uploaded.bucket, uploaded.name, uploaded.generation)
        fault: InputError | None = None
        options = Options()
        try:
            options = Options.parse(uploaded.metadata)
            if slug not in PIPELINES or "/" not in uploaded.name:
                raise _unknown_prefix(uploaded.name)
            if options.session is not None:
                self._check_joins(options.session, slug, options)
                session = options.session
        except InputError as error:
            fault = error
        row = self._db.row(
            "register_file",
            session=session,
            pipeline=clean(slug),
            options=options.model_dump(mode="json", exclude={"session"}),
            source=clean(f"gs://{uploaded.bucket}/{uploaded.name}"),
            budget=options.budget,
            approval="awaited" if options.approve is Approve.ASK else "none",
            trace_id=trace_id or new_trace_id(),
            bucket=uploaded.bucket,
            object_name=clean(uploaded.name),
            generation=uploaded.generation,
            member="",
            checksum=uploaded.checksum,
            size=uploaded.size,
            fault_code=fault.code if fault else None,
            fault=shortened(str(fault), 2_000) if fault else None,
        )
        if fault is not None:
            log(
                "ERROR", "File failed", session_id=session, file=uploaded.name, error_code=fault.code, reason=str(fault)
            )
            self._dispatcher.nudge(session)
        elif row is not None:
            self.go_on(row["file_id"])
        return session

    def _check_joins(self, session: UUID, slug: str, options: Options) -> None:
        """Raise InputError if a file of this pipeline cannot join the session; one that does not exist is made."""
        found = self._db.row("session", session=session)
        if found is None:
            return
        reason = None
        if found["expired_at"] is not None or found["cancelled_at"] is not None:
            reason = "has expired" if found["expired_at"] is not None else "is cancelled"
        elif found["pipeline"] != slug:
            reason = f"belongs to pipeline {found['pipeline']}"
        else:
            own, has = options.explicit(), Options.model_validate(found["options"]).model_dump(mode="json")
            other = ", ".join(name.replace("_", "-") for name, value in own.items() if has[name] != value)
            reason = f"has another {other} and keeps it" if other else None
        if reason:
            message = f"The file cannot join session {session}, which {reason}; drop it without option session."
            raise InputError(message, code="input.session")

    def go_on(self, file_id: int) -> None:
        """Read a file on from its cursor until its end, an error, or the time budget's end.

        Does nothing if the file is read or another reader holds it.
        """
        row = self._db.row("claim_file", file=file_id, claim=uuid4(), lease=FILE_LEASE)
        if row is None:
            return
        file = _File.from_row(row)
        if file.attempt > MAX_ATTEMPTS:
            message = f"Its reader died {MAX_ATTEMPTS} times; look at the log of function ingest, then drop it again."
            self._end(file, "failed", InputError(message, code="input.reader_lost"))
            self._dispatcher.nudge(file.session)
            return
        if self._db.row("repeated_file", file=file.id, attempt=file.attempt) is not None:
            log("INFO", "File repeats an earlier one of its session", session_id=file.session, file=file.name)
            self._dispatcher.nudge(file.session)
            return
        try:
            reading = self._read(file, pipeline(row["pipeline"], self._settings))
        except InputError as error:
            self._end(file, "failed", error)
        except ObjectGone as error:
            message = f"{error} Drop the file again; the {file.cursor.record} or more records read so far stay."
            self._end(file, "failed", InputError(message, code="input.object_gone"))
        except (LedgerDown, StorageDown):
            self._release(file)
            raise
        else:
            if reading is _Reading.TO_ITS_END:
                self._end(file, "read", None)
            elif reading is _Reading.TO_BE_CONTINUED:
                self._continue_later(file)
        self._dispatcher.nudge(file.session)

    def _release(self, file: _File) -> None:
        """Let the next delivery read on at once, if the ledger can be told."""
        with contextlib.suppress(LedgerDown):
            self._db.rows("release_file", file=file.id, attempt=file.attempt)

    def _read(self, file: _File, line: Pipeline) -> _Reading:
        """Read the file within the time budget; how far that was."""
        until = time.monotonic() + self._settings.ingest_budget
        layout, cursor = file.layout, file.cursor
        if layout is None:
            layout = self._detect(file, line)
            cursor = layout.start
            self._db.rows(
                "remember_layout",
                file=file.id,
                attempt=file.attempt,
                layout=layout.to_dict(),
                cursor=cursor.offset,
                next_line=cursor.line + 1,
            )
        stream = self._store.open(file.bucket, file.name, file.generation, offset=cursor.offset, size=file.size)
        nudged_at, records = 0.0, cursor.record
        for chunk in read(
            stream,
            layout=layout,
            cursor=cursor,
            limits=self._limits,
            chunk_rows=self._chunk_rows,
            chunk_bytes=CHUNK_BYTES,
        ):
            if layout.header is None and chunk.before.record == 0 and chunk.rows:
                _check_no_header(chunk.rows[0], line)
            records = chunk.after.record
            if not self._write(file, line, layout, chunk):
                log("INFO", "The file is no longer ours to read", session_id=file.session, file=file.name)
                return _Reading.NO_LONGER_OURS
            if time.monotonic() > until:
                return _Reading.TO_BE_CONTINUED
            if time.monotonic() - nudged_at > NUDGE_EVERY:
                self._dispatcher.nudge(file.session)
                nudged_at = time.monotonic()
        if records == 0:
            raise InputError(
                "The file holds a header and no rows; add rows and drop it again.", code="input.header_only"
            )
        return _Reading.TO_ITS_END

    def _detect(self, file: _File, line: Pipeline) -> Layout:
        stream = self._store.open(file.bucket, file.name, file.generation, offset=0, size=file.size)
        head = b""
        while len(head) < HEAD and (block := stream.read(HEAD - len(head))):
            head += block
        return detect(
            head, whole=len(head) >= file.size, columns=line.columns, required=line.required, limits=self._limits
        )

    def _write(self, file: _File, line: Pipeline, layout: Layout, chunk: Chunk) -> bool:
        """Write a chunk in one transaction; False if the file is no longer ours."""
        made = _Maker(file, line, layout).make(chunk)
        try:
            with self._db.transaction() as transaction:
                moved = transaction.row(
                    "move_cursor",
                    file=file.id,
                    attempt=file.attempt,
                    cursor_before=chunk.before.offset,
                    cursor_after=chunk.after.offset,
                    next_record=chunk.after.record + 1,
                    next_line=chunk.after.line + 1,
                    records=len(made),
                    ignored=0,
                    items=len(made),
                    lease=FILE_LEASE,
                )
                if moved is None:
                    raise _TakenOver
                _store_rows(transaction, file, made, first=moved["first_item_no"])
        except _TakenOver:
            return False
        return True

    def _continue_later(self, file: _File) -> None:
        """Release the file and publish its continuation; should that be lost, rescue publishes another."""
        self._db.rows("release_file", file=file.id, attempt=file.attempt)
        self.publish_continuation(file.session, file.id, pipeline=file.name.split("/", 1)[0], trace_id=file.trace_id)

    def publish_continuation(self, session: UUID, file: int, *, pipeline: str, trace_id: str | None) -> None:
        """Ask for a file to be read on from its cursor."""
        message = continuation(session, file, pipeline=pipeline, traceparent=traceparent(trace_id))
        self._publisher.publish(self._settings.topic_path("uploads"), [message])

    def _end(self, file: _File, state: str, fault: InputError | None) -> None:
        self._db.rows(
            "end_file",
            file=file.id,
            attempt=file.attempt,
            state=state,
            code=fault.code if fault else None,
            message=shortened(str(fault), 2_000) if fault else None,
        )
        log(
            "ERROR" if fault else "INFO",
            "File failed" if fault else "File read",
            trace=file.trace_id,
            session_id=file.session,
            file=file.name,
            error_code=fault.code if fault else None,
            error=None,
            reason=str(fault) if fault else None,
        )


class _Reading(Enum):
    """How far a reading came."""

    TO_ITS_END = auto()
    TO_BE_CONTINUED = auto()  # the time budget is spent
    NO_LONGER_OURS = auto()  # another reader moved the cursor, or the session was cancelled


class _TakenOver(Exception):
    """The cursor is not where we left it, or the session was cancelled; the chunk is not ours to write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """One record as it will stand in the ledger."""

    line: int
    row: ValidRow | InvalidRow
    cells: Sequence[str]


class _Maker:
    """Makes items of the records of one file."""

    def __init__(self, file: _File, line: Pipeline, layout: Layout) -> None:
        self._pipeline = line
        self._width = len(layout.columns)
        at = {name: i for i, name in enumerate(layout.columns) if name is not None}
        self._places = [at.get(name) for name in line.columns]
        self._plain = self._places == list(range(len(line.columns))) and self._width == len(line.columns)
        self._extras = [(layout.names[i], i) for i, name in enumerate(layout.columns) if name is None]

    def make(self, chunk: Chunk) -> list[_Made]:
        """The chunk's records, each valid or with the reason why not."""
        made = []
        for index, (line, cells) in enumerate(zip(chunk.lines, chunk.rows, strict=True)):
            defect = chunk.defects.get(index) if chunk.defects else None
            made.append(_Made(line=line, row=_defective(defect) if defect else self._row(cells), cells=cells))
        return made

    def _row(self, cells: Sequence[str]) -> ValidRow | InvalidRow:
        n = len(cells)
        if self._plain and n == self._width:
            return self._pipeline.validate(cells, {})
        if n > self._width and any(cell.strip() for cell in cells[self._width :]):
            return InvalidRow(
                column=str(self._width + 1),
                code="input.too_many_cells",
                reason=f"The row has {n} cells, its header {self._width}; put cells that hold the delimiter in quotes.",
            )
        picked = [cells[place] if place is not None and place < n else None for place in self._places]
        extra = {name: cells[place] for name, place in self._extras if place < n and cells[place]}
        return self._pipeline.validate(picked, extra)


def _check_no_header(cells: Sequence[str], line: Pipeline) -> None:
    """Raise InputError if the first row is a header in other words: its columns would be taken by their position."""
    if any(cell.strip().lower() in line.header_words for cell in cells):
        found, wanted = ", ".join(cell.strip()[:40] for cell in cells[:10]), ",".join(line.columns)
        message = (
            f"The header names none of the columns: it reads {found!r}. Write {wanted} there and drop the file again."
        )
        raise InputError(message, code="input.missing_column")


def _defective(defect: Defect) -> InvalidRow:
    return InvalidRow(column=defect.column or "1", code=defect.code, reason=defect.reason)


def _store_rows(transaction: Transaction, file: _File, made: Sequence[_Made], *, first: int) -> None:
    """COPY a chunk's items; a key the session has already makes a duplicate that names its owner."""
    keys = [one.row.key for one in made if isinstance(one.row, ValidRow)]
    rows = transaction.rows("owners_of_keys", session=file.session, keys=keys) if keys else []
    owners: dict[str, int] = {row["key"]: row["item_no"] for row in rows}
    transaction.copy("copy_items", _copy_text(file, made, owners, first=first))


def _copy_text(file: _File, made: Sequence[_Made], owners: dict[str, int], *, first: int) -> Iterator[bytes]:
    """The items in COPY's text format, in pieces."""
    head = f"{file.session}\t"
    lines: list[str] = []
    for number, one in enumerate(made, start=first):
        start = f"{head}{number}\t{file.id}\t{one.line}\t"
        row = one.row
        if isinstance(row, ValidRow):
            raw = orjson.dumps(row.input)
            digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
            body = raw.decode().replace("\\", "\\\\")
            key = _escaped(row.key)
            owner = owners.setdefault(row.key, number)
            if owner == number:
                lines.append(f"{start}{key}\t{body}\t\\\\x{digest}\tavailable\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n")
            else:
                reason = f"The same key stands in item {owner}; the first row wins."
                lines.append(
                    f"{start}{key}\t{body}\t\\\\x{digest}\tcompleted\tduplicate\tsame_key\t\\N\t{reason}\tnow\t{owner}\n"
                )
        else:
            shown = {"record": [clean(cell[:1_000]) for cell in one.cells[:100]], "column": clean(row.column)}
            body = orjson.dumps(shown).decode().replace("\\", "\\\\")
            reason = _escaped(f"{file.name}, line {one.line}, column {row.column}: {row.reason}")
            lines.append(f"{start}\\N\t{body}\t\\N\trejected\trejected\t{row.code}\t{row.code}\t{reason}\tnow\t\\N\n")
        if len(lines) >= COPY_PIECE:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def _escaped(text: str) -> str:
    """Text as one field of COPY's text format."""
    text = clean(text)
    if "\\" in text or "\t" in text or "\n" in text or "\r" in text:
        text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text


def _unknown_prefix(name: str) -> InputError:
    folders = ", ".join(f"{slug}/" for slug in sorted(PIPELINES))
    return InputError(
        f"{name!r} is in no pipeline's folder; drop it under one of {folders} instead.", code="input.unknown_prefix"
    )
