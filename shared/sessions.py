"""What may be done to a session: hold, resume, approve, cancel, reprocess; and how it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from shared.config import Settings, UpstreamLimits
from shared.db import Database, Row
from shared.dispatch import Dispatcher
from shared.errors import Conflict, Gone, InputError, NotFound, UsageError
from shared.options import MICROS, Options
from shared.payment import payment
from shared.pipelines import PIPELINES
from shared.progress import Standing, items_page, standing
from shared.quoting import Quoter
from shared.resuming import resumed_summary
from shared.states import TOO_MANY_FAILED, Hold, ItemState, Outcome, SessionStatus

CANCEL_SECONDS = 20.0
SILENCE = 5.0  # seconds beyond a request's own, after which nobody works on what still runs
REPROCESSABLE = frozenset(Outcome) - {Outcome.DUPLICATE, Outcome.MERGED, Outcome.REJECTED}


def session_id(bucket: str, name: str, generation: int) -> UUID:
    """The session of one generation of an uploaded object."""
    return uuid5(NAMESPACE_URL, f"gs://{bucket}/{name}/{generation}")


def export_session_ids(bucket: str, export: str) -> Iterator[UUID]:
    """The sessions of an export: the first, and for each that was ended for good the one that follows it."""
    found = uuid5(NAMESPACE_URL, f"gs://{bucket}/{export}")
    while True:
        yield found
        found = uuid5(found, "next")


def session_of_export(db: Database, bucket: str, export: str) -> UUID:
    """The session the files of an export belong to: the first that is neither expired nor cancelled."""
    for session in export_session_ids(bucket, export):
        found = db.row("session", session=session)
        if found is None or (found["expired_at"] is None and found["cancelled_at"] is None):
            return session
    raise AssertionError("the ids never end")


def check_joins(db: Database, session: UUID, slug: str, options: Options) -> None:
    """Raise InputError if a file of this pipeline cannot join the session; one that does not exist is made."""
    found = db.row("session", session=session)
    if found is None:
        return
    reason = None
    if found["expired_at"] is not None or found["cancelled_at"] is not None:
        reason = "has expired" if found["expired_at"] is not None else "is cancelled"
    elif found["pipeline"] != slug:
        reason = f"belongs to pipeline {found['pipeline']}"
    else:
        own, has = options.explicit(), Options.model_validate(found["options"]).model_dump(mode="json")
        other = ", ".join(name.replace("_", "-") for name, value in own.items() if has[name] != value)
        reason = f"has another {other} and keeps it" if other else None
    if reason:
        remedy = "drop it under another name as a session of its own"
        message = f"The file cannot join session {session}, which {reason}; {remedy}."
        raise InputError(message, code="input.session")


class Sessions:
    """The sessions of a ledger, as the API and rescue act on them."""

    def __init__(self, db: Database, dispatcher: Dispatcher, settings: Settings) -> None:
        self._db, self._dispatcher, self._settings = db, dispatcher, settings

    def get(self, session: UUID) -> Row:
        """The session's own facts; raises NotFound."""
        found = self._db.row("session", session=session)
        if found is None:
            raise NotFound(f"There is no session {session}.")
        return found

    def newest(self, *, before: UUID | None = None, size: int = 20) -> list[Row]:
        """The newest sessions in short, older than `before` when paging."""
        return [
            {
                "session_id": str(row["id"]),
                "pipeline": row["pipeline"],
                "source": row["source"],
                "status": row["status"],
                "pause_reason": row["pause_reason"],
                "error_code": row["error_code"],
                "error_message": row["error_message"],
                "total": row["total"],
                "open": row["total"] - row["settled"],
                "spent_usd": row["spent"] / MICROS,
                "budget_usd": None if row["budget"] is None else row["budget"] / MICROS,
                "created_at": row["created_at"].isoformat(),
                "completed_at": row["completed_at"] and row["completed_at"].isoformat(),
            }
            for row in self._db.rows("sessions_newest", before=before, size=size)
        ]

    def status(self, session: UUID) -> Row:
        """How the session stands: counts, progress, money, rate and what binds it (design §6)."""
        found = self._quoted(self.get(session))
        stands = standing(self._db, session)
        opened, per_second = stands.open, stands.per_second
        slug = found["pipeline"]
        own = (
            self._db.row(f"{slug}_status", session=session)
            if slug in PIPELINES and PIPELINES[slug].tells_more
            else None
        )
        ended = SessionStatus(found["status"]).ended
        settings = self._settings.pipelines.get(slug)
        upstream = self._db.row("upstream_stands", upstream=settings.upstream) if settings and opened else None
        return {
            "session_id": str(found["id"]),
            "pipeline": found["pipeline"],
            "source": found["source"],
            "status": found["status"],
            "pause_reason": found["pause_reason"],
            "error_code": found["error_code"],
            "error_message": found["error_message"],
            "total": stands.total,
            "open": opened,
            "running": stands.running,
            **stands.counts,
            **(own or {}),
            "progress_percent": _percent(stands, ended=ended),
            "spent_usd": found["spent"] / MICROS,
            "reserved_usd": found["reserved"] / MICROS,
            "budget_usd": None if found["budget"] is None else found["budget"] / MICROS,
            "quote": found["quote"],
            "calls": stands.uncertain_calls,
            "resumed": resumed_summary(found["resumed"]),
            "items_per_second": per_second,
            "eta_seconds": _eta(found["status"], opened, per_second),
            "bound_by": self._bound_by(found, opened, stands.running, upstream),
            "breaker": _breaker(upstream) if opened else None,
            "trace_id": found["trace_id"],
            "created_at": found["created_at"].isoformat(),
            "completed_at": found["completed_at"] and found["completed_at"].isoformat(),
            "expires_at": found["expires_at"].isoformat(),
        }

    def _quoted(self, found: Row) -> Row:
        """The session, with its quote if it waits for approval: whoever sees `quoted` finds what to approve."""
        if found["status"] != SessionStatus.QUOTED or found["quoted_epoch"] == found["epoch"]:
            return found
        session: UUID = found["id"]
        if Quoter(self._db, self._settings).quote(session):
            self._dispatcher.nudge(session)
        return self.get(session)

    def _bound_by(self, found: Row, opened: int, running: int, stands: Row | None) -> str | None:
        """What keeps the session from going faster, in a word; None when nothing is left to do."""
        if not opened:
            return None
        settings = self._settings.pipelines.get(found["pipeline"])
        idle = (datetime.now(UTC) - (found["worked_at"] or found["created_at"])).total_seconds()
        if settings and running == opened and idle > settings.request_timeout + SILENCE:
            return "lease"  # its workers are gone
        if found["status"] in (SessionStatus.PAUSED, SessionStatus.QUOTED):
            return "hold" if found["status"] == SessionStatus.PAUSED else "approval"
        if stands is not None and stands["breaker"] != "closed":
            return "breaker"
        return "rate_limit" if stands is not None and stands["paced"] else "upstream"

    def pause(self, session: UUID, *, reason: str = "paused by a person") -> None:
        """Stop handing out items; calls in flight end and are settled. Raises Conflict where nothing works."""
        found = self.get(session)
        held = {"hold": Hold.PERSON, "reason": reason, "age": None, "needed": None}
        if self._db.row("hold_session", session=session, **held) is None:
            raise Conflict(f"The session is {found['status']}; only one that still works can be paused.")

    def resume(self, session: UUID, *, budget_usd: float | None = None) -> None:
        """Lift a hold, with a new budget if one is given; raises Conflict on a cancelled session.

        What failed of its upstream before counts no more, and items that wait for a time of their own are due at once.
        """
        found = self._alive(session)
        if found["status"] == SessionStatus.COMPLETED:
            raise Conflict("The session is completed; reprocess runs items of it again.")
        budget = None if budget_usd is None else round(budget_usd * MICROS)
        if budget is not None and budget < found["spent"] + found["reserved"]:
            spoken_for = (found["spent"] + found["reserved"]) / MICROS
            raise UsageError(
                f"A budget of ${budget_usd:g} is below the ${spoken_for:.6f} already spent or reserved. Give more."
            )
        if self._db.row("resume_session", session=session, budget=budget) is None:
            raise Conflict(f"The session is {found['status']}; it cannot be resumed.")
        if settings := self._settings.pipelines.get(found["pipeline"]):
            limits = self._settings.upstreams.get(settings.upstream, UpstreamLimits())
            self._db.rows("reset_upstream", upstream=settings.upstream, probe_wait=limits.probe_wait)
        while (made := self._db.row("make_due", session=session)) and made["items"]:
            pass
        self._dispatcher.nudge(session)

    def approve(self, session: UUID) -> None:
        """Let a session that waits for approval start; raises Conflict otherwise."""
        found = self._alive(session)
        refusal = Conflict(f"The session is {found['status']}; it does not wait for approval.")
        if found["approval"] != "awaited":
            raise refusal
        self._db.rows("forget_notices", session=session)
        if self._db.row("approve_session", session=session) is None:
            raise refusal
        self._dispatcher.nudge(session)

    def cancel(self, session: UUID) -> int:
        """Stop for good: nothing starts from now on, what is done stays. Answers how many items were waiting."""
        found = self._alive(session)
        if self._db.row("cancel_session", session=session) is None:
            raise Conflict(f"The session is {found['status']}; it cannot be cancelled.")
        return self.end_cancelled(session)

    def end_cancelled(self, session: UUID) -> int:
        """Settle what waits of a cancelled session, in batches, for 20 s at most (rescue goes on); how many items."""
        self._db.rows("abandon_files", session=session)
        ended, until = 0, time.monotonic() + CANCEL_SECONDS
        while (batch := self._ended(session)) and time.monotonic() < until:
            ended += batch
        self._dispatcher.nudge(session)
        return ended

    def reprocess(
        self,
        session: UUID,
        *,
        outcomes: Sequence[str] | None = None,
        error_codes: Sequence[str] = (),
        key: str | None = None,
        prompt: str | None = None,
    ) -> int:
        """Open settled items again as a new round, how the old one ended being kept; answers how many.

        What is given narrows: outcomes, error codes (or codes), one key, the prompt that made the result. Where no
        outcomes are given they are failed; with error codes or a key any; with a prompt those that hold an answer.
        Raises UsageError for an outcome that cannot run again, Gone after expiry, Conflict on a cancelled session.
        """
        if outcomes is None:
            answered = (Outcome.ENRICHED, Outcome.UNCHANGED) if prompt else (Outcome.FAILED,)
            outcomes = sorted(REPROCESSABLE) if error_codes or key else answered
        unknown = sorted(set(outcomes) - REPROCESSABLE)
        if unknown:
            choices = ", ".join(sorted(REPROCESSABLE))
            raise UsageError(f"Items with outcome {', '.join(unknown)} cannot run again; choose from {choices}.")
        found = self.get(session)
        if found["expired_at"] is not None or found["expires_at"] < datetime.now(UTC):
            raise Gone
        if found["status"] == SessionStatus.CANCELLED:
            raise Conflict("The session is cancelled; drop the file again to run it anew.")
        if found["failed_at"] is not None and found["error_code"] == TOO_MANY_FAILED and self._waits(session):
            raise Conflict("The session stopped early, and a reprocess would run all that waits; resume it first.")
        opened, after = 0, 0
        while True:
            row = self._db.row(
                "reprocess_items", session=session, outcomes=list(outcomes), error_codes=list(error_codes), key=key,
                prompt=prompt, after=after,
            )  # fmt: skip
            if row is None or not row["opened"]:
                break
            opened, after = opened + int(row["opened"]), row["last"]
        self._dispatcher.nudge(session)
        return opened

    def match(self, session: UUID, item_no: int, *, tmdb_id: int | None) -> int:
        """Have an item's film be this one of TMDB's, or none of them, in this and every later session.

        Answers the item that owns the film, which has its turn again. Raises NotFound, Conflict or Gone.
        """
        if self._alive(session)["pipeline"] != "movies":
            raise Conflict("Only films are matched; the session is none of pipeline movies.")
        with self._db.transaction() as transaction:
            if transaction.row("hold_for_decision", session=session) is None:
                raise Conflict("The session has ended for good meanwhile.")
            row = transaction.row("decide_match", session=session, item_no=item_no, tmdb_id=tmdb_id)
        if row is None:
            raise NotFound(f"Session {session} has no film item {item_no}.")
        if row["film"] is None:
            raise Conflict(f"Item {item_no} belongs to no film of the export; drop the file that names its film.")
        self._dispatcher.nudge(session)
        return int(row["item_no"])

    def verify(self, session: UUID) -> Row:
        """The violations of the invariants found in one session, and its calls by state."""
        slug = self.get(session)["pipeline"]
        findings = self._db.rows("verify_session", session=session)
        if slug in PIPELINES:
            findings += self._db.rows(f"{slug}_verify", session=session)
        calls = self._db.rows("call_totals", session=session)
        return {
            "session_id": str(session),
            "sound": not findings,
            "findings": findings,
            "calls": {row["state"]: int(row["calls"]) for row in calls},
            "payment": payment(self._db, session),
        }

    def _ended(self, session: UUID) -> int:
        row = self._db.row("settle_cancelled", session=session)
        return int(row["ended"]) if row else 0

    def _waits(self, session: UUID) -> bool:
        """Whether items of the session have not run yet."""
        return any(
            items_page(self._db, session, state=state, limit=1)[0]
            for state in (ItemState.AVAILABLE, ItemState.RETRYABLE)
        )

    def _alive(self, session: UUID) -> Row:
        found = self.get(session)
        if found["expired_at"] is not None:
            raise Gone
        if found["status"] == SessionStatus.CANCELLED:
            raise Conflict("The session is cancelled.")
        return found


def _percent(stands: Standing, *, ended: bool) -> float:
    if not stands.total:
        return 100.0 if ended else 0.0
    return round(100 * stands.settled / stands.total, 1)


def _eta(status: str, opened: int, per_second: float) -> float | None:
    """Seconds until nothing is open at the present rate; None where that cannot be told, or nothing moves."""
    if not opened:
        return 0.0
    moves = status in (SessionStatus.ENRICHING, SessionStatus.PROCESSING)
    return round(opened / per_second, 1) if moves and per_second > 0 else None


def _breaker(stands: Row | None) -> Row | None:
    """An upstream's breaker while it keeps calls back."""
    if stands is None or stands["breaker"] == "closed":
        return None
    return {
        "state": stands["breaker"],
        "reason": stands["reason"],
        "since": stands["opened_at"].isoformat(),
        "next_probe_at": stands["next_probe_at"].isoformat(),
    }


def known_session(text: Any) -> UUID:
    """The session id in a text a person typed; raises NotFound, since no session has such a name."""
    try:
        return UUID(str(text))
    except ValueError as error:
        raise NotFound(f"{str(text)[:60]!r} is not a session id, such as 2f1c3b9e-….") from error
