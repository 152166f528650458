"""How sessions stand and what is known of their items: what the API answers from the ledger, changing nothing."""

from __future__ import annotations

from uuid import UUID

from flask import Response

from shared import audit
from shared.api import choices
from shared.api.asking import Ask, json_response, kept_session
from shared.api.movies import check_shown, links, one_of, page_of
from shared.config import Settings
from shared.db import Database, Row
from shared.payment import calls_page, item_document, payment
from shared.progress import error_groups, items_page, progress
from shared.resuming import findings, resumed_summary
from shared.sessions import Sessions, known_session


class Reading:
    """Answers requests that read; raises our errors, which `routing` turns into problem documents."""

    def __init__(self, db: Database, sessions: Sessions, settings: Settings, *, direct_uploads: bool) -> None:
        self._db, self._sessions, self._settings = db, sessions, settings
        self._direct_uploads = direct_uploads

    def health(self, ask: Ask) -> Response:
        """That the ledger answers, and how its pool stands."""
        checked = self._db.row("server_version") or {}
        return json_response(
            {
                "status": "ok",
                "version": self._settings.code_version,
                "database": {
                    "version": checked["version"],
                    "checked_at": checked["checked_at"].isoformat(),
                    "pool": self._db.state(),
                },
                "upload_bucket": self._settings.upload_bucket,
                "results_bucket": self._settings.results_bucket,
                "media_bucket": self._settings.media_bucket,
            }
        )

    def pipelines(self, ask: Ask) -> Response:
        """What can be chosen for an upload."""
        return json_response(
            {
                "pipelines": choices.pipelines(self._settings),
                "options": choices.options(),
                "direct_uploads": self._direct_uploads,
                "max_upload_bytes": self._settings.max_upload_bytes,
            }
        )

    def newest(self, ask: Ask) -> Response:
        """A page of sessions, newest first."""
        query = ask.query
        if query.before is not None:
            self._sessions.get(query.before)  # a page after a session nobody knows would look like the last one
        found = self._sessions.newest(before=query.before, size=query.limit + 1)
        page, more = found[: query.limit], len(found) > query.limit
        return json_response({"sessions": page, "next": page[-1]["session_id"] if more else None})

    def session(self, ask: Ask, session: str) -> Response:
        """A session's status, options and files."""
        found = self._sessions.get(known_session(session))
        files = self._db.rows("session_files", session=found["id"])
        return json_response(
            {
                **self._sessions.status(found["id"]),
                "options": found["options"],
                "files": [_file(row) for row in files],
            }
        )

    def status(self, ask: Ask, session: str) -> Response:
        """How a session stands."""
        return json_response(self._sessions.status(known_session(session)))

    def progress(self, ask: Ask, session: str) -> Response:
        """What was settled over time, also after the session has expired."""
        return json_response(progress(self._db, self._known(session)))

    def errors(self, ask: Ask, session: str) -> Response:
        """What went wrong, in groups."""
        return json_response(error_groups(self._db, self._kept(session)))

    def items(self, ask: Ask, session: str) -> Response:
        """A page of a session's items."""
        query, known = ask.query, self._kept(session)
        page, more = items_page(
            self._db,
            known,
            outcome=query.outcome,
            state=query.state,
            error_code=query.error_code,
            text=query.q,
            after=query.after,
            limit=query.limit,
        )
        return json_response({"items": page, "next": more})

    def item(self, ask: Ask, session: str, item_no: int) -> Response:
        """One item with its earlier rounds and its calls."""
        return json_response(item_document(self._db, self._kept(session), item_no))

    def calls(self, ask: Ask, session: str) -> Response:
        """What was paid, also after the session has expired; with `list` a page of the calls themselves."""
        query, known = ask.query, self._known(session)
        report = payment(self._db, known)
        if not query.list:
            return json_response(report)
        found = calls_page(self._db, known, state=query.state, after=query.after, size=query.limit + 1)
        page, more = found[: query.limit], len(found) > query.limit
        return json_response({**report, "calls": page, "next": page[-1]["id"] if more else None})

    def verify(self, ask: Ask, session: str) -> Response:
        """Which invariants the session violates."""
        return json_response(self._sessions.verify(known_session(session)))

    def movies(self, ask: Ask, session: str) -> Response:
        """A page of a session's films."""
        query, request = ask.query, ask.request
        films, total = page_of(self._db, self._shown(session), query)
        answer = Response(films + b"\n", mimetype="application/json")
        answer.headers["X-Total-Count"] = str(total)
        if link := links(request.path, request.args, query, total):
            answer.headers["Link"] = link
        return answer

    def movies_summary(self, ask: Ask, session: str) -> Response:
        """How many films there are of each year, rating and genre."""
        return json_response(self._db.row("movies_summary", session=self._shown(session)))

    def movie(self, ask: Ask, session: str, item_no: int) -> Response:
        """One film with its diary and reviews."""
        return json_response(one_of(self._db, self._shown(session), item_no))

    def resumed(self, ask: Ask, session: str) -> Response:
        """What was found in the earlier results the session went on from."""
        query = ask.query
        found = kept_session(self._sessions, session)
        rows = findings(self._db, found["id"], after=query.after, limit=query.limit + 1)
        page, more = rows[: query.limit], len(rows) > query.limit
        return json_response(
            {"summary": resumed_summary(found["resumed"]), "findings": page, "next": page[-1]["line"] if more else None}
        )

    def audit(self, ask: Ask, session: str) -> Response:
        """What was done to the session, also after it has expired."""
        return json_response({"entries": audit.entries(self._db, self._known(session))})

    def _known(self, session: str) -> UUID:
        found: UUID = self._sessions.get(known_session(session))["id"]
        return found

    def _kept(self, session: str) -> UUID:
        found: UUID = kept_session(self._sessions, session)["id"]
        return found

    def _shown(self, session: str) -> UUID:
        found = kept_session(self._sessions, session)
        check_shown(found)
        known: UUID = found["id"]
        return known


def _file(row: Row) -> Row:
    return {
        "object": f"gs://{row['bucket']}/{row['object_name']}",
        "generation": str(row["generation"]),
        "checksum": row["checksum"],
        "bytes": row["size"],
        "records_read": row["records_read"],
        "ignored": row["ignored"],
        "state": row["state"],
        "error": row["error"],
    }
