"""The local stack as a whole, on a toy deployment: what runs, what a fault does to it, what is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import emulator, ports
from infra.local.client import Stack, StackError, find
from infra.local.topology import ROOT

FIXTURES = ROOT / "tests" / "fixtures"
TOY = ("--topology", str(FIXTURES / "topology-toy.yaml"), "--no-migrate")


def wait_until(condition: Callable[[], object], what: str, timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain until {what}"
        time.sleep(0.02)


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def upload(stack: Stack, name: str, content: bytes = b"a,b\n") -> None:
    info = stack.info
    url = f"{info['storage']}/upload/storage/v1/b/{info['buckets']['uploads']}/o?uploadType=media&name={name}"
    request = urllib.request.Request(url, data=content, headers={"Content-Type": "text/csv"})
    urllib.request.urlopen(request, timeout=10).close()


def processes_of(info: dict) -> list[psutil.Process]:
    """The supervisor and everything below it, the watchdog and PostgreSQL's own children included."""
    supervisor = psutil.Process(info["pid"])
    return [supervisor, *supervisor.children(recursive=True)]


def listening(info: dict) -> list[int]:
    return [facts["port"] for facts in info["processes"].values() if facts["port"] and ports.answers(facts["port"])]


def is_gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def assert_nothing_left(state_dir: Path, info: dict, processes: list[psutil.Process], timeout: float = 10) -> None:
    wait_until(lambda: all(map(is_gone, processes)), f"all of {processes} are gone", timeout)
    assert listening(info) == []
    assert not (state_dir / "stack.json").exists()
    assert find(state_dir) is None


def environment(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL")}
    return {**kept, **changes}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that is removed after the test, 40 MB of PostgreSQL included; pytest keeps its own for three runs."""
    with tempfile.TemporaryDirectory(prefix="rowlift-stack-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    env = environment(STRAY="must not arrive", TOY_NOTE="from outside")
    with (
        tempfile.TemporaryDirectory(prefix="rowlift-stack-") as folder,
        Stack.start(Path(folder), *TOY, "--set", "EXTRA=one=two", env=env) as running,
    ):
        yield running


class TestRunning:
    def test_is_ready_quickly_and_says_where_it_is(self, stack: Stack) -> None:
        info = stack.info
        assert info["start_seconds"] < 15
        assert get(info["api"] + "/health") == {"status": "ok"}
        assert set(info["processes"]) == {
            *("postgres", "storage", "pubsub", "pusher", "relay", "openai"),
            *("api", "worker", "rescue", "ticker-rescue"),
        }
        assert all(facts["state"] == "running" for facts in info["processes"].values())
        assert find(stack.state_dir) == info

    def test_listens_on_this_machine_only(self, stack: Stack) -> None:
        places = {
            connection.laddr.ip.removeprefix("::ffff:")  # how gRPC's listener shows an IPv4 address
            for process in processes_of(stack.info)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert places == {"127.0.0.1"}

    def test_a_function_gets_what_the_topology_lists_and_nothing_else(self, stack: Stack) -> None:
        info = stack.info
        given = get(info["functions"]["worker"] + "/environment")
        assert given["PIPELINE"] == "letters"
        assert given["TOPIC_PREFIX"] == "toy-"
        deployed = {"threads": 4, "pool_size": 2, "instances": 1}
        assert json.loads(given["PIPELINES"]) == {"letters": {"topic": "letters", "upstream": "openai", **deployed}}
        assert given["UPLOAD_BUCKET"] == "toy-uploads"
        assert given["THREADS"] == "4"
        assert given["DB_POOL_SIZE"] == "2"
        assert given["OPENAI_BASE_URL"] == info["openai"]
        assert given["OPENAI_API_KEY"] == "sk-simulated"
        assert given["TOY_NOTE"] == "from outside"  # listed, so it comes through
        assert given["EXTRA"] == "one=two"
        assert given.items() >= {k: v for k, v in info["environment"].items() if "BUCKET" not in k}.items()
        assert not given.keys() & {"STRAY", "RESULTS_BUCKET"}
        others = get(info["functions"]["api"])["environment"]
        assert others["RESULTS_BUCKET"] == "toy-results"
        assert not others.keys() & {"OPENAI_API_KEY", "PIPELINE", "UPLOAD_BUCKET", "TOY_NOTE"}

    def test_the_database_is_there(self, stack: Stack) -> None:
        assert get(stack.info["api"] + "/database")["answer"] == "rowlift"

    def test_an_upload_reaches_the_function_its_topic_pushes_to(self, stack: Stack) -> None:
        upload(stack, "letters/first.csv")
        wait_until(lambda: "letters/first.csv" in stack.log, "the notification was pushed")
        line = next(line for line in stack.log.splitlines() if "letters/first.csv" in line)
        assert line.startswith("worker | worker got ")
        envelope = json.loads(line.removeprefix("worker | worker got "))
        assert envelope["message"]["attributes"]["eventType"] == "OBJECT_FINALIZE"
        assert envelope["subscription"].endswith("/toy-uploads")
        assert envelope["deliveryAttempt"] == 1

    def test_the_ticker_calls_rescue_again_and_again(self, stack: Stack) -> None:
        before = stack.log.count("rescue called by toy-rescue")
        wait_until(lambda: stack.log.count("rescue called by toy-rescue") >= before + 2, "two more calls")

    def test_the_password_is_in_no_output(self, stack: Stack) -> None:
        password = stack.info["database_url"].split(":")[2].split("@")[0]
        assert len(password) > 20
        assert password not in stack.said
        assert password not in stack.log
        assert (stack.state_dir / "stack.json").stat().st_mode & 0o077 == 0


class TestFaults:
    def test_a_killed_function_comes_back(self, stack: Stack) -> None:
        before = stack.info["processes"]["api"]
        stack.restart("api")
        after = stack.info["processes"]["api"]
        assert after["pid"] != before["pid"]
        assert after["restarts"] == before["restarts"] + 1
        assert get(stack.info["api"] + "/health") == {"status": "ok"}
        assert "stack | api was killed by SIGKILL" in stack.log

    def test_postgres_can_be_held_down_for_a_while(self, stack: Stack) -> None:
        with stack.held("postgres"):
            assert stack.pid_of("postgres") is None
            with pytest.raises(urllib.error.HTTPError, match="500") as refused:
                get(stack.info["api"] + "/database")
            refused.value.close()
        assert get(stack.info["api"] + "/database")["answer"] == "rowlift"

    def test_postgres_killed_hard_recovers(self, stack: Stack) -> None:
        stack.restart("postgres")
        assert get(stack.info["api"] + "/database")["answer"] == "rowlift"

    def test_after_the_broker_died_uploads_still_arrive(self, stack: Stack) -> None:
        stack.restart("pubsub")
        upload(stack, "letters/after.csv")
        wait_until(lambda: "letters/after.csv" in stack.log, "the notification was pushed", 30)

    def test_what_the_relay_had_announced_to_a_dead_broker_is_announced_again(self, stack: Stack) -> None:
        with stack.held("pusher"):
            upload(stack, "letters/lost.csv")
            announced = stack.state_dir / "announced" / "toy-uploads.json"
            wait_until(lambda: "letters/lost.csv" in announced.read_text(), "the upload was announced")
            stack.restart("pubsub")
        wait_until(lambda: "letters/lost.csv" in stack.log, "the notification was pushed", 30)

    def test_the_pusher_misbehaves_on_request(self, stack: Stack) -> None:
        stack.set_push_faults(duplicate=1.0)
        upload(stack, "letters/twice.csv")
        wait_until(lambda: stack.log.count("letters/twice.csv") >= 2, "it was pushed twice")
        stack.set_push_faults()

    def test_a_dead_watchdog_is_replaced(self, stack: Stack) -> None:
        def watchdogs() -> list[psutil.Process]:
            children = psutil.Process(stack.info["pid"]).children()
            return [child for child in children if "infra.local.watchdog" in child.cmdline()]

        (first,) = watchdogs()
        first.kill()
        wait_until(lambda: "the watchdog had died" in stack.log, "that is noticed")
        wait_until(lambda: [w.pid for w in watchdogs() if w.pid != first.pid], "there is a new one")
        stack.restart("api")  # children are announced to the new one
        assert get(stack.info["api"] + "/health") == {"status": "ok"}


@pytest.mark.gcloud
@pytest.mark.skipif(emulator.find() is None, reason=f"no Pub/Sub emulator of Google's: {emulator.locate()[1]}")
class TestGooglesEmulator:
    def test_carries_an_upload_and_leaves_nothing(self, tmp_path: Path) -> None:
        with Stack.start(tmp_path, *TOY, "--pubsub", "gcloud", env=environment()) as stack:
            info, alive = stack.info, processes_of(stack.info)
            assert info["broker"] == "gcloud"
            assert any("cloud-pubsub-emulator" in word for process in alive for word in process.cmdline())
            upload(stack, "letters/google.csv")
            wait_until(lambda: "letters/google.csv" in stack.log, "the notification was pushed")
        assert_nothing_left(tmp_path, info, alive)


class TestEnding:
    def test_two_stacks_side_by_side_stop_cleanly_and_keep_their_data(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        with Stack.start(one, *TOY, env=environment()) as first, Stack.start(two, *TOY, env=environment()) as second:
            upload(first, "letters/kept.csv")
            wait_until(lambda: "letters/kept.csv" in first.log, "the notification was pushed")
            infos, alive = [first.info, second.info], processes_of(first.info)
            assert not {f["port"] for f in infos[0]["processes"].values()} & {
                f["port"] for f in infos[1]["processes"].values() if f["port"]
            }
            assert first.stop() == 0
            assert_nothing_left(one, infos[0], alive)
            assert get(infos[1]["api"] + "/health") == {"status": "ok"}
            assert "kept.csv" not in second.log
        with Stack.start(one, *TOY, env=environment()) as again:
            url = f"{again.info['storage']}/storage/v1/b/toy-uploads/o/letters%2Fkept.csv"
            assert get(url)["size"] == "4"
            assert again.info["database_url"].split("@")[0] == infos[0]["database_url"].split("@")[0]

    def test_a_killed_supervisor_leaves_nothing(self, tmp_path: Path) -> None:
        with Stack.start(tmp_path, *TOY, env=environment()) as stack:
            info, alive = stack.info, processes_of(stack.info)
            assert len(alive) > 12
            os.kill(info["pid"], signal.SIGKILL)
            stack.process.wait()
            assert_nothing_left(tmp_path, info, alive)

    def test_a_supervisor_killed_while_starting_leaves_nothing(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "infra.local.stack", "--state-dir", str(tmp_path), *TOY]
        with subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL) as process:
            log = tmp_path / "log"
            wait_until(lambda: log.exists() and "postgres: up" in log.read_text(), "PostgreSQL is up")
            alive = psutil.Process(process.pid).children(recursive=True)
            process.kill()
        assert len(alive) > 8
        wait_until(lambda: all(map(is_gone, alive)), "all are gone", 10)

    def test_it_ends_with_the_process_it_was_started_for(self, tmp_path: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
            command = [sys.executable, "-m", "infra.local.stack", "--state-dir", str(tmp_path), *TOY]
            command += ["--parent-pid", str(parent.pid)]
            with subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as supervisor:
                said = json.loads(supervisor.stdout.readline())
                assert "***@" in said["database_url"]
                info = find(tmp_path)
                alive = processes_of(info)
                parent.kill()
                assert supervisor.wait(15) == 0
        assert_nothing_left(tmp_path, info, alive)

    def test_what_both_killed_guardians_left_is_swept_at_the_next_start(self, tmp_path: Path) -> None:
        with Stack.start(tmp_path, *TOY, env=environment()) as stack:
            info, alive = stack.info, processes_of(stack.info)
            (watchdog,) = [process for process in alive if "infra.local.watchdog" in process.cmdline()]
            os.kill(info["pid"], signal.SIGSTOP)  # else it would replace the watchdog
            watchdog.kill()
            os.kill(info["pid"], signal.SIGKILL)
            stack.process.wait()
        assert find(tmp_path) is None
        assert listening(info)
        with Stack.start(tmp_path, *TOY, env=environment()):
            wait_until(lambda: all(map(is_gone, alive)), "all of the first are gone", 10)


class TestRefusals:
    def test_one_directory_has_one_stack(self, stack: Stack) -> None:
        with pytest.raises(StackError, match="already runs") as refused:
            Stack.start(stack.state_dir, *TOY, env=environment())
        assert refused.value.status == 2
        assert get(stack.info["api"] + "/health") == {"status": "ok"}

    @pytest.mark.parametrize(
        "url",
        ["postgresql://me:s3cret@host:port/x", "mysql://me:s3cret@host/x", "postgresql://me:s3cret@host", "s3cret"],
    )
    def test_a_malformed_database_address_is_wrong_usage(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(StackError, match="postgresql://user:password@host:port/database") as refused:
            Stack.start(tmp_path, *TOY, "--db-url", url, env=environment())
        assert refused.value.status == 2
        assert "s3cret" not in str(refused.value)

    def test_a_database_out_of_reach_says_so_without_the_password(self, tmp_path: Path) -> None:
        url = f"postgresql://me:s3cret@127.0.0.1:{ports.choose(1)[0]}/rows"
        with pytest.raises(StackError, match=r"cannot reach database rows at 127\.0\.0\.1") as refused:
            Stack.start(tmp_path, *TOY, env=environment(DATABASE_URL=url))
        assert refused.value.status == 3
        assert "s3cret" not in str(refused.value) + (tmp_path / "log").read_text()

    def test_the_callers_database_is_used(self, stack: Stack, tmp_path: Path) -> None:
        with Stack.start(tmp_path, *TOY, "--db-url", stack.info["database_url"], env=environment()) as other:
            assert "postgres" not in other.info["processes"]
            assert get(other.info["api"] + "/database")["answer"] == "rowlift"

    def test_ports_are_consecutive_from_the_base_and_a_taken_one_is_named(self, tmp_path: Path) -> None:
        base = next(port for port in range(41_000, 60_000, 20) if all(map(ports.is_free, range(port, port + 20))))
        with Stack.start(tmp_path / "a", *TOY, "--port-base", str(base), env=environment()) as stack:
            assert stack.info["api"] == f"http://127.0.0.1:{base}"
            used = sorted(facts["port"] for facts in stack.info["processes"].values() if facts["port"])
            assert used == list(range(base, base + len(used)))
        with socket.create_server(("127.0.0.1", base + 2)):
            with pytest.raises(StackError, match=f"port {base + 2} of 127.0.0.1 is in use") as refused:
                Stack.start(tmp_path / "b", *TOY, "--port-base", str(base), env=environment())
            assert refused.value.status == 2

    def test_a_function_that_fails_at_start_ends_the_start_with_its_words(self, tmp_path: Path) -> None:
        topology = ("--topology", str(FIXTURES / "topology-broken.yaml"), "--no-migrate")
        with pytest.raises(StackError, match="TOY_VARIABLE is not set") as refused:
            Stack.start(tmp_path, *topology, env=environment())
        assert refused.value.status == 1
        assert not (tmp_path / "stack.json").exists()

    def test_a_topology_that_contradicts_itself_is_wrong_usage(self, tmp_path: Path) -> None:
        wrong = tmp_path / "topology.yaml"
        wrong.write_text((FIXTURES / "topology-toy.yaml").read_text().replace("function: worker", "function: nobody"))
        with pytest.raises(StackError, match="function 'nobody' is not described") as refused:
            Stack.start(tmp_path / "state", "--topology", str(wrong), env=environment())
        assert refused.value.status == 2
