"""A Pub/Sub broker on 127.0.0.1: the calls of google.pubsub.v1 that Rowlift and its pusher make, state in memory.

`python -m infra.local.pubsub --port N` (0: a free one) prints `{"ready": true, "port": N}` once it listens.

Limits and status codes are those of the real service. What is not built (push, filters, ordering, exactly-once,
StreamingPull, ...) is answered UNIMPLEMENTED rather than ignored. One asyncio thread owns all state, so there are
no locks and a waiting Pull costs a future, not a thread.
"""

import argparse
import asyncio
import heapq
import itertools
import json
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.pubsub_v1 import types

from infra.local.pubsub_rules import (
    MAX_ACK_DEADLINE,
    MAX_MESSAGES,
    MAX_REQUEST_BYTES,
    MIN_ACK_DEADLINE,
    Refused,
    check_ack_ids,
    check_name,
    check_publish,
    check_subscription,
    dead_letter_attributes,
    invalid,
)

MAX_PULL_BYTES = 10_000_000
PULL_WAIT = 20.0  # seconds a Pull without return_immediately waits for a first message, or until its deadline
DELETED_TOPIC = "_deleted-topic_"

PubsubMessage = types.PubsubMessage.pb()
ReceivedMessage = types.ReceivedMessage.pb()
PullResponse = types.PullResponse.pb()
PublishResponse = types.PublishResponse.pb()
SubscriptionSpec = types.Subscription.pb()
TopicSpec = types.Topic.pb()
Empty = empty_pb2.Empty


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way to one subscription."""

    message: Any
    attempts: int = 0
    due: float = 0.0  # while leased: when the lease ends


class Subscription:
    """A pull subscription: what is ready, what is leased until when, who waits."""

    def __init__(self, spec: Any, dead_letter: Callable[["Subscription", Delivery], bool]) -> None:
        self.spec = spec
        self.deadline = float(spec.ack_deadline_seconds)
        self.counts = spec.dead_letter_policy.dead_letter_topic != ""
        self.gone = False
        self.ready: deque[Delivery] = deque()
        self.leased: dict[str, Delivery] = {}
        self._ends: list[tuple[float, str]] = []  # heap; entries of settled or extended leases are stale
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._dead_letter = dead_letter
        self._loop = asyncio.get_running_loop()
        # Ack ids of an earlier life of this broker must not settle messages of this one.
        self._prefix = f"{spec.name}:{time.time_ns():x}-"
        self._serial = itertools.count(1)

    def offer(self, messages: Iterable[Any]) -> None:
        self.ready.extend(map(Delivery, messages))
        self._wake()

    async def take(self, most: int, wait: float) -> list[Any]:
        """Up to `most` received messages, now leased; empty when none came within `wait` seconds."""
        end = self._loop.time() + wait
        while not self.ready and not self.gone and self._loop.time() < end:
            await self._wait(end)
        if self.gone:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Subscription was deleted")
        received = self._lease(most)
        self._wake()
        return received

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        for ack_id in ack_ids:
            self.leased.pop(ack_id, None)
        if len(self._ends) > 2 * len(self.leased) + 10_000:
            self._ends = [(delivery.due, ack_id) for ack_id, delivery in self.leased.items()]
            heapq.heapify(self._ends)

    def extend(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Leases that end `seconds` from now; 0 gives the messages back at once. Unknown ids are ignored."""
        due = self._loop.time() + seconds
        for ack_id in ack_ids:
            delivery = self.leased.get(ack_id)
            if delivery is None:
                continue
            if seconds == 0:
                del self.leased[ack_id]
                self._give_back(delivery)
            else:
                delivery.due = due
                heapq.heappush(self._ends, (due, ack_id))
        self._arm()
        self._wake()

    def close(self) -> None:
        self.gone = True
        if self._timer:
            self._timer.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self, end: float) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        timer = self._loop.call_at(end, lambda: waiter.done() or waiter.set_result(None))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it was our turn: pass it on
                self._wake()
            raise
        finally:
            timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        while self.ready and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _lease(self, most: int) -> list[Any]:
        received = []
        room = MAX_PULL_BYTES
        due = self._loop.time() + self.deadline
        while self.ready and len(received) < most:
            room -= self.ready[0].message.ByteSize()
            if room < 0 and received:
                break
            delivery = self.ready.popleft()
            delivery.attempts += 1
            delivery.due = due
            ack_id = f"{self._prefix}{next(self._serial)}"
            self.leased[ack_id] = delivery
            heapq.heappush(self._ends, (due, ack_id))
            attempt = delivery.attempts if self.counts else 0
            received.append(ReceivedMessage(ack_id=ack_id, message=delivery.message, delivery_attempt=attempt))
        self._arm()
        return received

    def _give_back(self, delivery: Delivery) -> None:
        limit = self.spec.dead_letter_policy.max_delivery_attempts or 5
        if not (self.counts and delivery.attempts >= limit and self._dead_letter(self, delivery)):
            self.ready.append(delivery)

    def _arm(self) -> None:
        if not self._ends or self.gone:
            return
        first = self._ends[0][0]
        if self._timer is None or first < self._timer.when():
            if self._timer:
                self._timer.cancel()
            self._timer = self._loop.call_at(first, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._ends and self._ends[0][0] <= now:
            due, ack_id = heapq.heappop(self._ends)
            delivery = self.leased.get(ack_id)
            if delivery is not None and delivery.due == due:
                del self.leased[ack_id]
                self._give_back(delivery)
        self._arm()
        self._wake()


@dataclass(slots=True, eq=False)
class Topic:
    """A topic and the subscriptions each message goes to."""

    spec: Any
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


class Broker:
    """Topics and subscriptions by name, and one method per call of the API."""

    def __init__(self, min_ack_deadline: int = MIN_ACK_DEADLINE) -> None:
        self.min_ack_deadline = min_ack_deadline
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        # Microseconds now: ids rise across restarts, so nobody mistakes a new message for one seen before.
        self._ids = itertools.count(time.time_ns() // 1_000)

    def topic(self, name: str) -> Topic:
        try:
            return self.topics[name]
        except KeyError:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Topic not found (resource={name}).") from None

    def subscription(self, name: str) -> Subscription:
        try:
            return self.subscriptions[name]
        except KeyError:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Subscription not found (resource={name}).") from None

    async def create_topic(self, request: Any, _: Any) -> Any:
        check_name(request.name, "topics")
        if request.name in self.topics:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Topic already exists")
        self.topics[request.name] = Topic(request)
        return request

    async def get_topic(self, request: Any, _: Any) -> Any:
        return self.topic(request.topic).spec

    async def list_topics(self, request: Any, _: Any) -> Any:
        names = sorted(name for name in self.topics if name.startswith(f"{request.project}/topics/"))
        rest = [name for name in names if name > request.page_token]
        page = rest[: request.page_size or MAX_MESSAGES]
        more = page[-1] if len(page) < len(rest) else ""
        return types.ListTopicsResponse.pb()(topics=[self.topics[name].spec for name in page], next_page_token=more)

    async def delete_topic(self, request: Any, _: Any) -> Any:
        topic = self.topic(request.topic)
        del self.topics[request.topic]
        for subscription in topic.subscriptions.values():
            subscription.spec.topic = DELETED_TOPIC
        return Empty()

    async def publish(self, request: Any, _: Any) -> Any:
        topic = self.topic(request.topic)
        check_publish(request)
        return PublishResponse(message_ids=self._hand_out(topic, request.messages))

    def _hand_out(self, topic: Topic, messages: Any) -> list[str]:
        milliseconds = time.time_ns() // 1_000_000
        for message in messages:
            message.message_id = str(next(self._ids))
            message.publish_time.FromMilliseconds(milliseconds)
        for subscription in topic.subscriptions.values():
            subscription.offer(messages)
        return [message.message_id for message in messages]

    async def create_subscription(self, spec: Any, _: Any) -> Any:
        check_subscription(spec, self.min_ack_deadline)
        if spec.name in self.subscriptions:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Subscription already exists")
        topic = self.topic(spec.topic)
        spec.ack_deadline_seconds = spec.ack_deadline_seconds or 10
        spec.state = types.Subscription.State.ACTIVE
        if not spec.HasField("message_retention_duration"):
            spec.message_retention_duration.FromSeconds(7 * 24 * 3600)
        subscription = Subscription(spec, self._dead_letter)
        self.subscriptions[spec.name] = topic.subscriptions[spec.name] = subscription
        return spec

    async def get_subscription(self, request: Any, _: Any) -> Any:
        return self.subscription(request.subscription).spec

    async def delete_subscription(self, request: Any, _: Any) -> Any:
        subscription = self.subscription(request.subscription)
        del self.subscriptions[request.subscription]
        topic = self.topics.get(subscription.spec.topic)
        if topic:
            topic.subscriptions.pop(request.subscription, None)
        subscription.close()
        return Empty()

    async def pull(self, request: Any, context: Any) -> Any:
        subscription = self.subscription(request.subscription)
        if request.max_messages <= 0:
            raise invalid("max_messages must be positive.")
        left = context.time_remaining()
        # An answer that leaves at the caller's deadline is lost with its leases: end a little before.
        wait = PULL_WAIT if left is None else max(0.0, min(PULL_WAIT, left - min(1.0, left / 2)))
        received = await subscription.take(
            min(request.max_messages, MAX_MESSAGES), 0.0 if request.return_immediately else wait
        )
        return PullResponse(received_messages=received)

    async def acknowledge(self, request: Any, _: Any) -> Any:
        subscription = self.subscription(request.subscription)
        check_ack_ids(request)
        subscription.acknowledge(request.ack_ids)
        return Empty()

    async def modify_ack_deadline(self, request: Any, _: Any) -> Any:
        subscription = self.subscription(request.subscription)
        check_ack_ids(request)
        if not 0 <= request.ack_deadline_seconds <= MAX_ACK_DEADLINE:
            raise invalid("ack_deadline_seconds is 0 to 600.")
        subscription.extend(request.ack_ids, request.ack_deadline_seconds)
        return Empty()

    def _dead_letter(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Whether the message went to the dead letter topic; without that topic it is delivered again."""
        topic = self.topics.get(subscription.spec.dead_letter_policy.dead_letter_topic)
        if topic is None:
            return False
        message = delivery.message
        attributes = dead_letter_attributes(message, subscription.spec.name, delivery.attempts)
        copy = PubsubMessage(data=message.data, attributes=attributes, ordering_key=message.ordering_key)
        self._hand_out(topic, [copy])
        return True


Call = Callable[[Any, Any], Awaitable[Any]]


def answering(call: Call) -> Call:
    """The call with its refusals turned into gRPC statuses."""

    async def answer(request: Any, context: Any) -> Any:
        try:
            return await call(request, context)
        except Refused as refused:
            await context.abort(refused.code, str(refused))

    return answer


def handlers(broker: Broker) -> list[grpc.GenericRpcHandler]:
    services: dict[str, dict[str, tuple[Call, Any]]] = {
        "google.pubsub.v1.Publisher": {
            "CreateTopic": (broker.create_topic, TopicSpec),
            "GetTopic": (broker.get_topic, types.GetTopicRequest.pb()),
            "ListTopics": (broker.list_topics, types.ListTopicsRequest.pb()),
            "DeleteTopic": (broker.delete_topic, types.DeleteTopicRequest.pb()),
            "Publish": (broker.publish, types.PublishRequest.pb()),
        },
        "google.pubsub.v1.Subscriber": {
            "CreateSubscription": (broker.create_subscription, SubscriptionSpec),
            "GetSubscription": (broker.get_subscription, types.GetSubscriptionRequest.pb()),
            "DeleteSubscription": (broker.delete_subscription, types.DeleteSubscriptionRequest.pb()),
            "Pull": (broker.pull, types.PullRequest.pb()),
            "Acknowledge": (broker.acknowledge, types.AcknowledgeRequest.pb()),
            "ModifyAckDeadline": (broker.modify_ack_deadline, types.ModifyAckDeadlineRequest.pb()),
        },
    }
    return [
        grpc.method_handlers_generic_handler(
            service,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    answering(call),
                    request_deserializer=request.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
                for name, (call, request) in calls.items()
            },
        )
        for service, calls in services.items()
    ]


async def serve(host: str, port: int, min_ack_deadline: int = MIN_ACK_DEADLINE) -> None:
    """Listens until SIGTERM or SIGINT."""
    options = [
        ("grpc.so_reuseport", 0),  # else a second broker would share the port in silence
        ("grpc.max_receive_message_length", 8 * MAX_REQUEST_BYTES),  # so that our answer names the limit
        ("grpc.max_send_message_length", -1),
    ]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(handlers(Broker(min_ack_deadline)))
    bound = server.add_insecure_port(f"{host}:{port}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    print(json.dumps({"ready": True, "port": bound}), flush=True)
    await stop.wait()
    await server.stop(None)


def main() -> None:
    parser = argparse.ArgumentParser(description="The Pub/Sub broker of Rowlift's local stack.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--min-ack-deadline", type=int, default=MIN_ACK_DEADLINE, help="seconds; lower only in tests")
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.port, options.min_ack_deadline))


if __name__ == "__main__":
    main()
