"""Sessions with nothing open in, results out."""

import functions_framework
from flask import Request

from shared.app import App
from shared.config import Settings
from shared.events import Push
from shared.finalizing import Finalizer
from shared.messages import decode_finalize
from shared.serving import Response, answer_push

app = App(Settings.from_env(needs=("RESULTS_BUCKET",)), name="finalize")
finalizer = Finalizer(app.db, app.store, app.dispatcher, app.settings)


def take(push: Push) -> None:
    """Finalize the session the notice names."""
    finalizer.finalize(decode_finalize(push.data))


@functions_framework.http
def finalize(request: Request) -> Response:
    """Take one notice."""
    return answer_push(request, take, warm=app.warm)
