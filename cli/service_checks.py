"""What `rowlift doctor` asks of services: whether keys are good, the stack answers, a deployment can be reached."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli import local
from cli.checks import Finding, ok, warning, wrong
from cli.client import LOGIN, Api
from cli.faults import Fault
from shared.config import connection_settings
from shared.db import connector
from shared.errors import ConfigError

WITHIN = 10.0  # seconds for each question


def check_openai(*, online: bool) -> Finding:
    """Whether OpenAI takes the key and has the model; asks what costs nothing."""
    from shared.upstreams.openai import DEFAULT_BASE_URL, DEFAULT_MODEL

    key, model = os.environ.get("OPENAI_API_KEY", ""), os.environ.get("OPENAI_MODEL") or DEFAULT_MODEL
    if not key:
        return warning(
            "openai", "OPENAI_API_KEY is not set: biographies are simulated, nothing is paid.",
            "For real ones: export OPENAI_API_KEY=sk-…",
        )  # fmt: skip
    if not online:
        return ok("openai", "OPENAI_API_KEY is set (not tried)")
    base = (os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
    answer = _asked(f"{base}/models/{model}", {"Authorization": f"Bearer {key}"})
    if isinstance(answer, str):
        return wrong("openai", f"Cannot reach {base}: {answer}.", "Check your connection, proxy and OPENAI_BASE_URL.")
    if answer.status_code == 401:
        remedy = "Set the whole key of a project that may use the model."
        return wrong("openai", "OpenAI refuses OPENAI_API_KEY (401).", remedy)
    if answer.status_code == 404:
        return wrong("openai", f"This key has no model {model} (404).", "Set OPENAI_MODEL to one it has.")
    if not answer.is_success:
        return warning("openai", f"OpenAI answers {answer.status_code}.", "Try again, or look at your account.")
    return ok("openai", f"the key is good, model {model}: calls cost money")


def check_tmdb(*, online: bool) -> Finding:
    """Whether TMDB takes the token."""
    from shared.upstreams.tmdb import DEFAULT_BASE_URL

    token = os.environ.get("TMDB_API_TOKEN", "").strip()
    if not token:
        return warning(
            "tmdb", "TMDB_API_TOKEN is not set: films come from a recorded list.",
            "For real ones: export TMDB_API_TOKEN=… (the read access token of your account).",
        )  # fmt: skip
    if not online:
        return ok("tmdb", "TMDB_API_TOKEN is set (not tried)")
    base = (os.environ.get("TMDB_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
    old = len(token) == 32  # a key of version 3, which travels in the address
    answer = _asked(
        f"{base}/configuration", {} if old else {"Authorization": f"Bearer {token}"}, {"api_key": token} if old else {}
    )
    if isinstance(answer, str):
        return wrong("tmdb", f"Cannot reach {base}: {answer}.", "Check your connection, proxy and TMDB_BASE_URL.")
    if answer.status_code == 401:
        remedy = "Set the API read access token (v4) of your account, or its API key (v3)."
        return wrong("tmdb", "TMDB refuses TMDB_API_TOKEN (401).", remedy)
    if not answer.is_success:
        return warning("tmdb", f"TMDB answers {answer.status_code}.", "Try again later.")
    return ok("tmdb", "the token is good")


def _asked(address: str, headers: dict[str, str], params: dict[str, str] | None = None) -> httpx.Response | str:
    """The answer of a service, or why there is none, without what was asked: a key may stand in it."""
    try:
        return httpx.get(address, headers=headers, params=params or {}, timeout=WITHIN)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return type(error).__name__


def check_stack(state_dir: Path) -> Iterator[Finding]:
    """Whether the stack on the folder is whole, if one runs."""
    info = local.find(state_dir)
    if info is None:
        yield ok("stack", f"none runs on {state_dir}; `rowlift up` starts one")
        return
    down = {name: facts.get("state") for name, facts in info.get("processes", {}).items()}
    down = {name: state for name, state in down.items() if state != "running"}
    if down:
        names = ", ".join(f"{name} ({state})" for name, state in down.items())
        remedy = f"{info['log']} says why; `rowlift down` and `rowlift up` begin anew."
        yield wrong("stack", f"Not running: {names}.", remedy)
    else:
        yield ok("stack", f"pid {info['pid']}, all of its {len(info.get('processes', {}))} processes run")
    yield _health(Api(str(info["api"]), timeout=WITHIN))
    for name in ("storage", "pubsub"):
        yield _listening(name, str(info[name]), str(info["log"]))


def _health(api: Api) -> Finding:
    try:
        health = api.health()
    except Fault as error:
        return wrong("api", str(error), "Look at its log.")
    return ok("api", f"{api.base} answers, version {health.get('version')}")


def _listening(name: str, address: str, log: str) -> Finding:
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=WITHIN).close()
    except OSError as error:
        return wrong(name, f"{address} does not answer: {error.strerror or error}.", f"{log} says why.")
    return ok(name, f"{address} answers")


def check_cloud(api: str | None) -> Iterator[Finding]:
    """Whether the deployment at an address, or the Cloud SQL instance of the environment, can be reached."""
    if api is not None:
        try:
            service = Api(api, timeout=WITHIN)
        except Fault as error:
            yield wrong("api", str(error), "Give the address `make deploy` printed.")
            return
        if not service.local:
            yield _credentials()
        yield _health(service)
    if os.environ.get("CLOUD_SQL_INSTANCE"):
        if api is None:
            yield _credentials()
        yield _cloud_sql()


def _credentials() -> Finding:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, project = google.auth.default()
    except (GoogleAuthError, OSError, ValueError) as error:
        return wrong("google", f"No application default credentials: {_first_line(error)}", LOGIN)
    return ok("google", f"credentials of {_whose(credentials)}, project {project or 'not set'}")


def _whose(credentials: Any) -> str:
    return str(getattr(credentials, "service_account_email", None) or getattr(credentials, "account", "") or "a person")


def _cloud_sql() -> Finding:
    remedy = "DB_USER needs cloudsql.client and cloudsql.instanceUser on it; see docs for the grants."
    try:
        connector(connection_settings())().close()
    except ConfigError as error:
        return wrong("cloud sql", str(error), "Set all three of CLOUD_SQL_INSTANCE, DB_USER and DB_NAME.")
    except Exception as error:  # the connector raises its own, the driver's and aiohttp's
        return wrong("cloud sql", f"Cannot connect: {_first_line(error)}", remedy)
    return ok("cloud sql", f"{os.environ['CLOUD_SQL_INSTANCE']} lets {os.environ.get('DB_USER')} in")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
