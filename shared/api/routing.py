"""Who answers which path, and the frame of every answer: headers, problem documents, the log of what nobody foresaw."""

from __future__ import annotations

import functools
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flask import Request, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestURITooLarge
from werkzeug.routing import Map, Rule

from shared.api import direct, guard
from shared.api.acting import Acting
from shared.api.asking import Ask, json_response
from shared.api.audio import Library
from shared.api.freshness import Freshness
from shared.api.openapi import document
from shared.api.operations import Operation, operations
from shared.api.pages import Pages
from shared.api.people import People
from shared.api.reading import Reading
from shared.api.requests import QUERY_LIMIT
from shared.api.streaming import Streaming
from shared.api.uploads import Uploads
from shared.config import Settings
from shared.db import Database
from shared.logs import log
from shared.problems import MIMETYPE, problem_of
from shared.progress import BIGGEST
from shared.sessions import Sessions
from shared.storage import Store

BLOCK = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class _Body:
    """What is kept of an answer."""

    data: bytes
    mimetype: str


class Api:
    """The API as one function of a request."""

    def __init__(self, db: Database, sessions: Sessions, store: Store, settings: Settings) -> None:
        offered = direct.offered()
        uploads = Uploads(db, store, settings)
        self._settings = settings
        self._fresh: Freshness[_Body] = Freshness()
        self.operations = operations(
            Reading(db, sessions, settings, direct_uploads=offered),
            Streaming(db, sessions, store, settings),
            Acting(db, sessions, uploads, direct.DirectUploads(db, uploads, store, settings), settings),
            People(db, sessions, store, settings),
            Library(db, store),
            Pages(direct_uploads=offered),
        )
        self._named = {one.name: one for one in (*self.operations, self._description())}
        self._paths = _paths(tuple((one.name, one.method, one.path) for one in self._named.values()))

    def answer(self, request: Request) -> Response:
        """The response to a request; never raises."""
        try:
            guard.check(request)
            response = self._answer(request)
        except Exception as error:  # all of them: whatever happens, the caller gets a problem document
            response = _refusal(request, error)
        for name, value in {**guard.ALWAYS, "Cache-Control": "no-store"}.items():
            response.headers.setdefault(name, value)
        _read_to_its_end(request)
        return response

    @cached_property
    def openapi(self) -> dict[str, Any]:
        """What the API does, as OpenAPI 3.1 describes it."""
        return document(self.operations, version=self._settings.code_version)

    def _description(self) -> Operation:
        return Operation(
            name="openapi", tag="service", summary="This description", path="/openapi.json", listed=False, query=None,
            handle=lambda ask: json_response(self.openapi),
        )  # fmt: skip

    def _answer(self, request: Request) -> Response:
        if len(request.query_string) > QUERY_LIMIT:
            raise RequestURITooLarge(f"The query is longer than the {QUERY_LIMIT} bytes this takes.")
        operation, arguments = self._found(request)
        ask = Ask(
            request=request,
            query=None if operation.query is None else operation.query.of(request),
            body=None if operation.body is None else operation.body.of(request),
        )
        max_age = request.cache_control.max_age
        if operation.keeps and max_age:
            key = (operation.name, *arguments.values(), ask.query)
            kept = self._fresh.get(key, lambda: _kept(operation.handle(ask, **arguments)), max_age=max_age)
            return Response(kept.data, mimetype=kept.mimetype)
        try:
            return operation.handle(ask, **arguments)
        finally:
            if operation.changes:  # also one that broke off: how far it came nobody knows
                self._fresh.forget()

    def _found(self, request: Request) -> tuple[Operation, dict[str, Any]]:
        places = self._paths.bind("api", default_method=request.method)
        try:
            name, arguments = places.match(request.path)
        except MethodNotAllowed as error:
            methods = sorted(error.valid_methods or ())
            sentence = f"{request.method} is not allowed here; use {' or '.join(methods)}."
            raise MethodNotAllowed(methods, sentence) from error
        except NotFound as error:
            raise NotFound(f"There is nothing at {request.path[:200]}; /openapi.json says what there is.") from error
        return self._named[name], dict(arguments)


def _kept(response: Response) -> _Body:
    return _Body(data=response.get_data(), mimetype=response.mimetype or "")


@functools.cache
def _paths(listed: tuple[tuple[str, str, str], ...]) -> Map:
    """A rule for each operation's name, method and path; GET takes HEAD with it. Made once: it compiles code."""
    rules = [Rule(_rule(path), endpoint=name, methods=[method]) for name, method, path in listed]
    return Map(rules, strict_slashes=False, merge_slashes=False)


def _rule(path: str) -> str:
    return path.replace("{item_no}", f"<int(max={BIGGEST}):item_no>").replace("{", "<").replace("}", ">")


def _read_to_its_end(request: Request) -> None:
    """Drop what is left of the request's body, block by block: the framework would read it behind us, whole."""
    with suppress(HTTPException):  # the caller is gone
        while request.stream.read(BLOCK):
            pass


def _refusal(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status >= 500:
        foreseen = problem.status == 503
        log(
            "WARNING" if foreseen else "ERROR",
            "Request refused: a service is away" if foreseen else "Unforeseen error",
            method=request.method,
            path=request.path,
            reason=str(error) if foreseen else None,
            error=None if foreseen else error,
        )
    response = json_response(problem.document(request.path), problem.status, mimetype=MIMETYPE)
    response.headers.update(problem.headers)
    return response
