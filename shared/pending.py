"""Answers put aside: what was paid for and cannot be written while PostgreSQL is away waits in the results bucket.

Objects `<session>/pending/<id>.json` hold settlements as the ledger takes them. Rescue writes them before it frees the
leases of the attempts that made them, finalize whatever came later.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

import orjson

from shared import items as ledger
from shared.db import Database
from shared.errors import ObjectGone, StatementFailed
from shared.items import Settlement, Terms
from shared.logs import log
from shared.states import Hold
from shared.storage import Store


class Pending:
    """The answers put aside in one results bucket."""

    def __init__(self, store: Store, bucket: str) -> None:
        self._store, self._bucket = store, bucket

    def put(self, session: UUID, settlements: Sequence[Settlement], *, terms: Terms) -> int:
        """Put aside those of the settlements that hold a call; how many. Raises StorageError."""
        paid = [ledger.to_batch(one) for one in settlements if one.call is not None]
        if paid:
            name = f"{session}/pending/{uuid4()}.json"
            with self._store.write(self._bucket, name, "application/json") as writer:
                writer.write(orjson.dumps({"terms": terms.to_dict(), "settlements": paid}))
        return len(paid)

    def take_in(self, db: Database, session: UUID) -> int:
        """Write what was put aside for a session to the ledger; how many items were settled.

        Taking in twice changes nothing. Raises LedgerDown or StorageError.
        """
        settled = 0
        for name in self._store.names(self._bucket, f"{session}/pending/"):
            try:
                found = orjson.loads(self._store.read(self._bucket, name))
                terms, settlements = Terms.from_dict(found["terms"]), found["settlements"]
            except ObjectGone:  # another was quicker
                continue
            except (ValueError, TypeError, KeyError, AttributeError) as error:  # none of ours; it stays for a person
                log("ERROR", "An answer put aside cannot be read", object=name, reason=str(error))
                continue
            verdicts = [self._settle(db, session, one, terms) for one in settlements]
            self._store.delete_prefix(self._bucket, name)
            settled += verdicts.count("settled")
            log("WARNING", "Answers put aside were taken in", answers=len(verdicts), settled=verdicts.count("settled"))
        return settled

    def _settle(self, db: Database, session: UUID, batch: dict[str, object], terms: Terms) -> str:
        try:
            return ledger.settle_batch(db, session, [batch], terms=terms)[int(str(batch["item_no"]))]
        except StatementFailed as error:  # the domain table refuses it: the answer stays with its item
            refused = {**batch, "domain": None, "error_code": error.code, "error_message": str(error)}
            if error.systemic:
                refused |= {"state": "retryable", "outcome": None, "code": "answered", "due_in": 0.0}
                held = {"hold": Hold.SYSTEMIC, "reason": error.advice, "age": None, "needed": None}
                db.rows("hold_session", session=session, **held)
            else:
                refused |= {"state": "discarded", "outcome": "failed", "code": error.code}
            return ledger.settle_batch(db, session, [refused], terms=terms)[int(str(batch["item_no"]))]
