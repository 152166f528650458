"""Both Pub/Sub brokers as processes, and the clients that speak to them."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

ROOT = Path(__file__).parent.parent.parent
PROJECT = "conformance"
MODULES = {"embedded": "infra.local.pubsub", "gcloud": "infra.local.emulator"}
_numbers = itertools.count(1)
T = TypeVar("T")


def until(probe: Callable[[], T], what: str, timeout: float = 10.0) -> T:
    """The first true value of the probe; fails with `what` when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (found := probe()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.005)
    return found


def start(module: str, *arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A module's process and the line it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    line = process.stdout.readline()
    if not line:
        stop(process)
        raise AssertionError(f"{module} ended before it was ready")
    return process, json.loads(line)


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> float:
    """Seconds the process took to end after the signal."""
    begun = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
    try:
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return time.monotonic() - begun


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Google's own clients, connected to one broker."""

    kind: str
    port: int
    publisher: PublisherClient
    subscriber: SubscriberClient

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def topic(self) -> str:
        """The path of a new topic."""
        path = topic_path(unique("topic"))
        self.publisher.create_topic(name=path)
        return path

    def subscription(self, topic: str, **settings: Any) -> str:
        """The path of a new pull subscription."""
        path = subscription_path(unique("subscription"))
        self.subscriber.create_subscription(request={"name": path, "topic": topic, **settings})
        return path

    def publish(self, topic: str, *messages: bytes | dict[str, Any]) -> list[str]:
        """The ids of the messages, published in one request."""
        made = [types.PubsubMessage(**(m if isinstance(m, dict) else {"data": m})) for m in messages]
        answer = self.publisher.publish(topic=topic, messages=made, retry=None, timeout=10)
        return list(answer.message_ids)

    def pull(self, path: str, most: int = 1000, timeout: float = 3.0) -> list[types.ReceivedMessage]:
        """What one Pull brings; nothing when none is there before its deadline."""
        answer = self.subscriber.pull(subscription=path, max_messages=most, retry=None, timeout=timeout)
        return list(answer.received_messages)

    def glance(self, path: str) -> list[types.ReceivedMessage]:
        """What a Pull brings that does not wait."""
        with warnings.catch_warnings():  # the client advises against it, the service still knows it
            warnings.simplefilter("ignore", DeprecationWarning)
            request = types.PullRequest(subscription=path, max_messages=1000, return_immediately=True)
            return list(self.subscriber.pull(request=request, retry=None, timeout=5).received_messages)

    def pull_exactly(self, path: str, count: int, timeout: float = 10.0) -> list[types.ReceivedMessage]:
        """That many messages, from as many Pulls as it takes."""
        found: list[types.ReceivedMessage] = []
        deadline = time.monotonic() + timeout
        while len(found) < count and time.monotonic() < deadline:
            found += self.pull(path, count - len(found))
        assert len(found) == count
        return found

    def acknowledge(self, path: str, *received: types.ReceivedMessage) -> None:
        self.subscriber.acknowledge(subscription=path, ack_ids=[one.ack_id for one in received])

    def set_deadline(self, path: str, seconds: int, *received: types.ReceivedMessage) -> None:
        self.subscriber.modify_ack_deadline(
            subscription=path, ack_ids=[one.ack_id for one in received], ack_deadline_seconds=seconds
        )


@contextlib.contextmanager
def connected(kind: str, port: int) -> Iterator[Clients]:
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
    options += [("grpc.max_send_message_length", -1), ("grpc.max_reconnect_backoff_ms", 200)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield Clients(
            kind=kind,
            port=port,
            publisher=PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            subscriber=SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
        )


@contextlib.contextmanager
def running(kind: str, *arguments: str) -> Iterator[Clients]:
    """A broker of this block's own."""
    process, ready = start(MODULES[kind], "--port", "0", *arguments)
    try:
        with connected(kind, ready["port"]) as clients:
            yield clients
    finally:
        stop(process)


def only_embedded(broker: Clients, reason: str) -> None:
    """Skips the test on Google's emulator, saying how it deviates."""
    if broker.kind == "gcloud":
        pytest.skip(reason)


def unique(word: str) -> str:
    return f"rowlift-{word}-{next(_numbers)}"


def topic_path(name: str) -> str:
    return f"projects/{PROJECT}/topics/{name}"


def subscription_path(name: str) -> str:
    return f"projects/{PROJECT}/subscriptions/{name}"
