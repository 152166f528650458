"""Push requests in, "done" or "deliver again" out: the frame around every function that Pub/Sub calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from shared import tracing
from shared.errors import InputError, LedgerDown, StorageDown
from shared.events import Push, UploadedObject, cloud_event
from shared.logs import log
from shared.spans import hand_in

_T = TypeVar("_T")

Response = tuple[str, int]
DONE: Response = ("", 204)
AGAIN: Response = ("", 503)


def answer_push(
    request: Any,
    handle: Callable[[Push], None],
    *,
    warm: Callable[[], object] | None = None,
    unforeseen: Response = DONE,
) -> Response:
    """The response to one push: done, or again when the ledger or the store is away.

    A GET, which is what probes send, has `warm` load what the first push would wait for.
    `unforeseen` answers an error nobody foresaw. It is acknowledged where the ledger knows the work, since its lease
    ends and rescue brings it back; ingest refuses, because an object that is not in the ledger yet would be lost.
    """
    if request.method != "POST" and warm is not None:
        warm()

    def take() -> None:
        push = Push.parse(request.get_data())
        tracing.begin(f"push {push.subscription.rpartition('/')[2]}", push.attributes.get("traceparent"))
        tracing.adopt(pipeline=push.attributes.get("pipeline"))
        handle(push)

    return tracing.apart(_answered, request, take, unforeseen)


def answer_event(request: Any, handle: Callable[[UploadedObject], object]) -> Response:
    """The response to one storage CloudEvent that came without Pub/Sub in between."""

    def take() -> None:
        if uploaded := cloud_event(request.headers, request.get_data()):
            tracing.begin("event")
            handle(uploaded)

    return tracing.apart(_answered, request, take, AGAIN)


def answer_call(request: Any, work: Callable[[], object]) -> Response:
    """The response to a call of the scheduler's; whatever goes wrong, the next call tries anew."""

    def run() -> None:
        tracing.begin("call", request.headers.get("traceparent"))
        work()

    return tracing.apart(_answered, request, run, AGAIN)


def answer_request(request: Any, answer: Callable[[Any], _T]) -> _T:
    """The response to a caller of the API, whose trace goes on in the session that an upload makes."""

    def run() -> _T:
        tracing.begin("request", request.headers.get("traceparent"))
        return answer(request)

    return tracing.apart(run)


def _answered(request: Any, take: Callable[[], None], unforeseen: Response) -> Response:
    """Done, or again. A broken message is logged and acknowledged, since no repeat would mend it."""
    if request.method != "POST":
        return ("ok", 200)
    try:
        take()
    except InputError as error:
        log("ERROR", "Message cannot be read; it is acknowledged", error_code=error.code, reason=str(error))
    except (LedgerDown, StorageDown) as error:
        log("WARNING", "Push refused; it will come again", reason=str(error))
        return AGAIN
    except Exception as error:
        log("ERROR", "Unforeseen error", error=error)
        return unforeseen
    finally:
        hand_in()
    return DONE
