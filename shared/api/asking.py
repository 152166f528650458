"""What a handler is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Request, Response

from shared.db import Row
from shared.errors import Gone
from shared.sessions import Sessions, known_session


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A request whose query and body were checked; they are of the models its operation names."""

    request: Request
    query: Any = None
    body: Any = None


Handler = Callable[..., Response]


def json_response(body: Any, status: int = 200, *, mimetype: str = "application/json") -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body) + b"\n", status, mimetype=mimetype)


def kept_session(sessions: Sessions, session: str) -> Row:
    """The session, if its items are still kept; raises NotFound or Gone."""
    found = sessions.get(known_session(session))
    if found["expired_at"] is not None or found["expires_at"] < datetime.now(UTC):
        raise Gone
    return found
