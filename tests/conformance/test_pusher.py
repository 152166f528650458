"""The pusher in front of both brokers: it must do to a function what the real Pub/Sub's push does."""

import base64
import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions

from infra.local.emulator import free_port
from infra.local.push_config import Faults, PushConfig, PushSubscription
from tests.conformance.brokers import (
    MODULES,
    PROJECT,
    ROOT,
    Clients,
    connected,
    only_embedded,
    running,
    start,
    stop,
    subscription_path,
    topic_path,
    unique,
    until,
)
from tests.conformance.push_target import Push, Target, listening

PUBLISH_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
REFUSED = (203, 301, 400, 404, 429, 500, 503)
ACCEPTED = (102, 200, 201, 202, 204)
QUICK = {"min_backoff": 0.05, "max_backoff": 0.2}


@contextlib.contextmanager
def pushing(host: str, folder: Path, *entries: PushSubscription, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A pusher's process with these subscriptions."""
    config = PushConfig(host=host, project=PROJECT, subscriptions=entries, **settings)
    path = folder / f"{unique('pusher')}.json"
    path.write_text(json.dumps(config.to_dict()))
    process, ready = start("infra.local.pusher", "--config", str(path))
    try:
        assert ready == {"ready": True}
        yield process
    finally:
        stop(process)


def entry(target: Target, word: str, **settings: Any) -> PushSubscription:
    """A subscription that pushes to the path of its name, with quick retries unless told otherwise."""
    name = unique(word)
    return PushSubscription(name=name, topic=name, endpoint=target.url(f"/{name}"), **{**QUICK, **settings})


def data_of(push: Push) -> bytes:
    return base64.b64decode(push.body["message"].get("data", ""))


class Bench:
    """One broker, one target and one pusher that all tests of this file share, each with its own subscription."""

    def __init__(self, broker: Clients, target: Target) -> None:
        self.broker = broker
        self.target = target
        dead = unique("dead-topic")
        self.entries = {
            "plain": entry(target, "plain", parallel=16),
            "patient": entry(target, "patient", min_backoff=0.15, max_backoff=0.6),
            "counted": entry(target, "counted", max_delivery_attempts=3, dead_letter_topic=dead),
            "strict": entry(target, "strict", ack_deadline=0.5),
            "wide": entry(target, "wide", parallel=8),
        }
        name = unique("dead")
        self.entries["dead"] = PushSubscription(name=name, topic=dead, endpoint=target.url(f"/{name}"), **QUICK)

    def path(self, word: str) -> str:
        return f"/{self.entries[word].name}"

    def publish(self, word: str, *messages: bytes | dict[str, Any]) -> list[str]:
        return self.broker.publish(topic_path(self.entries[word].topic), *messages)

    def pushes_of(self, word: str, ids: list[str], count: int) -> list[Push]:
        """The pushes of these messages, once there are that many."""

        def found() -> list[Push]:
            return [push for push in self.target.pushes(self.path(word)) if push.message_id in ids]

        until(lambda: len(found()) >= count, f"{count} pushes of {ids} to {word}")
        return found()


@pytest.fixture(scope="module")
def bench(broker: Clients, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with listening() as target:
        made = Bench(broker, target)
        with pushing(broker.host, tmp_path_factory.mktemp("bench"), *made.entries.values()):
            yield made


def test_the_envelope_is_the_real_one(bench: Bench) -> None:
    [message_id] = bench.publish(
        "plain", {"data": b'{"items": [1]}', "attributes": {"name": "Björk 🎤"}, "ordering_key": "session"}
    )
    [push] = bench.pushes_of("plain", [message_id], 1)
    published = push.body["message"]["publishTime"]
    assert PUBLISH_TIME.fullmatch(published)
    assert push.body == {
        "message": {
            "data": base64.b64encode(b'{"items": [1]}').decode(),
            "attributes": {"name": "Björk 🎤"},
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
            "orderingKey": "session",
        },
        "subscription": subscription_path(bench.entries["plain"].name),
    }
    assert push.headers["Content-Type"] == "application/json"
    assert re.fullmatch(r"Bearer \S+", push.headers["Authorization"])


def test_a_bare_message_has_no_data_and_no_ordering_key(bench: Bench) -> None:
    ids = bench.publish("plain", {"attributes": {"only": "this"}}, b"data only")
    pushes = {push.message_id: push.body["message"] for push in bench.pushes_of("plain", ids, 2)}
    assert "data" not in pushes[ids[0]]
    assert pushes[ids[1]]["attributes"] == {}
    assert not any("orderingKey" in message for message in pushes.values())


def test_a_push_follows_its_publish_closely(bench: Bench) -> None:
    latencies = []
    for _ in range(8):
        begun = time.monotonic()
        ids = bench.publish("plain", b"quick")
        latencies.append(bench.pushes_of("plain", ids, 1)[0].came - begun)
    # Google's emulator looks for new messages every 50 ms or so. Not the median: machines have neighbours.
    assert sorted(latencies)[2] < (0.03 if bench.broker.kind == "embedded" else 0.15)


def test_only_five_statuses_acknowledge(bench: Bench) -> None:
    bench.target.answers[bench.path("plain")] = lambda push: int(data_of(push)) if push.count == 1 else 204
    statuses = [*ACCEPTED, *REFUSED]
    ids = bench.publish("plain", *[str(status).encode() for status in statuses])
    wanted = {message_id: 1 if status in ACCEPTED else 2 for message_id, status in zip(ids, statuses, strict=True)}
    pushes = bench.pushes_of("plain", ids, sum(wanted.values()))
    del bench.target.answers[bench.path("plain")]
    assert {message_id: max(p.count for p in pushes if p.message_id == message_id) for message_id in ids} == wanted


def test_retries_wait_longer_each_time(bench: Bench) -> None:
    bench.target.answers[bench.path("patient")] = lambda push: 500 if push.count < 5 else 200
    ids = bench.publish("patient", b"again")
    came = [push.came for push in bench.pushes_of("patient", ids, 5)]
    waits = [later - earlier for earlier, later in itertools.pairwise(came)]
    for wait, least in zip(waits, [0.15, 0.3, 0.6, 0.6], strict=True):
        assert least - 0.01 <= wait < least + 0.5


def test_a_refused_message_holds_up_no_other(bench: Bench) -> None:
    bench.target.answers[bench.path("patient")] = lambda push: (
        500 if data_of(push) == b"bad" and push.count < 3 else 200
    )
    bad = bench.publish("patient", b"bad")
    bench.pushes_of("patient", bad, 1)
    good = bench.publish("patient", *[b"good"] * 20)
    last = max(push.came for push in bench.pushes_of("patient", good, 20))
    assert last < bench.pushes_of("patient", bad, 3)[2].came


def test_attempts_rise_until_the_message_is_a_dead_letter(bench: Bench) -> None:
    bench.target.answers[bench.path("counted")] = lambda _: 500
    ids = bench.publish("counted", {"data": b"poison", "attributes": {"pipeline": "artists"}, "ordering_key": "s"})
    earlier = {push.message_id for push in bench.target.pushes(bench.path("dead"))}
    [letter] = until(
        lambda: [push for push in bench.target.pushes(bench.path("dead")) if push.message_id not in earlier], "a letter"
    )
    pushes = bench.pushes_of("counted", ids, 3)
    assert [push.body["deliveryAttempt"] for push in pushes] == [1, 2, 3]
    assert letter.body["message"]["attributes"] == {
        "pipeline": "artists",
        "CloudPubSubDeadLetterSourceDeliveryCount": "3",
        "CloudPubSubDeadLetterSourceSubscription": bench.entries["counted"].name,
        "CloudPubSubDeadLetterSourceSubscriptionProject": PROJECT,
        "CloudPubSubDeadLetterSourceTopicPublishTime": pushes[0].body["message"]["publishTime"],
    }
    assert (data_of(letter), letter.body["message"]["orderingKey"]) == (b"poison", "s")
    assert letter.message_id not in ids
    assert "deliveryAttempt" not in letter.body


def test_a_message_saved_on_its_last_attempt_is_no_dead_letter(bench: Bench) -> None:
    letters = len(bench.target.pushes(bench.path("dead")))
    bench.target.answers[bench.path("counted")] = lambda push: (
        204 if push.count == 3 or data_of(push) == b"end" else 503
    )
    ids = bench.publish("counted", b"saved")
    assert bench.pushes_of("counted", ids, 3)[-1].body["deliveryAttempt"] == 3
    end = bench.publish("counted", b"end")
    bench.pushes_of("counted", end, 1)
    assert len(bench.target.pushes(bench.path("dead"))) == letters


def test_a_request_is_cancelled_at_the_ack_deadline(bench: Bench) -> None:
    bench.target.answers[bench.path("strict")] = lambda push: push.wait_for_cancel() if push.count == 1 else 204
    ids = bench.publish("strict", b"slow")
    first, second = bench.pushes_of("strict", ids, 2)
    assert first.left is not None
    assert 0.45 < first.left - first.came < 1.5
    assert second.came >= first.left


def test_slow_handlers_overlap_up_to_the_width(bench: Bench) -> None:
    together = threading.Barrier(8, timeout=8)
    lock = threading.Lock()
    inside, peak = 0, 0

    def meet(_: Push) -> int:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
        try:
            together.wait()  # opens only for eight at a time
        finally:
            with lock:
                inside -= 1
        return 204

    bench.target.answers[bench.path("wide")] = meet
    ids = bench.publish("wide", *[b"slow"] * 24)
    assert len(bench.pushes_of("wide", ids, 24)) == 24
    until(lambda: inside == 0, "the last handlers")
    assert peak == 8


def test_more_messages_than_it_takes_at_a_time_arrive_once_each(bench: Bench) -> None:
    ids = bench.publish("plain", *[b"x"] * 500)
    assert sorted(push.message_id for push in bench.pushes_of("plain", ids, 500)) == sorted(ids)


def test_a_function_that_is_down_gets_its_messages_later(broker: Clients, tmp_path: Path) -> None:
    port = free_port()
    name = unique("down")
    down = PushSubscription(name=name, topic=name, endpoint=f"http://127.0.0.1:{port}/late", **QUICK)
    with pushing(broker.host, tmp_path, down):
        ids = broker.publish(topic_path(name), *[b"x"] * 30)
        with pytest.raises(AssertionError), listening() as nobody:
            nobody.wait_for("/late", 1, timeout=0.3)
        with listening(port) as target:
            pushes = target.wait_for("/late", 30)
    assert sorted(push.message_id for push in pushes) == sorted(ids)


def test_sigterm_settles_what_is_done_and_gives_the_rest_back(broker: Clients, tmp_path: Path) -> None:
    only_embedded(broker, "Google's emulator 0.8.20 leases what is given back to the Pull that was just cancelled")
    with listening() as target:
        leaving = entry(target, "leaving", ack_deadline=60)
        path = f"/{leaving.name}"
        target.answers[path] = lambda push: push.wait_for_cancel() if data_of(push) == b"held" else 204
        with pushing(broker.host, tmp_path, leaving) as pusher:
            broker.publish(topic_path(leaving.topic), b"held", *[b"done"] * 20)
            target.wait_for(path, 21)
            assert stop(pusher) < 2
        [held] = [push for push in target.pushes(path) if data_of(push) == b"held"]
        until(lambda: held.left, "the cancelled request")
    back = broker.pull(subscription_path(leaving.name))
    assert [one.message.data for one in back] == [b"held"]
    assert broker.glance(subscription_path(leaving.name)) == []


def test_a_lease_is_kept_while_a_push_runs_and_ends_with_a_killed_pusher(tmp_path: Path) -> None:
    # Embedded only: Google's emulator has no leases under ten seconds, and both take part in the lease tests.
    with running("embedded", "--min-ack-deadline", "1") as broker, listening() as target:
        long = entry(target, "long", ack_deadline=60)
        path = subscription_path(long.name)
        target.answers[f"/{long.name}"] = lambda push: push.wait_for_cancel()
        with pushing(broker.host, tmp_path, long, lease=1) as pusher:
            [message_id] = broker.publish(topic_path(long.topic), b"x")
            [push] = target.wait_for(f"/{long.name}", 1)
            assert broker.pull(path, timeout=3.5) == []  # two and a half leases long
            assert len(target.pushes(f"/{long.name}")) == 1
            stop(pusher, signal.SIGKILL)
        [back] = broker.pull_exactly(path, 1)
        assert back.message.message_id == message_id
        until(lambda: push.left, "the cut request")


def test_a_broker_that_lost_everything_is_set_up_again(kind: str, tmp_path: Path) -> None:
    port = free_port()
    with listening() as target, connected(kind, port) as broker:
        lost = entry(target, "lost", ack_deadline=60, max_delivery_attempts=5, dead_letter_topic=unique("lost-dead"))
        path, topic = f"/{lost.name}", topic_path(lost.topic)
        hold = threading.Event()
        target.answers[path] = lambda push: 204 if data_of(push) != b"held" or hold.wait(30) else 500
        first, _ = start(MODULES[kind], "--port", str(port))
        try:
            with pushing(broker.host, tmp_path, lost) as pusher:
                broker.publish(topic, b"held")
                target.wait_for(path, 1)
                stop(first, signal.SIGKILL)
                first, _ = start(MODULES[kind], "--port", str(port))

                def made_again() -> bool:
                    with contextlib.suppress(exceptions.NotFound, exceptions.ServiceUnavailable):
                        return bool(broker.subscriber.get_subscription(subscription=subscription_path(lost.name)))
                    return False

                until(made_again, "the subscription")
                # Google's emulator numbers messages from 1 again: this one has the id of the one in hand.
                broker.publish(topic, b"new")
                pushes = target.wait_for(path, 2)
                assert [data_of(push) for push in pushes] == [b"held", b"new"]
                hold.set()
                broker.publish(topic, b"newer")
                assert data_of(target.wait_for(path, 3)[2]) == b"newer"
                assert broker.publisher.get_topic(topic=topic_path(lost.dead_letter_topic))
                assert pusher.poll() is None
        finally:
            hold.set()
            stop(first)


def test_duplicates_and_refusals_on_purpose(broker: Clients, tmp_path: Path) -> None:
    with listening() as target:
        doubled = entry(target, "doubled", max_delivery_attempts=100, dead_letter_topic=unique("doubled-dead"))
        path = f"/{doubled.name}"
        with pushing(broker.host, tmp_path, doubled, faults=Faults(duplicate=0.3, refuse=0.3, seed=1)):
            ids = broker.publish(topic_path(doubled.topic), *[b"x"] * 200)
            until(lambda: {push.message_id for push in target.pushes(path)} == set(ids), "every message")
            until(lambda: len(target.pushes(path)) > 220, "duplicates")
        pushes = target.pushes(path)
    times = [sum(push.message_id == message_id for push in pushes) for message_id in ids]
    assert set(times) == {1, 2}  # a refusal on purpose never reaches the function
    attempts = [push.body["deliveryAttempt"] for push in pushes]
    assert max(attempts) > 1
    assert attempts.count(1) > 100


def test_late_deliveries_are_overtaken_and_none_is_lost(broker: Clients, tmp_path: Path) -> None:
    with listening() as target:
        mixed = entry(target, "mixed", parallel=1)  # in order but for those held back
        path = f"/{mixed.name}"
        with pushing(broker.host, tmp_path, mixed, faults=Faults(late=0.2, late_by=0.5, seed=1)):
            ids = broker.publish(topic_path(mixed.topic), *[b"x"] * 100)
            until(lambda: len(target.pushes(path)) == 100, "every message")
        came = [push.message_id for push in target.pushes(path)]
    assert set(came) == set(ids)
    overtaken = sum(came.index(one) - ids.index(one) > 5 for one in ids)
    assert 5 <= overtaken <= 40


def test_a_config_survives_json() -> None:
    config = PushConfig(
        host="127.0.0.1:1",
        project="p",
        subscriptions=(PushSubscription(name="sub", topic="top", endpoint="http://127.0.0.1:1/"),),
        faults=Faults(duplicate=0.05, seed=1),
    )
    assert PushConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_backoff_doubles_from_least_to_most() -> None:
    one = PushSubscription(name="s", topic="t", endpoint="http://h/", min_backoff=1, max_backoff=60)
    assert [one.backoff(attempt) for attempt in (1, 2, 3, 6, 7, 5000)] == [1, 2, 4, 32, 60, 60]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"endpoint": "https://127.0.0.1/"}, "endpoint"),
        ({"max_delivery_attempts": 5}, "go together"),
        ({"max_delivery_attempts": 0, "dead_letter_topic": "dead"}, "at least 1"),
        ({"parallel": 0}, "parallel"),
        ({"min_backoff": 5, "max_backoff": 1}, "min_backoff"),
    ],
)
def test_a_bad_config_ends_the_pusher_with_the_reason(tmp_path: Path, settings: dict[str, Any], fault: str) -> None:
    path = tmp_path / "config.json"
    one = {"name": "s", "topic": "t", "endpoint": "http://127.0.0.1:1/", **settings}
    with pytest.raises(ValueError, match=fault):
        PushConfig.from_dict({"host": "127.0.0.1:1", "project": "p", "subscriptions": [one]})
    if fault != "endpoint":  # once through the process is enough
        return
    path.write_text(json.dumps({"host": "127.0.0.1:1", "project": "p", "subscriptions": [one]}))
    arguments = [sys.executable, "-m", "infra.local.pusher", "--config", str(path)]
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert ended.returncode == 1
    assert "endpoint must be" in ended.stderr
