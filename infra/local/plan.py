"""Which processes make up a local stack, and what each of them is given."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.processes import Spec
from infra.local.push_config import PushConfig, PushSubscription
from infra.local.topology import DEFAULT_TOPOLOGY, ROOT, Topology

PROJECT = "rowlift-local"
HOST = "127.0.0.1"
PULL_LEASE = 15  # seconds until messages held by a killed pusher come back

# What of the caller's environment reaches a child: what the machine needs to run programs and to reach the network, and
# nothing that a deployment would have to set, so that a variable missing in Terraform is missing here too.
_OF_THE_MACHINE = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_COVERAGE = "COVERAGE_"


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A stand-in for an upstream, used while nobody has set a key for the real one."""

    name: str  # of its process and of its module in infra/local/upstreams
    key_variable: str
    key: str
    url_variable: str
    path: str


SIMULATED = (
    Simulated(
        name="openai", key_variable="OPENAI_API_KEY", key="sk-simulated", url_variable="OPENAI_BASE_URL", path="/v1"
    ),
    Simulated(name="tmdb", key_variable="TMDB_API_TOKEN", key="simulated", url_variable="TMDB_BASE_URL", path="/3"),
)

# The simulated web needs no key: links are followed for real unless the environment has SIMULATE_WEB set.
WEB, SIMULATE_WEB = "web", "FETCH_SIMULATED"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller of the stack chose."""

    state_dir: Path
    pubsub: str = "embedded"
    port_base: int | None = None
    db_url: str | None = None
    topology: Path = DEFAULT_TOPOLOGY
    parent_pid: int | None = None
    simulate_latency: float = 0.0
    extra_env: Mapping[str, str] = field(default_factory=dict)
    migrate: bool = True

    @property
    def stack_json(self) -> Path:
        return self.state_dir / "stack.json"

    @property
    def log(self) -> Path:
        return self.state_dir / "log"

    @property
    def holds(self) -> Path:
        """A file of a process's name in this folder keeps that process down."""
        return self.state_dir / "hold"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One stack with its ports chosen."""

    options: Options
    topology: Topology
    ports: Mapping[str, int]
    database_url: str
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @staticmethod
    def port_names(options: Options, topology: Topology, environ: Mapping[str, str]) -> list[str]:
        """Who needs a port, the API first."""
        functions = sorted(topology.functions, key=lambda name: (name != "api", name))
        secrets = {secret for function in topology.functions.values() for secret in function.secrets}
        wanted = (upstream for upstream in SIMULATED if upstream.key_variable in secrets)
        simulated = [upstream.name for upstream in wanted if not environ.get(upstream.key_variable)]
        web = [WEB] if environ.get(SIMULATE_WEB) else []
        return [*functions, *([] if options.db_url else ["postgres"]), "storage", "pubsub", *simulated, *web]

    def url(self, name: str) -> str:
        """The base address of one of the processes."""
        return f"http://{HOST}:{self.ports[name]}"

    @property
    def pubsub_host(self) -> str:
        return f"{HOST}:{self.ports['pubsub']}"

    def simulated(self) -> dict[str, str | None]:
        """Where each simulated upstream is; none where the real one is used, or no one at all."""
        found = {u.name: f"{self.url(u.name)}{u.path}" if u.name in self.ports else None for u in SIMULATED}
        return {**found, WEB: self.url(WEB) if WEB in self.ports else None}

    def services_env(self) -> dict[str, str]:
        """The variables under which the client libraries find this stack."""
        return {
            "DATABASE_URL": self.database_url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "STORAGE_EMULATOR_HOST": self.url("storage"),
        }

    def environment(self) -> dict[str, str]:
        """`services_env`, the project and the buckets: all a test or a tool needs to look inside."""
        return {**self.services_env(), "GOOGLE_CLOUD_PROJECT": PROJECT, **self.topology.bucket_names()}

    def _machine_env(self) -> dict[str, str]:
        kept = {name: self.environ[name] for name in (*_OF_THE_MACHINE, *_PROXIES) if name in self.environ}
        if any(name in kept for name in _PROXIES):
            ours = f"{HOST},localhost"
            others = self.environ.get("NO_PROXY") or self.environ.get("no_proxy")
            kept["NO_PROXY"] = kept["no_proxy"] = f"{others},{ours}" if others else ours
        return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def function(self, name: str) -> Spec:
        """A function as deployed: functions-framework under gunicorn, with the variables topology.yaml lists."""
        function = self.topology.functions[name]
        offered = dict(self.environ)
        addresses = self.simulated()
        for upstream in SIMULATED:
            if address := addresses[upstream.name]:
                offered |= {upstream.key_variable: upstream.key, upstream.url_variable: address}
        env = {
            **self._machine_env(),
            **{key: value for key, value in self.environ.items() if key.startswith(_COVERAGE)},
            **self.services_env(),
            "K_SERVICE": self.topology.full_name(name),  # Cloud Run sets it
            **self.topology.function_env(name, project=PROJECT, offered=offered),
            **({"FETCH_STAND_IN": self.url(WEB)} if WEB in self.ports else {}),  # no topology names it
            **self.options.extra_env,
        }
        framework = (sys.executable, "-m", "infra.local.function", "--host", HOST, "--port", str(self.ports[name]))
        return Spec(
            name=name,
            argv=(*framework, "--source", function.source, "--target", function.entry_point),
            env=env,
            cwd=ROOT,
            port=self.ports[name],
            probe=_probe(f"{self.url(name)}/health", healthy=True) if name == "api" else _probe(self.url(name)),
        )

    def tools(self) -> list[Spec]:
        """Everything but PostgreSQL and the functions that can start at once."""
        buckets = [word for bucket in self.topology.bucket_names().values() for word in ("--bucket", bucket)]
        folder = self.options.state_dir / "storage"
        found = [
            self._module("storage", "infra.local.gcs", "--dir", str(folder), *buckets),
            self._broker(),
        ]
        latency = ("--latency", f"{self.options.simulate_latency:g}")
        names = [name for name in (*(upstream.name for upstream in SIMULATED), WEB) if name in self.ports]
        return [*found, *(self._module(name, f"infra.local.upstreams.{name}", *latency) for name in names)]

    def _module(self, name: str, module: str, *arguments: str, followers: tuple[str, ...] = ()) -> Spec:
        port = self.ports.get(name)
        words = ("--port", str(port)) if port is not None else ()
        return Spec(
            name=name,
            argv=(sys.executable, "-m", module, *words, *arguments),
            env=self._machine_env(),
            cwd=ROOT,
            port=port,
            announces=True,
            followers=followers,
        )

    def _broker(self) -> Spec:
        # Both brokers keep topics and messages in memory: the pusher makes the topics again, and the relay has to
        # announce again what may not have been taken.
        module = {"embedded": "infra.local.pubsub", "gcloud": "infra.local.emulator"}[self.options.pubsub]
        return self._module("pubsub", module, followers=("relay",))

    def pusher(self) -> Spec | None:
        """Creates topics and subscriptions, then pushes to the functions; needless without subscriptions."""
        if not self.topology.subscriptions:
            return None
        path = self.options.state_dir / "pusher.json"
        path.write_text(json.dumps(self.push_config().to_dict(), indent=2), encoding="utf-8")
        return self._module("pusher", "infra.local.pusher", "--config", str(path))

    def push_config(self) -> PushConfig:
        """Every subscription of the topology, pushed to our functions."""
        names = self.topology
        entries = tuple(
            PushSubscription(
                name=names.full_name(name),
                topic=names.full_name(subscription.topic),
                endpoint=self.url(subscription.function) + "/",
                ack_deadline=subscription.ack_deadline,
                min_backoff=subscription.min_backoff,
                max_backoff=subscription.max_backoff,
                max_delivery_attempts=subscription.max_delivery_attempts,
                dead_letter_topic=names.full_name(subscription.dead_letter) if subscription.dead_letter else None,
                # As many waiting in the function as are at work: its threads never wait for the next push.
                parallel=2 * names.functions[subscription.function].threads,
            )
            for name, subscription in names.subscriptions.items()
        )
        return PushConfig(host=self.pubsub_host, project=PROJECT, subscriptions=entries, lease=PULL_LEASE)

    def relay(self) -> Spec | None:
        """Announces new objects, where any bucket is watched."""
        watched = [
            word
            for key, bucket in self.topology.buckets.items()
            if bucket.notify_topic
            for word in ("--watch", f"{self.topology.full_name(key)}={self.topology.full_name(bucket.notify_topic)}")
        ]
        if not watched:
            return None
        places = ("--storage", self.url("storage"), "--pubsub", self.pubsub_host, "--project", PROJECT)
        state = str(self.options.state_dir / "announced")
        return self._module("relay", "infra.local.relay", *places, "--state", state, *watched)

    def tickers(self) -> list[Spec]:
        """One per schedule."""
        found = []
        for name, schedule in self.topology.schedules.items():
            timeout = self.topology.functions[schedule.function].timeout
            job = ("--job", self.topology.full_name(name), "--url", self.url(schedule.function) + "/")
            times = ("--every", f"{schedule.every:g}", "--timeout", f"{timeout:g}")
            found.append(self._module(f"ticker-{name}", "infra.local.scheduler", *job, *times))
        return found

    def migrations(self) -> Spec:
        """Brings the database up to date and ends."""
        return Spec(
            name="migrations",
            argv=(sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head"),
            env={**self._machine_env(), "DATABASE_URL": self.database_url},
            cwd=ROOT,
        )


def _probe(url: str, *, healthy: bool = False) -> Callable[[], bool]:
    # The framework answers /robots.txt itself with 404: it shows that the worker runs without running our code.
    address = url if healthy else f"{url}/robots.txt"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready() -> bool:
        try:
            with opener.open(address, timeout=2) as answer:
                return bool(answer.status < 300)
        except urllib.error.HTTPError as error:
            with error:
                return not healthy and error.code < 500
        except OSError:
            return False

    return ready
