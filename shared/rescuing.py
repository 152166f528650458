"""Rescue: whatever was lost on the way is found again. It alone brings every session to its end.

Every statement is idempotent, so rounds may overlap and no lock is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from shared.config import Settings
from shared.db import Database
from shared.dispatch import Dispatcher
from shared.errors import StorageDown
from shared.ingest import Ingest
from shared.logs import log
from shared.sessions import Sessions
from shared.storage import Store

ROUND_EVERY = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What one round of rescue found."""

    open_sessions: int  # that move without a person
    freed: int  # items whose worker died
    notices: int  # notices that were lost
    dispatched: int
    files: int  # readings continued
    expired: int  # sessions removed


class Rescuer:
    """Frees leases, continues files, sends lost notices again, ends cancelled and expired sessions."""

    def __init__(
        self, db: Database, store: Store, dispatcher: Dispatcher, ingest: Ingest, sessions: Sessions, settings: Settings
    ) -> None:
        self._db, self._store, self._dispatcher = db, store, dispatcher
        self._ingest, self._sessions, self._settings = ingest, sessions, settings

    def run(self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> int:
        """Rounds until just before the next call, as long as any session has open work; answers how many."""
        end, rounds = clock() + self._settings.rescue_seconds, 0
        while True:
            began = clock()
            found = self.round()
            rounds += 1
            if not found.open_sessions or clock() + ROUND_EVERY > end:
                return rounds
            sleep(max(0.0, began + ROUND_EVERY - clock()))

    def round(self) -> Round:
        """One look at every unfinished session."""
        grace, lost_after = self._settings.lease_grace, self._settings.notice_lost_after
        files = self._db.rows("stalled_files", grace=grace, lost_after=lost_after)
        for file in files:
            self._ingest.publish_continuation(
                file["session_id"], file["id"], pipeline=file["pipeline"], trace_id=file["trace_id"]
            )
        freed = notices = dispatched = 0
        sessions = self._db.rows("unfinished_sessions")
        for row in sessions:
            session: UUID = row["id"]
            freed += self._free(session, grace)
            lost = self._db.row("lost_notices", session=session, pipeline=row["pipeline"], lost_after=lost_after)
            notices += int(lost["lost"]) if lost else 0
            if row["cancelled"]:
                self._sessions.end_cancelled(session)
            else:
                dispatched += self._dispatcher.nudge(session).dispatched
        expired = self._expire()
        found = Round(
            open_sessions=sum(not row["waits_for_a_person"] for row in sessions),
            freed=freed,
            notices=notices,
            dispatched=dispatched,
            files=len(files),
            expired=expired,
        )
        if freed or notices or files or expired:
            log("INFO", "Rescue found something", freed=freed, notices=notices, files=len(files), expired=expired)
        return found

    def _free(self, session: UUID, grace: float) -> int:
        freed = self._db.rows("retire_leases", session=session, grace=grace)
        for item in freed:
            log("WARNING", "Lease retired: its worker died", session_id=session, item_no=item["item_no"],
                attempt=item["attempt"], state=item["state"])  # fmt: skip
        return len(freed)

    def _expire(self) -> int:
        """Remove the items and results of sessions past their 30 days; what cannot be removed now is left for later."""
        expired = 0
        for row in self._db.rows("expired_sessions"):
            session: UUID = row["id"]
            self._db.rows("cancel_session", session=session)  # one that never ended; from here on nothing runs
            try:
                self._store.delete_prefix(self._settings.results_bucket, f"{session}/")
            except StorageDown as error:
                log("WARNING", "Expired results could not be removed", session_id=session, reason=str(error))
                continue
            while (removed := self._db.row("remove_expired_items", session=session)) and removed["removed"]:
                pass
            self._db.rows("mark_expired", session=session)
            expired += 1
        return expired
