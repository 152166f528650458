"""Google's own Pub/Sub emulator as a child process, where gcloud's component and Java are on the machine.

`python -m infra.local.emulator --port N` prints `{"ready": true, "port": N}` once it answers; SIGTERM ends it and Java.
Java is started directly: `gcloud beta emulators pubsub start` puts a shell and a Python between that outlive a signal.
"""

import argparse
import contextlib
import ctypes
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc

JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator*.jar"
# Serial collector and first-tier compiler: half the start time and no GC threads on a small machine.
JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m")
START_TIMEOUT = 30.0
PR_SET_PDEATHSIG = 1


def locate() -> tuple[list[str] | None, str]:
    """The command that runs the emulator, or None, and why there is none."""
    java = shutil.which("java")
    if java is None:
        return None, "Java is not installed"
    for root in _sdk_roots():
        jars = sorted(root.glob(JAR))
        if jars:
            return [java, *JAVA_OPTIONS, "-jar", str(jars[-1])], ""
    return None, "gcloud's pubsub-emulator component is not installed"


def find() -> list[str] | None:
    """The command that runs the emulator, or None; `locate` also says why."""
    return locate()[0]


def _sdk_roots() -> list[Path]:
    gcloud = shutil.which("gcloud")
    roots = [Path(gcloud).resolve().parent.parent] if gcloud else []
    return [
        *roots,
        Path("/usr/lib/google-cloud-sdk"),
        Path("/usr/share/google-cloud-sdk"),
        Path.home() / "google-cloud-sdk",
    ]


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """A running emulator and where it listens."""

    process: subprocess.Popen[bytes]
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def stop(self, timeout: float = 5.0) -> None:
        """Ends Java, by force when it does not go by itself."""
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(port: int = 0, *, host: str = "127.0.0.1", output: IO[bytes] | None = None) -> Emulator:
    """An emulator that answers. Raises RuntimeError when it is absent or does not come up."""
    command, reason = locate()
    if command is None:
        raise RuntimeError(f"Google's Pub/Sub emulator cannot start: {reason}")
    port = port or free_port(host)
    process = subprocess.Popen(
        [*command, f"--host={host}", f"--port={port}"],
        stdin=subprocess.DEVNULL,
        stdout=output if output is not None else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        # The signal follows the starting thread, so a thread that ends would take Java with it.
        preexec_fn=_die_with_parent if _on_main_thread() else None,
    )
    emulator = Emulator(process=process, host=host, port=port)
    try:
        _wait_until_ready(emulator)
    except BaseException:
        emulator.stop()
        raise
    return emulator


def _on_main_thread() -> bool:
    return sys.platform == "linux" and threading.current_thread() is threading.main_thread()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_until_ready(emulator: Emulator) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    with grpc.insecure_channel(emulator.address, options=[("grpc.max_reconnect_backoff_ms", 200)]) as channel:
        ready = grpc.channel_ready_future(channel)
        while time.monotonic() < deadline:
            if emulator.process.poll() is not None:
                ready.cancel()
                raise RuntimeError(f"Google's Pub/Sub emulator ended with status {emulator.process.returncode}")
            with contextlib.suppress(grpc.FutureTimeoutError):
                ready.result(timeout=0.2)
                return
        ready.cancel()
    raise RuntimeError(f"Google's Pub/Sub emulator did not listen on {emulator.address} within {START_TIMEOUT:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Google's Pub/Sub emulator, ended by SIGTERM without leftovers.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()

    def leave(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    try:
        emulator = start(options.port, host=options.host, output=sys.stderr.buffer)
    except RuntimeError as error:
        raise SystemExit(str(error)) from None

    def end(*_: object) -> None:
        # An exception out of here could strike between wait's lock and its release: nothing would end any more.
        emulator.process.terminate()
        killer = threading.Timer(5, emulator.process.kill)
        killer.daemon = True
        killer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    print(json.dumps({"ready": True, "port": emulator.port}), flush=True)
    while (status := emulator.process.poll()) is None:
        time.sleep(0.1)  # not wait(): a signal just before it blocks would be heeded only once Java has ended
    raise SystemExit(max(0, status) if status not in (130, 143) else 0)  # Java's own words for SIGINT and SIGTERM


if __name__ == "__main__":
    main()
