"""Problem documents (RFC 9457): what went wrong and what to do, for every error that can reach a caller of the API."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import HTTPException, MethodNotAllowed

from shared.errors import Conflict, Gone, InputError, LedgerDown, NotFound, StorageDown, UsageError

MIMETYPE = "application/problem+json"
BLANK = "about:blank"  # says no more than its status does
NOT_JSON = "input.json"  # the code of a body that cannot be parsed at all
RETRY_AFTER = 5  # seconds; a restart of PostgreSQL takes a few

# What each status means here, for the description of the API.
PHRASES = {
    HTTPStatus.BAD_REQUEST: "The body cannot be read as what it should be.",
    HTTPStatus.FORBIDDEN: "The request comes from another site's page, or is to another name than this machine's.",
    HTTPStatus.NOT_FOUND: "There is no such session or item.",
    HTTPStatus.CONFLICT: "The session's state, or where this runs, forbids it.",
    HTTPStatus.GONE: "The session has expired: its items and results were removed.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than is taken.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The query is longer than is taken.",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "The file has no such range.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is of another kind than is taken.",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "The file ends before the range begins.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request is not valid; every fault of it is told.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong that nobody foresaw.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The database or the object store cannot be reached; try again.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing wrong with a request: where, and what."""

    field: str
    message: str


class InvalidRequest(UsageError):
    """The request's parameters or body are not what they should be."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One problem, still without the path it happened at."""

    status: int
    title: str
    detail: str
    type: str = BLANK
    faults: tuple[Fault, ...] = ()
    allow: tuple[str, ...] = ()  # the methods that are allowed, where another was used

    def document(self, instance: str) -> dict[str, Any]:
        """The members of the document, for the path `instance`."""
        found: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.faults:
            found["errors"] = [{"field": fault.field, "message": fault.message} for fault in self.faults]
        return found

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to the status."""
        found = {"Allow": ", ".join(self.allow)} if self.allow else {}
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            found["Retry-After"] = str(RETRY_AFTER)
        return found


# Subclasses before their bases: the first that fits is taken.
_OURS: tuple[tuple[type[Exception], HTTPStatus, str, str], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND, "not-found", "No such session or item"),
    (Conflict, HTTPStatus.CONFLICT, "conflict", "The session's state forbids this"),
    (Gone, HTTPStatus.GONE, "expired", "The session has expired"),
    (InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid"),
    (UsageError, HTTPStatus.UNPROCESSABLE_ENTITY, "usage", "The request cannot be carried out"),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY, "input", "The input cannot be used"),
    (LedgerDown, HTTPStatus.SERVICE_UNAVAILABLE, "ledger-down", "The database cannot be reached"),
    (StorageDown, HTTPStatus.SERVICE_UNAVAILABLE, "storage-down", "The object store cannot be reached"),
)


def problem_of(error: Exception) -> Problem:
    """The problem an error is to the caller; what nobody foresaw says only that the log knows more."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, InputError) and error.code == NOT_JSON:
        return _blank(HTTPStatus.BAD_REQUEST, str(error))
    for kind, status, slug, title in _OURS:
        if isinstance(error, kind):
            again = status == HTTPStatus.SERVICE_UNAVAILABLE
            return Problem(
                status=status,
                title=title,
                detail=f"{error} Try again in {RETRY_AFTER} seconds." if again else str(error),
                type=f"urn:rowlift:problem:{slug}",
                faults=error.faults if isinstance(error, InvalidRequest) else (),
            )
    return _blank(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something went wrong that nobody foresaw; the log of function api holds the cause. Trying again may help.",
    )


def _of_http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    allow = tuple(sorted(error.valid_methods or ())) if isinstance(error, MethodNotAllowed) else ()
    return _blank(status, error.description or status.description, allow=allow)


def _blank(status: HTTPStatus, detail: str, *, allow: tuple[str, ...] = ()) -> Problem:
    return Problem(status=status, title=status.phrase, detail=detail, allow=allow)
