"""What people do: uploads, and changes to a session, each in the audit log before it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flask import Request, Response

from shared.api.asking import Ask, json_response
from shared.api.direct import DirectUploads, linked, planned
from shared.api.forms import SentFile, form_of
from shared.api.guard import who
from shared.api.uploads import Upload, Uploads, checked
from shared.audit import Action, recorded
from shared.config import Settings
from shared.db import Database
from shared.logs import log
from shared.problems import Fault, InvalidRequest
from shared.sessions import Sessions, known_session
from shared.tracing import trace_here

if TYPE_CHECKING:
    from shared.fetching.web import Web


class Acting:
    """Answers requests that change something; raises our errors, which `routing` turns into problem documents."""

    def __init__(
        self, db: Database, sessions: Sessions, uploads: Uploads, direct: DirectUploads, settings: Settings
    ) -> None:
        self._db, self._sessions, self._settings = db, sessions, settings
        self._uploads, self._direct = uploads, direct

    def upload(self, ask: Ask) -> Response:
        """Files taken into the bucket; the session they are, or belong to."""
        request = ask.request
        with form_of(request, limit=self._settings.max_upload_bytes) as form:
            upload = checked(request.args.to_dict(flat=False), form)
            to = self._uploads.destination(upload)
            with self._recorded(request, to.session, is_new=True, **_said(upload)):
                taken = self._uploads.take(upload, to, trace_id=trace_here())
        answer = json_response(taken.document(), 202)
        answer.headers["Location"] = f"/api/session/{taken.session}"
        return answer

    def upload_direct(self, ask: Ask) -> Response:
        """Addresses in the bucket for files that are still to come; the session they will be, or join."""
        request = ask.request
        self._direct.check_offered()
        upload = planned(ask.body)
        to = self._uploads.destination(upload)
        with self._recorded(request, to.session, is_new=True, **_said(upload)):
            found = self._direct.open(upload, to, origin=request.headers.get("Origin"), trace_id=trace_here())
        answer = json_response(found, 201)
        answer.headers["Location"] = f"/api/session/{to.session}"
        return answer

    @cached_property
    def _web(self) -> Web:
        """The way to sheets; its libraries are loaded with the first of them."""
        from shared.fetching.addresses import Hosts
        from shared.fetching.web import Web
        from shared.google_sheets import HOSTS

        return Web(Hosts.parse(HOSTS))

    def upload_link(self, ask: Ask) -> Response:
        """A Google Sheet taken into the bucket; the session it is."""
        from shared.google_sheets import read_sheet, sheet_of

        body, most = ask.body, self._settings.max_upload_bytes
        sheet = sheet_of(body.link)
        if sheet is None:
            message = "is no link to a Google Sheet; copy it from the browser's address bar"
            raise InvalidRequest((Fault(field="link", message=message),))
        with TemporaryFile() as file:
            size = read_sheet(sheet, file, most=most, web=self._web)
            file.seek(0)
            upload = linked(body, SentFile(name=sheet.name, body=file, size=size))
            to = self._uploads.destination(upload)
            with self._recorded(ask.request, to.session, is_new=True, **_said(upload)):
                taken = self._uploads.take(upload, to, trace_id=trace_here())
        answer = json_response(taken.document(), 202)
        answer.headers["Location"] = f"/api/session/{taken.session}"
        return answer

    def reprocess(self, ask: Ask, session: str) -> Response:
        """Run settled items again."""
        known, body = known_session(session), ask.body
        with self._recorded(ask.request, known, **body.model_dump()) as came_of_it:
            came_of_it["opened"] = self._sessions.reprocess(
                known, outcomes=body.outcomes, error_codes=body.error_codes or (), key=body.key, prompt=body.prompt
            )
        return json_response({"opened": came_of_it["opened"], "status": self._sessions.status(known)})

    def match(self, ask: Ask, session: str, item_no: int) -> Response:
        """Take a person's word for which film an item's is."""
        known, chosen = known_session(session), ask.body.tmdb_id
        with self._recorded(ask.request, known, item_no=item_no, tmdb_id=chosen) as came_of_it:
            film = self._sessions.match(known, item_no, tmdb_id=chosen)
            came_of_it["film_item_no"] = film
        return json_response({"item_no": item_no, "film_item_no": film, "status": self._sessions.status(known)})

    def pause(self, ask: Ask, session: str) -> Response:
        """Hold a session."""
        reason = {} if ask.body.reason is None else {"reason": ask.body.reason}
        return self._changed(ask, session, lambda known: self._sessions.pause(known, **reason), **reason)

    def resume(self, ask: Ask, session: str) -> Response:
        """Lift a hold."""
        budget = ask.body.budget_usd
        return self._changed(
            ask, session, lambda known: self._sessions.resume(known, budget_usd=budget), budget_usd=budget
        )

    def cancel(self, ask: Ask, session: str) -> Response:
        """End a session for good."""
        return self._changed(ask, session, self._sessions.cancel)

    def approve(self, ask: Ask, session: str) -> Response:
        """Let a quoted session start."""
        return self._changed(ask, session, self._sessions.approve)

    def _changed(self, ask: Ask, session: str, change: Callable[[UUID], object], **details: Any) -> Response:
        known = known_session(session)
        with self._recorded(ask.request, known, **details):
            change(known)
        return json_response(self._sessions.status(known))

    @contextmanager
    def _recorded(
        self, request: Request, session: UUID, *, is_new: bool = False, **details: Any
    ) -> Iterator[dict[str, Any]]:
        """The action in the audit log and, when it went well, in the log of the function."""
        name = request.path.rstrip("/").removeprefix("/api/").rpartition("/")[2]
        action = Action(session=session, name=_NAMES.get(name, name), actor=who(request), trace_id=trace_here())
        with recorded(self._db, action, is_new=is_new, **details) as came_of_it:
            yield came_of_it
        said: dict[str, Any] = {
            name: len(value) if isinstance(value, list) else value for name, value in {**details, **came_of_it}.items()
        }
        said |= {"session_id": session, "action": action.name, "actor": action.actor}
        log("INFO", "Session changed on request", **said)


_NAMES = {"direct": "upload"}  # the last part of a path that says less than the whole


def _said(upload: Upload[Any]) -> dict[str, Any]:
    return {"pipeline": upload.pipeline, "files": list(upload.objects), "options": dict(upload.spelled) or None}
