"""The closed sets of the ledger, spelled once: session status, item state, outcome, call state.

The SQL side repeats the words in `migrations/`; a test holds the two against each other.
"""

from __future__ import annotations

from enum import StrEnum


class SessionStatus(StrEnum):
    """Where a session stands, as computed by the SQL function `session_status`; never set directly."""

    UPLOADING = "uploading"  # announced, the object is not there yet
    PROCESSING = "processing"  # files are being parsed; items may already run
    QUOTED = "quoted"  # parsed, waits for a person's approval
    ENRICHING = "enriching"  # every file is read, items are open
    PAUSED = "paused"  # held by a person, a budget or a systemic cause; pause_reason says which
    COMPLETED = "completed"  # nothing open, results written
    FAILED = "failed"  # unreadable file, or more failures than tolerated
    CANCELLED = "cancelled"  # stopped for good by a person

    @property
    def ended(self) -> bool:
        """Whether nothing more happens without a person."""
        return self in (SessionStatus.COMPLETED, SessionStatus.FAILED, SessionStatus.CANCELLED)


class ItemState(StrEnum):
    """Where an item stands. The last four are settled and carry `finalized_at`."""

    AVAILABLE = "available"  # waiting for its first claim; ended by a claim
    RUNNING = "running"  # leased to one attempt; ended by settle, hand-back or rescue
    RETRYABLE = "retryable"  # failed or handed back, due again at due_at; ended by a claim
    COMPLETED = "completed"  # done
    DISCARDED = "discarded"  # hopeless or out of tries
    CANCELLED = "cancelled"  # stopped on request
    REJECTED = "rejected"  # never valid


class Outcome(StrEnum):
    """How an item ended; set exactly when it is settled."""

    ENRICHED = "enriched"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"
    MERGED = "merged"
    NOT_FOUND = "not_found"
    NEEDS_REVIEW = "needs_review"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def state(self) -> ItemState:
        """The settled state this outcome belongs to."""
        return _STATE_OF.get(self, ItemState.COMPLETED)


_STATE_OF = {
    Outcome.FAILED: ItemState.DISCARDED,
    Outcome.CANCELLED: ItemState.CANCELLED,
    Outcome.REJECTED: ItemState.REJECTED,
}


# The error code of a session that has more failed items than its option max-failed tolerates.
TOO_MANY_FAILED = "input.too_many_failed"


class CallState(StrEnum):
    """Where a request that costs money stands."""

    STARTED = "started"  # reserved and sent, or about to be
    SUCCEEDED = "succeeded"  # answered
    FAILED = "failed"  # answered with an error, or never left
    UNKNOWN = "unknown"  # sent, no answer came; stays reserved and is shown


class Hold(StrEnum):
    """Who holds a session."""

    PERSON = "person"
    BUDGET = "budget"
    SYSTEMIC = "systemic"


class FileState(StrEnum):
    """Where a file of a session stands."""

    WAITING = "waiting"  # registered, nobody reads it
    READING = "reading"  # leased to one reader
    READ = "read"  # to its end
    FAILED = "failed"  # unreadable, replaced or deleted in mid-read
    REPEATED = "repeated"  # the session already has a file with this checksum
    IGNORED = "ignored"  # of no use to the pipeline; `error` says why
