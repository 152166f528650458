"""Called each minute: finds again what was lost."""

import functions_framework
from flask import Request

from shared.app import App
from shared.config import Settings
from shared.errors import LedgerDown
from shared.ingest import Ingest
from shared.logs import log
from shared.rescuing import Rescuer
from shared.serving import AGAIN, Response

app = App(Settings.from_env(needs=("RESULTS_BUCKET", "UPLOAD_BUCKET")), name="rescue")
reader = Ingest(app.db, app.store, app.dispatcher, app.publisher, app.settings)
rescuer = Rescuer(app.db, app.store, app.dispatcher, reader, app.sessions, app.settings)


@functions_framework.http
def rescue(request: Request) -> Response:
    """Work in rounds until just before the next call."""
    if request.method != "POST":
        return ("ok", 200)
    try:
        return (str(rescuer.run()), 200)
    except LedgerDown as error:
        log("WARNING", "Rescue could not reach the ledger", reason=str(error))
        return AGAIN
