"""What each path of the API answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from flask import Request, Response

from shared.api.forms import form_of
from shared.api.movies import check_shown, links, one_of, page_of
from shared.api.requests import (
    CallsQuery,
    ItemsQuery,
    MatchBody,
    MoviesQuery,
    NoBody,
    NoQuery,
    PauseBody,
    ReprocessBody,
    ResultsQuery,
    ResumeBody,
    SessionsQuery,
)
from shared.api.uploads import Uploads, checked
from shared.config import Settings
from shared.db import Database, Row
from shared.errors import Conflict, Gone
from shared.logs import log
from shared.payment import calls_page, item_document, payment
from shared.pipelines import PIPELINES
from shared.rejects import file_name, reject_lines
from shared.results import result_lines
from shared.sessions import Sessions, known_session
from shared.storage import Store
from shared.tracing import trace_of

HELLO = """This is the API of Rowlift. Every answer is JSON unless said otherwise.

POST /api/upload                   files as multipart/form-data, with `pipeline` and the options as fields
GET  /api/sessions                 the newest sessions
GET  /api/session/ID               one session with its files; /status, /items, /verify say more
GET  /api/session/ID/items/ITEM    one item with its earlier rounds and its calls
GET  /api/session/ID/calls         what was paid, and that nothing was paid twice; ?list=true names every call
GET  /api/session/ID/results       its settled items as JSON lines; /rejects as CSV
GET  /api/session/ID/movies        its films, sorted and filtered; /movies/ITEM is one with its diary and reviews
POST /api/session/ID/pause         also /resume, /cancel, /approve, /reprocess
POST /api/session/ID/items/ITEM/match  which film of TMDB's it is: {"tmdb_id": 949}, or null for none of them
GET  /health                       whether the database answers
"""


class Handlers:
    """Answers requests; raises our errors, which `routing` turns into problem documents."""

    def __init__(self, db: Database, sessions: Sessions, store: Store, settings: Settings) -> None:
        self._db, self._sessions, self._settings = db, sessions, settings
        self._uploads = Uploads(db, store, settings)

    def hello(self, request: Request) -> Response:
        """What this is, for a person."""
        return Response(HELLO, mimetype="text/plain")

    def health(self, request: Request) -> Response:
        """That the ledger answers, and how its pool stands."""
        version = (self._db.row("server_version") or {}).get("version")
        return json_response(
            {
                "status": "ok",
                "version": self._settings.code_version,
                "database": {"version": version, "pool": self._db.state()},
                "upload_bucket": self._settings.upload_bucket,
                "results_bucket": self._settings.results_bucket,
            }
        )

    def upload(self, request: Request) -> Response:
        """Files taken into the bucket; the session they are, or belong to."""
        with form_of(request, limit=self._settings.max_upload_bytes) as form:
            upload = checked(request.args.to_dict(flat=False), form)
            taken = self._uploads.take(upload, trace_id=trace_of(request.headers.get("traceparent")))
        _note(request, taken.session, pipeline=upload.pipeline, files=len(upload.objects))
        answer = json_response(taken.document(), 202)
        answer.headers["Location"] = f"/api/session/{taken.session}"
        return answer

    def newest(self, request: Request) -> Response:
        """A page of sessions, newest first."""
        query = SessionsQuery.of(request)
        if query.before is not None:
            self._sessions.get(query.before)  # a page after a session nobody knows would look like the last one
        found = self._sessions.newest(before=query.before, size=query.limit + 1)
        page, more = found[: query.limit], len(found) > query.limit
        return json_response({"sessions": page, "next": page[-1]["session_id"] if more else None})

    def session(self, request: Request, session: str) -> Response:
        """A session's status, options and files."""
        NoQuery.of(request)
        found = self._sessions.get(known_session(session))
        files = self._db.rows("session_files", session=found["id"])
        return json_response(
            {
                **self._sessions.status(found["id"]),
                "options": found["options"],
                "files": [_file(row) for row in files],
            }
        )

    def status(self, request: Request, session: str) -> Response:
        """How a session stands."""
        NoQuery.of(request)
        return json_response(self._sessions.status(known_session(session)))

    def items(self, request: Request, session: str) -> Response:
        """A page of a session's items."""
        query = ItemsQuery.of(request)
        found = self._kept(session)
        rows = self._db.rows(
            "items_page",
            session=found["id"],
            after=query.after,
            outcome=query.outcome,
            state=query.state,
            size=query.limit + 1,
        )
        page, more = rows[: query.limit], len(rows) > query.limit
        return json_response({"items": page, "next": page[-1]["item_no"] if more else None})

    def item(self, request: Request, session: str, item_no: int) -> Response:
        """One item with its earlier rounds and its calls."""
        NoQuery.of(request)
        return json_response(item_document(self._db, self._kept(session)["id"], item_no))

    def calls(self, request: Request, session: str) -> Response:
        """What was paid, also after the session has expired; with `list` a page of the calls themselves."""
        query = CallsQuery.of(request)
        known: UUID = self._sessions.get(known_session(session))["id"]
        report = payment(self._db, known)
        if not query.list:
            return json_response(report)
        found = calls_page(self._db, known, state=query.state, after=query.after, size=query.limit + 1)
        page, more = found[: query.limit], len(found) > query.limit
        return json_response({**report, "calls": page, "next": page[-1]["id"] if more else None})

    def results(self, request: Request, session: str) -> Response:
        """The items settled by now as JSON lines in item order, streamed."""
        query = ResultsQuery.of(request)
        found = self._kept(session)
        if query.after is not None and found["completed_epoch"] != found["epoch"]:
            raise Conflict(
                f"The session is {found['status']} and its results are not final: lines settled later, but numbered "
                "below `after`, would be passed over. Leave `after` out, or wait for the session's end."
            )
        slug = found["pipeline"]
        pages = result_lines(self._db, found["id"], pipeline=slug, after=query.after or 0) if slug in PIPELINES else ()
        return _streamed(iter(pages), "application/x-ndjson", session=found["id"])

    def rejects(self, request: Request, session: str) -> Response:
        """The rejected rows as CSV, streamed."""
        NoQuery.of(request)
        found = self._kept(session)
        answer = _streamed(reject_lines(self._db, found["id"]), "text/csv", session=found["id"])
        answer.headers["Content-Disposition"] = f'attachment; filename="{file_name(found["id"])}"'
        return answer

    def movies(self, request: Request, session: str) -> Response:
        """A page of a session's films."""
        query = MoviesQuery.of(request)
        found = self._kept(session)
        check_shown(found)
        films, total = page_of(self._db, found["id"], query)
        answer = Response(films + b"\n", mimetype="application/json")
        answer.headers["X-Total-Count"] = str(total)
        if link := links(request.path, request.args, query, total):
            answer.headers["Link"] = link
        return answer

    def movie(self, request: Request, session: str, item_no: int) -> Response:
        """One film with its diary and reviews."""
        NoQuery.of(request)
        found = self._kept(session)
        check_shown(found)
        return json_response(one_of(self._db, found["id"], item_no))

    def match(self, request: Request, session: str, item_no: int) -> Response:
        """Take a person's word for which film an item's is."""
        known, body = known_session(session), MatchBody.of(request)
        film = self._sessions.match(known, item_no, tmdb_id=body.tmdb_id)
        _note(request, known, item_no=film, tmdb_id=body.tmdb_id)
        answer = {"item_no": item_no, "film_item_no": film, "status": self._sessions.status(known)}
        return json_response(answer)

    def verify(self, request: Request, session: str) -> Response:
        """Which invariants the session violates."""
        NoQuery.of(request)
        return json_response(self._sessions.verify(known_session(session)))

    def reprocess(self, request: Request, session: str) -> Response:
        """Run settled items again."""
        known, body = known_session(session), ReprocessBody.of(request)
        opened = self._sessions.reprocess(
            known, outcomes=body.outcomes, error_codes=body.error_codes or (), key=body.key, prompt=body.prompt
        )
        _note(request, known, opened=opened)
        return json_response({"opened": opened, "status": self._sessions.status(known)})

    def pause(self, request: Request, session: str) -> Response:
        """Hold a session."""
        body = PauseBody.of(request)
        reason = {} if body.reason is None else {"reason": body.reason}
        return self._changed(request, session, lambda known: self._sessions.pause(known, **reason))

    def resume(self, request: Request, session: str) -> Response:
        """Lift a hold."""
        body = ResumeBody.of(request)
        return self._changed(request, session, lambda known: self._sessions.resume(known, budget_usd=body.budget_usd))

    def cancel(self, request: Request, session: str) -> Response:
        """End a session for good."""
        NoBody.of(request)
        return self._changed(request, session, self._sessions.cancel)

    def approve(self, request: Request, session: str) -> Response:
        """Let a quoted session start."""
        NoBody.of(request)
        return self._changed(request, session, self._sessions.approve)

    def _changed(self, request: Request, session: str, change: Callable[[UUID], object]) -> Response:
        known = known_session(session)
        change(known)
        _note(request, known)
        return json_response(self._sessions.status(known))

    def _kept(self, session: str) -> Row:
        """The session, if its items are still kept; raises NotFound or Gone."""
        found = self._sessions.get(known_session(session))
        if found["expired_at"] is not None or found["expires_at"] < datetime.now(UTC):
            raise Gone
        return found


def json_response(body: Any, status: int = 200, *, mimetype: str = "application/json") -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body) + b"\n", status, mimetype=mimetype)


def _streamed(pages: Iterator[bytes], mimetype: str, *, session: UUID) -> Response:
    """The pages as one body. The first is read now: until a byte has left, an error is still an answer of its own."""
    first = next(pages, b"")
    return Response(_to_the_end(itertools.chain((first,), pages), session), mimetype=mimetype)


def _to_the_end(pages: Iterator[bytes], session: UUID) -> Iterator[bytes]:
    """Every page. An error is logged and raised: that cuts the connection, so that no part is taken for the whole."""
    try:
        yield from pages
    except Exception as error:
        log("ERROR", "Stream was cut; its reader has to ask again", session_id=session, error=error)
        raise


def _file(row: Row) -> dict[str, Any]:
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


def _note(request: Request, session: UUID, **fields: Any) -> None:
    action = request.path.rstrip("/").rsplit("/", 1)[-1]
    trace = trace_of(request.headers.get("traceparent"))
    log("INFO", "Session changed on request", trace=trace, session_id=session, action=action, **fields)
