"""Messages that were given up in, their items put back or ended."""

import functions_framework
from flask import Request

from shared.app import App
from shared.config import Settings
from shared.dead_lettering import DeadLetters
from shared.serving import Response, answer_push

app = App(Settings.from_env(), name="dead-letters")
letters = DeadLetters(app.db, app.dispatcher)


@functions_framework.http
def dead_letters(request: Request) -> Response:
    """Take one dead letter."""
    return answer_push(request, letters.take)
