"""What a person may ask of a session, read from object metadata or the command and checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.errors import InputError

MICROS = 1_000_000
RESUME_FOLDER = "resume/"  # of the upload bucket: results of earlier runs, read by the sessions that name them


class WriteMode(StrEnum):
    """Where answers go beside the ledger."""

    DB = "db"  # domain tables
    FILE = "file"  # results.jsonl only, domain tables untouched
    BOTH = "both"


class Approve(StrEnum):
    """Whether a person approves a parsed session before it runs."""

    AUTO = "auto"
    ASK = "ask"


class Reuse(StrEnum):
    """Whether an answer that was paid for once is used again for the same row, prompt and model."""

    ALWAYS = "always"
    NEVER = "never"


class CallMode(StrEnum):
    """How a paid answer is waited for."""

    DIRECT = "direct"  # on the connection that asked for it
    BACKGROUND = "background"  # by its id, which is kept first: after a crash it is fetched instead of paid again


class OnMissing(StrEnum):
    """What an id the domain table does not have means."""

    CREATE = "create"
    ERROR = "error"


class Mode(StrEnum):
    """What is fetched for the people of a sheet."""

    BASIC = "basic"  # nothing: their rows only
    TEXT = "text"  # documents and transcripts
    FULL = "full"


def _micros(value: Any) -> Any:
    """Dollars as people write them, in whole micro-dollars."""
    if isinstance(value, str):
        try:
            amount = Decimal(value.strip().lstrip("$")) * MICROS
        except InvalidOperation as error:
            raise ValueError("give an amount of dollars, such as 2.50") from error
        if not amount.is_finite() or amount < 0 or amount > 10**15:
            raise ValueError("give an amount of dollars between 0 and a billion")
        return int(amount)
    return value


def _share(value: Any) -> Any:
    """`5` as a count, `5%` as a share, in their stored form."""
    text = str(value).strip()
    number = text.removesuffix("%")
    if not number.isascii() or not number.isdigit() or len(number) > 9 or (text.endswith("%") and int(number) > 100):
        raise ValueError("give a count such as 20, or a share such as 5%")
    return text


def _resumed(value: Any) -> Any:
    """The name of an object under resume/."""
    if isinstance(value, str):
        parts = value.split("/")
        plain = value.isprintable() and len(value) <= 500 and not {"", ".", ".."} & set(parts)
        if not (plain and value.startswith(RESUME_FOLDER)):
            raise ValueError("name an object of the upload bucket under resume/, such as resume/1f3a9c/results.jsonl")
    return value


class Options(BaseModel):
    """The options of one session. Names in metadata and on the command line have `-` for `_`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    write_mode: WriteMode = WriteMode.BOTH
    skip_existing: bool = False
    dry_run: bool = False
    approve: Approve = Approve.AUTO
    budget: Annotated[int, Field(ge=0), BeforeValidator(_micros)] | None = None
    on_missing: OnMissing = OnMissing.CREATE
    max_failed: Annotated[str, BeforeValidator(_share)] = "50%"
    watchlist: bool = False
    reuse: Reuse = Reuse.ALWAYS
    call_mode: CallMode = CallMode.DIRECT
    mode: Mode = Mode.FULL
    dual_write: bool = False
    resume: Annotated[str, BeforeValidator(_resumed)] | None = None
    session: UUID | None = None

    @classmethod
    def parse(cls, metadata: Mapping[str, str]) -> Options:
        """The options an object's metadata spells; raises InputError naming the option and its choices."""
        named = {key.strip().lower().replace("-", "_"): value for key, value in metadata.items()}
        known = {key: value for key, value in named.items() if key not in _NOT_OPTIONS and not key.startswith("goog_")}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            raise InputError("; ".join(_sentence(fault) for fault in error.errors()), code="input.option") from error

    def explicit(self) -> dict[str, Any]:
        """The options that were given, by name, as they are stored; `session` is none of the session's own."""
        return self.model_dump(mode="json", include=self.model_fields_set - {"session"})

    @property
    def writes_domain(self) -> bool:
        """Whether answers are written to the domain tables."""
        return self.write_mode in (WriteMode.DB, WriteMode.BOTH) and not self.dry_run

    def too_many_failed(self, failed: int, total: int) -> bool:
        """Whether more items failed than this session tolerates."""
        if self.max_failed.endswith("%"):
            return failed * 100 > int(self.max_failed[:-1]) * total
        return failed > int(self.max_failed)


# Options that have an effect only for the pipelines whose `heeds` names them.
ONLY_SOME: Final = frozenset({"dual_write", "mode", "on_missing", "skip_existing", "watchlist"})

# Metadata other tools put on objects, and the trace they belong to (shared/tracing.py); none of it is an option.
_NOT_OPTIONS = frozenset({"firebasestoragedownloadtokens", "mtime", "content_md5", "traceparent", "tracestate"})


def _sentence(fault: Any) -> str:
    name = str(fault["loc"][0]).replace("_", "-")
    if fault["type"] == "extra_forbidden":
        choices = ", ".join(sorted(field.replace("_", "-") for field in Options.model_fields))
        return f"Unknown option {name!r}; the options are {choices}."
    return f"Option {name!r} is {str(fault['input'])[:50]!r}: {fault['msg'].removeprefix('Value error, ')}."
