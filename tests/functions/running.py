"""Functions as deployed, one process each, in front of a ledger that can be taken away; no pusher, no relay."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local import ports
from infra.local.plan import Options, Plan
from infra.local.processes import Spec
from infra.local.topology import DEFAULT_TOPOLOGY, Topology

START_WITHIN = 40.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back for a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gate:
    """A way to the ledger that can be shut: connections are cut and new ones refused."""

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self._port, self._target = port, target
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Let connections through."""
        listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """Cut every connection and listen no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """The ledger away for as long as the block lasts."""
        self.shut()
        try:
            yield
        finally:
            self.open()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                return
            far.settimeout(None)
            for one in (near, far):  # as the functions set it on theirs; without it every statement waits 40 ms
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65_536):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Running:
    """The processes, and hands to feed and watch them."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        topology = Topology.load(DEFAULT_TOPOLOGY)
        self.functions = tuple(topology.functions)
        names = [*Plan.port_names(Options(state_dir=folder, db_url="-"), topology, {}), "ledger"]
        chosen = dict(zip(names, ports.choose(len(names)), strict=True))
        address = database_url.rpartition("@")[2].partition("/")[0]
        host, _, port = address.partition(":")
        self.ledger = Gate(chosen["ledger"], (host, int(port)))
        self.plan = Plan(
            options=Options(state_dir=folder),
            topology=topology,
            ports=chosen,
            database_url=database_url.replace(address, f"127.0.0.1:{chosen['ledger']}"),
            environ={
                k: v for k, v in os.environ.items() if k.startswith("COVERAGE_") or k in ("PATH", "HOME", "TMPDIR")
            },
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Everything at once; returns when all of it answers."""
        tools = [spec for spec in self.plan.tools() if spec.name not in ("openai", "tmdb")]  # nobody is asked here
        specs = [*tools, *(self.plan.function(name) for name in self.functions)]
        for spec in specs:
            self._processes[spec.name] = self._launch(spec)
        deadline = time.monotonic() + START_WITHIN
        for spec in specs:
            while not self._is_ready(spec):
                assert self._processes[spec.name].poll() is None, f"{spec.name} ended: {self.said(spec.name)}"
                assert time.monotonic() < deadline, f"{spec.name} does not answer: {self.said(spec.name)}"
                time.sleep(0.02)

    def stop(self) -> None:
        """End every process that was started, and wait for it."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.ledger.shut()

    def start_without(self, name: str, missing: Sequence[str]) -> subprocess.Popen[bytes]:
        """A function on a port of its own that lacks some variables."""
        spec = self.plan.function(name)
        port = ports.choose(1)[0]
        argv = [str(port) if word == str(spec.port) else word for word in spec.argv]
        env = {key: value for key, value in spec.env.items() if key not in missing}
        return subprocess.Popen(argv, cwd=spec.cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def variables(self, name: str) -> Mapping[str, str]:
        """What a function is given."""
        return self.plan.function(name).env

    def lines(self, name: str) -> list[str]:
        """The lines a process has written to standard output."""
        return (self.folder / f"{name}.out").read_text("utf-8").splitlines()

    def said(self, name: str) -> str:
        """Everything a process has written."""
        return "".join((self.folder / f"{name}.{end}").read_text("utf-8") for end in ("out", "err"))

    def send(
        self, name: str, path: str = "/", *, method: str = "POST", body: bytes | None = None, headers: Any = None
    ) -> Answer:
        """What a process answers; raises only when the connection itself fails."""
        request = urllib.request.Request(self.plan.url(name) + path, data=body, method=method, headers=headers or {})
        try:
            with _DIRECT.open(request, timeout=30) as answer:
                return Answer(status=answer.status, headers=answer.headers, body=answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(status=refusal.code, headers=refusal.headers, body=refusal.read())

    def push(self, name: str, envelope: Any) -> Answer:
        """What a function answers to a push."""
        body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
        return self.send(name, body=body, headers={"Content-Type": "application/json"})

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """The resource of a new object in the upload bucket, as storage describes it."""
        bucket = self.plan.topology.bucket_names()["UPLOAD_BUCKET"]
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
        answer = self.send("storage", path, body=content, headers={"Content-Type": "text/csv"})
        assert answer.status == 200, answer
        resource: dict[str, Any] = answer.json
        return resource

    def _launch(self, spec: Spec) -> subprocess.Popen[bytes]:
        with (self.folder / f"{spec.name}.out").open("wb") as out, (self.folder / f"{spec.name}.err").open("wb") as err:
            return subprocess.Popen(
                spec.argv, cwd=spec.cwd, env=dict(spec.env), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def _is_ready(self, spec: Spec) -> bool:
        if spec.announces:
            return any('"ready"' in line for line in self.lines(spec.name))
        return spec.probe is None or spec.probe()
