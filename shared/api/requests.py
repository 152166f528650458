"""What callers may send: query parameters and bodies as models, every fault of one told at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

import orjson
from flask import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import InputError
from shared.problems import NOT_JSON, Fault, InvalidRequest
from shared.progress import BIGGEST
from shared.results import CURSOR
from shared.sessions import REPROCESSABLE
from shared.states import CallState, ItemState, Outcome
from shared.text import clean

BODY_LIMIT = 64 * 1024
QUERY_LIMIT = 3_000  # bytes; gunicorn itself ends a request line at 4,094, with a page of its own

LARGEST_OBJECT = 5 << 40  # bytes, of Cloud Storage's


def _spelled(text: str) -> str:
    found = clean(text).strip()
    if not found:
        raise ValueError("give at least one letter, digit or sign")
    return found


def _flag(value: Any) -> Any:
    if value not in ("true", "false"):
        raise ValueError("give true or false")
    return value == "true"


def _no_text(value: Any) -> Any:
    """Only what JSON itself calls a number: 949 and 949.0, not "949" and not true."""
    if isinstance(value, str | bool):
        raise ValueError("give a whole number")  # noqa: TRY004  # pydantic passes a TypeError on
    return value


ItemNumber = Annotated[int, Field(ge=0, le=BIGGEST)]
Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500),
    AfterValidator(_spelled),
    Field(json_schema_extra={"pattern": r"[^\s\x00]"}),
]
# In a query a letter may take twelve bytes.
Word = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(_spelled),
    Field(json_schema_extra={"pattern": r"[^\s\x00]"}),
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Formulas = Literal["guard", "keep"]
# Which outcomes they are the session says, as one that may not run again has a reason to be told.
RunsAgain = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(REPROCESSABLE)})]


class _Sent(BaseModel):
    """Checked on arrival; whatever is not expected is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def checked(cls, values: Any) -> Self:
        """The model of `values`; raises InvalidRequest with every fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidRequest(tuple(cls._fault(one) for one in error.errors())) from error

    @classmethod
    def _fault(cls, fault: Any) -> Fault:
        field = ".".join(map(str, fault["loc"])) or "body"
        if fault["type"] == "extra_forbidden":
            choices = ", ".join(cls.model_fields)
            return Fault(field=field[:60], message=f"is unknown here; there is {choices or 'nothing to give'}")
        return Fault(field=field, message=fault["msg"])


class Query(_Sent):
    """What stands behind the question mark."""

    @classmethod
    def of(cls, request: Request) -> Self:
        """The request's query parameters, empty ones left out; raises InvalidRequest."""
        given = {name: [v for v in values if v] for name, values in request.args.to_dict(flat=False).items()}
        if repeated := [name for name, values in given.items() if len(values) > 1]:
            raise InvalidRequest(tuple(Fault(field=name[:60], message="give one value") for name in repeated))
        return cls.checked({name: values[0] for name, values in given.items() if values})


class SessionsQuery(Query):
    """Which sessions: at most `limit`, older than session `before`."""

    before: UUID | None = None
    limit: int = Field(default=20, ge=1, le=100)


class ItemsQuery(Query):
    """Which items of a session: at most `limit`, numbered above `after`; with `q` those whose row holds that text."""

    outcome: Outcome | None = None
    state: ItemState | None = None
    error_code: Word | None = None
    q: Word | None = None
    after: ItemNumber = 0
    limit: int = Field(default=100, ge=1, le=1_000)


class ResultsQuery(Query):
    """Which results, and as what: all, those of items numbered above `after`, or those settled behind a cursor."""

    after: Annotated[str, StringConstraints(pattern=rf"^([0-9]{{1,18}}|{CURSOR})$")] | None = None
    limit: int | None = Field(default=None, ge=1, le=5_000)
    format: Literal["jsonl", "csv"] = "jsonl"
    formulas: Formulas = "guard"


class RejectsQuery(Query):
    """Whether cells that a spreadsheet would take for formulas are guarded."""

    formulas: Formulas = "guard"


class ResumedQuery(Query):
    """Which findings: at most `limit`, of lines behind line `after`."""

    after: ItemNumber = 0
    limit: int = Field(default=100, ge=1, le=1_000)


class CallsQuery(Query):
    """Whether the calls themselves are wanted, and which: `limit` of them behind call `after`, in one state."""

    list: Flag = False
    after: UUID | None = None
    limit: int = Field(default=100, ge=1, le=1_000)
    state: CallState | None = None


class MoviesQuery(Query):
    """Which films of a session, in which order: `limit` of them behind the first `offset`."""

    sort: Literal["item_no", "title", "year", "rating", "watched_date", "tmdb_rating", "runtime"] = "item_no"
    order: Literal["asc", "desc"] = "asc"
    year: int | None = Field(default=None, ge=0, le=9_999)
    rating: float | None = Field(default=None, ge=0.5, le=5)
    genre: Word | None = None
    outcome: Outcome | None = None
    enriched: Flag | None = None
    limit: int = Field(default=100, ge=1, le=1_000)
    offset: ItemNumber = 0


class AssetsQuery(Query):
    """Which of a person's files: at most `limit`, behind file `after`."""

    after: UUID | None = None
    limit: int = Field(default=100, ge=1, le=1_000)


class SheetQuery(Query):
    """Whose sheet: a session's, or everybody's; and whether cells that a spreadsheet would run are guarded."""

    session: UUID | None = None
    formulas: Formulas = "guard"


class NoQuery(Query):
    """Nothing can be chosen here."""


class Body(_Sent):
    """What stands in a request's body, as JSON."""

    @classmethod
    def of(cls, request: Request) -> Self:
        """The request's body, no body being an empty one; raises InputError, InvalidRequest, RequestEntityTooLarge."""
        data = _read(request)
        try:
            values = orjson.loads(data) if data.strip() else {}
        except orjson.JSONDecodeError as error:
            raise InputError(
                f"The body is not JSON ({error}). Send a JSON object, or nothing.", code=NOT_JSON
            ) from error
        return cls.checked(values)


class LinkBody(Body):
    """An upload that is read from a Google Sheet shared by link."""

    pipeline: Literal["assets"] = "assets"
    link: Text = Field(examples=["https://docs.google.com/spreadsheets/d/…/edit"])
    options: dict[Annotated[str, StringConstraints(max_length=100)], str | bool | int | float] = Field(
        default_factory=dict, max_length=50
    )


class ReprocessBody(Body):
    """Which settled items run again; what is given narrows."""

    outcomes: list[RunsAgain] | None = Field(default=None, min_length=1, max_length=len(Outcome), examples=[["failed"]])
    error_codes: list[Text] | None = Field(default=None, min_length=1, max_length=100)
    key: Text | None = None
    prompt: Text | None = None


class PauseBody(Body):
    """Why the session is paused, for those who read its status."""

    reason: Text | None = Field(default=None, examples=["lunch"])


class ResumeBody(Body):
    """A new budget, where the old one was the reason for the hold."""

    budget_usd: float | None = Field(default=None, strict=True, ge=0, le=1e9, allow_inf_nan=False, examples=[5.0])


class MatchBody(Body):
    """Which of TMDB's films an item's film is; null: none of them."""

    tmdb_id: Annotated[int, Field(ge=1, le=BIGGEST), BeforeValidator(_no_text)] | None = Field(examples=[949])


class BroughtBody(Body):
    """A file that a person's sheet lists, and that lies in the media bucket now."""

    name: str = Field(min_length=1, max_length=1_000, examples=["interview.mp4"])
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: Annotated[int, Field(ge=0, le=LARGEST_OBJECT), BeforeValidator(_no_text)]
    content_type: Text


class NoBody(Body):
    """Nothing can be said here."""


class PlannedFile(_Sent):
    """A file that is to be uploaded."""

    name: str = Field(max_length=2_000, examples=["list.csv"])
    size: Annotated[int, Field(ge=1, le=LARGEST_OBJECT), BeforeValidator(_no_text)]


class DirectBody(Body):
    """An upload that goes straight to the bucket: options by their names, and what files will come."""

    pipeline: str = Field(max_length=200, examples=["artists"])
    export: Text | None = None
    options: dict[Annotated[str, StringConstraints(max_length=100)], str | bool | int | float] = Field(
        default_factory=dict, max_length=50
    )
    files: list[PlannedFile] = Field(min_length=1, max_length=100)


def _read(request: Request) -> bytes:
    """The body, read no further than the limit.

    Not by `max_content_length`: the framework reads what is left of every request after us, and would run into that
    limit a second time, outside of our answer.
    """
    data = b""
    if (request.content_length or 0) <= BODY_LIMIT:
        while len(data) <= BODY_LIMIT and (block := request.stream.read(BODY_LIMIT + 1 - len(data))):
            data += block
        if len(data) <= BODY_LIMIT:
            return data
    raise RequestEntityTooLarge(f"The body is larger than the {BODY_LIMIT // 1024} KB this takes. Send less.")
