"""Finalize: prove the sums, write results, rejects and manifest, complete the epoch they belong to.

Everything written is a function of the ledger alone, so two runs give the same bytes and may overlap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson

from shared.ahead import Ahead
from shared.comparing import changes
from shared.config import Settings
from shared.db import Database, Row
from shared.dispatch import Dispatcher
from shared.logs import log
from shared.options import Options
from shared.pending import Pending
from shared.pipelines import PIPELINES
from shared.pipelines.base import ARCHIVE
from shared.quoting import Quoter
from shared.rejects import reject_lines, session_of_name
from shared.results import is_minimal, result_lines
from shared.resuming import count_missing, resumed_summary
from shared.spans import span
from shared.states import TOO_MANY_FAILED, FileState, Outcome, SessionStatus
from shared.storage import Store
from shared.tracing import adopt


class Finalizer:
    """Brings sessions to their end."""

    def __init__(self, db: Database, store: Store, dispatcher: Dispatcher, settings: Settings) -> None:
        self._db, self._store, self._dispatcher, self._settings = db, store, dispatcher, settings
        self._pending = Pending(store, settings.results_bucket)

    def finalize(self, session: UUID) -> SessionStatus | None:
        """The status the session ended with; None if it was not ready, has ended already, or does not exist.

        Raises LedgerDown or StorageDown, for the notice to come again.
        """
        adopt(session=session)
        standing = self._db.row("standing", session=session)
        if standing is None:
            log("ERROR", "No such session, or it has expired", error_code="input.unknown_session")
            return None
        adopt(trace_id=standing["trace_id"], pipeline=standing["pipeline"])
        with span("finalize"):
            return self._finalize(session, standing)

    def _finalize(self, session: UUID, standing: Row) -> SessionStatus | None:
        quoter = Quoter(self._db, self._settings)
        if not standing["finished"]:
            if standing["to_quote"] and quoter.quote(session):
                self._dispatcher.nudge(session)
            return None
        self._pending.take_in(self._db, session)  # of a worker that was stopped for longer than its lease
        count_missing(self._db, session)
        found = self._found(session, quoter)
        if found is None:
            return None
        files = self._db.rows("session_files", session=session)
        counts = self._counts(session)
        verdict = _verdict(found, files, counts, expanded=self._expanded(session))
        self._write_everything(found, files, counts)
        done = self._db.row(
            "complete_session",
            session=session,
            epoch=standing["epoch"],
            failed=verdict is not None,
            code=verdict and verdict[0],
            message=verdict and verdict[1],
        )
        if done is None:
            self._dispatcher.nudge(session)  # something was added or opened meanwhile
            self._mend(session, standing["epoch"])
            return None
        log("INFO", "Session finalized", status=done["status"], counts=counts)
        self._db.rows("fold_tallies", session=session, quiet=0)
        return SessionStatus(done["status"])

    def _found(self, session: UUID, quoter: Quoter) -> Row | None:
        """The session's facts, what a dry run found out included."""
        found = self._db.row("session", session=session)
        if found is None or found["pipeline"] not in PIPELINES:
            return found
        if found["options"].get("dry_run") and found["cancelled_at"] is None and found["failed_at"] is None:
            quoter.quote(session)
        return self._db.row("session", session=session)

    def _mend(self, session: UUID, written: int) -> None:
        """Write again what a newer epoch completed with: ours, the older one, may have been written later."""
        found = self._db.row("session", session=session)
        if found is not None and found["completed_epoch"] == found["epoch"] != written and not found["expired_at"]:
            files = self._db.rows("session_files", session=session)
            self._write_everything(found, files, self._counts(session))

    def _expanded(self, session: UUID) -> int:
        """How many items stand for no record of a file: others expanded into them."""
        row = self._db.row("expanded_items", session=session)
        return int(row["items"]) if row else 0

    def _counts(self, session: UUID) -> dict[str, int]:
        rows = {row["outcome"]: int(row["items"]) for row in self._db.rows("session_counts", session=session)}
        return {outcome.value: rows.get(outcome, 0) for outcome in Outcome}

    def _write_everything(self, found: Row, files: list[Row], counts: dict[str, int]) -> None:
        session: UUID = found["id"]
        slug = found["pipeline"]
        lines: Iterable[bytes] = ()
        if slug in PIPELINES:
            lines = result_lines(self._db, session, pipeline=slug, minimal=is_minimal(found["options"]))
        results = self._write(f"{session}/results.jsonl", "application/x-ndjson", lines)
        rejects = self._write(f"{session}/rejects.csv", "text/csv; charset=utf-8", reject_lines(self._db, session))
        more = slug in PIPELINES and PIPELINES[slug].tells_more
        own = self._db.row(f"{slug}_manifest", session=session) if more else None
        manifest = {
            "session_id": str(session),
            "pipeline": slug,
            "options": found["options"],
            "counts": counts,
            "total": sum(counts.values()),
            "spent_usd": found["spent"] / 1_000_000,
            **(own or {}),
            "quote": found["quote"],
            "resumed": resumed_summary(found["resumed"]),
            **self._changes(session, slug),
            "files": [
                {
                    "object": f"gs://{file['bucket']}/{file['object_name']}",
                    "generation": str(file["generation"]),
                    "member": file["member"] or None,
                    "part": file["part"] or None,
                    "checksum": file["checksum"],
                    "bytes": file["size"],
                    "records_read": file["records_read"],
                    "ignored": file["ignored"],
                    "state": file["state"],
                    "error": file["error"],
                }
                for file in files
            ],
            "results.jsonl": results,
            "rejects.csv": rejects,
            **self._copies(session, found),
            "code_version": self._settings.code_version,
        }
        body = orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n"
        self._write(f"{session}/manifest.json", "application/json", [body])

    def _copies(self, session: UUID, found: Row) -> dict[str, Any]:
        """What else the pipeline keeps in the results bucket."""
        if found["pipeline"] not in PIPELINES:
            return {}
        options = Options.model_validate(found["options"])
        copies = PIPELINES[found["pipeline"]].copies(self._db, session, options)
        return {
            name: self._write(f"{session}/{name}", "text/csv; charset=utf-8", pieces) for name, pieces in copies.items()
        }

    def _changes(self, session: UUID, slug: str) -> dict[str, Any]:
        """What changed since the session it is compared with; exports have reports of their own."""
        if slug not in PIPELINES or PIPELINES[slug].grouping is not None:
            return {}
        return changes(self._db, session)

    def _write(self, name: str, content_type: str, pieces: Iterable[bytes]) -> dict[str, Any]:
        """Bytes and SHA-256 of what was written; while one piece is, the ledger makes the next."""
        digest, size = hashlib.sha256(), 0
        with (
            Ahead(iter(pieces)) as ahead,
            self._store.write(self._settings.results_bucket, name, content_type) as writer,
        ):
            while (piece := ahead.take()) is not None:
                ahead.begin()
                writer.write(piece)
                digest.update(piece)
                size += len(piece)
        return {"bytes": size, "sha256": digest.hexdigest()}


def _verdict(found: Row, files: list[Row], counts: dict[str, int], *, expanded: int) -> tuple[str, str] | None:
    """Why the session has failed, as code and sentence; None if it is completed."""
    if found["cancelled_at"] is not None:
        return None
    broken = next((file for file in files if file["state"] == FileState.FAILED and not _mended(file, files)), None)
    if broken is not None:
        return broken["error_code"] or "input.unreadable", _said_of(broken, among=files)
    if found["failed_at"] is not None and found["error_code"] == TOO_MANY_FAILED:  # it stopped early, and said so
        return TOO_MANY_FAILED, found["error_message"]
    records = sum(file["records_read"] - file["ignored"] for file in files)
    total = sum(counts.values())
    if found["failed_at"] is None and records + expanded != total:
        names = ", ".join(file["object_name"] for file in files)
        return (
            "db.sums",
            f"The sums do not add up: {records} records were read from {names}, {total} items are settled"
            f"{f', {expanded} of them expanded from others' if expanded else ''}.",
        )
    if total and counts[Outcome.REJECTED] == total:
        return (
            "input.nothing_valid",
            f"Every one of the {total} rows was rejected; rejects.csv says why each was. Are the columns named, and in "
            "order? Mend the file and drop it again.",
        )
    options = Options.model_validate(found["options"])
    ran = total - counts[Outcome.REJECTED] - counts[Outcome.DUPLICATE] - counts[Outcome.MERGED]
    if counts[Outcome.FAILED] and options.too_many_failed(counts[Outcome.FAILED], ran):
        return (
            TOO_MANY_FAILED,
            f"{counts[Outcome.FAILED]} of {ran} items failed, more than max-failed={options.max_failed} allows; "
            "results.jsonl says why each did, and reprocess runs them again.",
        )
    return None


def _said_of(broken: Row, *, among: list[Row]) -> str:
    """Why a file could not be read; which one it was where there are others."""
    said: str = broken["error"] or "A file could not be read."
    name = "/".join(filter(None, (broken["object_name"], broken["member"])))
    return f"{name}: {said}" if len(among) > 1 else said


def _mended(failed: Row, files: list[Row]) -> bool:
    """Whether another stands in for a file that failed: a newer version, later the same part or the same rejects.

    Rejected rows may come back from another folder; a file of another name holds others of them, for all one knows.
    """
    named = failed["part"] not in ("", ARCHIVE)
    return any(
        (file["object_name"] == failed["object_name"] and file["generation"] > failed["generation"])
        or (named and file["part"] == failed["part"] and file["id"] > failed["id"])
        or (_same_rejects(file["object_name"], failed["object_name"]) and file["id"] > failed["id"])
        for file in files
        if file["state"] in (FileState.READ, FileState.REPEATED)
    )


def _same_rejects(one: str, other: str) -> bool:
    both = session_of_name(one) is not None and session_of_name(other) is not None
    return both and one.rpartition("/")[2] == other.rpartition("/")[2]
