"""Migrations, run as operators run them: Alembic in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

from cli.faults import Failed, Unreachable
from cli.local import ROOT, masked
from shared.config import parse_database_url
from shared.db import connector

INI = ROOT / "migrations" / "alembic.ini"
TIMEOUT = 600.0
_SERVER_SAID = re.compile(r"'M': (['\"])(.*?)\1, '")


def migrate_database(url: str) -> str:
    """Bring a database to the newest revision, whose name this is. Raises Unreachable, Failed."""
    _check_reachable(url)
    upgrade("head", database=masked(url), env={"DATABASE_URL": url}, timeout=TIMEOUT)
    return newest_revision()


def upgrade(target: str, *, database: str, env: Mapping[str, str], timeout: float | None = None) -> None:
    """Bring the database that `env` leads to to a revision; `database` is its name for people. Raises Failed."""
    done = subprocess.run(  # noqa: S603  # our own program, no shell
        [sys.executable, "-m", "alembic", "-c", str(INI), "upgrade", target],
        cwd=ROOT,
        env={**os.environ, **env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        told = _SERVER_SAID.search(done.stderr)
        last = told[2] if told else lines[-1] if lines else f"Alembic ended with status {done.returncode}"
        url = env.get("DATABASE_URL")
        reason = (without_password(last, url) if url else last).rstrip(".")
        raise Failed(f"A migration of {database} failed and was undone, those before it stay: {reason}.")


def newest_revision() -> str:
    """The revision that migrations lead to."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(Config(str(INI))).get_current_head())


def _check_reachable(url: str) -> None:
    try:
        connector(parse_database_url(url))().close()
    except Exception as error:  # the driver raises its own classes, the system's and the resolver's
        reason = without_password(said(error), url)
        raise Unreachable(
            f"Cannot reach the database {masked(url)}: {reason}. Does it run, and does it let you in?"
        ) from error


def said(error: Exception) -> str:
    """The server's own words where it spoke, else the error's."""
    told = error.args[0] if error.args else ""
    return str(told.get("M", told)) if isinstance(told, dict) else str(error) or type(error).__name__


def without_password(text: str, url: str) -> str:
    """The text less the password of a database's address."""
    password = parse_database_url(url).password
    return text.replace(password.get_secret_value(), "***") if password else text
