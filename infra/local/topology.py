"""What infra/topology.yaml says, typed, with the environment each function gets from it.

Only what the local stack needs is read here; keys that matter to the
cloud alone (memory, instances) pass unread. `upstreams` travel to the functions as they stand, `pipelines` with the
threads, pool and instances of their functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_TOPOLOGY = ROOT / "infra" / "topology.yaml"


class TopologyError(Exception):
    """infra/topology.yaml cannot be read or contradicts itself."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Bucket(_Part):
    """A bucket: the variable that names it to functions, and the topic that hears of its new objects."""

    env: str
    notify_topic: str | None = None


class Topic(_Part):
    """A topic; all there is to say is its name."""


class Subscription(_Part):
    """A push subscription and the function that answers it; times in seconds."""

    topic: str
    function: str
    ack_deadline: float = Field(ge=10, le=600)
    min_backoff: float = Field(ge=0, le=600)
    max_backoff: float = Field(ge=0, le=600)
    max_delivery_attempts: int | None = Field(default=None, ge=5, le=100)
    dead_letter: str | None = None

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.max_delivery_attempts is None) != (self.dead_letter is None):
            raise ValueError("max_delivery_attempts and dead_letter go together")
        return self


class Function(_Part):
    """A deployed function: where its code is, how wide it runs, and which variables it is given."""

    source: str
    entry_point: str
    pipeline: str | None = None
    threads: int = Field(ge=1)
    pool_size: int = Field(ge=1)
    timeout: float = Field(gt=0)
    env: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


class Schedule(_Part):
    """A function called at a fixed interval in seconds."""

    function: str
    every: float = Field(gt=0)


class Topology(_Part):
    """The whole deployment."""

    name: str
    buckets: dict[str, Bucket]
    upstreams: dict[str, Any]
    pipelines: dict[str, Any]
    topics: dict[str, Topic]
    subscriptions: dict[str, Subscription]
    common_env: tuple[str, ...] = ()
    functions: dict[str, Function]
    schedules: dict[str, Schedule] = {}

    @classmethod
    def load(cls, path: Path = DEFAULT_TOPOLOGY) -> Topology:
        """The topology in `path`; raises TopologyError with one line per fault."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise TopologyError(f"{path} cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise TopologyError(f"{path} is not YAML: {error}") from error
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, e['loc'])) or 'topology'}: {e['msg']}" for e in error.errors()]
            raise TopologyError(f"{path}:\n  " + "\n  ".join(faults)) from error

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        faults = [
            f"{kind} {owner}: {what} {name!r} is not described"
            for kind, owner, what, name, known in self._references()
            if name is not None and name not in known
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        """A push must not be cancelled while its handler works, nor a lease end before the push."""
        for name, subscription in self.subscriptions.items():
            pipeline = self.pipelines.get(self.functions[subscription.function].pipeline or "")
            if not isinstance(pipeline, dict) or "deadline" not in pipeline or "lease" not in pipeline:
                continue
            if not pipeline["deadline"] < subscription.ack_deadline <= pipeline["lease"]:
                chain = f"{pipeline['deadline']:g} < {subscription.ack_deadline:g} <= {pipeline['lease']:g}"
                raise ValueError(f"subscription {name}: deadline < ack_deadline <= lease does not hold ({chain})")
        return self

    def _references(self) -> list[tuple[str, str, str, str | None, Mapping[str, object]]]:
        return [
            *(("bucket", key, "topic", b.notify_topic, self.topics) for key, b in self.buckets.items()),
            *(("subscription", key, "topic", s.topic, self.topics) for key, s in self.subscriptions.items()),
            *(("subscription", key, "topic", s.dead_letter, self.topics) for key, s in self.subscriptions.items()),
            *(("subscription", key, "function", s.function, self.functions) for key, s in self.subscriptions.items()),
            *(("function", key, "pipeline", f.pipeline, self.pipelines) for key, f in self.functions.items()),
            *(("schedule", key, "function", s.function, self.functions) for key, s in self.schedules.items()),
        ]

    def full_name(self, name: str) -> str:
        """The name a topic, subscription or bucket of this deployment goes by."""
        return f"{self.name}-{name}"

    def bucket_names(self) -> dict[str, str]:
        """Variable -> name of each bucket."""
        return {bucket.env: self.full_name(key) for key, bucket in self.buckets.items()}

    def _as_deployed(self, slug: str, about: Any) -> Any:
        """A pipeline with what quotes want to know of its function, of which one instance runs here."""
        for function in self.functions.values():
            if function.pipeline == slug and isinstance(about, dict):
                return {**about, "threads": function.threads, "pool_size": function.pool_size, "instances": 1}
        return about

    def function_env(self, name: str, *, project: str, offered: Mapping[str, str]) -> dict[str, str]:
        """The variables function `name` is given: those topology.yaml lists for it, and no others.

        `offered` holds values from outside (model, keys, upstream addresses); one that neither the topology knows nor
        `offered` holds stays unset, as it would in the cloud.
        """
        function = self.functions[name]
        known = {
            "GOOGLE_CLOUD_PROJECT": project,
            "TOPIC_PREFIX": self.full_name(""),
            "PIPELINES": json.dumps({slug: self._as_deployed(slug, about) for slug, about in self.pipelines.items()}),
            "UPSTREAMS": json.dumps(self.upstreams),
            "DB_POOL_SIZE": str(function.pool_size),
            "THREADS": str(function.threads),
            **self.bucket_names(),
        }
        if function.pipeline is not None:
            known["PIPELINE"] = function.pipeline
        values = {**offered, **known}
        listed = (*self.common_env, *function.env, *function.secrets)
        return {variable: values[variable] for variable in listed if values.get(variable)}
