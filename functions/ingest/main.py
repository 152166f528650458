"""Uploaded objects in, items in the ledger."""

import functions_framework
from flask import Request

from shared import events
from shared.app import App
from shared.config import Settings
from shared.ingest import Ingest
from shared.messages import decode_continuation
from shared.serving import AGAIN, Response, answer_event, answer_push

app = App(Settings.from_env(needs=("UPLOAD_BUCKET",)), name="ingest")
worker = Ingest(app.db, app.store, app.dispatcher, app.publisher, app.settings)


def take(push: events.Push) -> None:
    """A continuation of ours, or a notification of the bucket."""
    file = decode_continuation(push.data)
    if file is not None:
        worker.go_on(file)
    elif uploaded := events.uploaded_object(push):
        worker.take(uploaded)


@functions_framework.http
def ingest(request: Request) -> Response:
    """Take one push, or one storage CloudEvent sent directly."""
    if events.is_cloud_event(request.headers):
        return answer_event(request, worker.take)
    return answer_push(request, take, warm=app.warm, unforeseen=AGAIN)
