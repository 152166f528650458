"""What callers may send: query parameters and bodies as models, every fault of one told at once."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

import orjson
from flask import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import InputError
from shared.problems import NOT_JSON, Fault, InvalidRequest
from shared.states import CallState, ItemState, Outcome
from shared.text import clean

BODY_LIMIT = 64 * 1024
BIGGEST = 2**63 - 1  # what PostgreSQL calls bigint

ItemNumber = Annotated[int, Field(ge=0, le=BIGGEST)]
# Scrubbed before it is measured, so that a text of nothing but NULs counts as empty.
Text = Annotated[str, AfterValidator(clean), AfterValidator(str.strip), StringConstraints(min_length=1, max_length=500)]


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


class _Query(_Sent):
    @classmethod
    def of(cls, request: Request) -> Self:
        """The request's query parameters, empty ones left out; raises InvalidRequest."""
        given = {name: [v for v in values if v] for name, values in request.args.to_dict(flat=False).items()}
        if repeated := [name for name, values in given.items() if len(values) > 1]:
            raise InvalidRequest(tuple(Fault(field=name[:60], message="give one value") for name in repeated))
        return cls.checked({name: values[0] for name, values in given.items() if values})


class SessionsQuery(_Query):
    """Which sessions: at most `limit`, older than session `before`."""

    before: UUID | None = None
    limit: int = Field(default=20, ge=1, le=100)


class ItemsQuery(_Query):
    """Which items of a session: at most `limit`, numbered above `after`."""

    outcome: Outcome | None = None
    state: ItemState | None = None
    after: ItemNumber = 0
    limit: int = Field(default=100, ge=1, le=1_000)


class ResultsQuery(_Query):
    """Which results: all, or those of items numbered above `after`."""

    after: ItemNumber | None = None


class CallsQuery(_Query):
    """Whether the calls themselves are wanted, and which: `limit` of them behind call `after`, in one state."""

    list: bool = False
    after: UUID | None = None
    limit: int = Field(default=100, ge=1, le=1_000)
    state: CallState | None = None


class MoviesQuery(_Query):
    """Which films of a session, in which order: `limit` of them behind the first `offset`."""

    sort: Literal["item_no", "title", "year", "rating", "watched_date", "tmdb_rating", "runtime"] = "item_no"
    order: Literal["asc", "desc"] = "asc"
    year: int | None = Field(default=None, ge=0, le=9_999)
    rating: float | None = Field(default=None, ge=0.5, le=5)
    genre: Text | None = None
    outcome: Outcome | None = None
    enriched: bool | None = None
    limit: int = Field(default=100, ge=1, le=1_000)
    offset: ItemNumber = 0


class NoQuery(_Query):
    """Nothing can be chosen here."""


class _Body(_Sent):
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


class ReprocessBody(_Body):
    """Which settled items run again; what is given narrows."""

    outcomes: list[str] | None = Field(default=None, min_length=1, max_length=len(Outcome))
    error_codes: list[Text] | None = Field(default=None, min_length=1, max_length=100)
    key: Text | None = None
    prompt: Text | None = None


class PauseBody(_Body):
    """Why the session is paused, for those who read its status."""

    reason: Text | None = None


class ResumeBody(_Body):
    """A new budget, where the old one was the reason for the hold."""

    budget_usd: float | None = Field(default=None, strict=True, ge=0, le=1e9, allow_inf_nan=False)


class MatchBody(_Body):
    """Which of TMDB's films an item's film is; null: none of them."""

    tmdb_id: Annotated[int, Field(strict=True, ge=1, le=BIGGEST)] | None


class NoBody(_Body):
    """Nothing can be said here."""


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
