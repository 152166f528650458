"""The whole deployment on this machine: `python -m infra.local.stack --state-dir DIR`.

Runs in the foreground until SIGTERM, SIGINT (twice: at once) or the end of --parent-pid. Progress goes to standard
error; when everything answers, DIR/stack.json is written and printed, less the database's password, as one line on
standard output. It is kept current (the pid of a restarted process changes in it) and removed at the end. Data stays:
DIR/postgres and DIR/storage are found again.

A process that dies is started again. To keep one down, create DIR/hold/NAME; remove it to have it started again.
`infra.local.client.Stack` does all of this for tests and tools.

Exit status: 0 stopped on request; 1 something did not start; 2 wrong usage; 3 the database of --db-url cannot be
reached.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from infra.local import ports
from infra.local.plan import PROJECT, Options, Plan
from infra.local.postgres import Cluster, PostgresUnusableError, refusal
from infra.local.processes import ChildFailedError, Family, Log, StoppedError, Watchdog
from infra.local.topology import DEFAULT_TOPOLOGY, Topology, TopologyError
from shared.config import parse_database_url
from shared.errors import ConfigError

TICK = 0.05  # seconds between looks at the children
READY_WITHIN = 60.0
_LOCK_PATIENCE = 8.0  # seconds a watchdog may need to clean up behind a stack that was killed


class RefusedError(Exception):
    """The stack cannot start; `status` is the exit status that says so."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Supervisor:
    """One stack from start to end."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._signals = 0
        self._parent = _process(options.parent_pid)
        self._began = time.monotonic()
        self._log: Log | None = None
        self._family: Family
        self._plan: Plan
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._start_seconds = 0.0
        self._ending = False
        self._written = ""

    def run(self) -> None:
        """Start, serve, stop. Raises RefusedError."""
        options = self._options
        topology = _or_refuse(lambda: Topology.load(options.topology), TopologyError)
        if options.db_url:
            _or_refuse(lambda: parse_database_url(options.db_url or ""), ConfigError)
        options.state_dir.mkdir(parents=True, exist_ok=True)
        lock = _lock(options)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        _sweep(options.stack_json)
        shutil.rmtree(options.holds, ignore_errors=True)
        options.holds.mkdir()
        self._log = Log(options.log)
        names = Plan.port_names(options, topology, os.environ)
        chosen = _or_refuse(lambda: _ports_for(names, options), ports.PortTakenError)
        watchdog = Watchdog(options.stack_json, lock)
        self._family = Family(self._log, watchdog)
        try:
            self._start(topology, chosen)
            self._serve()
        except StoppedError:
            pass
        except (ChildFailedError, PostgresUnusableError) as error:
            raise RefusedError(str(error), status=1) from error
        finally:
            self._stop()
            watchdog.dismiss()
            self._log.close()
            os.close(lock)

    def _on_signal(self, *_: object) -> None:
        self._signals += 1

    def _stopping(self) -> bool:
        return self._signals > 0 or self._parent_is_gone()

    def _parent_is_gone(self) -> bool:
        if self._options.parent_pid is None:
            return False
        if self._parent is None or not self._parent.is_running():
            return True
        with contextlib.suppress(psutil.Error):
            return bool(self._parent.status() == psutil.STATUS_ZOMBIE)
        return True

    def _say(self, line: str) -> None:
        if self._log is not None:
            self._log.write("stack", line)
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)

    def _start(self, topology: Topology, chosen: dict[str, int]) -> None:
        """Everything at once, then wait in the order of need: imports of a dozen processes are most of the time."""
        options, family = self._options, self._family
        cluster = None
        if options.db_url is None:
            cluster = Cluster.prepare(options.state_dir / "postgres", chosen["postgres"], self._say)
            family.start(cluster.spec())
        url = cluster.url if cluster else str(options.db_url)
        plan = self._plan = Plan(options=options, topology=topology, ports=chosen, database_url=url)
        for spec in (*plan.tools(), *(plan.function(name) for name in topology.functions)):
            family.start(spec)
        if cluster is not None:
            self._wait("postgres")
            cluster.create_database()
        else:
            self._check_database(url)
        if options.migrate:
            family.run(plan.migrations(), timeout=READY_WITHIN, stopping=self._stopping)
            self._say("migrations: done")
        self._wait("pubsub")
        if (pusher := plan.pusher()) is not None:
            family.start(pusher)
        if (relay := plan.relay()) is not None:
            family.start(relay)
        self._wait(*family.children)
        for spec in plan.tickers():
            family.start(spec)
        self._wait(*family.children)
        self._start_seconds = round(time.monotonic() - self._began, 2)
        self._say(f"ready after {self._start_seconds:.1f} s: {plan.url('api') if 'api' in chosen else 'no api'}")

    def _wait(self, *names: str) -> None:
        fresh = [name for name in names if not self._family.children[name].ready]
        self._family.wait(fresh, timeout=READY_WITHIN, stopping=self._stopping)
        if fresh:
            self._say(f"{', '.join(fresh)}: up")

    def _check_database(self, url: str) -> None:
        settings = parse_database_url(url)
        if (reason := refusal(settings)) is not None:
            place = settings.unix_sock or f"{settings.host}:{settings.port}"
            raise RefusedError(f"cannot reach database {settings.database} at {place}: {reason}", status=3)

    def _serve(self) -> None:
        self._write_info()
        addresses = [self._plan.url(name) for name in self._plan.topology.functions]
        threading.Thread(target=_warm, args=(addresses,), daemon=True).start()
        with contextlib.suppress(OSError, ValueError):
            print(_masked(self._written, self._plan.database_url), flush=True)
        while not self._stopping():
            time.sleep(TICK)
            self._obey_holds()
            self._family.tick()
            if self._family.changed:
                self._write_info()

    def _obey_holds(self) -> None:
        wanted = set(os.listdir(self._options.holds))
        for name, child in self._family.children.items():
            if (name in wanted) != child.held:
                (self._family.release if child.held else self._family.hold)(name)

    def _write_info(self) -> None:
        self._family.changed = False
        self._written = json.dumps(self._info())
        temporary = self._options.stack_json.with_name("stack.json.new")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(self._written + "\n")
        temporary.replace(self._options.stack_json)

    def _info(self) -> dict[str, Any]:
        plan = self._plan
        return {
            "api": plan.url("api") if "api" in plan.ports else None,
            "pid": os.getpid(),
            "state_dir": str(self._options.state_dir),
            "log": str(self._options.log),
            "started_at": self._started_at,
            "start_seconds": self._start_seconds,
            "stopping": self._ending,
            "project": PROJECT,
            "topology": str(self._options.topology),
            "database_url": plan.database_url,
            "embedded_postgres": self._options.db_url is None,
            "storage": plan.url("storage"),
            "pubsub": plan.pubsub_host,
            "broker": self._options.pubsub,
            **plan.simulated(),
            "buckets": {key: plan.topology.full_name(key) for key in plan.topology.buckets},
            "functions": {name: plan.url(name) for name in plan.topology.functions},
            "environment": plan.environment(),
            "processes": {name: child.facts() for name, child in self._family.children.items()},
        }

    def _stop(self) -> None:
        """Those who make work first, then those who do it, then what they work with.

        Upstreams are among the last: seen to be away by functions that still work, they would leave a breaker open.
        """
        self._say("stopping")
        self._ending = True
        if self._written:  # whoever finds it does not take it for one to work with
            self._write_info()
        base = ("postgres", "storage", "pubsub", "openai", "tmdb")
        first = [name for name in self._family.children if name not in base]
        for names in (first, [name for name in base if name in self._family.children]):
            if names:
                self._family.stop(names, hurry=lambda: self._signals > 1)
        self._options.stack_json.unlink(missing_ok=True)
        shutil.rmtree(self._options.holds, ignore_errors=True)


def _warm(addresses: Sequence[str]) -> None:
    """Have functions load what their first message would wait for: without it a first upload took 2 s longer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for address in addresses:
        with contextlib.suppress(OSError):
            opener.open(f"{address}/", timeout=10).close()


def _ports_for(names: Sequence[str], options: Options) -> dict[str, int]:
    """A port for each name: those they had when a stack ran here last, as far as they are free.

    So the dashboard's address stays, and whoever follows results finds the stack again.
    """
    path, before = options.state_dir / "ports.json", {}
    if options.port_base is None:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            told = {name: int(port) for name, port in json.loads(path.read_text(encoding="utf-8")).items()}
            before = {
                name: told[name] for name in names if 1024 <= told.get(name, 0) <= 65_535 and ports.is_free(told[name])
            }
    fresh = iter(ports.choose(len(names) - len(before), options.port_base, but=before.values()))
    chosen = {name: before[name] if name in before else next(fresh) for name in names}
    path.write_text(json.dumps(chosen), encoding="utf-8")
    return chosen


def _masked(text: str, database_url: str) -> str:
    """The text without the database's password."""
    login, at, _ = database_url.rpartition("@")
    user, _, password = login.rpartition("//")[2].partition(":")
    return text.replace(f"{user}:{password}@", f"{user}:***@") if at and password else text


def _process(pid: int | None) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid) if pid is not None else None
    return None


def _or_refuse(step: Any, fault: type[Exception]) -> Any:
    try:
        return step()
    except fault as error:
        raise RefusedError(str(error), status=2) from error


def _lock(options: Options) -> int:
    """The lock on the state directory; the watchdog shares it, so it is free only when everything is gone."""
    descriptor = os.open(options.state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = read_pid(options.stack_json)
            if (owner is not None and psutil.pid_exists(owner)) or time.monotonic() > deadline:
                whose = f" (pid {owner})" if owner else ""
                raise RefusedError(
                    f"a stack already runs on {options.state_dir}{whose}: use it, end it with `rowlift down`, "
                    "or choose another --state-dir",
                    status=2,
                ) from None
            time.sleep(0.05)
        else:
            return descriptor


def read_pid(stack_json: Path) -> int | None:
    """The supervisor's pid in a stack.json, stale or not; None if there is none to read."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(json.loads(stack_json.read_text(encoding="utf-8"))["pid"])
    return None


def _sweep(stack_json: Path) -> None:
    """End what a stack left behind whose supervisor and watchdog were both killed, and its stack.json."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for facts in json.loads(stack_json.read_text(encoding="utf-8"))["processes"].values():
            process = _process(facts["pid"])
            # A number may belong to another process by now; that one did not begin when ours did.
            if process is not None and abs(process.create_time() - facts["since"]) < 2:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGQUIT if process.name() == "postgres" else signal.SIGKILL)
    stack_json.unlink(missing_ok=True)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options on a command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.stack", description="Rowlift on this machine")
    parser.add_argument("--state-dir", type=Path, default=Path(".rowlift"), help="default .rowlift")
    parser.add_argument("--pubsub", choices=("embedded", "gcloud"), default="embedded")
    parser.add_argument(
        "--port-base", type=int, help="consecutive ports from here, the API's first; default: free ones"
    )
    parser.add_argument("--db-url", help="use this PostgreSQL; default: DATABASE_URL, else an embedded one")
    parser.add_argument("--topology", type=Path, default=DEFAULT_TOPOLOGY)
    parser.add_argument("--parent-pid", type=int, help="end when this process does")
    parser.add_argument("--simulate-latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one more variable for functions"
    )
    parser.add_argument("--no-migrate", action="store_true", help="leave the database as it is")
    chosen = parser.parse_args(arguments)
    for pair in chosen.set:
        if not re.fullmatch(r"[A-Za-z_]\w*=.*", pair, re.DOTALL):
            parser.error("--set takes NAME=VALUE")
    return Options(
        state_dir=chosen.state_dir.absolute(),
        pubsub=chosen.pubsub,
        port_base=chosen.port_base,
        db_url=chosen.db_url if chosen.db_url is not None else os.environ.get("DATABASE_URL") or None,
        topology=chosen.topology.absolute(),
        parent_pid=chosen.parent_pid,
        simulate_latency=chosen.simulate_latency,
        extra_env=dict(pair.split("=", 1) for pair in chosen.set),
        migrate=not chosen.no_migrate,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stack; the exit status."""
    try:
        Supervisor(parse(arguments)).run()
    except RefusedError as error:
        print(error, file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
