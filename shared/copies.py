"""Copies in the results bucket that follow a session while it runs, such as its sheet.

Written anew from the ledger, not with every settlement: how often depends on how long that takes.
"""

from __future__ import annotations

import time
from uuid import UUID

from shared.db import Database
from shared.errors import StorageError
from shared.logs import log
from shared.options import Options
from shared.pipelines import PIPELINES
from shared.storage import Store

LEAST_PAUSE = 5.0  # seconds between two copies of a session
SHARE = 10  # at most one part in so many of the time goes into writing them


class Copier:
    """Keeps the copies of running sessions."""

    def __init__(self, db: Database, store: Store, bucket: str) -> None:
        self._db, self._store, self._bucket = db, store, bucket

    def follow(self) -> int:
        """Write the one copy that is due longest; how many there were."""
        due = self._db.row("sheet_copies_due")
        if due is None:
            return 0
        began = time.monotonic()
        try:
            self._write(due["id"])
        except StorageError as error:  # the next round tries again, and finalize writes it in any case
            log("WARNING", "The session's sheet could not be written", session_id=due["id"], reason=str(error))
        pause = max(LEAST_PAUSE, SHARE * (time.monotonic() - began))
        self._db.rows("note_sheet_copy", session=due["id"], epoch=due["epoch"], worked_at=due["worked_at"], pause=pause)
        return 1

    def _write(self, session: UUID) -> None:
        """Write what there is now; again if the session ended meanwhile, for ours may be the older but later write."""
        for _ in range(2):
            facts = self._db.row("session", session=session)
            if facts is None or facts["expired_at"] is not None:
                return
            copies = PIPELINES[facts["pipeline"]].copies(self._db, session, Options.model_validate(facts["options"]))
            for name, pieces in copies.items():
                with self._store.write(self._bucket, f"{session}/{name}", "text/csv; charset=utf-8") as writer:
                    for piece in pieces:
                        writer.write(piece)
            after = self._db.row("session", session=session)
            if after is None or after["completed_epoch"] == facts["completed_epoch"]:
                return
