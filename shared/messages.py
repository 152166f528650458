"""What travels on Pub/Sub, encode beside decode.

A notice of items carries `{"session_id", "items"}`; a notice to finalize `{"session_id"}`; a continuation of an ingest
`{"session_id", "file"}`. Attributes: `pipeline` and `traceparent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from shared.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One Pub/Sub message of ours: its data, and its attributes."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemsNotice:
    """These items may start now."""

    session: UUID
    items: tuple[int, ...]

    @classmethod
    def decode(cls, data: bytes) -> ItemsNotice:
        """The notice in a message's data; raises InputError for anything else."""
        body = _body(data)
        items = body.get("items")
        if not isinstance(items, list) or not items or not all(type(i) is int and 0 < i < 2**63 for i in items):
            raise InputError("The message names no items.", code="input.message")
        return cls(session=_session(body), items=tuple(dict.fromkeys(items)))


def items_notices(
    session: UUID, items: Sequence[int], *, per_message: int, pipeline: str, traceparent: str | None
) -> Iterator[Message]:
    """Messages that together name all items, at most `per_message` each."""
    attributes = _attributes(pipeline, traceparent)
    for start in range(0, len(items), per_message):
        body = {"session_id": str(session), "items": list(items[start : start + per_message])}
        yield Message(data=orjson.dumps(body), attributes=attributes)


def finalize_notice(session: UUID, *, pipeline: str, traceparent: str | None) -> Message:
    """The message that asks for a session to be finalized."""
    return Message(data=orjson.dumps({"session_id": str(session)}), attributes=_attributes(pipeline, traceparent))


def decode_finalize(data: bytes) -> UUID:
    """The session a finalize notice names; raises InputError."""
    return _session(_body(data))


def continuation(session: UUID, file: int, *, pipeline: str, traceparent: str | None) -> Message:
    """The message that asks for a file to be read on from its cursor."""
    body = {"session_id": str(session), "file": file}
    return Message(data=orjson.dumps(body), attributes=_attributes(pipeline, traceparent))


def decode_continuation(data: bytes) -> int | None:
    """The file a continuation names, or None if the data is no continuation of ours."""
    try:
        file = _body(data).get("file")
    except InputError:
        return None
    return file if type(file) is int and 0 < file < 2**63 else None


def _attributes(pipeline: str, traceparent: str | None) -> dict[str, str]:
    return {"pipeline": pipeline, "traceparent": traceparent} if traceparent else {"pipeline": pipeline}


def json_object(data: bytes, *, of: str, code: str) -> dict[str, Any]:
    """The JSON object in some data; raises InputError that names what the data is `of`."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"The {of}'s data is not JSON.", code=code) from error
    if not isinstance(body, dict):
        raise InputError(f"The {of}'s data is not a JSON object.", code=code)
    return body


def _body(data: bytes) -> dict[str, Any]:
    return json_object(data, of="message", code="input.message")


def _session(body: Mapping[str, Any]) -> UUID:
    try:
        return UUID(body["session_id"])
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise InputError("The message names no session.", code="input.message") from error
