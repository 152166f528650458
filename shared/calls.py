"""Admission, second half: nothing that costs leaves without `start_calls` directly before it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.db import Database
from shared.items import Item


class Verdict(StrEnum):
    """Whether a request may leave."""

    STARTED = "started"  # it may: the call is recorded and its worst case reserved
    SUPERSEDED = "superseded"  # the item no longer runs under this attempt
    HELD = "held"  # the session is paused, cancelled or failed
    BUDGET_BUSY = "budget_busy"  # only calls in flight stand in the way; ask again in a moment
    BUDGET_GONE = "budget_gone"  # the budget does not hold this call


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCall:
    """A request about to leave, with the id its caller made and the most it can cost in micro-dollars."""

    id: UUID
    item: Item
    request: Any
    digest: str  # of the request and the configuration it is made with, in hexadecimal digits
    tokens: int
    reserve: int
    response_id: str | None = None  # of a call that an earlier attempt began: its answer is fetched, nothing is paid


def request_digest(request: Any, configuration: str) -> str:
    """What tells a request from others, and from the same made with another prompt or model."""
    return hashlib.blake2b(f"{configuration}\n{request!r}".encode("utf-8", "replace"), digest_size=16).hexdigest()


def start_calls(
    db: Database, session: UUID, planned: Sequence[PlannedCall], *, upstream: str, lease: float
) -> dict[int, Verdict]:
    """Reserve, record, renew the lease: by item whether its request may leave now."""
    batch = [
        {
            "item_no": call.item.number,
            "attempt": call.item.attempt,
            "call_id": str(call.id),
            "try": call.item.failures + 1,
            "reserve": call.reserve,
            "request_hash": call.digest,
        }
        for call in planned
    ]
    rows = db.rows("start_calls", session=session, batch=batch, upstream=upstream, lease=lease)
    return {row["item_no"]: Verdict(row["verdict"]) for row in rows}


def let_go(db: Database, session: UUID, planned: Sequence[PlannedCall]) -> dict[int, Verdict]:
    """The same for requests that cost nothing: they are no calls of the ledger, and reserve nothing."""
    batch = [{"item_no": call.item.number, "attempt": call.item.attempt} for call in planned]
    return {row["item_no"]: Verdict(row["verdict"]) for row in db.rows("let_go", session=session, batch=batch)}
