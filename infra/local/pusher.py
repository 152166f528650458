"""Pushes as the real Pub/Sub does, in front of any broker that can be pulled from.

`python -m infra.local.pusher --config FILE.json` (a PushConfig) prints `{"ready": true}` once all subscriptions exist.

For each subscription it pulls, posts the push envelope, and gives what Google's emulator leaves out: parallelism,
`deliveryAttempt`, cancelling at the ack deadline, retry policy, dead-lettering. A message in its hands stays leased on
the broker and is extended, so that after a crash it comes back. Delivery attempts are counted here and start anew with
a new pusher. asyncio rather than threads: a push costs a task, not two thread switches.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import logging
import random
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.pubsub_v1 import types

from infra.local.http_post import Endpoint
from infra.local.pubsub_rules import dead_letter_attributes
from infra.local.push_config import Faults, PushConfig, PushSubscription

__all__ = ["Faults", "PushConfig", "PushSubscription", "Pusher"]

log = logging.getLogger("pusher")

ACCEPTED = frozenset({102, 200, 201, 202, 204})
HEADERS = {
    "User-Agent": "CloudPubSub-Google",
    "From": "noreply@google.com",
    "Accept": "application/json",
    "Content-Type": "application/json",
    "Authorization": "Bearer local-stack.not-a-token",
}
BATCH = 1_000  # ids per request, and messages per pull
MOST_HELD = 10_000  # per subscription, those that wait for their backoff included
# Both brokers answer an empty Pull a second before this. Google's emulator 0.8.20 does not notice when a Pull's caller
# is gone and may still lease messages to it, so a long one would delay what a restarted pusher gets.
PULL_TIMEOUT = 6.0
CALL_TIMEOUT = 10.0
ACK_DELAY = 0.02  # acknowledgements gather this long
PAUSE = 0.2  # after the broker failed
LEAVE_TIMEOUT = 0.5
UNREACHABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class Broker:
    """The few calls of google.pubsub.v1 a pusher makes, on bare protobuf messages."""

    def __init__(self, config: PushConfig) -> None:
        self._config = config
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        self.channel = grpc.aio.insecure_channel(config.host, options=options)
        self._create_topic = self._call("Publisher/CreateTopic", types.Topic)
        self._create_subscription = self._call("Subscriber/CreateSubscription", types.Subscription)
        self._pull = self._call("Subscriber/Pull", types.PullResponse)
        self._publish = self._call("Publisher/Publish", types.PublishResponse)
        self._acknowledge = self._call("Subscriber/Acknowledge")
        self._modify = self._call("Subscriber/ModifyAckDeadline")

    def _call(self, name: str, answer: Any = None) -> Any:
        answer = empty_pb2.Empty if answer is None else answer.pb()
        return self.channel.unary_unary(
            f"/google.pubsub.v1.{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    async def create(self, made: Callable[[str], None]) -> None:
        """Makes every topic and subscription that is missing; `made` is told the path of each new subscription."""
        config = self._config
        # A subscription directly after its topic: what is published between the two is lost.
        for topic in config.topics():
            await self._unless_there(self._create_topic(types.Topic.pb()(name=topic), timeout=CALL_TIMEOUT))
            for path in (config.subscription_path(e.name) for e in config.subscriptions_of(topic)):
                spec = types.Subscription.pb()(name=path, topic=topic, ack_deadline_seconds=config.lease)
                if await self._unless_there(self._create_subscription(spec, timeout=CALL_TIMEOUT)):
                    made(path)

    async def _unless_there(self, call: Awaitable[Any]) -> bool:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
            return False
        return True

    async def pull(self, path: str, most: int) -> Sequence[Any]:
        request = types.PullRequest.pb()(subscription=path, max_messages=most)
        return (await self._pull(request, timeout=PULL_TIMEOUT)).received_messages

    async def publish(self, topic: str, message: Any) -> None:
        await self._publish(types.PublishRequest.pb()(topic=topic, messages=[message]), timeout=CALL_TIMEOUT)

    async def acknowledge(self, path: str, ack_ids: list[str]) -> None:
        for start in range(0, len(ack_ids), BATCH):
            request = types.AcknowledgeRequest.pb()(subscription=path, ack_ids=ack_ids[start : start + BATCH])
            await self._acknowledge(request, timeout=CALL_TIMEOUT)

    async def extend(self, path: str, ack_ids: list[str], seconds: int) -> None:
        for start in range(0, len(ack_ids), BATCH):
            request = types.ModifyAckDeadlineRequest.pb()(
                subscription=path, ack_ids=ack_ids[start : start + BATCH], ack_deadline_seconds=seconds
            )
            await self._modify(request, timeout=CALL_TIMEOUT)


@dataclass(slots=True, eq=False)
class Held:
    """A message in the pusher's hands."""

    message: Any
    ack_id: str | None = None  # None: the broker knows nothing of it (any more)
    copy: bool = False  # the second of a message delivered twice on purpose; nobody asks how it ends
    attempt: int = 0


def envelope(message: Any, subscription: str, attempt: int | None) -> bytes:
    """The body of a push request; `attempt` only with a dead letter policy."""
    published = message.publish_time.ToJsonString()
    content: dict[str, Any] = {"attributes": dict(message.attributes)}
    if message.data:
        content["data"] = base64.b64encode(message.data).decode("ascii")
    content |= {"messageId": message.message_id, "message_id": message.message_id}
    content |= {"publishTime": published, "publish_time": published}
    if message.ordering_key:
        content["orderingKey"] = message.ordering_key
    body: dict[str, Any] = {"message": content, "subscription": subscription}
    if attempt is not None:
        body["deliveryAttempt"] = attempt
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


class Feed:
    """One subscription: pull, push, retry, settle."""

    def __init__(self, entry: PushSubscription, pusher: "Pusher") -> None:
        self.entry = entry
        self.path = pusher.config.subscription_path(entry.name)
        self.endpoint = Endpoint(entry.endpoint, HEADERS)
        self.ready: deque[Held] = deque()
        self.held: dict[str, Held] = {}  # by message id
        self._pusher = pusher
        self._broker = pusher.broker
        self._faults = pusher.config.faults
        self._random = random.Random(f"{self._faults.seed} {entry.name}")
        self._loop = asyncio.get_running_loop()
        self._pushes = 0
        self._tasks: asyncio.TaskGroup | None = None  # while running
        self._room = asyncio.Event()
        self._acks: list[str] = []
        self._settled = asyncio.Event()
        self._life = 0  # of the subscription on the broker, as far as known here
        self._healthy = True

    async def run(self) -> None:
        """Pulls and pushes for ever; a fault of the pusher's own ends it."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while True:
                    await self._pull()
        finally:
            self._tasks = None
            self.endpoint.close()

    async def _pull(self) -> None:
        while (room := self._capacity()) <= 0:
            self._room.clear()
            await self._room.wait()
        try:
            received = await self._broker.pull(self.path, min(room, BATCH))
        except grpc.aio.AioRpcError as error:
            await self._recover(error)
        else:
            for one in received:
                self._accept(one)
            self._start()

    def _capacity(self) -> int:
        """Messages to ask for: some more than can be pushed at once, so that no push waits for the broker."""
        if len(self.ready) >= self.entry.parallel:
            return 0
        return min(4 * self.entry.parallel - len(self.ready), MOST_HELD - len(self.held))

    async def _recover(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            await self._pusher.create()
        elif error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
            await asyncio.sleep(PAUSE)

    def _accept(self, received: Any) -> None:
        message = received.message
        known = self.held.get(message.message_id)
        if known is not None:  # its lease was lost; the push goes on
            known.ack_id = received.ack_id
            return
        held = Held(message, received.ack_id)
        self.held[message.message_id] = held
        self._queue(held)
        if self._faults.duplicate and self._random.random() < self._faults.duplicate:
            self._queue(Held(message, copy=True))

    def _queue(self, held: Held) -> None:
        if self._faults.late and self._random.random() < self._faults.late:
            self._loop.call_later(self._random.uniform(0, self._faults.late_by), self._again, held)
        else:
            self.ready.append(held)

    def _start(self) -> None:
        while self._tasks and self.ready and self._pushes < self.entry.parallel:
            self._pushes += 1
            self._tasks.create_task(self._deliver(self.ready.popleft()))

    async def _deliver(self, held: Held) -> None:
        held.attempt += 1
        reason = await self._push(held)
        self._pushes -= 1
        self._start()
        self._room.set()
        if not held.copy:
            await self._conclude(held, reason)

    async def _conclude(self, held: Held, reason: str | None) -> None:
        if reason is None:
            self._settle(held)
        elif held.attempt >= (self.entry.max_delivery_attempts or sys.maxsize):
            await self._dead_letter(held, reason)
        else:
            self._retry(held)

    async def _push(self, held: Held) -> str | None:
        """Why the delivery was not accepted, None when it was."""
        if self._faults.refuse and self._random.random() < self._faults.refuse:
            return "refused on purpose"
        attempt = held.attempt if self.entry.dead_letter_topic else None
        try:
            status = await self.endpoint.post(envelope(held.message, self.path, attempt), self.entry.ack_deadline)
        except TimeoutError:
            return self._note("no answer within the ack deadline")
        except OSError as error:
            return self._note(type(error).__name__)
        if status not in ACCEPTED:
            return self._note(f"status {status}")
        if not self._healthy:
            self._healthy = True
            log.info("%s accepts pushes again", self.entry.name)
        return None

    def _note(self, reason: str) -> str:
        if self._healthy:  # once, not for each of thousands
            self._healthy = False
            log.warning("%s: a push to %s was not accepted: %s", self.entry.name, self.entry.endpoint, reason)
        return reason

    def _retry(self, held: Held) -> None:
        self._loop.call_later(self.entry.backoff(held.attempt), self._again, held)

    def _again(self, held: Held) -> None:
        self.ready.append(held)
        self._start()

    async def _dead_letter(self, held: Held, reason: str) -> None:
        """Forwards the message and settles it; as long as that fails it is delivered again, like anything refused."""
        message = held.message
        attributes = dead_letter_attributes(message, self.path, held.attempt)
        copy = types.PubsubMessage.pb()(data=message.data, attributes=attributes, ordering_key=message.ordering_key)
        try:
            await self._broker.publish(self._pusher.config.topic_path(self.entry.dead_letter_topic), copy)
        except grpc.aio.AioRpcError as error:
            log.warning("%s: message %s cannot be dead-lettered: %s", self.entry.name, message.message_id, error.code())
            if error.code() == grpc.StatusCode.NOT_FOUND:
                await self._pusher.create()
            self._retry(held)
        else:
            log.warning("%s: message %s is a dead letter: %s", self.entry.name, message.message_id, reason)
            self._settle(held)

    def _settle(self, held: Held) -> None:
        if self.held.get(held.message.message_id) is held:
            del self.held[held.message.message_id]
        if held.ack_id:
            self._acks.append(held.ack_id)
            self._settled.set()

    async def settle(self) -> None:
        """Acknowledges for ever, many messages at a time."""
        while True:
            await self._settled.wait()
            await asyncio.sleep(ACK_DELAY)
            self._settled.clear()
            if not await self.flush():
                await asyncio.sleep(PAUSE)
                self._settled.set()

    async def flush(self) -> bool:
        """Whether the gathered acknowledgements reached the broker, or never can."""
        life = self._life
        acks, self._acks = self._acks, []
        try:
            await self._broker.acknowledge(self.path, acks)
        except grpc.aio.AioRpcError as error:
            if error.code() not in UNREACHABLE:
                return True
            if life == self._life:
                self._acks += acks
            return False
        return True

    async def extend(self, seconds: int) -> None:
        """New leases for all that is held; 0 gives all of it back."""
        ack_ids = [held.ack_id for held in self.held.values() if held.ack_id]
        try:
            await self._broker.extend(self.path, ack_ids, seconds)
        except grpc.aio.AioRpcError as error:
            log.info("%s: leases were not extended: %s", self.entry.name, error.code())

    def forget(self) -> None:
        """Drops what the broker's lost state meant: old ids may name new messages. Pushes in hand go on."""
        self._life += 1
        self._acks.clear()
        for held in self.held.values():
            held.ack_id = None
        self.held.clear()


class Pusher:
    """All subscriptions of a config, pushed until cancelled."""

    def __init__(self, config: PushConfig) -> None:
        self.config = config
        self.broker = Broker(config)
        self._feeds = {feed.path: feed for feed in (Feed(entry, self) for entry in config.subscriptions)}
        self._creating = asyncio.Lock()

    async def create(self) -> None:
        """Every topic and subscription there, however long the broker takes to come up."""
        async with self._creating:
            while True:
                try:
                    return await self.broker.create(lambda path: self._feeds[path].forget())
                except grpc.aio.AioRpcError as error:
                    if error.code() not in UNREACHABLE:
                        raise
                    await asyncio.sleep(PAUSE)

    async def run(self) -> None:
        """Pushes for ever; any fault of the pusher's own ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_leases())
            for feed in self._feeds.values():
                tasks.create_task(feed.run())
                tasks.create_task(feed.settle())

    async def leave(self) -> None:
        """Acknowledges what is done and gives the rest back, as far as the broker answers quickly."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await asyncio.gather(*(feed.flush() for feed in self._feeds.values()))
                await asyncio.gather(*(feed.extend(0) for feed in self._feeds.values()))
        await self.broker.channel.close()

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.config.lease / 3)
            await asyncio.gather(*(feed.extend(self.config.lease) for feed in self._feeds.values()))


async def serve(config: PushConfig) -> None:
    """Pushes until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pusher = Pusher(config)
    running = asyncio.create_task(_announce_and_run(pusher))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    running.cancel()
    await asyncio.wait([running])
    await pusher.leave()


async def _announce_and_run(pusher: Pusher) -> None:
    await pusher.create()
    print(json.dumps({"ready": True}), flush=True)
    await pusher.run()


def main() -> None:
    parser = argparse.ArgumentParser(description="Pushes Pub/Sub messages to the functions of the local stack.")
    parser.add_argument("--config", required=True, help="JSON file: a PushConfig")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s pusher %(message)s")
    try:
        config = PushConfig.from_file(options.config)
    except (OSError, TypeError, ValueError) as error:
        raise SystemExit(f"{options.config}: {error}") from None
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
