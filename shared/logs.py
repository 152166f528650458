"""Log lines: one JSON object each, one write each, on standard output (design §6)."""

from __future__ import annotations

import os
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
    line["instance"] = f"{os.environ.get('K_REVISION', 'local')}-{os.getpid()}"
    line.update({key: value for key, value in fields.items() if value is not None})
    if error is not None:
        line["message"] = message + "\n" + "".join(traceback.format_exception(error))
    sys.stdout.write(orjson.dumps(line, default=_plain).decode("utf-8", "replace") + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, UUID | Exception) else repr(value)
