"""One trace id from upload to finalize, carried as a W3C `traceparent`."""

from __future__ import annotations

import re
import secrets

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")


def new_trace_id() -> str:
    """A fresh trace id, 32 hexadecimal digits."""
    return secrets.token_hex(16)


def traceparent(trace_id: str | None) -> str | None:
    """The attribute that carries a trace id on a message."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-01" if trace_id else None


def trace_of(value: str | None) -> str | None:
    """The trace id a `traceparent` carries, or None."""
    found = _TRACEPARENT.match(value or "")
    return found[1] if found else None
