"""Platform envelopes in, typed facts out: push requests, bucket notifications, storage CloudEvents.

The functions parse the push envelope themselves because the framework's conversion to CloudEvents drops
`deliveryAttempt` and answers a message without data 400 for ever (platform facts §4).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.errors import InputError
from shared.messages import json_object

FINALIZED = "google.cloud.storage.object.v1.finalized"


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """One delivery of a Pub/Sub message."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    subscription: str
    delivery_attempt: int | None

    @classmethod
    def parse(cls, body: bytes) -> Push:
        """The delivery in a push request's body; raises InputError if it is none."""
        try:
            envelope = orjson.loads(body)
            message = envelope["message"]
            attributes = message.get("attributes") or {}
            data = base64.b64decode(message.get("data") or "", validate=True)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, binascii.Error, ValueError) as error:
            raise InputError("The request is not a Pub/Sub push.", code="input.envelope") from error
        if not isinstance(attributes, dict):
            raise InputError("The push's attributes are not an object.", code="input.envelope")
        attempt = envelope.get("deliveryAttempt")
        return cls(
            data=data,
            attributes={str(k): str(v) for k, v in attributes.items()},
            message_id=str(message.get("messageId", "")),
            subscription=str(envelope.get("subscription", "")),
            delivery_attempt=attempt if isinstance(attempt, int) else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedObject:
    """An object that appeared in the upload bucket: one generation of one name."""

    bucket: str
    name: str
    generation: int
    size: int
    checksum: str | None
    metadata: Mapping[str, str]

    @classmethod
    def from_resource(cls, resource: Mapping[str, Any]) -> UploadedObject:
        """The object a storage resource describes; its numbers are strings. Raises InputError."""
        try:
            return cls(
                bucket=str(resource["bucket"]),
                name=str(resource["name"]),
                generation=int(resource["generation"]),
                size=int(resource.get("size", 0)),
                checksum=resource.get("md5Hash") or resource.get("crc32c"),
                metadata={str(k): str(v) for k, v in (resource.get("metadata") or {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("The notification does not describe an object.", code="input.envelope") from error


def uploaded_object(push: Push) -> UploadedObject | None:
    """The object a bucket notification announces, or None for an event that is not the making of an object."""
    if push.attributes.get("eventType", "OBJECT_FINALIZE") != "OBJECT_FINALIZE":
        return None
    return UploadedObject.from_resource(_resource(push.data))


def cloud_event(headers: Any, body: bytes) -> UploadedObject | None:
    """The object a direct storage CloudEvent announces (binary or structured mode), or None for another event."""
    lowered = {key.lower(): value for key, value in headers.items()}
    resource = _resource(body)
    kind = lowered.get("ce-type")
    if kind is None and "type" in resource and "data" in resource:
        kind, resource = resource["type"], resource["data"]
    if kind != FINALIZED:
        return None
    return UploadedObject.from_resource(resource)


def is_cloud_event(headers: Any) -> bool:
    """Whether a request carries a CloudEvent rather than a push."""
    lowered = {key.lower(): value for key, value in headers.items()}
    return "ce-type" in lowered or lowered.get("content-type", "").startswith("application/cloudevents")


def _resource(data: bytes) -> dict[str, Any]:
    return json_object(data, of="notification", code="input.envelope")
