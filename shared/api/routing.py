"""Who answers which path, and the frame of every answer: headers, problem documents, the log of what nobody foresaw."""

from __future__ import annotations

from contextlib import suppress

from flask import Request, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from shared.api.handlers import Handlers, json_response
from shared.api.requests import BIGGEST
from shared.config import Settings
from shared.db import Database
from shared.logs import log
from shared.problems import MIMETYPE, problem_of
from shared.sessions import Sessions
from shared.storage import Store
from shared.tracing import trace_of

BLOCK = 64 * 1024
ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Api:
    """The API as one function of a request."""

    def __init__(self, db: Database, sessions: Sessions, store: Store, settings: Settings) -> None:
        self._paths = _paths(Handlers(db, sessions, store, settings))

    def answer(self, request: Request) -> Response:
        """The response to a request; never raises."""
        try:
            response = self._answer(request)
        except Exception as error:  # all of them: whatever happens, the caller gets a problem document
            response = _refusal(request, error)
        response.headers.update(ALWAYS)
        _read_to_its_end(request)
        return response

    def _answer(self, request: Request) -> Response:
        places = self._paths.bind("api", default_method=request.method)
        try:
            handle, arguments = places.match(request.path)
        except MethodNotAllowed as error:
            methods = sorted(error.valid_methods or ())
            sentence = f"{request.method} is not allowed here; use {' or '.join(methods)}."
            raise MethodNotAllowed(methods, sentence) from error
        except NotFound as error:
            raise NotFound(f"There is nothing at {request.path[:200]}; GET / lists what there is.") from error
        response: Response = handle(request, **arguments)
        return response


def _paths(handlers: Handlers) -> Map:
    one, item = "/api/session/<session>", f"<int(max={BIGGEST}):item_no>"
    read = {
        "/": handlers.hello,
        "/health": handlers.health,
        "/api/health": handlers.health,  # Cloud Run answers /health itself
        "/api/sessions": handlers.newest,
        one: handlers.session,
        f"{one}/status": handlers.status,
        f"{one}/items": handlers.items,
        f"{one}/items/{item}": handlers.item,
        f"{one}/calls": handlers.calls,
        f"{one}/results": handlers.results,
        f"{one}/rejects": handlers.rejects,
        f"{one}/verify": handlers.verify,
        f"{one}/movies": handlers.movies,
        f"{one}/movies/{item}": handlers.movie,
    }
    act = {
        "/api/upload": handlers.upload,
        f"{one}/reprocess": handlers.reprocess,
        f"{one}/pause": handlers.pause,
        f"{one}/resume": handlers.resume,
        f"{one}/cancel": handlers.cancel,
        f"{one}/approve": handlers.approve,
        f"{one}/items/{item}/match": handlers.match,
    }
    rules = [
        *(Rule(path, endpoint=handle, methods=["GET"]) for path, handle in read.items()),  # and HEAD with it
        *(Rule(path, endpoint=handle, methods=["POST"]) for path, handle in act.items()),
    ]
    return Map(rules, strict_slashes=False, merge_slashes=False)


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
            trace=trace_of(request.headers.get("traceparent")),
            method=request.method,
            path=request.path,
            reason=str(error) if foreseen else None,
            error=None if foreseen else error,
        )
    response = json_response(problem.document(request.path), problem.status, mimetype=MIMETYPE)
    response.headers.update(problem.headers)
    return response
