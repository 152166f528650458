"""Files of sessions: an uploaded object, or a member of an archive, recorded once."""

from __future__ import annotations

from uuid import UUID

from shared.archives import ArchiveMember
from shared.db import Database
from shared.errors import InputError
from shared.events import UploadedObject
from shared.options import CallMode, Options
from shared.pipelines.base import Part, Pipeline
from shared.text import clean, shortened
from shared.tracing import adopt, new_trace_id


def part_of(uploaded: UploadedObject, line: Pipeline) -> Part:
    """What an object is to its export; without exports just a file."""
    if line.grouping is None:
        return Part(name="")
    return line.grouping.part(uploaded.name, alone=True) or Part(name="", ignored="It is an archiver's own file.")


def check_options(options: Options, line: Pipeline) -> None:
    """Raise InputError for an option that means nothing to the pipeline."""
    for name, what in _FOR_ONE.items():
        if getattr(options, name) != Options.model_fields[name].default and name not in line.heeds:
            spelled = name.replace("_", "-")
            message = f"Option {spelled!r} means nothing to pipeline {line.slug}; it is for {what}."
            raise InputError(message, code="input.option")
    if options.dual_write and not options.writes_domain and not options.dry_run:
        message = "Option 'dual-write' needs the tables, which write-mode=file leaves alone; leave one of them out."
        raise InputError(message, code="input.option")
    if options.call_mode is CallMode.BACKGROUND and not line.paid:
        message = f"Option 'call-mode' means nothing to pipeline {line.slug}; its requests cost nothing."
        raise InputError(message, code="input.option")


# Options that a pipeline which knows nothing of them refuses, and what they are for.
_FOR_ONE = {
    "watchlist": "exports of films",
    "mode": "sheets of people and their files",
    "dual_write": "sheets of people and their files",
}


def register(
    db: Database,
    uploaded: UploadedObject,
    session: UUID,
    *,
    part: Part,
    options: Options,
    pipeline: str,
    approval: str,
    trace_id: str | None,
    fault: InputError | None = None,
    member: ArchiveMember | None = None,
) -> int:
    """The file's number; it and its session are recorded, unless they were. With a `fault` it has failed.

    What is handled belongs to that session, and goes on in its trace.
    """
    row = db.row(
        "register_file",
        session=session,
        pipeline=clean(pipeline),
        options=options.model_dump(mode="json", exclude={"session"}),
        source=clean(f"gs://{uploaded.bucket}/{uploaded.name}"),
        budget=options.budget,
        approval=approval,
        trace_id=trace_id or new_trace_id(),
        bucket=uploaded.bucket,
        object_name=clean(uploaded.name),
        generation=uploaded.generation,
        member=clean(member.path) if member else "",
        part=part.name,
        checksum=f"crc32:{member.crc:08x}:{member.size}" if member else uploaded.checksum,
        size=member.size if member else uploaded.size,
        ignored=part.ignored,
        fault_code=fault.code if fault else None,
        fault=shortened(str(fault), 2_000) if fault else None,
    )
    assert row is not None, "the statement answers one row"  # noqa: S101
    adopt(session=session, trace_id=row["trace_id"], pipeline=pipeline)
    return int(row["file_id"])
