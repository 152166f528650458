"""Files sent to the API: checked as a whole, announced as a session, then put into the upload bucket."""

from __future__ import annotations

import mimetypes
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID, uuid4

from shared.api.forms import Form, SentFile
from shared.config import Settings
from shared.db import Database
from shared.errors import InputError, StorageDown
from shared.files import check_options, part_of, register
from shared.options import Options
from shared.pipelines import PIPELINES
from shared.problems import Fault, InvalidRequest
from shared.quoting import first_approval
from shared.rejects import session_returned_to
from shared.sessions import check_joins, session_of_export
from shared.storage import Store
from shared.tracing import new_trace_id

ZIP = ".zip"
LONGEST_NAME, LONGEST_EXPORT = 300, 200  # bytes; together they stay below the 1,024 of an object's name
PIECE = 1 << 18


class NamedFile(Protocol):
    """A file that was sent, or one that will be."""

    @property
    def name(self) -> str:
        """As its sender calls it."""

    @property
    def size(self) -> int:
        """In bytes."""


F = TypeVar("F", bound=NamedFile)


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload(Generic[F]):
    """What a request asks for, checked."""

    pipeline: str
    export: str | None  # where the pipeline groups files
    options: Options
    spelled: Mapping[str, str]  # the options that were given, as object metadata spells them
    objects: Mapping[str, F]  # by the names they will have in the bucket


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """The session an upload's files are for, and the metadata that brings each of them there."""

    session: UUID
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """An upload that is in the bucket, and how its session stands."""

    session: UUID
    status: str
    upload: Upload[SentFile]

    def document(self) -> dict[str, Any]:
        """The answer; totals are known once the files are parsed."""
        export = self.upload.export
        return {
            "session_id": str(self.session),
            "status": self.status,
            "total": None,
            **({} if export is None else {"total_movies": None, "export": export}),
            "files": list(self.upload.objects),
        }


class Uploads:
    """Takes uploads into the bucket."""

    def __init__(self, db: Database, store: Store, settings: Settings) -> None:
        self._db, self._store = db, store
        self._settings, self._bucket = settings, settings.upload_bucket

    def destination(self, upload: Upload[Any]) -> Destination:
        """Where an upload's files go; nothing is changed. Raises InputError if they cannot join that session.

        Files that no export groups name their session; an export's find theirs as those do that are dropped by hand.
        """
        check_options(upload.options, PIPELINES[upload.pipeline](self._settings))
        metadata = dict(upload.spelled)
        session = upload.options.session or session_returned_to(self._db, *upload.objects)
        if session is None and (grouping := PIPELINES[upload.pipeline].grouping) is not None:
            session = session_of_export(self._db, self._bucket, grouping.export(next(iter(upload.objects))))
        elif session is None:
            session = uuid4()
            metadata["session"] = str(session)
        check_joins(self._db, session, upload.pipeline, upload.options)
        return Destination(session=session, metadata=metadata)

    def take(self, upload: Upload[SentFile], to: Destination, *, trace_id: str | None = None) -> Taken:
        """Announce the upload's session, then store its files, each with the options as its metadata.

        Raises InputError if they cannot join it, StorageDown naming it if only some of them could be stored.
        """
        session = to.session
        self.announce(upload, session, trace_id)
        for stored, (name, file) in enumerate(upload.objects.items()):
            try:
                self._put(name, file, to.metadata)
            except StorageDown as error:
                message = f"{error} {stored} of {len(upload.objects)} files are stored; send the others with"
                raise StorageDown(f"{message} session={session}.") from error
        for name in upload.objects:  # now: until the last of them is known, the first could end the session
            self._register(session, upload, name, trace_id)
        status = str((self._db.row("session", session=session) or {})["status"])
        return Taken(session=session, status=status, upload=upload)

    def announce(self, upload: Upload[Any], session: UUID, trace_id: str | None) -> None:
        """Record the session if it is new; raises InputError if another request made it one these files cannot join."""
        self._db.rows(
            "announce_session",
            session=session,
            pipeline=upload.pipeline,
            options=upload.options.model_dump(mode="json", exclude={"session"}),
            source=f"gs://{self._bucket}/{next(iter(upload.objects))}",
            budget=upload.options.budget,
            approval=first_approval(upload.options, upload.pipeline, self._settings),
            trace_id=trace_id or new_trace_id(),
        )
        check_joins(self._db, session, upload.pipeline, upload.options)

    def _register(self, session: UUID, upload: Upload[SentFile], name: str, trace_id: str | None) -> None:
        """Record a stored file as ingest will once it is told of it."""
        uploaded, line = self._store.find(self._bucket, name), PIPELINES[upload.pipeline](self._settings)
        register(
            self._db, uploaded, session, part=part_of(uploaded, line), options=upload.options,
            pipeline=upload.pipeline, approval=first_approval(upload.options, upload.pipeline, self._settings),
            trace_id=trace_id,
        )  # fmt: skip

    def _put(self, name: str, file: SentFile, metadata: Mapping[str, str]) -> None:
        with self._store.write(self._bucket, name, content_type(name), metadata=metadata) as writer:
            shutil.copyfileobj(file.body, writer, PIECE)


def content_type(name: str) -> str:
    """What kind of object a file becomes, by its name."""
    return mimetypes.guess_type(name)[0] or "text/csv"


def checked(query: Mapping[str, Sequence[str]], form: Form) -> Upload[SentFile]:
    """What query and form ask for together; raises InvalidRequest with every fault."""
    fields, faults = _fields(query, form)
    return upload_of(fields, form.files, faults)


def upload_of(fields: dict[str, str], files: Sequence[F], faults: list[Fault]) -> Upload[F]:
    """What fields and files ask for; raises InvalidRequest with every fault, those found before included."""
    slug, export = fields.pop("pipeline", ""), fields.pop("export", None)
    if slug not in PIPELINES:
        given = f"is {slug[:60]!r}" if slug else "is required"
        faults.append(Fault(field="pipeline", message=f"{given}; choose from {', '.join(sorted(PIPELINES))}"))
    options = Options()
    try:
        options = Options.parse(fields)
    except InputError as error:
        faults.append(Fault(field="options", message=str(error)))
    if slug in PIPELINES and PIPELINES[slug].grouping is not None:
        export = export or _export(files)
        faults += _export_faults(export)
    elif slug in PIPELINES and export is not None:
        faults.append(Fault(field="export", message=f"pipeline {slug} has none; leave it out"))
    names = _objects(slug, export, files)
    faults += _file_faults(files, names)
    if faults:
        raise InvalidRequest(tuple(faults))
    return Upload(
        pipeline=slug,
        export=export,
        options=options,
        spelled={name.replace("_", "-"): fields[name] for name in sorted(options.model_fields_set)},
        objects=dict(zip(names, files, strict=True)),
    )


def _fields(query: Mapping[str, Sequence[str]], form: Form) -> tuple[dict[str, str], list[Fault]]:
    """What was said beside the files, `_` for `-` in the names, empty values left out; and what was said twice."""
    given: dict[str, list[str]] = {}
    for name, values in (*query.items(), *form.fields.items()):
        given.setdefault(name.strip().lower().replace("-", "_"), []).extend(value for value in values if value.strip())
    twice = [Fault(field=name[:60], message="give one value") for name, values in given.items() if len(values) > 1]
    return {name: values[0].strip() for name, values in given.items() if values}, twice


def _file_faults(files: Sequence[NamedFile], names: Sequence[str]) -> list[Fault]:
    found = [] if files else ["send at least one"]
    found += [f"{file.name[:60]!r} is empty" for file in files if not file.size]
    found += [
        f"{file.name[:60]!r} cannot be its name; give up to {LONGEST_NAME} bytes such as likes/films.csv"
        for file in files
        # An empty segment makes a path absolute or that of a folder; the others climb.
        if not _is_plain(file.name) or {"", ".", ".."} & {*_segments(file)} or len(file.name.encode()) > LONGEST_NAME
    ]
    if len({*names}) < len(names):
        found.append("several would be one object; an upload is one export, with one ZIP and each CSV once")
    return [Fault(field="file", message=message) for message in found]


def _export_faults(export: str) -> list[Fault]:
    if (
        _is_plain(export)
        and len(export.encode()) <= LONGEST_EXPORT
        and not {*export} & {"/", "\\"}
        and export.strip(".")
    ):
        return []
    message = f"{export[:60]!r} cannot name an export; give up to {LONGEST_EXPORT} bytes without slashes"
    return [Fault(field="export", message=message)]


def _is_plain(name: str) -> bool:
    return bool(name.strip()) and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def _segments(file: NamedFile) -> list[str]:
    return file.name.replace("\\", "/").split("/")


def _is_archive(file: NamedFile) -> bool:
    return file.name.lower().endswith(ZIP)


def _export(files: Sequence[NamedFile]) -> str:
    """The name of an export that was given none: that of its archive, else one nobody has used."""
    archives = [_segments(file)[-1] for file in files if _is_archive(file)]
    return PurePosixPath(archives[0]).stem if archives else f"upload-{uuid4().hex[:12]}"


def _objects(slug: str, export: str | None, files: Sequence[NamedFile]) -> list[str]:
    """The name each file will have in the bucket.

    In an export the last folder of its path tells what it is, such as likes/films.csv. Any other file gets a folder of
    its own: a second object of its name would take the bytes from the reader of the first.
    """
    if export is None:
        return [f"{slug}/{uuid4().hex[:12]}/{_segments(file)[-1]}" for file in files]
    return [
        f"{slug}/{export}{ZIP}" if _is_archive(file) else f"{slug}/{export}/{'/'.join(_segments(file)[-2:])}"
        for file in files
    ]
