"""Every error of Rowlift, one tree.

RowliftError
├── InputError          the uploaded object or a row of it; the user can mend it
├── ConfigError         settings that are missing or contradict each other
├── UsageError          a request to the API or the command that cannot be carried out as it stands
│   ├── NotFound        no such session or item
│   ├── Conflict        the session is in a state that forbids the move
│   └── Gone            the session has expired
├── StorageError        the object store
│   ├── ObjectGone      the pinned generation of an object is there no more
│   └── StorageDown     the store cannot be reached; deliver again
├── FetchError          a file of somebody else's could not be fetched; carries the class of the failure
└── DatabaseError       PostgreSQL
    ├── LedgerDown      it cannot be reached or is restarting; deliver again
    │   └── TooSlow     a statement took longer than it may
    └── StatementFailed it refused a statement for good; carries SQLSTATE and constraint
"""

from __future__ import annotations


class RowliftError(Exception):
    """Something went wrong in Rowlift."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class InputError(RowliftError):
    """The uploaded object cannot be read as it is."""

    def __init__(self, message: str, *, code: str = "input.unreadable") -> None:
        super().__init__(message)
        self.code = code


class ConfigError(RowliftError):
    """The settings are incomplete or contradict each other."""


class UsageError(RowliftError):
    """The request cannot be carried out as it stands."""


class NotFound(UsageError):
    """There is no such session or item."""


class Conflict(UsageError):
    """The session is in a state that forbids this."""


class Gone(UsageError):
    """The session has expired; its items and results were removed."""


class StorageError(RowliftError):
    """The object store failed."""


class ObjectGone(StorageError):
    """The object was replaced or deleted: the generation that was announced is there no more."""


class StorageDown(StorageError):
    """The object store cannot be reached; try again."""


class FetchError(RowliftError):
    """The file could not be fetched."""

    def __init__(self, cause: str, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.cause = cause  # of shared/fetching/causes.py, which has the words for it
        self.detail = detail  # what happened in this case; no secrets
        self.retry_after = retry_after  # seconds the host asked to wait

    def __str__(self) -> str:
        return self.detail


class DatabaseError(RowliftError):
    """PostgreSQL failed."""


class LedgerDown(DatabaseError):
    """PostgreSQL cannot be reached; try again."""


class TooSlow(LedgerDown):
    """A statement took longer than it may, twice; try again when there is less to do."""


class StatementFailed(DatabaseError):
    """PostgreSQL refused a statement for good."""

    def __init__(self, message: str, *, sqlstate: str, constraint: str | None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint

    @property
    def code(self) -> str:
        """The error code items carry: what kind of refusal, in a word."""
        return f"db.{self.constraint or self.sqlstate}"

    @property
    def systemic(self) -> bool:
        """Whether every statement of its kind will be refused: a table is missing, say, or nothing may be written."""
        return self.sqlstate.startswith(("42", "3F")) or self.sqlstate == "25006"

    @property
    def advice(self) -> str:
        """What a person is told whose session is held for it."""
        return f"{self.code}: {self}. Run the migrations, then resume."

    @property
    def passes(self) -> bool:
        """Whether the same may go well a moment later: a deadlock, or a lock or statement waited for too long."""
        return self.timed_out or self.sqlstate in ("40001", "40P01", "55P03")

    @property
    def timed_out(self) -> bool:
        """Whether the statement took longer than it may."""
        return self.sqlstate == "57014"
