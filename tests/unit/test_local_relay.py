"""What the relay announces, and what it remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.relay import CERTAIN_AFTER, Announcements, Relay, notification


def resource(name: str, generation: int = 1, **more: object) -> dict[str, Any]:
    return {"kind": "storage#object", "bucket": "b", "name": name, "generation": generation, "size": 12, **more}


class Bucket:
    """A listing that a test sets."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects: list[dict[str, Any]] | None = list(objects)
        self.forgotten = 0

    def fetch(self) -> list[dict[str, Any]] | None:
        return self.objects

    def forget(self) -> None:
        self.forgotten += 1


class Topic:
    """A publisher that keeps what it is given, or fails."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        self.fails = False

    def __call__(self, topic: str, messages: list[tuple[bytes, dict[str, str]]]) -> None:
        if self.fails:
            raise ConnectionError("no broker")
        self.messages += [attributes for _, attributes in messages]

    @property
    def named(self) -> list[str]:
        return [attributes["objectId"] for attributes in self.messages]


@pytest.fixture
def topic() -> Topic:
    return Topic()


def relay(bucket: Bucket, topic: Topic, path: Path) -> Relay:
    return Relay(listing=bucket, announcements=Announcements(path), topic="uploads", publish=topic)  # type: ignore[arg-type]


def test_a_notification_reads_as_cloud_storage_writes_it() -> None:
    data, attributes = notification(
        resource("a/ü.csv", 7, metageneration=2, metadata={"budget": "3"}, timeCreated="2026-01-02T03:04:05Z", acl=[]),
        overwrote="6",
    )
    assert json.loads(data) == {
        "kind": "storage#object",
        "bucket": "b",
        "name": "a/ü.csv",
        "timeCreated": "2026-01-02T03:04:05Z",
        "generation": "7",
        "metageneration": "2",
        "size": "12",
        "metadata": {"budget": "3"},
    }
    assert attributes == {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "b",
        "objectId": "a/ü.csv",
        "objectGeneration": "7",
        "eventTime": "2026-01-02T03:04:05Z",
        "payloadFormat": "JSON_API_V1",
        "notificationConfig": "projects/_/buckets/b/notificationConfigs/1",
        "overwroteGeneration": "6",
    }


def test_each_generation_is_announced_once_and_in_order(tmp_path: Path, topic: Topic) -> None:
    bucket = Bucket(resource("late", 5), resource("early", 2))
    under_test = relay(bucket, topic, tmp_path / "b.json")
    assert under_test.look(0) == 2
    assert under_test.look(1) == 0
    bucket.objects = [resource("late", 9), resource("early", 2)]
    assert under_test.look(2) == 1
    assert topic.named == ["early", "late", "late"]
    assert topic.messages[2]["overwroteGeneration"] == "5"


def test_what_could_not_be_published_is_announced_later(tmp_path: Path, topic: Topic) -> None:
    bucket = Bucket(resource("a"))
    under_test = relay(bucket, topic, tmp_path / "b.json")
    topic.fails = True
    with pytest.raises(ConnectionError):
        under_test.look(0)
    assert bucket.forgotten == 1  # so that the next look sees the object again though nothing changed
    topic.fails = False
    assert under_test.look(1) == 1
    assert topic.named == ["a"]


def test_after_a_restart_only_what_is_not_certain_is_announced_again(tmp_path: Path, topic: Topic) -> None:
    bucket = Bucket(resource("old", 1))
    first = relay(bucket, topic, tmp_path / "b.json")
    first.look(0)
    bucket.objects = [resource("old", 1), resource("young", 2)]
    first.look(CERTAIN_AFTER - 1)
    bucket.objects = None  # nothing changed
    first.look(CERTAIN_AFTER)
    bucket.objects = [resource("old", 1), resource("young", 2)]
    again = relay(bucket, topic, tmp_path / "b.json")
    assert again.look(0) == 1
    assert topic.named == ["old", "young", "young"]


def test_a_deleted_object_is_forgotten_and_announced_when_it_comes_back(tmp_path: Path, topic: Topic) -> None:
    bucket = Bucket(resource("a", 1))
    under_test = relay(bucket, topic, tmp_path / "b.json")
    under_test.look(0)
    bucket.objects = []
    under_test.look(1)
    assert json.loads((tmp_path / "b.json").read_text()) == {}
    bucket.objects = [resource("a", 3)]
    assert under_test.look(2) == 1
    assert "overwroteGeneration" not in topic.messages[1]


def test_many_objects_go_in_several_requests(tmp_path: Path, topic: Topic) -> None:
    requests = []

    def publish(_: str, messages: list[tuple[bytes, dict[str, str]]]) -> None:
        requests.append(len(messages))

    bucket = Bucket(*(resource(str(number), number) for number in range(1, 1_202)))
    assert relay(bucket, publish, tmp_path / "b.json").look(0) == 1_201  # type: ignore[arg-type]
    assert requests == [500, 500, 201]
