"""Calls under way: requests made on worker threads of this process, each with its outcome as a value."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Literal, cast

from shared.calls import PlannedCall
from shared.db import Database
from shared.errors import DatabaseError
from shared.logs import log
from shared.options import CallMode
from shared.pipelines.base import BackgroundUpstream, Pipeline
from shared.spans import span
from shared.upstreams.base import Answer, ErrorClass, Failure


class Caller:
    """Makes the calls of one pipeline, so many at once."""

    def __init__(self, db: Database, pipeline: Pipeline, *, request_timeout: float, workers: int) -> None:
        self._db, self._pipeline = db, pipeline
        self._timeout, self._workers = request_timeout, workers
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._made_by: int | None = None

    def call(self, planned: PlannedCall, mode: CallMode) -> Future[Answer | Failure]:
        """The call's outcome to come; what nobody foresaw is a failure too."""
        with self._lock:
            if self._executor is None or self._made_by != os.getpid():
                self._executor = ThreadPoolExecutor(max_workers=self._workers, thread_name_prefix="call")
                self._made_by = os.getpid()
            executor = self._executor
        make = self._in_background if mode is CallMode.BACKGROUND else self._direct
        return executor.submit(copy_context().run, _traced, make, planned)  # its lines and spans belong to the push

    def _direct(self, planned: PlannedCall) -> Answer | Failure:
        return self._pipeline.upstream.call(planned.request, timeout=self._timeout)

    def _in_background(self, planned: PlannedCall) -> Answer | Failure:
        """The answer by its id, which the ledger keeps as soon as it is known: the next attempt fetches it."""
        upstream, until = cast(BackgroundUpstream, self._pipeline.upstream), time.monotonic() + self._timeout
        response_id = planned.response_id
        if response_id is None:
            begun = upstream.begin(planned.request, timeout=self._timeout)
            if not isinstance(begun, str):
                return begun
            response_id = begun
            try:
                self._db.rows("keep_response_id", call=planned.id, response_id=response_id)
            except DatabaseError as error:  # the answer itself is what matters
                log("WARNING", "The id of an answer could not be kept", reason=str(error), **planned.item.log_fields())
        return upstream.fetch(response_id, timeout=max(1.0, until - time.monotonic()))


def _traced(call: Callable[[PlannedCall], Answer | Failure], planned: PlannedCall) -> Answer | Failure:
    with span("upstream call", **planned.item.log_fields()) as recorded:
        answer = _foreseen(call, planned)
        recorded.note(failed=answer.code if isinstance(answer, Failure) else "", response_id=answer.response_id)
    return answer


def _foreseen(call: Callable[[PlannedCall], Answer | Failure], planned: PlannedCall) -> Answer | Failure:
    try:
        return call(planned)
    except BaseException as error:  # counts as a retry, and nobody knows whether it was paid
        log("ERROR", "Unforeseen error in a call", error=error, **planned.item.log_fields())
        return unexpected(error, ErrorClass.TRANSIENT, call_state="unknown")


def unexpected(
    error: BaseException, kind: ErrorClass, *, call_state: Literal["failed", "unknown"] = "failed"
) -> Failure:
    """The failure that stands for an error nobody foresaw."""
    return Failure(
        kind=kind,
        code="upstream.unexpected",
        message=f"The call broke with {type(error).__name__}; the log has the traceback.",
        call_state=call_state,
    )
