"""Ingest: an uploaded object becomes a session, files, and an item for every record of them.

A file is claimed by lease and attempt as items are. Each chunk is one transaction that begins by moving the file's
cursor from where it is expected: whatever else happens, a record is written once. In memory are the chunk that is
written and the one behind it, which is read meanwhile. An archive is a file whose members are files of their own.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import UUID, uuid4

from shared import tracing
from shared.ahead import Ahead
from shared.archives import ObjectReader, members, open_member
from shared.config import Settings
from shared.copying import Made, Maker, Origin, check_no_header, copy_text
from shared.db import Database, Transaction
from shared.dispatch import Dispatcher
from shared.errors import InputError, LedgerDown, ObjectGone, StatementFailed, StorageDown
from shared.events import UploadedObject
from shared.files import check_options, part_of, register
from shared.logs import log
from shared.messages import continuation
from shared.options import RESUME_FOLDER, Options
from shared.pipelines import PIPELINES, pipeline
from shared.pipelines.base import ARCHIVE, Form, NewItems, Part, Pipeline, ValidRow
from shared.publisher import Publisher
from shared.quoting import first_approval
from shared.rejects import ends_as_rejects, returned, session_of_name, session_returned_to
from shared.resuming import Reader, Resumption, skip_held
from shared.rows import Chunk, Cursor, Layout, Limits, Stream, detect, read
from shared.sessions import check_joins, session_id, session_of_export
from shared.spans import span
from shared.storage import Store
from shared.text import clean, shortened

HEAD = 1 << 20  # bytes the dialect is found from
CHUNK_ROWS = 6_000
CHUNK_BYTES = 1 << 18
FILE_LEASE = 60.0  # renewed by every chunk
MAX_ATTEMPTS = 1_000  # a continuation is an attempt too
NUDGE_EVERY = 2.0  # seconds between nudges while reading


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """The file as its claim found it."""

    id: int
    session: UUID
    attempt: int
    bucket: str
    object: str
    generation: int
    object_size: int
    member: str  # of an archive; empty for an object that is a file itself
    part: str
    size: int  # of the file as it is read, unpacked
    layout: Layout | None
    cursor: Cursor
    pipeline: str
    options: Options
    trace_id: str | None

    @property
    def name(self) -> str:
        """The file's name, for people."""
        return f"{self.object}/{self.member}" if self.member else self.object

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> _File:
        return cls(
            id=row["id"],
            session=row["session_id"],
            attempt=row["attempt"],
            bucket=row["bucket"],
            object=row["object_name"],
            generation=row["generation"],
            object_size=row["object_size"] or 0,
            member=row["member"],
            part=row["part"],
            size=row["size"] or 0,
            layout=Layout.from_dict(row["layout"]) if row["layout"] else None,
            cursor=Cursor(offset=row["cursor"], record=row["next_record"] - 1, line=row["next_line"] - 1),
            pipeline=row["pipeline"],
            options=Options.model_validate(row["options"]),
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

    def take(self, uploaded: UploadedObject) -> UUID | None:
        """The session of an uploaded object, its file read as far as the time budget allows; None for what one resumes.

        A new session goes on in the trace that the object's metadata names, else in that of what is handled.
        Being told of the same generation again adds nothing. Raises LedgerDown or StorageDown, for the notification to
        come again; what is wrong with the object itself is written to the session.
        """
        if uploaded.name.startswith(RESUME_FOLDER):
            log("INFO", "Results of an earlier run were uploaded", file=uploaded.name)
            return None
        tracing.follow(uploaded.metadata.get("traceparent"))
        slug = uploaded.name.split("/", 1)[0]
        line = pipeline(slug, self._settings) if slug in PIPELINES and "/" in uploaded.name else None
        session = self._session_of(uploaded, line)
        fault: InputError | None = None
        options, part = Options(), Part(name="")
        try:
            if line is None:
                raise _unknown_prefix(uploaded.name)
            part = part_of(uploaded, line)
            options = Options.parse(uploaded.metadata)
            check_options(options, line)
            named = options.session or session_returned_to(self._db, uploaded.name)
            if named is not None or line.grouping is not None:
                joined = named or session
                check_joins(self._db, joined, slug, options)
                session = joined
        except InputError as error:
            fault = error
            session = self._refused_in(uploaded, session)
        file = register(
            self._db, uploaded, session, part=part, options=options, pipeline=slug,
            approval=first_approval(options, slug, self._settings), trace_id=tracing.trace_here(), fault=fault,
        )  # fmt: skip
        if fault is not None:
            log("ERROR", "File failed", file=uploaded.name, error_code=fault.code, reason=str(fault))
            self._dispatcher.nudge(session)
        elif part.ignored is not None:
            log("INFO", "File ignored", file=uploaded.name, reason=part.ignored)
            self._dispatcher.nudge(session)
        else:
            self.go_on(file)
        return session

    def _refused_in(self, uploaded: UploadedObject, session: UUID) -> UUID:
        """The session a refused object fails: the one it would have made, or its own where that has files of others."""
        known = self._db.row(
            "session_of_object",
            bucket=uploaded.bucket,
            object_name=clean(uploaded.name),
            generation=uploaded.generation,
        )
        if known is not None:
            return UUID(str(known["session_id"]))
        if self._db.row("session", session=session) is None:
            return session
        return session_id(uploaded.bucket, uploaded.name, uploaded.generation)

    def _session_of(self, uploaded: UploadedObject, line: Pipeline | None) -> UUID:
        """The session an object belongs to if its options name none."""
        if line is None or line.grouping is None:
            return session_id(uploaded.bucket, uploaded.name, uploaded.generation)
        return session_of_export(self._db, uploaded.bucket, line.grouping.export(uploaded.name))

    def go_on(self, file_id: int) -> None:
        """Read a file on from its cursor until its end, an error, or the time budget's end.

        Does nothing if the file is read or another reader holds it.
        """
        row = self._db.row("claim_file", file=file_id, claim=uuid4(), lease=FILE_LEASE)
        if row is None:
            return
        file = _File.from_row(row)
        tracing.adopt(session=file.session, trace_id=file.trace_id, pipeline=file.pipeline)
        if file.attempt > MAX_ATTEMPTS:
            message = f"Its reader died {MAX_ATTEMPTS} times; look at the log of function ingest, then drop it again."
            self._end(file, "failed", InputError(message, code="input.reader_lost"))
            self._dispatcher.nudge(file.session)
            return
        line = pipeline(file.pipeline, self._settings)
        try:
            single = None if file.member else line.single(file.bucket, file.object, file.generation)
        except InputError as error:
            self._end(file, "failed", error)
            self._dispatcher.nudge(file.session)
            return
        if single is None and self._db.row("repeated_file", file=file.id, attempt=file.attempt) is not None:
            log("INFO", "File repeats an earlier one of its session", file=file.name)
            self._dispatcher.nudge(file.session)
            return
        until = time.monotonic() + self._settings.ingest_budget
        parts: list[int] = []
        try:
            if file.options.resume is not None and not self._resumption(file, line).load(until=until):
                reading = _Reading.TO_BE_CONTINUED
            elif single is not None:
                reading = self._take_single(file, line, single)
            elif file.part == ARCHIVE:
                parts = self._unpack(file, line)
                reading = _Reading.TO_ITS_END
            else:
                reading = self._read(file, line, until)
        except InputError as error:
            self._end(file, "failed", error)
        except ObjectGone as error:
            message = f"{error} Drop the file again; the {file.cursor.record} or more records read so far stay."
            self._end(file, "failed", InputError(message, code="input.object_gone"))
        except (LedgerDown, StorageDown):
            self._release(file)
            raise
        except StatementFailed as error:  # no other delivery would fare better
            log("ERROR", "File cannot be written", file=file.name, error=error)
            message = f"The ledger refuses what it holds ({error.code}); the log of function ingest says more."
            self._end(file, "failed", InputError(message, code="input.refused"))
        else:
            if reading is _Reading.TO_ITS_END:
                self._end(file, "read", None)
            elif reading is _Reading.TO_BE_CONTINUED:
                self._continue_later(file)
        for number, part in enumerate(parts):
            if time.monotonic() > until:
                for left in parts[number:]:
                    self.publish_continuation(file.session, left, pipeline=file.pipeline, trace_id=file.trace_id)
                break
            self.go_on(part)
        self._dispatcher.nudge(file.session)

    def _resumption(self, file: _File, line: Pipeline) -> Resumption:
        reader = Reader(session=file.session, bucket=file.bucket, file=file.id, attempt=file.attempt, lease=FILE_LEASE)
        return Resumption(self._db, self._store, line, file.options, reader)

    def _unpack(self, file: _File, line: Pipeline) -> list[int]:
        """Register the members of an archive as files; those to be read, in the order they are best read in."""
        assert line.grouping is not None, "only exports have parts"  # noqa: S101
        uploaded = UploadedObject(
            bucket=file.bucket, name=file.object, generation=file.generation, size=file.size, checksum=None, metadata={}
        )
        found = [
            (part, member)
            for member in members(self._reader(file), file.size)
            if (part := line.grouping.part(f"{file.object}/{member.path}", alone=False)) is not None
        ]
        if all(part.ignored for part, _ in found):
            names = ", ".join(member.path for _, member in found[:10]) or "nothing"
            message = f"The archive holds no file that {file.pipeline} reads; it holds {names}."
            raise InputError(message, code="input.archive_empty")
        found.sort(key=lambda one: line.grouping.reading_order(one[0]) if line.grouping else 0)
        registered = []
        for part, member in found:
            number = register(
                self._db, uploaded, file.session, part=part, options=file.options, pipeline=file.pipeline,
                approval=first_approval(file.options, file.pipeline, self._settings), trace_id=file.trace_id,
                member=member,
            )  # fmt: skip
            if part.ignored is None:
                registered.append(number)
        return registered

    def _reader(self, file: _File) -> ObjectReader:
        return ObjectReader(
            lambda offset: self._store.open(
                file.bucket, file.object, file.generation, offset=offset, size=file.object_size
            ),
            file.object_size,
        )

    def _open(self, file: _File, offset: int) -> Stream:
        """The file's bytes from an offset on."""
        if file.member:
            return open_member(self._reader(file), file.object_size, file.member, offset=offset)
        return self._store.open(file.bucket, file.object, file.generation, offset=offset, size=file.size)

    def _release(self, file: _File) -> None:
        """Let the next delivery read on at once, if the ledger can be told."""
        with contextlib.suppress(LedgerDown):
            self._db.rows("release_file", file=file.id, attempt=file.attempt)

    def _take_single(self, file: _File, line: Pipeline, row: ValidRow) -> _Reading:
        """Write the one item an object is."""
        if file.cursor.record:  # by an attempt that died before it could say so
            return _Reading.TO_ITS_END
        beyond = Cursor(offset=file.size, record=1, line=1)
        chunk = Chunk(numbers=[1], lines=[1], rows=[[file.object]], defects={}, before=file.cursor, after=beyond)
        made = [Made(line=1, row=row, cells=chunk.rows[0])]
        return _Reading.TO_ITS_END if self._write(file, line, chunk, made) else _Reading.NO_LONGER_OURS

    def _read(self, file: _File, line: Pipeline, until: float) -> _Reading:
        """Read the file within the time budget; how far that was."""
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
        form = line.form(layout.returned or file.part, layout.header)
        nudged_at, records = 0.0, cursor.record
        with Ahead(self._made(self._open(file, cursor.offset), layout, cursor, form)) as ahead:
            while (taken := ahead.take()) is not None:
                chunk, made = taken
                records = chunk.after.record
                with span("ingest chunk", file=file.name, record=chunk.before.record + 1, records=len(made)):
                    written = self._write(file, line, chunk, made, meanwhile=ahead.begin)
                if not written:
                    log("INFO", "The file is no longer ours to read", file=file.name)
                    return _Reading.NO_LONGER_OURS
                if time.monotonic() > until:
                    return _Reading.TO_BE_CONTINUED
                if time.monotonic() - nudged_at > NUDGE_EVERY:
                    self._dispatcher.nudge(file.session)
                    nudged_at = time.monotonic()
        if records == 0 and not form.may_be_empty:
            raise InputError(
                "The file holds a header and no rows; add rows and drop it again.", code="input.header_only"
            )
        return _Reading.TO_ITS_END

    def _made(
        self, stream: Stream, layout: Layout, cursor: Cursor, form: Form
    ) -> Iterator[tuple[Chunk, Sequence[Made]]]:
        """The file's chunks from the cursor on, with the records each makes."""
        maker = Maker(form, layout)
        for chunk in read(
            stream,
            layout=layout,
            cursor=cursor,
            limits=self._limits,
            chunk_rows=self._chunk_rows,
            chunk_bytes=CHUNK_BYTES,
        ):
            if layout.header is None and chunk.before.record == 0 and chunk.rows:
                check_no_header(chunk.rows[0], form)
            yield chunk, maker.make(chunk)

    def _detect(self, file: _File, line: Pipeline) -> Layout:
        stream = self._open(file, 0)
        head = b""
        while len(head) < HEAD and (block := stream.read(HEAD - len(head))):
            head += block
        form = line.form(file.part, None)
        layout = detect(
            head,
            whole=len(head) >= file.size,
            columns=form.columns,
            required=form.required,
            limits=self._limits,
            headerless=form.headerless,
            may_be_empty=form.may_be_empty,
        )
        named = session_of_name(file.object) is not None
        if not named and not ends_as_rejects(layout.header or ()):
            return layout
        parts = self._db.rows("parts_with_rejects", session=file.session, before=file.id)
        return returned(layout, [row["part"] for row in parts], named=named)

    def _write(
        self,
        file: _File,
        line: Pipeline,
        chunk: Chunk,
        made: Sequence[Made],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bool:
        """Write a chunk in one transaction, anew after a deadlock; False if the file is no longer ours.

        `meanwhile` is called once the ledger has the rows and little is left to be done for them here.
        """
        for last in (False, False, True):
            try:
                return self._write_made(file, line, chunk, made, meanwhile)
            except StatementFailed as error:
                if not error.passes:
                    raise
                if last:
                    raise LedgerDown(str(error)) from error
            time.sleep(random.uniform(0.01, 0.05))
        raise AssertionError("unreachable")

    def _write_made(
        self, file: _File, line: Pipeline, chunk: Chunk, made: Sequence[Made], meanwhile: Callable[[], None]
    ) -> bool:
        origin = Origin(session=file.session, file=file.id, name=file.name)
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
                first: int = moved["first_item_no"]
                new = NewItems(session=file.session, first=first, beyond=first + len(made))
                rows = {number: one.row for number, one in enumerate(made, first) if isinstance(one.row, ValidRow)}
                owners: dict[str, int] = {}
                together: AbstractSet[int] = frozenset()
                if line.grouping:
                    together = line.grouping.together(transaction, file.session, rows, file.options)
                else:
                    owners = _owners(transaction, file, rows)
                transaction.copy("copy_items", copy_text(origin, made, first=first, owners=owners, together=together))
                meanwhile()
                keys: Sequence[str] = ()
                if line.grouping:
                    keys = line.grouping.merge(transaction, new, together, file.options)
                elif file.options.writes_domain:
                    line.absorb(transaction, new)
                if file.options.resume is not None:
                    alone = (row.key for number, row in rows.items() if number not in together)
                    skip_held(transaction, file.session, [*keys, *alone])
        except _TakenOver:
            return False
        return True

    def _continue_later(self, file: _File) -> None:
        """Release the file and publish its continuation; should that be lost, rescue publishes another."""
        self._db.rows("release_file", file=file.id, attempt=file.attempt)
        self.publish_continuation(file.session, file.id, pipeline=file.pipeline, trace_id=file.trace_id)

    def publish_continuation(self, session: UUID, file: int, *, pipeline: str, trace_id: str | None) -> None:
        """Ask for a file to be read on from its cursor."""
        message = continuation(session, file, pipeline=pipeline, traceparent=tracing.traceparent(trace_id))
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
            file=file.name,
            error_code=fault.code if fault else None,
            reason=str(fault) if fault else None,
        )


class _Reading(Enum):
    """How far a reading came."""

    TO_ITS_END = auto()
    TO_BE_CONTINUED = auto()  # the time budget is spent
    NO_LONGER_OURS = auto()  # another reader moved the cursor, or the session was cancelled


class _TakenOver(Exception):
    """The cursor is not where we left it, or the session was cancelled; the chunk is not ours to write."""


def _owners(transaction: Transaction, file: _File, rows: Mapping[int, ValidRow]) -> dict[str, int]:
    """Which of the rows' keys the session has already, and the item that owns each."""
    keys = [row.key for row in rows.values()]
    found = transaction.rows("owners_of_keys", session=file.session, keys=keys) if keys else []
    return {row["key"]: row["item_no"] for row in found}


def _unknown_prefix(name: str) -> InputError:
    folders = ", ".join(f"{slug}/" for slug in sorted(PIPELINES))
    return InputError(
        f"{name!r} is in no pipeline's folder; drop it under one of {folders} instead.", code="input.unknown_prefix"
    )
