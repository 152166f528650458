"""Called each minute: finds again what was lost."""

import functions_framework
from flask import Request

from shared.app import App
from shared.config import Settings
from shared.ingest import Ingest
from shared.rescuing import Rescuer
from shared.serving import Response, answer_call

app = App(Settings.from_env(needs=("RESULTS_BUCKET", "UPLOAD_BUCKET")), name="rescue")
reader = Ingest(app.db, app.store, app.dispatcher, app.publisher, app.settings)
rescuer = Rescuer(app.db, app.store, app.dispatcher, reader, app.sessions, app.settings)


@functions_framework.http
def rescue(request: Request) -> Response:
    """Work in rounds until just before the next call."""
    return answer_call(request, rescuer.run)
