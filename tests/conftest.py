"""One PostgreSQL a run, a fresh database a test: cloned from a migrated template."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pg8000.dbapi
import pytest

from infra.local.ports import choose
from infra.local.postgres import Cluster
from shared import logs
from shared.config import parse_database_url
from shared.db import Database, connector
from tests.workbench import Workbench

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Ctrl-C means what it means at a terminal: a shell's background jobs ignore it, and so would all they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take minutes begin first: with several workers the last ones would have nobody to share the time with.
_LONGEST = (
    "e2e",
    "integration/test_exports",
    "integration/test_stack",
    "browser",
    "functions/test_openapi",
    "integration",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by how long their files take; within a file they stay as they are."""
    places = [str(Path("tests") / place) for place in _LONGEST]

    def place(item: pytest.Item) -> int:
        return next((n for n, prefix in enumerate(places) if item.nodeid.startswith(prefix)), len(places))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def nothing_bound() -> None:
    """No line of a test names the session of another's: parts called by hand have no push whose end forgets it."""
    logs._bound.set({})


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real input; tests that need it are skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real input is not there: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a database called `template`, migrated, on a server of this run's own."""
    with running_server("-c", "fsync=off") as url:
        yield url


@contextmanager
def running_server(*options: str) -> Iterator[str]:
    """A PostgreSQL of our own with a migrated database, while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="rowlift-pg-") as folder:
        cluster = Cluster.prepare(Path(folder) / "data", choose(1)[0], lambda _: None)
        spec = cluster.spec()
        identity = {} if spec.user is None else {"user": spec.user[0], "group": spec.user[1], "extra_groups": []}
        argv = [*spec.argv, *options]
        process = subprocess.Popen(argv, cwd=spec.cwd, env=dict(spec.env), stderr=subprocess.DEVNULL, **identity)
        try:
            _wait_for(cluster.url.replace("/rowlift", "/postgres"), process)
            url = cluster.url.replace("/rowlift", "/template")
            _administer(cluster.url, "CREATE DATABASE template")
            migrate(url)
            yield url
        finally:
            process.send_signal(spec.stop_signal)
            process.wait(20)


@contextmanager
def cloned_database(server: str) -> Iterator[str]:
    """The address of a database cloned from the template, there as long as the block lasts."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE template")
    yield server.replace("/template", f"/{name}")
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(server: str) -> Iterator[str]:
    """The address of a database of this test's own."""
    with cloned_database(server) as url:
        yield url


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """The ledger in a database of this test's own."""
    database = Database(connector(parse_database_url(database_url)), size=20)
    yield database
    database.close()


def migrate(url: str) -> None:
    """Bring a database to the newest revision, as `make migrate` does."""
    subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(ROOT / "migrations/alembic.ini"), "upgrade", "head"],
        env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "PostgreSQL ended at start"
        try:
            _connect(url).close()
        except (pg8000.dbapi.Error, OSError):
            time.sleep(0.05)
        else:
            return
    pytest.fail("PostgreSQL did not start within 30 s")


def _administer(url: str, statement: str) -> None:
    connection = _connect(url.rsplit("/", 1)[0] + "/postgres")
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()


def _connect(url: str) -> pg8000.dbapi.Connection:
    where = parse_database_url(url)
    password = where.password.get_secret_value() if where.password else None
    return pg8000.dbapi.connect(
        user=where.user, host=where.host, port=where.port, database=where.database, password=password
    )


@pytest.fixture
def bench(db: Database, database_url: str) -> Workbench:
    """A whole Rowlift in this process, its edges faked, its ledger real."""
    return Workbench(db=db, url=database_url)
