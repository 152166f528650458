"""Settled items as JSON lines, a page of text at a time: PostgreSQL writes the JSON, memory stays constant.

In item order they are what results.jsonl holds. In settle order they can be followed while a session runs: a cursor
names the transaction and the item it stands behind, and only rows of transactions below the oldest running one are
shown, so that none that commits late is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.db import Database
from shared.errors import Conflict, InputError
from shared.options import WriteMode
from shared.pipelines import PIPELINES

PAGE = 5_000
GROUPED_PAGE = 1_000  # of items that share their lines' facts with others

CURSOR = r"s[0-9]{1,18}(?:\.[0-9]{1,18})?"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Cursor:
    """A place in settle order: behind this item of this transaction."""

    xid: int = 0
    item: int = 0

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor a text spells, such as s0 or s7421.17; raises InputError."""
        if re.fullmatch(CURSOR, text) is None:
            raise InputError(f"{text[:60]!r} is no cursor; begin with s0 and go on with what Rowlift-Next says.")
        xid, _, item = text[1:].partition(".")
        return cls(xid=int(xid), item=int(item or 0))

    def __str__(self) -> str:
        return f"s{self.xid}.{self.item}" if self.item else f"s{self.xid}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """Lines in settle order: pages of whole lines, the cursor behind them, and whether nothing will come after it."""

    pages: Iterator[bytes]
    next: Cursor
    final: bool


def is_minimal(options: dict[str, Any]) -> bool:
    """Whether a session's lines are short ones, because its answers stand in the domain tables."""
    return options.get("write_mode") == WriteMode.DB and not options.get("dry_run")


def result_lines(
    db: Database, session: UUID, *, pipeline: str, minimal: bool, after: int = 0, page: int | None = None
) -> Iterator[bytes]:
    """Pages of lines in item order, every line ended; a pipeline's `<slug>_lines` says what a line holds."""
    numbers, columns = page_of(pipeline), _columns(pipeline, minimal=minimal)
    size = page or numbers
    used = db.row("session_size", session=session)
    while used is not None and after < used["items"]:
        upto = after + numbers
        row = db.row(
            f"results/{pipeline}", session=session, minimal=minimal, columns=columns, after=after, upto=upto, size=size
        )
        if row is None or not row["n"]:
            after = upto
            continue
        yield row["lines"].encode() + b"\n"
        after = row["last"] if row["n"] == size else upto


def settled_lines(
    db: Database, session: UUID, *, pipeline: str, minimal: bool, after: Cursor, limit: int | None = None
) -> Settled:
    """The lines settled since a cursor, at most `limit` of them; an item settled again comes again.

    Raises Conflict for a cursor of another database.
    """
    stands = db.row("results_horizon", session=session, xid=str(after.xid))
    if stands is None or stands["ahead"]:
        raise Conflict(f"Cursor {after} is not of this database; begin again with s0.")
    horizon = Cursor(xid=int(stands["horizon"]))
    whole = _Pages(
        db, f"settled_results/{pipeline}", session=session, minimal=minimal, horizon=str(horizon.xid),
        columns=_columns(pipeline, minimal=minimal),
    )  # fmt: skip
    if limit is None:
        return Settled(pages=whole.behind(after, page_of(pipeline)), next=max(after, horizon), final=stands["final"])
    pages, left, last = [], limit, after
    while left:
        size = min(left, page_of(pipeline))
        found, n, last = whole.page(last, size)
        pages.append(found)
        left -= n
        if n < size:
            return Settled(pages=iter(pages), next=max(last, horizon), final=stands["final"])
    return Settled(pages=iter(pages), next=last, final=False)


def _columns(pipeline: str, *, minimal: bool) -> list[str]:
    return list(PIPELINES[pipeline].columns(minimal=minimal))


def page_of(pipeline: str) -> int:
    """How many lines one statement makes."""
    return GROUPED_PAGE if PIPELINES[pipeline].grouping is not None else PAGE


class _Pages:
    """Pages of lines in settle order below a horizon."""

    def __init__(self, db: Database, statement: str, **params: Any) -> None:
        self._db, self._statement, self._params = db, statement, params

    def page(self, after: Cursor, size: int) -> tuple[bytes, int, Cursor]:
        """The lines behind a cursor, how many they are, and the cursor behind them."""
        with self._db.transaction() as transaction:
            transaction.rows("plan_without_values")
            row = transaction.row(self._statement, xid=str(after.xid), after=after.item, size=size, **self._params)
        if row is None or not row["n"]:
            return b"", 0, after
        return row["lines"].encode() + b"\n", row["n"], Cursor(xid=int(row["last_xid"]), item=row["last_item"])

    def behind(self, after: Cursor, size: int) -> Iterator[bytes]:
        """Every page behind a cursor."""
        while True:
            found, n, after = self.page(after, size)
            if not n:
                return
            yield found
