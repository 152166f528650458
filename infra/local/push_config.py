"""What the pusher is told: the broker, and for each subscription where to push and how to retry."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DEFAULT_PARALLEL = 32  # twice the threads of a worker function


@dataclass(frozen=True, kw_only=True)
class PushSubscription:
    """One push subscription. Times are seconds; the defaults of the times are the real service's."""

    name: str
    topic: str
    endpoint: str
    ack_deadline: float = 10.0  # the request is cancelled then
    min_backoff: float = 10.0
    max_backoff: float = 600.0
    max_delivery_attempts: int | None = None
    dead_letter_topic: str | None = None
    parallel: int = DEFAULT_PARALLEL  # requests at a time

    def __post_init__(self) -> None:
        faults = []
        if urlsplit(self.endpoint).scheme != "http" or not urlsplit(self.endpoint).hostname:
            faults.append(f"endpoint must be an http:// address, not {self.endpoint!r}")
        if (self.max_delivery_attempts is None) != (self.dead_letter_topic is None):
            faults.append("max_delivery_attempts and dead_letter_topic go together")
        if self.max_delivery_attempts is not None and self.max_delivery_attempts < 1:
            faults.append("max_delivery_attempts must be at least 1")
        if self.ack_deadline <= 0 or self.parallel < 1:
            faults.append("ack_deadline and parallel must be positive")
        if not 0 <= self.min_backoff <= self.max_backoff:
            faults.append("min_backoff must lie between 0 and max_backoff")
        if faults:
            raise ValueError(f"subscription {self.name}: {'; '.join(faults)}")

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after this delivery attempt (first is 1) was refused: min, 2 min, 4 min, ... max."""
        return float(min(self.max_backoff, self.min_backoff * 2.0 ** min(attempt - 1, 60)))


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Misbehaviour for tests, decided by a seeded generator in order of arrival."""

    duplicate: float = 0.0  # share of messages delivered twice
    late: float = 0.0  # share of deliveries held back by up to `late_by` seconds, so that others overtake them
    late_by: float = 2.0
    refuse: float = 0.0  # share of deliveries that fail without reaching the function, as a platform 429 does
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """All the pusher needs to know. Names of topics and subscriptions are bare: without `projects/...`."""

    host: str  # host:port of the broker, as in PUBSUB_EMULATOR_HOST
    project: str
    subscriptions: tuple[PushSubscription, ...]
    lease: int = 30  # ack deadline of the pull subscriptions: a killed pusher's messages come back after it
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if not 1 <= self.lease <= 600:
            raise ValueError("lease must lie between 1 and 600 seconds; brokers start at 10 unless told otherwise")

    def topic_path(self, topic: str) -> str:
        return f"projects/{self.project}/topics/{topic}"

    def subscription_path(self, name: str) -> str:
        return f"projects/{self.project}/subscriptions/{name}"

    def topics(self) -> list[str]:
        """Paths of every topic named here, each once; those that have a subscription come first."""
        sources = [entry.topic for entry in self.subscriptions]
        dead = [entry.dead_letter_topic for entry in self.subscriptions if entry.dead_letter_topic]
        return [self.topic_path(topic) for topic in dict.fromkeys(sources + dead)]

    def subscriptions_of(self, topic_path: str) -> list[PushSubscription]:
        return [entry for entry in self.subscriptions if self.topic_path(entry.topic) == topic_path]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PushConfig":
        """The config of a JSON object. Raises TypeError for unknown or missing keys, ValueError for bad values."""
        fields = dict(data)
        fields["subscriptions"] = tuple(PushSubscription(**entry) for entry in fields.get("subscriptions", ()))
        fields["faults"] = Faults(**fields.get("faults", {}))
        return cls(**fields)

    @classmethod
    def from_file(cls, path: str | Path) -> "PushConfig":
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
