"""What the real Pub/Sub accepts and refuses: names, limits, and the marks of a dead letter."""

import re
from typing import Any

import grpc

MAX_REQUEST_BYTES = 10_000_000  # of one publish request, and so of one message
MAX_MESSAGES = 1_000  # of one publish, and of one pull
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_NAME = 256
MAX_ATTRIBUTE_VALUE = 1_024
MAX_ORDERING_KEY = 1_024
MIN_ACK_DEADLINE = 10  # of a subscription, seconds
MAX_ACK_DEADLINE = 600

RESOURCE = re.compile(r"projects/[^/]+/(topics|subscriptions)/(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
UNSUPPORTED = (
    "filter",
    "enable_message_ordering",
    "enable_exactly_once_delivery",
    "retry_policy",
    "bigquery_config",
    "cloud_storage_config",
    "message_transforms",
)


class Refused(Exception):
    """A request the real service would answer with this status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def invalid(text: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, text)


def dead_letter_attributes(message: Any, subscription: str, deliveries: int) -> dict[str, str]:
    """The attributes of a message forwarded to a dead letter topic: its own and where it comes from."""
    _, project, _, name = subscription.split("/")
    return {
        **message.attributes,
        "CloudPubSubDeadLetterSourceDeliveryCount": str(deliveries),
        "CloudPubSubDeadLetterSourceSubscription": name,
        "CloudPubSubDeadLetterSourceSubscriptionProject": project,
        "CloudPubSubDeadLetterSourceTopicPublishTime": message.publish_time.ToJsonString(),
    }


def check_name(name: str, kind: str) -> None:
    match = RESOURCE.fullmatch(name)
    if not match or match[1] != kind:
        raise invalid(f"Invalid [{kind}] name: (name={name})")


def check_message(message: Any) -> None:
    attributes = message.attributes
    if not message.data and not attributes:
        raise invalid("A message needs data or at least one attribute.")
    if len(message.ordering_key.encode()) > MAX_ORDERING_KEY:
        raise invalid("The ordering key is longer than 1024 bytes.")
    if len(attributes) > MAX_ATTRIBUTES:
        raise invalid("A message has at most 100 attributes.")
    for name, value in attributes.items():
        # The client library's own tracing attributes begin with googclient_ and pass.
        if not name or (name.startswith("goog") and not name.startswith("googclient_")):
            raise invalid(f"Invalid attribute name: {name!r}")
        if len(name.encode()) > MAX_ATTRIBUTE_NAME or len(value.encode()) > MAX_ATTRIBUTE_VALUE:
            raise invalid(f"Attribute {name[:40]!r} is too long: names have 256 bytes, values 1024.")


def check_subscription(spec: Any, min_ack_deadline: int) -> None:
    check_name(spec.name, "subscriptions")
    named = {descriptor.name for descriptor, _ in spec.ListFields()}
    unsupported = sorted(named.intersection(UNSUPPORTED))
    if spec.push_config.push_endpoint:
        unsupported.append("push_config")
    if unsupported:
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"The local broker has no {', '.join(unsupported)}.")
    if spec.ack_deadline_seconds and not min_ack_deadline <= spec.ack_deadline_seconds <= MAX_ACK_DEADLINE:
        raise invalid(f"ack_deadline_seconds is {min_ack_deadline} to 600.")
    attempts = spec.dead_letter_policy.max_delivery_attempts
    if attempts and not 5 <= attempts <= 100:
        raise invalid("max_delivery_attempts is 5 to 100.")


def check_publish(request: Any) -> None:
    if not request.messages:
        raise invalid("No messages to publish")
    if len(request.messages) > MAX_MESSAGES:
        raise invalid("A publish takes at most 1000 messages.")
    if request.ByteSize() > MAX_REQUEST_BYTES:
        raise invalid("A publish takes at most 10 MB.")
    for message in request.messages:
        check_message(message)


def check_ack_ids(request: Any) -> None:
    if not request.ack_ids:
        raise invalid("No ack ids specified.")
    for ack_id in request.ack_ids:
        if not ack_id.startswith(f"{request.subscription}:"):
            raise invalid(f"Invalid ack id (ack_id={ack_id[:80]})")
