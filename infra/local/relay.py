"""Bucket notifications on one machine: `python -m infra.local.relay --help`.

Looks at the buckets a few times a second and publishes for each new generation what Cloud Storage would:
OBJECT_FINALIZE with the object's resource. A generation replaced before anybody looked is not announced; it could not
be read any more either.

What was announced is remembered in a file. A local broker keeps its messages in memory only, so an announcement
counts as certain after ten minutes of this process's life; younger ones are made again at the next start, which is
harmless, as ingest takes a generation once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

INTERVAL = 0.3  # seconds between looks
CERTAIN_AFTER = 600.0
_MOST_PER_PUBLISH = 500
_STATED_AS_TEXT = ("generation", "metageneration", "size")

Publish = Callable[[str, list[tuple[bytes, dict[str, str]]]], None]


class StorageAwayError(Exception):
    """The storage server cannot be reached or does not answer as it should."""


def notification(resource: dict[str, Any], *, overwrote: str | None = None) -> tuple[bytes, dict[str, str]]:
    """Data and attributes of the message Cloud Storage sends for a finished object (JSON_API_V1)."""
    told = {key: value for key, value in resource.items() if value is not None and key != "acl"}
    told |= {key: str(told[key]) for key in _STATED_AS_TEXT if key in told}
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": told["bucket"],
        "objectId": told["name"],
        "objectGeneration": told["generation"],
        "eventTime": told.get("timeCreated") or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "payloadFormat": "JSON_API_V1",
        "notificationConfig": f"projects/_/buckets/{told['bucket']}/notificationConfigs/1",
    }
    if overwrote is not None:
        attributes["overwroteGeneration"] = overwrote
    return json.dumps(told).encode(), attributes


class Listing:
    """One bucket's objects, fetched only when something has changed."""

    def __init__(self, storage: str, bucket: str) -> None:
        self._address = urlsplit(storage).netloc
        self._path = f"/storage/v1/b/{bucket}/o"
        self._connection: http.client.HTTPConnection | None = None
        self._mark = ""

    def fetch(self) -> list[dict[str, Any]] | None:
        """The objects' resources; None if they are as they were. Raises StorageAwayError."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._address, timeout=10)
            self._connection.request("GET", self._path, headers={"If-None-Match": self._mark})
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.forget()
            raise StorageAwayError(f"{self._address}: {error}") from error
        if answer.status == http.client.NOT_MODIFIED:
            return None
        if answer.status != http.client.OK:
            self.forget()
            raise StorageAwayError(f"{self._address}{self._path} answers {answer.status}")
        self._mark = answer.headers.get("ETag", "")
        found: list[dict[str, Any]] = json.loads(body).get("items", [])
        return found

    def forget(self) -> None:
        """Have the next fetch answer in full, over a new connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._mark = None, ""


@dataclass(kw_only=True)
class _Announced:
    generation: str
    certain: bool
    at: float


class Announcements:
    """What one bucket's topic was told, remembered across restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[str, _Announced] = {}
        if path.exists():
            for name, (generation, certain) in json.loads(path.read_text(encoding="utf-8")).items():
                if certain:
                    self._told[name] = _Announced(generation=generation, certain=True, at=0.0)

    def news(self, objects: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str | None]]:
        """The objects whose generation was not announced, each with the generation it replaced."""
        fresh = []
        for resource in objects:
            told = self._told.get(resource["name"])
            if told is None or told.generation != str(resource["generation"]):
                fresh.append((resource, told.generation if told else None))
        return sorted(fresh, key=lambda pair: int(pair[0]["generation"]))

    def made(self, resources: list[dict[str, Any]], now: float) -> None:
        """Remember that these were announced."""
        for resource in resources:
            generation = str(resource["generation"])
            self._told[resource["name"]] = _Announced(generation=generation, certain=False, at=now)
        self._save()

    def settle(self, now: float, present: set[str] | None = None) -> None:
        """Make what is old enough certain, and forget what is in the bucket no more."""
        aged = [told for told in self._told.values() if not told.certain and now - told.at >= CERTAIN_AFTER]
        gone = [] if present is None else [name for name in self._told if name not in present]
        for told in aged:
            told.certain = True
        for name in gone:
            del self._told[name]
        if aged or gone:
            self._save()

    def _save(self) -> None:
        temporary = self._path.with_name(self._path.name + ".new")
        told = {name: [entry.generation, entry.certain] for name, entry in self._told.items()}
        temporary.write_text(json.dumps(told), encoding="utf-8")
        os.replace(temporary, self._path)


class Relay:
    """Announces the new objects of one bucket on one topic."""

    def __init__(self, *, listing: Listing, announcements: Announcements, topic: str, publish: Publish) -> None:
        self._listing = listing
        self._announcements = announcements
        self._topic = topic
        self._publish = publish

    def look(self, now: float) -> int:
        """Announce what is new; how many that were. What could not be published is new again at the next look."""
        objects = self._listing.fetch()
        if objects is None:
            self._announcements.settle(now)
            return 0
        news = self._announcements.news(objects)
        try:
            for start in range(0, len(news), _MOST_PER_PUBLISH):
                part = news[start : start + _MOST_PER_PUBLISH]
                self._publish(self._topic, [notification(resource, overwrote=old) for resource, old in part])
                self._announcements.made([resource for resource, _ in part], now)
        except Exception:
            self._listing.forget()
            raise
        self._announcements.settle(now, present={resource["name"] for resource in objects})
        return len(news)


def publisher(host: str, project: str) -> Publish:
    """Publishes to a local broker and returns when it has the messages; raises GoogleAPICallError."""
    import grpc
    from google.pubsub_v1 import PublisherClient, PubsubMessage
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    transport = PublisherGrpcTransport(channel=grpc.insecure_channel(host))
    client = PublisherClient(transport=transport)

    def publish(topic: str, messages: list[tuple[bytes, dict[str, str]]]) -> None:
        client.publish(
            topic=f"projects/{project}/topics/{topic}",
            messages=[PubsubMessage(data=data, attributes=attributes) for data, attributes in messages],
            retry=None,
            timeout=10,
        )

    return publish


def main(arguments: Sequence[str] | None = None) -> None:
    """Relay until killed."""
    from google.api_core.exceptions import GoogleAPICallError

    parser = argparse.ArgumentParser(description="announces new objects as bucket notifications do")
    parser.add_argument("--storage", required=True, metavar="URL")
    parser.add_argument("--pubsub", required=True, metavar="HOST:PORT")
    parser.add_argument("--project", required=True)
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="where to remember what was announced")
    parser.add_argument("--watch", required=True, action="append", metavar="BUCKET=TOPIC")
    options = parser.parse_args(arguments)
    options.state.mkdir(parents=True, exist_ok=True)
    publish = publisher(options.pubsub, options.project)
    relays = []
    for pair in options.watch:
        bucket, _, topic = pair.partition("=")
        relays.append(
            Relay(
                listing=Listing(options.storage, bucket),
                announcements=Announcements(options.state / f"{bucket}.json"),
                topic=topic,
                publish=publish,
            )
        )
    print(json.dumps({"ready": True}), flush=True)
    failures = 0
    while True:
        try:
            for relay in relays:
                if count := relay.look(time.monotonic()):
                    print(f"announced {count} new object(s)", flush=True)
            failures = 0
        except (StorageAwayError, GoogleAPICallError) as error:
            if failures == 0:
                print(f"cannot announce now, trying again: {error}", flush=True)
            failures += 1
        time.sleep(min(INTERVAL * 2**failures, 2.0))


if __name__ == "__main__":
    main()
