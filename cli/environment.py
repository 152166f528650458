"""The variables a local stack is started with, looked at before it is: a wrong one would fail a dozen functions."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cli.faults import WrongUsage
from cli.local import SETTINGS
from shared.config import Settings, parse_database_url
from shared.errors import ConfigError

# What the stack sets itself, whatever the environment says.
_ITS_OWN = (
    "GOOGLE_CLOUD_PROJECT", "TOPIC_PREFIX", "PIPELINES", "UPSTREAMS", "DB_POOL_SIZE", "THREADS", "PIPELINE",
    "UPLOAD_BUCKET", "RESULTS_BUCKET", "MEDIA_BUCKET", "CLOUD_SQL_INSTANCE", "CODE_VERSION",
)  # fmt: skip
_ANY_DATABASE = "postgresql://localhost/rowlift"


def stack_environment(db_url: str | None = None) -> dict[str, str]:
    """The environment of a stack; raises WrongUsage for what its functions could not read.

    The database's address goes this way: a program's arguments can be read by everybody.
    """
    env = dict(os.environ)
    if db_url is not None:
        env["DATABASE_URL"] = db_url
    check_database_url(env.get("DATABASE_URL") or _ANY_DATABASE)
    stack_settings(env)
    return env


def check_database_url(url: str) -> None:
    """Return if the address can be one; raises WrongUsage, whose message never repeats it."""
    try:
        parse_database_url(url)
    except ConfigError as error:
        raise WrongUsage(f"{error}.") from error


def stack_settings(env: Mapping[str, str] | None = None) -> Settings:
    """The settings that functions of a stack started here would have; raises WrongUsage naming every wrong variable."""
    env = os.environ if env is None else env
    given = {name: value for name, value in env.items() if name not in _ITS_OWN}
    ours = {
        "GOOGLE_CLOUD_PROJECT": "rowlift-local", "DATABASE_URL": env.get("DATABASE_URL") or _ANY_DATABASE,
        "PIPELINES": "{}", "UPSTREAMS": "{}",  # of the topology, which the stack checks itself
    }  # fmt: skip
    try:
        settings = Settings.from_env(env={**given, **ours})
        if settings.prompt:
            _check_prompt(settings.prompt)
    except ConfigError as error:
        faults = str(error).removeprefix(SETTINGS).split("\n")
        told = "; ".join(fault.strip().rstrip(".") for fault in faults if fault.strip())
        raise WrongUsage(f"The environment is wrong: {told}. Correct it or unset it.") from error
    return settings


def _check_prompt(name: str) -> None:
    from shared.prompts import load

    load(name)
