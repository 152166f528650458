"""The embedded PostgreSQL: where its data goes and whom it runs as."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.local import ports
from infra.local.postgres import Cluster, PostgresUnusableError, reachable, refusal
from shared.config import parse_database_url


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rowlift-pg-") as name:
        yield Path(name)


@contextmanager
def running(cluster: Cluster) -> Iterator[psutil.Process]:
    spec = cluster.spec()
    identity = {} if spec.user is None else {"user": spec.user[0], "group": spec.user[1], "extra_groups": []}
    server = subprocess.Popen(spec.argv, cwd=spec.cwd, env=dict(spec.env), stderr=subprocess.DEVNULL, **identity)
    try:
        deadline = time.monotonic() + 15
        while not spec.probe():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield psutil.Process(server.pid)
    finally:
        server.send_signal(spec.stop_signal)
        server.wait(15)


def test_a_new_cluster_has_a_database_and_lets_in_who_knows_the_password(folder: Path) -> None:
    cluster = Cluster.prepare(folder / "postgres", ports.choose(1)[0], lambda _: None)
    with running(cluster) as server:
        cluster.create_database()
        cluster.create_database()  # once is enough, twice does no harm
        assert reachable(parse_database_url(cluster.url))
        wrong = parse_database_url(cluster.url.replace(cluster.password, "guess"))
        assert "password authentication failed" in (refusal(wrong) or "")
        assert server.uids().real != 0
        assert server.username() != "root"


def test_the_data_is_found_again_and_a_server_left_over_is_ended(folder: Path) -> None:
    first = Cluster.prepare(folder / "postgres", ports.choose(1)[0], lambda _: None)
    with running(first) as orphan:
        first.create_database()
        again = Cluster.prepare(folder / "postgres", ports.choose(1)[0], lambda _: None)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert again.password == first.password
    with running(again):
        assert reachable(parse_database_url(again.url))


def test_a_pid_file_whose_number_is_someone_elses_is_removed(folder: Path) -> None:
    cluster = Cluster.prepare(folder / "postgres", 1, lambda _: None)
    (cluster.data / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster.data}\n")
    Cluster.prepare(folder / "postgres", 1, lambda _: None)
    assert not (cluster.data / "postmaster.pid").exists()


def test_data_of_another_version_is_refused_with_the_remedy(folder: Path) -> None:
    cluster = Cluster.prepare(folder / "postgres", 1, lambda _: None)
    (cluster.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresUnusableError, match=r"made by PostgreSQL 9 .* move the folder away"):
        Cluster.prepare(folder / "postgres", 1, lambda _: None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_under_a_closed_folder_roots_data_is_kept_elsewhere_and_removed_with_its_folder(folder: Path) -> None:
    said: list[str] = []
    state = folder / "closed" / "state"
    state.mkdir(parents=True)
    state.parent.chmod(0o700)
    cluster = Cluster.prepare(state / "postgres", ports.choose(1)[0], said.append)
    assert cluster.data.parent.parent == Path("/var/tmp")
    assert (state / "postgres").resolve() == cluster.data
    assert state.parent.stat().st_mode & 0o777 == 0o700  # nothing of the user's was opened
    assert "cannot reach" in said[0]
    with running(cluster):
        cluster.create_database()
    assert Cluster.prepare(state / "postgres", 1, said.append).password == cluster.password
    shutil.rmtree(state)
    Cluster.prepare(folder / "other" / "postgres", 1, said.append)
    assert not cluster.data.exists()
