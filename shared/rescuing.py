"""Rescue: whatever was lost on the way is found again. It alone brings every session to its end.

Every statement is idempotent, so rounds may overlap and no lock is needed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from shared.config import Settings
from shared.copies import Copier
from shared.db import Database
from shared.dispatch import Dispatcher
from shared.errors import DatabaseError, StatementFailed, StorageError
from shared.ingest import Ingest
from shared.logs import log
from shared.pending import Pending
from shared.pipelines import PIPELINES
from shared.sessions import Sessions
from shared.settling import stop_if_too_many_failed
from shared.storage import Store
from shared.tracing import about

ROUND_EVERY = 2.0
# Seconds an item whose worker died in a call waits for its next claim. Two rounds lie within: what the worker put aside
# after its lease, because ledger, bucket or machine were slow, is found by them and not paid for again.
LATE = 5.0
MOST_COUNTED = 10_000_000  # failed items of a session
TALLIES_QUIET = 40  # seconds; a statement takes 30 at most


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
        self._pending = Pending(store, settings.results_bucket)
        self._copier = Copier(db, store, settings.results_bucket)

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
            with about(row["id"], trace_id=row["trace_id"], pipeline=row["pipeline"]):
                try:
                    freed += self._free(row["id"], row["pipeline"], grace)
                    notices += self._find_lost(row["id"], row["pipeline"], lost_after)
                    if row["cancelled"]:
                        self._sessions.end_cancelled(row["id"])
                    else:
                        dispatched += self._dispatcher.nudge(row["id"]).dispatched
                    self._db.rows("fold_tallies", session=row["id"], quiet=TALLIES_QUIET)
                    # Last: counting many failed rows may take too long, and that must keep no session from going on.
                    stop_if_too_many_failed(self._db, row["id"], most=MOST_COUNTED)
                except DatabaseError as error:  # one that is stuck keeps none of the others from being rescued
                    log("WARNING", "Session cannot be rescued now", reason=str(error))
                except Exception as error:  # nor does one that nobody foresaw
                    log("ERROR", "Unforeseen error while a session was rescued", error=error)
        self._follow_copies()
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

    def _follow_copies(self) -> None:
        try:
            self._copier.follow()
        except DatabaseError as error:  # what only copies keeps nothing from being rescued
            log("WARNING", "Copies cannot be written now", reason=str(error))

    def _free(self, session: UUID, pipeline: str, grace: float) -> int:
        """Free the items of workers that died, once the answers they put aside are written."""
        dead = self._db.row("leases_to_retire", session=session, grace=grace)
        if dead is None or not (dead["expired"] or dead["awaited"]):
            return 0
        if pipeline in PIPELINES and PIPELINES[pipeline].paid:
            try:
                self._pending.take_in(self._db, session)
            except StorageError as error:  # freed now, its items could be paid for a second time
                log("WARNING", "Answers put aside cannot be read", reason=str(error))
                return 0
        if not dead["expired"]:
            return 0
        freed = self._db.rows("retire_leases", session=session, grace=grace, late=LATE)
        for item in freed:
            log(
                "WARNING",
                "Lease retired: its worker died",
                item_no=item["item_no"],
                attempt=item["attempt"],
                key=item["key"],
                state=item["state"],
                outcome=item["outcome"],
                db_status="error" if item["outcome"] else None,
            )
        return len(freed)

    def _find_lost(self, session: UUID, pipeline: str, lost_after: float) -> int:
        row = self._db.row("lost_notices", session=session, pipeline=pipeline, lost_after=lost_after)
        return int(row["lost"]) if row else 0

    def _expire(self) -> int:
        """Remove the items and results of sessions past their 30 days; what cannot be removed now is left for later."""
        with contextlib.suppress(StatementFailed):  # what only saves requests stops no rescue
            self._db.rows("forget_answers")
        self._db.rows("abandon_uploads")
        expired = 0
        for row in self._db.rows("expired_sessions"):
            session: UUID = row["id"]
            self._db.rows("cancel_session", session=session)  # one that never ended; from here on nothing runs
            try:
                self._store.delete_prefix(self._settings.results_bucket, f"{session}/")
            except StorageError as error:
                log("WARNING", "Expired results could not be removed", session_id=session, reason=str(error))
                continue
            while (removed := self._db.row("remove_expired_items", session=session)) and removed["removed"]:
                pass
            while (removed := self._db.row("remove_resumed_rows", session=session)) and removed["removed"]:
                pass
            self._db.rows("mark_expired", session=session)
            self._db.rows("fold_tallies", session=session, quiet=0)
            expired += 1
        return expired
