"""Items as durable units of work: claim them for an attempt, settle or hand back what an attempt made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import orjson

from shared.db import Database, Row
from shared.options import Options
from shared.states import CallState, ItemState, Outcome
from shared.text import clean, shortened

LONGEST_KEY: Final = 1_000  # bytes; an index holds them


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A call that is under way at the upstream, and the id by which its answer can be fetched."""

    call: UUID
    response_id: str
    digest: str  # of the request it was
    reserved: int  # micro-dollars


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One claimed item. With its attempt it marks who may write."""

    session: UUID
    number: int
    attempt: int
    key: str
    input: Mapping[str, Any]
    failures: int
    snoozes: int
    round: int
    kept: Mapping[str, Any] | None  # an answer that was paid for and could not be written
    last_error: str | None = None  # how its last call failed
    reusable: Mapping[str, Any] | None = None  # the answer an earlier success left for the same input
    asked: Asked | None = None  # what an earlier attempt of the round asked for in the background

    @classmethod
    def from_row(cls, session: UUID, row: Row) -> Item:
        """The item in a row of `claim_items`."""
        return cls(
            session=session,
            number=row["item_no"],
            attempt=row["attempt"],
            key=row["key"],
            input=row["input"],
            failures=row["failures"],
            snoozes=row["snoozes"],
            round=row["round"],
            kept=row["result"],
            last_error=row["error_code"],
            reusable=row["reusable"],
            asked=_asked(row),
        )

    def log_fields(self) -> dict[str, Any]:
        """What a log line says of the item."""
        return {"item_no": self.number, "attempt": self.attempt, "key": self.key}


def _asked(row: Row) -> Asked | None:
    if row["asked_id"] is None:
        return None
    return Asked(
        call=row["asked_id"],
        response_id=row["asked_for"],
        digest=row["asked_hash"],
        reserved=row["asked_reserved"],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """The items one claim got, and what their session asks for."""

    items: tuple[Item, ...]
    options: Options
    trace_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallEnd:
    """How a request that was started ended."""

    id: UUID
    state: CallState
    response_id: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """An item that another expands into: its key within the session, and its input. A key the session has adds none."""

    key: str
    input: Mapping[str, Any]

    def __post_init__(self) -> None:
        size = len(self.key.encode(errors="replace"))
        if not 0 < size <= LONGEST_KEY:
            raise ValueError(f"The key of an item has 1 to {LONGEST_KEY} bytes, {self.key[:60]!r}… has {size}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What one attempt made of its item: settled with an outcome, or handed back (`outcome` None) and due again."""

    item: Item
    outcome: Outcome | None
    code: str | None = None
    counts: bool = False  # whether it uses up one of the tries
    snoozed: bool = False  # whether it waits out a rate limit instead
    due_in: float = 0.0
    result: Mapping[str, Any] | None = None
    domain: Mapping[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    call: CallEnd | None = None
    children: Sequence[Child] = ()
    cut: int = 0  # how many more it would have expanded into

    def to_row(self) -> dict[str, Any]:
        """The settlement as statement `settle` reads it."""
        state = self.outcome.state if self.outcome else ItemState.RETRYABLE
        call = self.call
        return {
            "item_no": self.item.number,
            "attempt": self.item.attempt,
            "state": state,
            "outcome": self.outcome,
            "code": self.code,
            "failed": self.counts,
            "snoozed": self.snoozed,
            "due_in": None if self.outcome else self.due_in,
            "result": self.result,
            "domain": self.domain,
            "error_code": self.error_code,
            "error_message": shortened(self.error_message, 2_000) if self.error_message else None,
            "call_id": call and str(call.id),
            "call_state": call and call.state,
            "response_id": call and call.response_id,
            "model": call and call.model,
            "tokens_in": call and call.tokens_in,
            "tokens_out": call and call.tokens_out,
            "cost": call and call.cost,
            "children": [{"key": child.key, "input": child.input} for child in self.children] or None,
            "cut": self.cut,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What settling depends on beside the settlements."""

    pipeline: str
    configuration: str = ""  # prompt and model answers are kept under for reuse; empty: none are
    skip_existing: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The terms as JSON holds them."""
        return {"pipeline": self.pipeline, "configuration": self.configuration, "skip_existing": self.skip_existing}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Terms:
        """The terms of `to_dict`, also of another version's."""
        return cls(**{name: value for name, value in found.items() if name in cls.__slots__})


def claim(
    db: Database,
    session: UUID,
    numbers: Sequence[int],
    *,
    pipeline: str,
    lease: float,
    configuration: str = "",
    token: UUID | None = None,
) -> Claimed | None:
    """Those of the items that wait, are due, and belong to a session that may run; None if there is none.

    Each comes with the answer that stands for its input under `configuration`, unless its session wants none reused.
    """
    rows = db.rows(
        "claim_items",
        session=session,
        item_nos=list(numbers),
        pipeline=pipeline,
        configuration=configuration,
        lease=lease,
        claim=token or uuid4(),
    )
    if not rows:
        return None
    return Claimed(
        items=tuple(Item.from_row(session, row) for row in rows),
        options=Options.model_validate(rows[0]["options"]),
        trace_id=rows[0]["trace_id"],
    )


def settle(db: Database, session: UUID, settlements: Sequence[Settlement], *, terms: Terms) -> dict[int, str]:
    """Write a message's settlements in one statement; by item `settled`, `already`, `superseded` or `gone`.

    Raises StatementFailed when PostgreSQL refuses one of them for good: nothing was written then.
    """
    return settle_batch(db, session, [to_batch(one) for one in settlements], terms=terms)


def to_batch(settlement: Settlement) -> dict[str, Any]:
    """The settlement as one line of `settle_batch`, and as it is put aside."""
    scrubbed: dict[str, Any] = _scrubbed(settlement.to_row())
    for child in scrubbed["children"] or ():
        child["input_hash"] = input_digest(orjson.dumps(child["input"]))
    return scrubbed


def input_digest(raw: bytes) -> str:
    """What says that two inputs, as JSON, are the same; in hexadecimal digits."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def settle_batch(db: Database, session: UUID, batch: Sequence[Mapping[str, Any]], *, terms: Terms) -> dict[int, str]:
    """`settle` for lines that `to_batch` made."""
    writer = terms.pipeline if any(one["domain"] is not None for one in batch) else "none"
    rows = db.rows(
        f"settle/{writer}",
        session=session,
        batch=orjson.dumps(batch).decode(),
        pipeline=terms.pipeline,
        configuration=terms.configuration,
        skip_existing=terms.skip_existing,
    )
    return {row["item_no"]: row["verdict"] for row in rows}


def _scrubbed(value: Any) -> Any:
    """The value with every text in it clean: one NUL or lone surrogate would refuse the whole message's settlements."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {key: _scrubbed(each) for key, each in value.items()}
    return [_scrubbed(each) for each in value] if isinstance(value, list | tuple) else value
