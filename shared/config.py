"""Settings: read once from the environment, checked against each other, frozen.

A function calls `Settings.from_env` while it is imported, so that one with a missing or contradictory variable fails at
start and names every fault at once. Secrets are never part of a message or a repr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from shared.errors import ConfigError
from shared.fetching.settings import VARIABLES as FETCH_VARIABLES
from shared.fetching.settings import FetchSettings

_T = TypeVar("_T")

MIN_WINDOW, MAX_WINDOW, WINDOW_SECONDS = 100, 5_000, 30


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UpstreamLimits(_Frozen):
    """What one upstream account may be asked per `period` seconds, summed over all instances; None is unlimited."""

    requests: int | None = Field(default=10_000, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    period: float = Field(default=60, gt=0)
    # How many calls have to fail alike, with fewer than one that goes well to four of them, for the breaker to open
    # (the upstream is away) or the session to be held (a person has to act).
    down_failures: int = Field(default=5, ge=1)
    systemic_failures: int = Field(default=3, ge=1)
    # Seconds from the opening of the breaker to its first probe; each that fails doubles it.
    probe_wait: float = Field(default=2, gt=0)
    probe_wait_max: float = Field(default=60, gt=0)

    @property
    def lateness(self) -> float:
        """How late a request may leave after its slot, in seconds; later the slot is lost.

        Slots lie `period / (0.97 * requests)` apart, so `requests + 1` of them span `period / 0.97`. One leaves at most
        the burst (1 % of the period) before its slot and at most this after it. So no window of `period` holds more
        than `requests` as long as burst and lateness together stay below `(1 / 0.97 - 1) * period`, which is 3.09 %.
        """
        return min(0.1, 0.02 * self.period)


class PipelineSettings(_Frozen):
    """How one pipeline is dispatched and how long its steps may take; seconds throughout."""

    topic: str = Field(min_length=3)
    upstream: str
    items_per_message: int = Field(default=8, ge=1, le=1_000)
    # Calls one instance makes at once; None: all those of its messages in hand. With fewer than these are, a message
    # that is claimed or settled leaves its calls' places to others (docs/performance.md).
    calls: int | None = Field(default=None, ge=1)
    window: int | None = Field(default=None, ge=1)
    request_timeout: float = Field(default=60, gt=0)
    deadline: float = Field(default=100, gt=0)
    lease: float = Field(default=130, gt=0)
    max_wait: float = Field(default=20, ge=0)
    linger: float = Field(default=20, ge=0)
    max_failures: int = Field(default=3, ge=1)
    retry_base: float = Field(default=2, ge=0)
    # How its function is deployed, for quotes; None where that is not known.
    threads: int | None = Field(default=None, ge=1)
    pool_size: int | None = Field(default=None, ge=1)
    instances: int | None = Field(default=None, ge=1)

    @property
    def concurrency(self) -> int | None:
        """How many requests all instances together make at once."""
        return self.instances * self.calls_of(self.threads) if self.instances and self.threads else None

    def calls_of(self, threads: int) -> int:
        """How many calls an instance with so many threads makes at once."""
        in_hand = threads * self.items_per_message
        return in_hand if self.calls is None else min(self.calls, in_hand)


class ConnectionSettings(_Frozen):
    """Where PostgreSQL is: a direct address, or a Cloud SQL instance with IAM login."""

    user: str
    database: str
    host: str | None = None
    port: int = 5432
    unix_sock: str | None = None
    password: SecretStr | None = None
    instance: str | None = None
    ip_type: Literal["public", "private"] = "public"  # which of the instance's addresses is connected to
    api_endpoint: str | None = None  # of Cloud SQL's Admin API; Google's own unless a test has another


class Settings(_Frozen):
    """Everything a function reads from its environment. `.env.example` lists the variables."""

    connection: ConnectionSettings
    project: str
    topic_prefix: str = "rowlift-"
    upload_bucket: str = ""
    results_bucket: str = ""
    media_bucket: str = ""
    pipeline: str = ""
    pipelines: Mapping[str, PipelineSettings]
    upstreams: Mapping[str, UpstreamLimits]
    db_pool_size: int = Field(default=8, ge=1)
    threads: int = Field(default=16, ge=1)
    ingest_budget: float = Field(default=500, gt=0)
    max_field_chars: int = Field(default=1_000_000, gt=0)
    max_columns: int = Field(default=1_000, gt=0)
    max_record_bytes: int = Field(default=8_000_000, gt=0)
    max_expansion: int = Field(default=10_000, gt=0)  # items that one item may expand into
    max_upload_bytes: int = Field(default=1 << 30, gt=0)
    lease_grace: float = Field(default=15, ge=0)
    notice_lost_after: float = Field(default=30, gt=0)
    rescue_seconds: float = Field(default=55, gt=0)
    approve_above_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    code_version: str = "0.1.0"
    openai_api_key: SecretStr = SecretStr("")
    openai_base_url: str | None = None
    openai_model: str | None = None
    openai_max_output_tokens: int | None = Field(default=None, gt=0)
    prompt: str | None = None
    tmdb_api_token: SecretStr = SecretStr("")
    tmdb_base_url: str | None = None
    tmdb_cache_days: float = Field(default=30, ge=0)
    fetch: FetchSettings = FetchSettings()
    trace_sample: float = Field(default=0, ge=0, le=1)  # the share of sessions whose spans are exported
    otlp_endpoint: str | None = Field(default=None, pattern="^https?://")  # of a collector; None: Cloud Trace

    @classmethod
    def from_env(cls, *, needs: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> Settings:
        """The settings of this process.

        `needs` names the variables this function cannot do without, beside those every function has. Raises ConfigError
        with one line per fault.
        """
        env = os.environ if env is None else env
        faults = [f"{name} is not set" for name in ("GOOGLE_CLOUD_PROJECT", *needs) if not env.get(name)]
        values: dict[str, Any] = {"project": env.get("GOOGLE_CLOUD_PROJECT", "-")}
        try:
            values["connection"] = connection_settings(env)
        except ConfigError as error:
            faults.append(str(error))
        pipelines = _json_setting(env, "PIPELINES", TypeAdapter(dict[str, PipelineSettings]), faults)
        upstreams = _json_setting(env, "UPSTREAMS", TypeAdapter(dict[str, UpstreamLimits]), faults)
        faults += [fault for slug, pipeline in pipelines.items() for fault in _contradictions(slug, pipeline)]
        for name, field in _PLAIN.items():
            if env.get(name):
                values[field] = env[name]
        try:
            values["fetch"] = FetchSettings.model_validate(
                {field: env[name] for name, field in FETCH_VARIABLES.items() if env.get(name)}
            )
        except ValidationError as error:
            faults += _faults(error, FETCH_VARIABLES)
        if pipelines and values.get("pipeline", "") not in ("", *pipelines):
            faults.append(f"PIPELINE is {values['pipeline']!r}; PIPELINES describes {', '.join(sorted(pipelines))}")
        if not faults:
            try:
                return cls(**values, pipelines=pipelines, upstreams=upstreams)
            except ValidationError as error:
                faults = _faults(error, _PLAIN)
        raise ConfigError("Settings are incomplete or wrong:\n  " + "\n  ".join(faults))

    def secrets(self) -> list[str]:
        """Every secret among them, which nothing may print."""
        values = [*self.__dict__.values(), *self.connection.__dict__.values(), *self.fetch.__dict__.values()]
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]

    def window(self, pipeline: str) -> int:
        """How many items of one session may be out on Pub/Sub: as set, else what the upstream allows in 30 s."""
        chosen = self.pipelines[pipeline]
        if chosen.window is not None:
            return chosen.window
        limits = self.upstreams.get(chosen.upstream, UpstreamLimits(requests=None))
        if limits.requests is None:
            return MAX_WINDOW
        return max(MIN_WINDOW, min(MAX_WINDOW, round(limits.requests / limits.period * WINDOW_SECONDS)))

    def topic_path(self, name: str) -> str:
        """The full name of one of the deployment's topics."""
        return f"projects/{self.project}/topics/{self.topic_prefix}{name}"


# Variable -> field, for those that need no more than pydantic's own reading.
_PLAIN = {
    "TOPIC_PREFIX": "topic_prefix",
    "UPLOAD_BUCKET": "upload_bucket",
    "RESULTS_BUCKET": "results_bucket",
    "MEDIA_BUCKET": "media_bucket",
    "PIPELINE": "pipeline",
    "DB_POOL_SIZE": "db_pool_size",
    "THREADS": "threads",
    "INGEST_BUDGET": "ingest_budget",
    "MAX_FIELD_CHARS": "max_field_chars",
    "MAX_COLUMNS": "max_columns",
    "MAX_RECORD_BYTES": "max_record_bytes",
    "MAX_EXPANSION": "max_expansion",
    "MAX_UPLOAD_BYTES": "max_upload_bytes",
    "LEASE_GRACE": "lease_grace",
    "NOTICE_LOST_AFTER": "notice_lost_after",
    "RESCUE_SECONDS": "rescue_seconds",
    "APPROVE_ABOVE_USD": "approve_above_usd",
    "CODE_VERSION": "code_version",
    "OPENAI_API_KEY": "openai_api_key",
    "OPENAI_BASE_URL": "openai_base_url",
    "OPENAI_MODEL": "openai_model",
    "OPENAI_MAX_OUTPUT_TOKENS": "openai_max_output_tokens",
    "PROMPT": "prompt",
    "TMDB_API_TOKEN": "tmdb_api_token",
    "TMDB_BASE_URL": "tmdb_base_url",
    "TMDB_CACHE_DAYS": "tmdb_cache_days",
    "TRACE_SAMPLE": "trace_sample",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "otlp_endpoint",
}


def connection_settings(env: Mapping[str, str] | None = None) -> ConnectionSettings:
    """Where PostgreSQL is, from DATABASE_URL or CLOUD_SQL_INSTANCE, DB_USER and DB_NAME; raises ConfigError."""
    env = os.environ if env is None else env
    if url := env.get("DATABASE_URL"):
        return parse_database_url(url)
    missing = [name for name in ("CLOUD_SQL_INSTANCE", "DB_USER", "DB_NAME") if not env.get(name)]
    if len(missing) == 3:
        raise ConfigError("DATABASE_URL is not set, nor CLOUD_SQL_INSTANCE, DB_USER and DB_NAME")
    if missing:
        raise ConfigError(f"{' and '.join(missing)} is not set; CLOUD_SQL_INSTANCE, DB_USER and DB_NAME go together")
    ip_type = (env.get("CLOUD_SQL_IP_TYPE") or "public").lower()
    if ip_type not in ("public", "private"):
        raise ConfigError(f"CLOUD_SQL_IP_TYPE is {ip_type!r}; choose public or private")
    return ConnectionSettings(
        instance=env["CLOUD_SQL_INSTANCE"],
        ip_type=cast("Literal['public', 'private']", ip_type),
        user=env["DB_USER"],
        database=env["DB_NAME"],
        api_endpoint=env.get("CLOUD_SQL_API_ENDPOINT") or None,
    )


def parse_database_url(url: str) -> ConnectionSettings:
    """`postgresql://user:password@host:port/name`, or `…@/name?host=/socket/folder`; raises ConfigError.

    The message never repeats the address, which may hold a password.
    """
    shape = "DATABASE_URL must read postgresql://user:password@host:port/database"
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError as error:
        raise ConfigError(f"{shape}; its port or host cannot be read") from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigError(f"{shape}; it does not begin with postgresql://")
    database = unquote(parts.path.lstrip("/"))
    query = parse_qs(parts.query)
    if ignored := sorted(set(query) - {"host"}):
        raise ConfigError(f"{shape}; {', '.join(ignored)} cannot be given behind the question mark")
    socket_folder = next((h for h in query.get("host", []) if h.startswith("/")), None)
    host = parts.hostname or next((h for h in query.get("host", []) if not h.startswith("/")), None)
    if not database or "/" in database:
        raise ConfigError(f"{shape}; the database's name is missing")
    if host is None and socket_folder is None:
        raise ConfigError(f"{shape}; the host is missing")
    return ConnectionSettings(
        user=unquote(parts.username or "postgres"),
        password=SecretStr(unquote(parts.password)) if parts.password else None,
        host=None if socket_folder else host,
        port=port,
        unix_sock=f"{socket_folder}/.s.PGSQL.{port}" if socket_folder else None,
        database=database,
    )


def _faults(error: ValidationError, variables: Mapping[str, str]) -> list[str]:
    """One line for each value that is wrong, by its variable."""
    names = {field: name for name, field in variables.items()}
    return [f"{names.get(str(e['loc'][0]), e['loc'][0])}: {e['msg']}" for e in error.errors()]


def _json_setting(
    env: Mapping[str, str], name: str, kind: TypeAdapter[dict[str, _T]], faults: list[str]
) -> dict[str, _T]:
    text = env.get(name)
    if not text:
        faults.append(f"{name} is not set; it is what infra/topology.yaml says under `{name.lower()}`, as JSON")
        return {}
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        faults += [f"{name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        return {}


def _contradictions(slug: str, pipeline: PipelineSettings) -> list[str]:
    """What would let a lease or a push end before the work it stands for, and calls that would never be made."""
    needed = pipeline.request_timeout + pipeline.max_wait
    faults = []
    if pipeline.deadline <= needed:
        faults.append(
            f"PIPELINES: {slug}: deadline {pipeline.deadline:g} s must be longer than request_timeout + max_wait, "
            f"which is {needed:g} s"
        )
    if pipeline.lease <= pipeline.deadline:
        faults.append(
            f"PIPELINES: {slug}: lease {pipeline.lease:g} s must be longer than deadline ({pipeline.deadline:g} s)"
        )
    if pipeline.calls is not None and pipeline.calls < pipeline.items_per_message:
        faults.append(
            f"PIPELINES: {slug}: calls {pipeline.calls} must be at least items_per_message "
            f"({pipeline.items_per_message}), whose calls are made together"
        )
    return faults
