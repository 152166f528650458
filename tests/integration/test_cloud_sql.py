"""Google's real Cloud SQL connector, as production opens the ledger with it, against Google's side on loopback."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.local import ports
from infra.local.plan import Options, Plan
from infra.local.topology import DEFAULT_TOPOLOGY, Topology
from shared.config import ConnectionSettings, connection_settings
from shared.db import SILENCE_TIMEOUT, Database, connector
from shared.errors import LedgerDown
from tests.cloud import INSTANCE, USER, Cloud, mute, unreachable
from tests.conftest import _administer, _connect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs addresses of 127.0.0.0/24 beside 127.0.0.1")

DATABASE = f"cloud_{os.getpid()}"


@pytest.fixture(scope="module")
def ledger(server: str) -> Iterator[str]:
    """A database of this module's own whose server lets the service account in without a password."""
    url = server.replace("/template", f"/{DATABASE}")
    _administer(url, f"CREATE DATABASE {DATABASE} TEMPLATE template")
    _administer(url, f'CREATE ROLE "{USER}" LOGIN IN ROLE pg_read_all_data, pg_write_all_data')
    with contextlib.closing(_connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW hba_file")
        rules = Path(cursor.fetchone()[0])
    before = rules.read_text("utf-8")
    rules.write_text(f'host all "{USER}" 127.0.0.1/32 trust\n{before}', "utf-8")
    _administer(url, "SELECT pg_reload_conf()")
    yield url
    rules.write_text(before, "utf-8")
    _administer(url, "SELECT pg_reload_conf()")
    _administer(url, f"DROP DATABASE {DATABASE} WITH (FORCE)")
    _administer(url, f'DROP ROLE "{USER}"')


@pytest.fixture
def cloud(ledger: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Google's side in good order, and this process's default credentials leading to it."""
    from google.auth.compute_engine import _metadata

    address = urlsplit(ledger)
    with Cloud((address.hostname or "", address.port or 0)).running() as running:
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DB_NAME", DATABASE)
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", running.metadata_host)  # read once, when it was imported
        yield running


@pytest.fixture
def opened() -> Iterator[Callable[..., Database]]:
    """Makes ledgers as a function does, and closes them."""
    made: list[Database] = []

    def make(where: ConnectionSettings | None = None, *, size: int = 8) -> Database:
        made.append(Database(connector(where or connection_settings()), size=size))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(db: Database) -> None:
    assert db.rows("server_version")[0]["version"]


def ask_together(db: Database, count: int) -> None:
    """Hold `count` connections at one time, each with a statement that went well."""
    together = threading.Barrier(count)

    def hold() -> None:
        with db.transaction() as transaction:
            together.wait(20)
            assert transaction.row("server_version")

    with ThreadPoolExecutor(count) as threads:
        for one in [threads.submit(hold) for _ in range(count)]:
            one.result()


def refusal(db: Database) -> tuple[str, float]:
    """What a statement fails with, and after how many seconds."""
    begun = time.monotonic()
    with pytest.raises(LedgerDown) as caught:
        ask(db)
    return str(caught.value), time.monotonic() - begun


def api_calls(cloud: Cloud) -> tuple[int, int]:
    return cloud.calls["connectSettings"], cloud.calls["generateEphemeralCert"]


class TestInGoodOrder:
    def test_the_first_connect_asks_the_api_twice_and_later_ones_not_at_all(
        self, cloud: Cloud, opened: Callable[..., Database]
    ) -> None:
        db = opened()
        ask(db)
        assert api_calls(cloud) == (1, 1)
        assert cloud.calls["token"] == 2  # one for the API, one that opens the database and nothing else
        ask_together(db, 3)
        assert len(cloud.certificates) == 3
        assert api_calls(cloud) == (1, 1)
        assert cloud.calls["token"] == 2

    def test_a_connection_is_as_the_ledger_wants_it(self, cloud: Cloud) -> None:
        connect = connector(connection_settings(), application="rowlift-api")
        try:
            with contextlib.closing(connect()) as connection:
                sock = connection._usock
                assert sock.version() == "TLSv1.3"
                assert sock.gettimeout() == SILENCE_TIMEOUT  # and not what connecting was given
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                cursor = connection.cursor()
                cursor.execute(
                    "SELECT current_user, current_setting('application_name'), current_setting('statement_timeout')"
                )
                assert list(cursor.fetchone()) == [USER, "rowlift-api", "30s"]
        finally:
            connect.close()

    def test_32_threads_share_one_certificate(self, cloud: Cloud, opened: Callable[..., Database]) -> None:
        ask_together(opened(size=32), 32)
        assert len(cloud.certificates) == 32
        assert len(set(cloud.certificates)) == 1
        assert api_calls(cloud) == (1, 1)

    def test_loading_connects_to_nothing(self, cloud: Cloud, opened: Callable[..., Database]) -> None:
        opened().load()
        assert not cloud.calls

    def test_a_certificate_about_to_expire_is_replaced(self, cloud: Cloud, opened: Callable[..., Database]) -> None:
        db = opened()
        cloud.lifetime = datetime.timedelta(seconds=100)
        ask(db)
        ask_together(db, 2)
        assert api_calls(cloud) == (2, 2)
        cloud.lifetime = datetime.timedelta(hours=1)
        ask_together(db, 3)
        ask_together(db, 4)  # the third was good for long
        assert api_calls(cloud) == (3, 3)
        assert len(cloud.certificates) == 4
        assert len(set(cloud.certificates)) == 3


class TestAPrivateAddress:
    def test_it_is_the_one_connected_to(
        self, cloud: Cloud, opened: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cloud.address_kind = "PRIVATE"
        monkeypatch.setenv("CLOUD_SQL_IP_TYPE", "private")
        ask(opened())

    def test_an_instance_that_has_none_says_so(
        self, cloud: Cloud, opened: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLOUD_SQL_IP_TYPE", "private")
        assert "PRIVATE" in refusal(opened())[0]


class TestTheApiRefuses:
    def test_503_for_a_moment_goes_unnoticed(self, cloud: Cloud, opened: Callable[..., Database]) -> None:
        cloud.failures = [503, 503]
        ask(opened())
        assert sum(api_calls(cloud)) == 4

    def test_503_for_longer_fails_in_time_and_says_so(self, cloud: Cloud, opened: Callable[..., Database]) -> None:
        db = opened()
        cloud.refusal = 503
        said, seconds = refusal(db)
        assert seconds < 10
        assert INSTANCE in said
        calls = api_calls(cloud)
        assert refusal(db)[0] == said  # whoever comes next does not wait as long for the same
        assert api_calls(cloud) == calls

    @pytest.mark.parametrize(
        ("status", "words"), [(403, "roles/cloudsql.client"), (404, "CLOUD_SQL_INSTANCE"), (429, "429")]
    )
    def test_a_refusal_comes_at_once_to_all_and_names_what_to_do(
        self, cloud: Cloud, opened: Callable[..., Database], status: int, words: str
    ) -> None:
        db = opened()
        cloud.refusal = status
        with ThreadPoolExecutor(8) as threads:
            for said, seconds in threads.map(refusal, [db] * 8):
                assert words in said
                assert "as the test wishes" in said
                assert INSTANCE in said
                assert seconds < 5
        cloud.refusal = None
        ask(db)

    def test_a_call_never_answered_ends_in_time(
        self, cloud: Cloud, opened: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.cloud_sql.OPEN_WITHIN", 1.0)
        monkeypatch.setattr("shared.db.SLOW", 60.0)
        db = opened()
        cloud.silent = True
        with ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(refusal, db) for _ in range(4)]
            eventually(lambda: api_calls(cloud) == (1, 1))
            assert socket.getdefaulttimeout() is None  # the process's other sockets are left alone while it waits
            for said, seconds in (one.result() for one in asked):
                assert "does not answer" in said
                assert seconds < 4
        cloud.silent = False
        ask(db)


class TestTheInstanceIsAway:
    def test_unreachable_it_fails_in_time_and_holds_up_nobody_else(
        self, cloud: Cloud, opened: Callable[..., Database]
    ) -> None:
        reachable, away = opened(), opened(size=8)
        ask(reachable)
        with unreachable() as address, ThreadPoolExecutor(16) as threads:
            cloud.address = address
            asked = [threads.submit(refusal, away) for _ in range(16)]  # half of them wait for the pool
            eventually(lambda: api_calls(cloud) == (2, 2))
            begun = time.monotonic()
            ask_together(reachable, 4)
            assert time.monotonic() - begun < 2
            assert not any(one.done() for one in asked)
            for said, seconds in (one.result() for one in asked):
                assert seconds < 10
                assert f"{INSTANCE} does not answer" in said
                assert "3307" in said
            assert refusal(away)[1] < 1
            assert socket.getdefaulttimeout() is None
        cloud.address = cloud.proxy_address
        eventually(lambda: answers(away), within=12)  # by itself

    def test_mute_it_fails_in_time(
        self, cloud: Cloud, opened: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.cloud_sql.STEP_TIMEOUT", 0.5)
        db = opened()
        with mute() as address:
            cloud.address = address
            said, seconds = refusal(db)
        assert "does not answer" in said
        assert seconds < 3

    def test_closed_it_fails_at_once(self, cloud: Cloud, opened: Callable[..., Database]) -> None:
        cloud.address = "127.0.0.1"
        said, seconds = refusal(opened())
        assert "refused" in said
        assert seconds < 3


def test_connections_cut_while_idle_are_replaced_before_anyone_notices(
    cloud: Cloud, opened: Callable[..., Database]
) -> None:
    db = opened()
    ask_together(db, 6)
    for _ in range(2):
        assert cloud.cut() >= 1
        ask(db)
        ask(db)
    ask_together(db, 6)
    assert cloud.cut() == 6
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, [db] * 12))


def test_a_user_that_is_not_the_certificates_is_refused(cloud: Cloud, opened: Callable[..., Database]) -> None:
    said, seconds = refusal(opened(connection_settings({**os.environ, "DB_USER": "somebody@else.iam"})))
    for words in ("28000", "DB_USER somebody@else.iam", "roles/cloudsql.instanceUser"):
        assert words in said
    assert seconds < 3
    assert cloud.certificates == []


def test_a_database_that_is_not_there_is_named(cloud: Cloud, opened: Callable[..., Database]) -> None:
    said, _ = refusal(opened(connection_settings({**os.environ, "DB_NAME": "nowhere"})))
    assert 'database "nowhere" does not exist' in said


def test_the_api_as_deployed_reaches_its_ledger_through_the_connector(cloud: Cloud, tmp_path: Path) -> None:
    with deployed("api", cloud, tmp_path) as url, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(status_of, [f"{url}/health"] * 16)) == [200] * 16
        assert api_calls(cloud) == (1, 1)
        assert len(cloud.certificates) >= 1
        cloud.cut()
        assert status_of(f"{url}/health") == 200


@contextlib.contextmanager
def deployed(name: str, cloud: Cloud, folder: Path) -> Iterator[str]:
    """The address of a function under gunicorn whose ledger is a Cloud SQL instance; it has been asked for nothing."""
    topology, options = Topology.load(DEFAULT_TOPOLOGY), Options(state_dir=folder)
    names = Plan.port_names(options, topology, {})
    chosen = dict(zip(names, ports.choose(len(names)), strict=True))
    spec = Plan(options=options, topology=topology, ports=chosen, database_url="").function(name)
    env = {**spec.env, **cloud.environment, "DB_NAME": DATABASE}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(spec.argv, cwd=spec.cwd, env=env, stdout=said, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: ports.answers(chosen[name]) or process.poll() is not None, within=30)
        assert process.poll() is None, (folder / "said").read_text()
        yield f"http://127.0.0.1:{chosen[name]}"
    finally:
        process.terminate()
        process.wait(10)


def status_of(url: str) -> int:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
        return int(answer.status)


def answers(db: Database) -> bool:
    try:
        ask(db)
    except LedgerDown:
        return False
    return True


def eventually(holds: Callable[[], bool], *, within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.02)
