"""What the API answers, as models: they make the answers' schemas in /openapi.json, and a test holds answers to them.

Handlers send plain documents, most of them written by PostgreSQL; nothing is built from these at run time. A field with
a default may be left out of an answer. Rows, results and quotes are what their pipeline makes of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.states import FileState, Outcome, SessionStatus

Json = dict[str, Any]


class Answer(BaseModel):
    """Nothing but what is described here."""

    model_config = ConfigDict(extra="forbid")


class Fault(Answer):
    """One thing wrong with a request."""

    field: str
    message: str


class ProblemDocument(Answer):
    """Why a request was refused, and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] = Field(default=[], description="Where the request itself is at fault: every fault of it.")


class Pool(Answer):
    """Connections to the database of the process that answers."""

    size: int
    checked_out: int
    created: int = Field(description="Connections opened since the process began.")
    closed: int
    failures: int = Field(description="Connections that were lost or refused.")
    queries: int = Field(description="Statements, a transaction of several counting once.")


class DatabaseHealth(Answer):
    """The database the ledger is in."""

    version: str
    checked_at: datetime = Field(description="When the database answered last: now.")
    pool: Pool


class Health(Answer):
    """That the service works, and where its buckets are."""

    status: str
    version: str
    database: DatabaseHealth
    upload_bucket: str
    results_bucket: str
    media_bucket: str


class PipelineChoice(Answer):
    """One way to enrich rows."""

    slug: str
    title: str
    accepts: list[str] = Field(description="Endings of the files it takes.")
    groups_files: bool = Field(description="Whether several files are one export, and so one session.")
    paid: bool
    columns: list[str] = Field(description="Of its files; none where each file of an export has its own.")
    simulated: bool = Field(description="Whether a simulated upstream answers, which makes everything up.")


class OptionChoice(Answer):
    """One option of a session."""

    name: str
    type: str = Field(description="choice, flag, money or text")
    choices: list[str] | None
    default: str | bool | None
    help: str
    pipelines: list[str] = Field(description="Those it has an effect for.")


class Choices(Answer):
    """What can be chosen for an upload."""

    pipelines: list[PipelineChoice]
    options: list[OptionChoice]
    direct_uploads: bool = Field(description="Whether files can go straight to the bucket: POST /api/upload/direct.")
    max_upload_bytes: int = Field(description="Of an upload through this API.")


class Uploaded(Answer):
    """A session whose files are in the bucket."""

    session_id: UUID
    status: SessionStatus
    total: int | None
    total_movies: int | None = None
    export: str | None = None
    files: list[str]


class DirectFile(Answer):
    """Where one file goes: an address that takes this file only, and needs no other permission."""

    name: str
    object: str
    url: str
    method: str
    headers: dict[str, str]


class DirectUpload(Answer):
    """A session that waits for its files."""

    session_id: UUID
    status: SessionStatus
    files: list[DirectFile]


class SessionShort(Answer):
    """A session in a list."""

    session_id: UUID
    pipeline: str
    source: str
    status: SessionStatus
    pause_reason: str | None
    error_code: str | None
    error_message: str | None
    total: int
    open: int
    spent_usd: float
    budget_usd: float | None
    created_at: datetime
    completed_at: datetime | None


class SessionsPage(Answer):
    """Sessions, the newest first, and `before` for the next page."""

    sessions: list[SessionShort]
    next: UUID | None


class Breaker(Answer):
    """An upstream's breaker while it keeps calls back."""

    state: str
    reason: str | None
    since: datetime
    next_probe_at: datetime


class UncertainCalls(Answer):
    """Calls under way, and those nobody knows the end of."""

    started: int
    unknown: int


class Status(Answer):
    """How a session stands; items are counted under the name of their outcome."""

    session_id: UUID
    pipeline: str
    source: str
    status: SessionStatus
    pause_reason: str | None
    error_code: str | None
    error_message: str | None
    total: int
    open: int
    running: int
    enriched: int
    unchanged: int
    skipped: int
    duplicate: int
    merged: int
    not_found: int
    needs_review: int
    failed: int
    cancelled: int
    rejected: int
    total_movies: int | None = None
    enriched_count: int | None = None
    sheet: Json | None = None
    progress_percent: float
    spent_usd: float
    reserved_usd: float
    budget_usd: float | None
    quote: Json | None
    calls: UncertainCalls
    resumed: Json | None
    items_per_second: float
    eta_seconds: float | None
    bound_by: str | None
    breaker: Breaker | None
    trace_id: str | None
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime


class SessionFile(Answer):
    """A file of a session, and how far it was read."""

    object: str
    generation: str
    checksum: str | None
    bytes: int | None
    records_read: int
    ignored: int
    state: FileState
    error: str | None


class Session(Status):
    """A session's status, options and files."""

    options: Json
    files: list[SessionFile]


class Point(Answer):
    """What was settled in a span of time that begins here."""

    at: datetime
    settled: int
    failed: int


class Progress(Answer):
    """What was settled over time; spans in which nothing was have no point."""

    seconds_per_point: float
    points: list[Point] = Field(max_length=200)


class ErrorExample(Answer):
    """The first item of a group."""

    item_no: int
    line: int
    key: str | None
    error_message: str | None


class ErrorGroup(Answer):
    """Items that ended alike."""

    outcome: Outcome
    error_code: str | None
    items: int
    example: ErrorExample


class Errors(Answer):
    """What went wrong, in groups; not complete where there was more than was looked at."""

    groups: list[ErrorGroup]
    complete: bool


class Resumed(Answer):
    """A line of the earlier results that a session went on from, and what is the matter with it."""

    line: int
    key: str | None
    finding: str
    message: str | None


class ResumedPage(Answer):
    """What the comparison with earlier results found."""

    summary: Json | None
    findings: list[Resumed]
    next: int | None


class AuditEntry(Answer):
    """What somebody did."""

    at: datetime
    action: str
    actor: str
    details: Json


class Audit(Answer):
    """What was done to a session, the newest first, a thousand entries at most."""

    entries: list[AuditEntry]


class Reprocessed(Answer):
    """How many items have their turn again."""

    opened: int
    status: Status


class Asset(Answer):
    """A file of a person's, or what is known of one that failed or is still to come."""

    asset_id: UUID
    asset_type: str
    original_url: str | None
    media_id: str | None
    local_file_path: str | None
    cloud_storage_url: str | None
    filename: str | None
    content_type: str | None
    file_size_bytes: int | None
    sha256: str | None
    download_status: str
    metadata: Json
    attempted_at: datetime | None
    failure: str | None = Field(description="The class of what went wrong.")
    try_again: bool | None = Field(description="Of a failed one: whether trying again makes sense.")
    error: str | None
    download: str | None = Field(description="Where its bytes are, below this API.")


class Person(Answer):
    """A person with a page of their files, and `after` for the next one."""

    row_id: str
    name: str
    email: str | None
    type: str | None
    link: str | None
    assets: list[Asset]
    next: UUID | None


class Brought(Answer):
    """Which file came."""

    asset_id: UUID
    cloud_storage_url: str


class Matched(Answer):
    """Which film's item has its turn again."""

    item_no: int
    film_item_no: int
    status: Status
