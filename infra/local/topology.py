"""What infra/topology.yaml says, typed, with the environment each function gets from it.

Terraform reads the same file (infra/names.tf). A key that nobody reads is a mistake and refused; those that matter to
the cloud alone (memory, instances, grants) are checked here as far as that can be told without it. `upstreams` travel
to the functions as they stand, `pipelines` with the threads, pool and instances of their functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ALL_PIPELINES: Final = "pipelines"  # in `publishes`: the topics of all pipelines
Access = Literal["read", "create", "write"]
ROOT = Path(__file__).resolve().parents[2]
DEFAULT_TOPOLOGY = ROOT / "infra" / "topology.yaml"


class TopologyError(Exception):
    """infra/topology.yaml cannot be read or contradicts itself."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bucket(_Part):
    """A bucket: the variable that names it to functions, who hears of its new objects, how long they stay."""

    env: str
    notify_topic: str | None = None
    people: Access | None = None
    versioned: bool = False
    delete_after_days: int | None = Field(default=None, ge=1)
    delete_after_days_under: dict[str, int] = {}


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
    """A deployed function: where its code is, how wide it runs, which variables it is given, and what it may do."""

    source: str
    entry_point: str
    pipeline: str | None = None
    memory_mb: int = Field(default=512, ge=512)
    threads: int = Field(ge=1)
    pool_size: int = Field(ge=1)
    timeout: float = Field(gt=0)
    min_instances: int = Field(default=0, ge=0)
    max_instances: int = Field(default=1, ge=1)
    env: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    buckets: dict[str, Access] = {}
    tables: tuple[str, ...] = ()
    people: bool = False


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

    @model_validator(mode="after")
    def _functions_fit(self) -> Self:
        """Who may do something in a bucket knows its name; tables are a pipeline's; one function is for people."""
        faults = [
            f"function {name} may {access} bucket {bucket} and is not given {self.buckets[bucket].env}"
            for name, function in self.functions.items()
            for bucket, access in function.buckets.items()
            if bucket in self.buckets and self.buckets[bucket].env not in function.env
        ]
        faults += [
            f"function {name} has tables and no pipeline, whose they would be"
            for name, function in self.functions.items()
            if function.tables and function.pipeline is None
        ]
        if sum(function.people for function in self.functions.values()) > 1:
            faults.append("more than one function is for people")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _references(self) -> list[tuple[str, str, str, str | None, Mapping[str, object]]]:
        return [
            *(("bucket", key, "topic", b.notify_topic, self.topics) for key, b in self.buckets.items()),
            *(("subscription", key, "topic", s.topic, self.topics) for key, s in self.subscriptions.items()),
            *(("subscription", key, "topic", s.dead_letter, self.topics) for key, s in self.subscriptions.items()),
            *(("subscription", key, "function", s.function, self.functions) for key, s in self.subscriptions.items()),
            *(("function", key, "pipeline", f.pipeline, self.pipelines) for key, f in self.functions.items()),
            *(
                ("function", key, "topic", topic, {**self.topics, ALL_PIPELINES: None})
                for key, f in self.functions.items()
                for topic in f.publishes
            ),
            *(
                ("function", key, "bucket", bucket, self.buckets)
                for key, f in self.functions.items()
                for bucket in f.buckets
            ),
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
