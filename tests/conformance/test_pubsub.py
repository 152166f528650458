"""What Rowlift relies on from Pub/Sub, asked of the embedded broker and of Google's emulator alike."""

import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from google.api_core import exceptions

from infra.local.emulator import find
from tests.conformance.brokers import (
    MODULES,
    PROJECT,
    ROOT,
    Clients,
    connected,
    only_embedded,
    start,
    stop,
    subscription_path,
    topic_path,
    until,
)

MISSING_TOPIC = topic_path("rowlift-missing")
MISSING_SUBSCRIPTION = subscription_path("rowlift-missing")


@pytest.fixture
def topic(broker: Clients) -> str:
    return broker.topic()


@pytest.fixture
def subscription(broker: Clients, topic: str) -> str:
    return broker.subscription(topic)


def test_a_topic_is_found_listed_and_deleted(broker: Clients) -> None:
    topic = broker.topic()
    assert broker.publisher.get_topic(topic=topic).name == topic
    assert topic in [one.name for one in broker.publisher.list_topics(project=f"projects/{PROJECT}")]
    broker.publisher.delete_topic(topic=topic)
    with pytest.raises(exceptions.NotFound):
        broker.publisher.get_topic(topic=topic)
    assert topic not in [one.name for one in broker.publisher.list_topics(project=f"projects/{PROJECT}")]


def test_topics_are_listed_in_pages(broker: Clients) -> None:
    made = {broker.topic() for _ in range(5)}
    request = {"project": f"projects/{PROJECT}", "page_size": 2}
    pages = list(broker.publisher.list_topics(request=request).pages)
    assert max(len(page.topics) for page in pages) == 2
    listed = [one.name for page in pages for one in page.topics]
    assert made <= set(listed)
    assert len(listed) == len(set(listed))


def test_a_subscription_is_found_and_deleted(broker: Clients, topic: str) -> None:
    path = broker.subscription(topic, ack_deadline_seconds=30)
    found = broker.subscriber.get_subscription(subscription=path)
    assert (found.name, found.topic, found.ack_deadline_seconds) == (path, topic, 30)
    broker.subscriber.delete_subscription(subscription=path)
    with pytest.raises(exceptions.NotFound):
        broker.subscriber.get_subscription(subscription=path)


def test_an_unset_ack_deadline_is_ten_seconds(broker: Clients, subscription: str) -> None:
    assert broker.subscriber.get_subscription(subscription=subscription).ack_deadline_seconds == 10


def test_names_are_taken_once(broker: Clients, topic: str, subscription: str) -> None:
    with pytest.raises(exceptions.AlreadyExists):
        broker.publisher.create_topic(name=topic)
    with pytest.raises(exceptions.AlreadyExists):
        broker.subscriber.create_subscription(request={"name": subscription, "topic": topic})


def test_what_is_missing_is_not_found(broker: Clients) -> None:
    calls = [
        lambda: broker.publish(MISSING_TOPIC, b"x"),
        lambda: broker.publisher.get_topic(topic=MISSING_TOPIC),
        lambda: broker.publisher.delete_topic(topic=MISSING_TOPIC),
        lambda: broker.subscription(MISSING_TOPIC),
        lambda: broker.pull(MISSING_SUBSCRIPTION),
        lambda: broker.subscriber.delete_subscription(subscription=MISSING_SUBSCRIPTION),
        lambda: broker.subscriber.acknowledge(subscription=MISSING_SUBSCRIPTION, ack_ids=["a"]),
        lambda: broker.subscriber.modify_ack_deadline(
            subscription=MISSING_SUBSCRIPTION, ack_ids=["a"], ack_deadline_seconds=10
        ),
    ]
    for call in calls:
        with pytest.raises(exceptions.NotFound):
            call()


@pytest.mark.parametrize("name", ["ab", "goog-topic", "1topic", "-topic", "to/pic", "to pic", "x" * 256, ""])
def test_a_bad_topic_name_is_invalid(broker: Clients, name: str) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        broker.publisher.create_topic(name=f"projects/{PROJECT}/topics/{name}", retry=None, timeout=5)


def test_the_longest_and_oddest_topic_name_is_valid(broker: Clients) -> None:
    path = topic_path("a" + "-_.~+%" + "9" * 248)
    assert broker.publisher.create_topic(name=path).name == path
    broker.publisher.delete_topic(topic=path)


def test_a_message_is_pulled_as_published_and_acknowledged(broker: Clients, topic: str, subscription: str) -> None:
    before = time.time()
    [message_id] = broker.publish(
        topic, {"data": b'{"items": [1]}', "attributes": {"pipeline": "artists"}, "ordering_key": "session"}
    )
    [received] = broker.pull_exactly(subscription, 1)
    message = received.message
    assert (message.data, dict(message.attributes)) == (b'{"items": [1]}', {"pipeline": "artists"})
    assert (message.message_id, message.ordering_key) == (message_id, "session")
    assert before - 1 < message.publish_time.timestamp() < time.time() + 1
    assert received.delivery_attempt == 0  # counted only with a dead letter policy
    broker.acknowledge(subscription, received)
    broker.set_deadline(subscription, 0, received)  # too late: it is settled
    assert broker.pull(subscription, timeout=1.5) == []


def test_text_and_bytes_survive(broker: Clients, topic: str, subscription: str) -> None:
    everything = bytes(range(256))
    names = {"名前": "Björk Guðmundsdóttir 🎤", "empty": ""}
    broker.publish(topic, {"data": everything, "attributes": names}, {"attributes": {"only": "attributes"}})
    received = broker.pull_exactly(subscription, 2)
    found = {one.message.data: dict(one.message.attributes) for one in received}
    assert found == {everything: names, b"": {"only": "attributes"}}


def test_every_subscription_gets_its_own_copy(broker: Clients, topic: str, subscription: str) -> None:
    other = broker.subscription(topic)
    broker.publish(topic, b"shared")
    [first] = broker.pull_exactly(subscription, 1)
    broker.acknowledge(subscription, first)
    [second] = broker.pull_exactly(other, 1)
    assert first.message.message_id == second.message.message_id
    assert first.ack_id != second.ack_id


def test_messages_before_the_subscription_are_not_delivered(broker: Clients, topic: str) -> None:
    broker.publish(topic, b"early")
    late = broker.subscription(topic)
    broker.publish(topic, b"in time")
    assert [one.message.data for one in broker.pull_exactly(late, 1)] == [b"in time"]
    assert broker.glance(late) == []


def test_a_thousand_messages_in_one_publish(broker: Clients, topic: str, subscription: str) -> None:
    sent = [str(number).encode() for number in range(1000)]
    ids = broker.publish(topic, *sent)
    assert len(set(ids)) == 1000
    received = broker.pull_exactly(subscription, 1000)
    assert {one.message.message_id: one.message.data for one in received} == dict(zip(ids, sent, strict=True))
    broker.acknowledge(subscription, *received)
    assert broker.glance(subscription) == []


def test_a_pull_brings_no_more_than_asked(broker: Clients, topic: str, subscription: str) -> None:
    broker.publish(topic, *[b"x"] * 5)
    assert len(broker.pull(subscription, most=3)) == 3
    assert len(broker.pull(subscription, most=3)) == 2


def test_a_waiting_pull_is_answered_when_a_message_comes(broker: Clients, topic: str, subscription: str) -> None:
    answers: list[tuple[float, int]] = []

    def wait() -> None:
        received = broker.pull(subscription, timeout=20)
        answers.append((time.monotonic(), len(received)))

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.3)
    assert answers == []
    published = time.monotonic()
    broker.publish(topic, b"now")
    waiting.join(5)
    [(answered, count)] = answers
    assert count == 1
    assert answered - published < 0.5


def test_a_pull_that_finds_nothing_ends_empty_before_its_deadline(broker: Clients, subscription: str) -> None:
    begun = time.monotonic()
    assert broker.pull(subscription, timeout=1.5) == []
    assert time.monotonic() - begun < 1.5
    begun = time.monotonic()
    assert broker.glance(subscription) == []
    assert time.monotonic() - begun < 0.5


def test_an_expired_lease_brings_the_message_back(broker: Clients, topic: str, subscription: str) -> None:
    [message_id] = broker.publish(topic, b"again")
    [first] = broker.pull_exactly(subscription, 1)
    assert broker.glance(subscription) == []
    leased = time.monotonic()
    broker.set_deadline(subscription, 1, first)
    [second] = until(lambda: broker.glance(subscription), "redelivery")
    assert time.monotonic() - leased > 0.9
    assert second.message.message_id == message_id
    assert second.ack_id != first.ack_id


def test_an_extended_lease_holds(broker: Clients, topic: str, subscription: str) -> None:
    broker.publish(topic, b"short", b"long")
    received = {one.message.data: one for one in broker.pull_exactly(subscription, 2)}
    broker.set_deadline(subscription, 1, *received.values())
    broker.set_deadline(subscription, 60, received[b"long"])
    back = until(lambda: broker.glance(subscription), "the short lease's end")
    assert [one.message.data for one in back] == [b"short"]
    assert broker.glance(subscription) == []


def test_a_message_given_back_comes_at_once(broker: Clients, topic: str, subscription: str) -> None:
    broker.publish(topic, b"again")
    [first] = broker.pull_exactly(subscription, 1)
    given_back = time.monotonic()
    broker.set_deadline(subscription, 0, first)
    [second] = broker.pull_exactly(subscription, 1)
    assert time.monotonic() - given_back < 1
    assert second.message.data == b"again"


def test_deliveries_are_counted_with_a_dead_letter_policy(broker: Clients, topic: str) -> None:
    dead = broker.topic()
    graveyard = broker.subscription(dead)
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
    path = broker.subscription(topic, dead_letter_policy=policy)
    [message_id] = broker.publish(topic, {"data": b"poison", "attributes": {"pipeline": "artists"}})
    counts = []
    for _ in range(5):
        [received] = broker.pull_exactly(path, 1)
        counts.append(received.delivery_attempt)
        published = received.message.publish_time
        broker.set_deadline(path, 0, received)
    assert counts == [1, 2, 3, 4, 5]
    assert broker.glance(path) == []  # Google's emulator forwards it only when asked for more
    [letter] = broker.pull_exactly(graveyard, 1)
    attributes = dict(letter.message.attributes)
    marked = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert marked == published.strftime("%Y-%m-%dT%H:%M:%S.") + f"{published.microsecond // 1000:03}Z"
    assert attributes == {
        "pipeline": "artists",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": path.rsplit("/", 1)[1],
        "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT,
    }
    assert letter.message.data == b"poison"
    assert letter.message.message_id != message_id


def test_a_subscription_outlives_its_topic(broker: Clients, topic: str, subscription: str) -> None:
    broker.publish(topic, b"left")
    broker.publisher.delete_topic(topic=topic)
    assert broker.subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    assert [one.message.data for one in broker.pull_exactly(subscription, 1)] == [b"left"]


def test_bad_requests_are_invalid(broker: Clients, topic: str, subscription: str) -> None:
    broker.publish(topic, b"one")
    [received] = broker.pull_exactly(subscription, 1)
    calls = {
        "no message": lambda: broker.publish(topic),
        "an empty message": lambda: broker.publish(topic, {"data": b""}),
        "too many messages": lambda: broker.publish(topic, *[b"x"] * 1001),
        "none asked for": lambda: broker.pull(subscription, most=0),
        "no ack id": lambda: broker.acknowledge(subscription),
        "a made up ack id": lambda: broker.subscriber.acknowledge(subscription=subscription, ack_ids=["x"]),
        "below zero": lambda: broker.set_deadline(subscription, -1, received),
    }
    for what, call in calls.items():
        try:
            call()
        except exceptions.InvalidArgument:
            continue
        pytest.fail(f"accepted: {what}")


def test_limits_of_a_message(strict_broker: Clients, topic: str, subscription: str) -> None:
    refused = [
        {f"name{number}": "x" for number in range(101)},
        {"name": "x" * 1025},
        {"name": "é" * 513},  # bytes count, not characters
        {"x" * 257: "value"},
        {"googname": "value"},
        {"": "value"},
    ]
    for attributes in refused:
        with pytest.raises(exceptions.InvalidArgument):
            strict_broker.publish(topic, b"fine", {"data": b"x", "attributes": attributes})
    for message in ({"data": b"x", "ordering_key": "x" * 1025}, {"ordering_key": "alone"}):
        with pytest.raises(exceptions.InvalidArgument):
            strict_broker.publish(topic, message)
    assert strict_broker.glance(subscription) == []  # a refused publish takes none of its messages
    most = {f"name{number}": "x" * 1024 for number in range(98)} | {"x" * 256: "", "googclient_traceparent": "00"}
    strict_broker.publish(topic, {"attributes": most})
    assert dict(strict_broker.pull_exactly(subscription, 1)[0].message.attributes) == most


def test_limits_of_size(strict_broker: Clients, topic: str, subscription: str) -> None:
    for messages in ([b"x" * 10_000_001], [b"x" * 6_000_000] * 2):
        with pytest.raises(exceptions.InvalidArgument):
            strict_broker.publish(topic, *messages)
    strict_broker.publish(topic, b"x" * 9_999_000)
    assert len(strict_broker.pull_exactly(subscription, 1)[0].message.data) == 9_999_000


def test_limits_of_an_ack_deadline(strict_broker: Clients, topic: str, subscription: str) -> None:
    for seconds in (9, 601):
        with pytest.raises(exceptions.InvalidArgument):
            strict_broker.subscription(topic, ack_deadline_seconds=seconds)
    strict_broker.publish(topic, b"one")
    [received] = strict_broker.pull_exactly(subscription, 1)
    with pytest.raises(exceptions.InvalidArgument):
        strict_broker.set_deadline(subscription, 601, received)


@pytest.mark.parametrize(
    "settings", [{"filter": 'attributes.a = "b"'}, {"push_config": {"push_endpoint": "http://127.0.0.1:1/"}}]
)
def test_what_the_embedded_broker_lacks_it_says(broker: Clients, topic: str, settings: dict) -> None:
    only_embedded(broker, "Google's emulator accepts these")
    with pytest.raises(exceptions.MethodNotImplemented):
        broker.subscription(topic, **settings)


def test_a_cancelled_pull_takes_no_message_with_it(broker: Clients, topic: str, subscription: str) -> None:
    only_embedded(broker, "Google's emulator 0.8.20 does not notice that a Pull was cancelled")
    transport = broker.subscriber.transport
    pull = transport.grpc_channel.unary_unary(
        "/google.pubsub.v1.Subscriber/Pull", request_serializer=lambda text: text, response_deserializer=bytes
    )
    name = subscription.encode()
    waiting = [pull.future(b"\x0a" + bytes([len(name)]) + name + b"\x18\x0a", timeout=10) for _ in range(3)]
    assert broker.glance(subscription) == []  # the broker has seen what was sent before
    for one in waiting:
        one.cancel()
    assert broker.glance(subscription) == []
    broker.publish(topic, b"kept")
    assert len(broker.pull_exactly(subscription, 1)) == 1


def test_two_embedded_brokers_do_not_share_a_port(broker: Clients) -> None:
    only_embedded(broker, "about the embedded broker alone")
    arguments = [sys.executable, "-m", MODULES["embedded"], "--port", str(broker.port)]
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert ended.returncode != 0
    assert ended.stdout == ""


def test_sigterm_ends_a_broker_and_all_it_started(kind: str) -> None:
    process, _ = start(MODULES[kind], "--port", "0")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == (1 if kind == "gcloud" else 0)
    assert stop(process) < 2  # 0.1 s on an idle machine
    gone, alive = psutil.wait_procs(children, 1)
    assert (len(gone), alive) == (len(children), [])


def test_a_waiting_pull_does_not_delay_the_end() -> None:
    process, ready = start(MODULES["embedded"], "--port", "0")
    with connected("embedded", ready["port"]) as clients:
        path = clients.subscription(clients.topic())
        outcomes: list[object] = []

        def wait() -> None:
            try:
                outcomes.append(clients.pull(path, timeout=20))
            except exceptions.GoogleAPICallError as error:
                outcomes.append(error.code)

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        took = stop(process)
        waiting.join(5)
    assert took < 2
    assert len(outcomes) == 1


@pytest.mark.gcloud
def test_a_killed_parent_takes_java_along() -> None:
    if find() is None:
        pytest.skip("Google's emulator is not installed")
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent died")
    process, _ = start(MODULES["gcloud"], "--port", "0")
    [java] = psutil.Process(process.pid).children()
    stop(process, signal.SIGKILL)
    until(lambda: not java.is_running() or java.status() == psutil.STATUS_ZOMBIE, "the end of Java", 3)
