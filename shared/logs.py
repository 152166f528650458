"""Log lines: one JSON object each, one write each, on standard output (design §6)."""

from __future__ import annotations

import functools
import json
import os
import secrets
import sys
import traceback
from typing import Any
from uuid import UUID

import orjson


def log(
    severity: str, message: str, *, trace: str | None = None, error: BaseException | None = None, **fields: Any
) -> None:
    """Write one line: a constant sentence, and the fields that vary."""
    line: dict[str, Any] = {"severity": severity, "message": message}
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    if trace and project:
        line["logging.googleapis.com/trace"] = f"projects/{project}/traces/{trace}"
    line["instance"] = _instance(os.getpid())
    line.update({key: value for key, value in fields.items() if value is not None})
    if error is not None:
        line["message"] = message + "\n" + "".join(traceback.format_exception(error))
    try:
        text = orjson.dumps(line, default=_plain).decode()
    except orjson.JSONEncodeError:  # a lone surrogate in some foreign text
        text = json.dumps(line, default=_plain)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@functools.cache
def _instance(pid: int) -> str:
    """A name for this process that no other has: revisions and pids are the same on every instance."""
    return f"{os.environ.get('K_REVISION', 'local')}-{pid}-{secrets.token_hex(3)}"


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, UUID | Exception) else repr(value)
