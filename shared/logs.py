"""Log lines: one JSON object each, one write each, on standard output (design §6).

Ours, although there is structlog: of it nothing but a list of three functions was left, and it cost each function 20 ms
at every start.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson

SHORTEST_SECRET = 6  # characters; what is shorter could be a part of any word
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


def log(severity: str, message: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """Write one line: a constant sentence, the fields that vary, and what is bound to this thread.

    An error's traceback goes into the message: that is where Cloud Logging's error reports look for it.
    """
    if error is not None:
        message += "\n" + "".join(traceback.format_exception(error))
    text = _masked(_as_text(_line(severity, message, fields)))
    with _whole:  # standard output is looked for anew each time: the framework puts another in place
        sys.stdout.write(text)
        sys.stdout.flush()


def bind(**fields: Any) -> None:
    """Have every further line of this thread, and of those it hands its context to, carry these fields."""
    _bound.set(_with(fields))


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """A block whose lines carry these fields."""
    token = _bound.set(_with(fields))
    try:
        yield
    finally:
        _bound.reset(token)


def _with(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in {**_bound.get(), **fields}.items() if value is not None}


def mask(values: Iterable[str]) -> None:
    """Have these secrets, as they are or as JSON and addresses spell them, replaced wherever a line holds one."""
    for value in values:
        if len(value) >= SHORTEST_SECRET:
            _secrets.extend(spelled for form in (value, quote(value, safe="")) for spelled in _in_json(form))
    _secrets[:] = sorted({*_secrets}, key=len, reverse=True)  # one may be the beginning of another


def _in_json(text: str) -> set[str]:
    return {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}


def _line(severity: str, message: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The line in the order people read it, without what is not known."""
    line = {
        "severity": severity,
        "message": message,
        "time": datetime.now(UTC),
        "instance": _instance(os.getpid()),
        **_bound.get(),
    }
    for name, value in fields.items():
        if value is not None:
            line[name] = value
    return line


def _as_text(line: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=_plain, option=_OPTIONS).decode()
    except orjson.JSONEncodeError:  # a lone surrogate in some foreign text
        return json.dumps(line, default=_plain) + "\n"


def _masked(text: str) -> str:
    """The line without any secret of our settings, wherever a foreign message had put it."""
    for secret in _secrets:
        if secret in text:
            text = text.replace(secret, "***")
    return text


@functools.cache
def _instance(pid: int) -> str:
    """A name for this process that no other has: revisions and pids are the same on every instance."""
    return f"{os.environ.get('K_REVISION', 'local')}-{pid}-{secrets.token_hex(3)}"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID | Exception) else repr(value)


_bound: ContextVar[Mapping[str, Any]] = ContextVar("bound", default=MappingProxyType({}))
_secrets: list[str] = []
_whole = threading.Lock()  # a line longer than a pipe takes at once must not be cut in two by another thread's
