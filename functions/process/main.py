"""Notices of items in, settled items out; deployed once per pipeline."""

import os

import functions_framework
from flask import Request

from shared.app import App
from shared.config import Settings
from shared.messages import ItemsNotice
from shared.pending import Pending
from shared.pipelines import needs, pipeline
from shared.processing import Processor
from shared.serving import Response, answer_push

app = App(Settings.from_env(needs=("PIPELINE", "RESULTS_BUCKET", *needs(os.environ.get("PIPELINE")))), name="process")
processor = Processor(
    app.db,
    app.dispatcher,
    pipeline(app.settings.pipeline, app.settings),
    app.settings,
    Pending(app.store, app.settings.results_bucket),
)


def warm() -> None:
    """Load what the first message would wait for."""
    app.warm(store=False)
    _ = processor.pipeline.upstream


@functions_framework.http
def process(request: Request) -> Response:
    """Run one notice's items."""
    return answer_push(request, lambda push: processor.handle(ItemsNotice.decode(push.data)), warm=warm)
