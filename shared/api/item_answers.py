"""What the API answers about items, and what was paid for them; see `answers`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from shared.api.answers import Answer, Json
from shared.states import CallState, ItemState, Outcome


class Item(Answer):
    """One row, or record, of an upload."""

    item_no: int
    file: int
    line: int
    key: str | None
    input: Json
    state: ItemState
    outcome: Outcome | None
    code: str | None
    attempt: int
    failures: int
    round: int
    due_at: datetime | None
    finalized_at: datetime | None
    result: Json | None
    error_code: str | None
    error_message: str | None
    parent: int | None


class ItemsPage(Answer):
    """Items, and `after` for the next page; with `q` a page may be empty and still have one."""

    items: list[Item]
    next: int | None


class Round(Answer):
    """How an item ended in an earlier round."""

    round: int
    attempt: int
    outcome: Outcome
    code: str | None
    result: Json | None
    error_code: str | None
    error_message: str | None
    finalized_at: datetime


class Call(Answer):
    """One request that costs money."""

    id: UUID
    item_no: int
    attempt: int
    round: int
    try_: int = Field(alias="try")
    state: CallState
    upstream: str
    started_at: datetime
    finished_at: datetime | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
    response_id: str | None
    error_code: str | None
    reserved_usd: float | None
    cost_usd: float | None


class ItemWithHistory(Item):
    """One item with its earlier rounds and its calls."""

    history: list[Round]
    calls: list[Call]


class PaidModel(Answer):
    """What one model took."""

    model: str | None
    calls: int
    tokens_in: int
    tokens_out: int
    cost_usd: float


class Payment(Answer):
    """The proof of payment; `items_paid_more_than_once` must be 0."""

    session_id: UUID
    started: int
    succeeded: int
    failed: int
    unknown: int
    duplicates_absorbed: int
    items_paid_more_than_once: int
    repeated: int
    by_model: list[PaidModel]
    spent_usd: float
    reserved_usd: float
    budget_usd: float | None


class PaymentWithCalls(Payment):
    """The proof of payment; with `list` a page of calls, and `after` for the next."""

    calls: list[Call] | None = None
    next: UUID | None = None


class Finding(Answer):
    """An invariant that is broken."""

    rule: str
    finding: str


class Verified(Answer):
    """Whether a session keeps the invariants."""

    session_id: UUID
    sound: bool
    findings: list[Finding]
    calls: dict[str, int]
    payment: Payment
