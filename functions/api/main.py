"""The HTTP API: uploads, how sessions stand, what came of them, and what may be done to them."""

import functions_framework
from flask import Request, Response, current_app, has_app_context
from flask import request as unrouted

from shared.api.routing import Api
from shared.app import App
from shared.config import Settings
from shared.serving import answer_request

app = App(Settings.from_env(needs=("UPLOAD_BUCKET", "RESULTS_BUCKET")), name="api")
service = Api(app.db, app.sessions, app.store, app.settings)


@functions_framework.http
def api(request: Request) -> Response:
    """Answer one request."""
    return answer_request(request, service.answer)


if has_app_context():  # a path with a line end is none to the framework, which would answer it with a page of its own
    current_app.register_error_handler(404, lambda error: answer_request(unrouted, service.answer))
