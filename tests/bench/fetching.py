"""Fetching 1,000 files of 1 MB from a local server, eight at once, beside curl; and the memory one huge file takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.topology import ROOT
from tests.bench.figure import Figure

AT_ONCE = 8
TURNS = 5  # the best of each counts: what else runs here costs eight threads more than curl's one
HALF = 0.5
MEMORY_MB = 250


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Speeds against curl's, with the files let go and with the files kept, and the memory of both."""
    files, large = (200, 200_000_000) if quick else (1_000, 2_000_000_000)
    figures = []
    with serving(1_000_000) as origin:
        each = curled_apart(origin, files)
        turns = [
            (curled(origin, files, folder), curled(origin, files, folder, hashed=True), fetched(origin, files))
            for _ in range(TURNS)
        ]
        bare, hashed = (min(turn[kind] for turn in turns) for kind in (0, 1))
        ours = min((turn[2] for turn in turns), key=lambda one: one["seconds"])
        figures += [
            Figure(what=f"{files:,} files of 1 MB by one curl --parallel-max 8, thrown away", text=f"{bare:.2f} s"),
            Figure(what="  by the same into files, then sha256sum", text=f"{hashed:.2f} s"),
            Figure(what="  by a curl for each, eight at once, thrown away", text=f"{each:.2f} s"),
            Figure(what="  fetched and hashed", text=f"{ours['seconds']:.2f} s, {ours['cpu']:.2f} s CPU"),
            _ratio("  speed / one curl that throws away", bare / ours["seconds"]),
            _ratio("  speed / one curl and sha256sum", hashed / ours["seconds"]),
            _ratio("  speed / a curl for each", each / ours["seconds"]),
        ]
        with bucket(folder / "store") as host:
            sent = curled_on(origin, host, files)
            kept = fetched(origin, files, host)
        figures += [
            Figure(what=f"{files:,} files into the local bucket by curl | curl", text=f"{sent:.2f} s"),
            Figure(what="  fetched, hashed and kept", text=f"{kept['seconds']:.2f} s, {kept['cpu']:.2f} s CPU"),
            _ratio("  speed / curl | curl", sent / kept["seconds"]),
            _memory("  memory meanwhile", kept),
        ]
    with serving(large) as origin, bucket(folder / "large") as host:
        ours = fetched(origin, 1, host, at_once=1)
        figures.append(_memory(f"memory while a file of {large / 1e9:g} GB is kept ({ours['seconds']:.0f} s)", ours))
    with serving(large // 16) as origin, bucket(folder / "many") as host:
        ours = fetched(origin, 16, host, at_once=16)
        figures.append(_memory(f"memory while 16 of {large / 16e9:g} GB are kept at once", ours))
    return figures


def _ratio(what: str, found: float) -> Figure:
    return Figure(what=what, text=f"{found:.2f}", value=found, at_least=HALF)


def _memory(what: str, found: dict[str, Any]) -> Figure:
    peak = found["peak_mb"]
    return Figure(what=what, text=f"{peak:.0f} MB", value=peak, at_most=MEMORY_MB)


def fetched(origin: str, files: int, host: str = "", *, at_once: int = AT_ONCE) -> dict[str, Any]:
    """What the real upstream took, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.fetch_worker", origin, str(files), str(at_once)]
    env = {**os.environ, "STORAGE_EMULATOR_HOST": f"http://{host}"} if host else None
    done = subprocess.run([*command, "media"] if host else command, cwd=ROOT, env=env, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def curled(origin: str, files: int, folder: Path, *, hashed: bool = False) -> float:
    """Seconds of one curl that makes all transfers over eight connections; `hashed`: into files, and sums of those."""
    listed, kept = folder / "urls", folder / "kept"
    kept.mkdir(exist_ok=True)
    where = str(kept / "{i}") if hashed else "/dev/null"
    lines = (f'url = "http://{origin}/{i}"\noutput = "{where.replace("{i}", str(i))}"\n' for i in range(files))
    listed.write_text("".join(lines))
    command = f"curl -s --fail --parallel --parallel-max {AT_ONCE} --config {listed}"
    sums = f" && cd {kept} && ls | xargs -P {os.cpu_count()} -n 100 sha256sum" if hashed else ""
    return _timed(["sh", "-c", command + sums])


def curled_apart(origin: str, files: int) -> float:
    """Seconds of a curl for each transfer, eight at once."""
    return _timed(["sh", "-c", f"seq {files} | xargs -P {AT_ONCE} -I N curl -s --fail -o /dev/null http://{origin}/N"])


def curled_on(origin: str, host: str, files: int) -> float:
    """Seconds of a curl that fetches and one that sends on for each transfer, eight at once."""
    to = f"http://{host}/upload/storage/v1/b/media/o?uploadType=media'&'name=curl/N"
    send = f"curl -s --fail -o /dev/null -H Expect: -H Content-Type:application/octet-stream --data-binary @- {to}"
    pair = f"curl -s --fail http://{origin}/N | {send}"
    return _timed(["sh", "-c", f'seq {files} | xargs -P {AT_ONCE} -I N sh -c "{pair}"'])


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


@contextmanager
def serving(size: int) -> Iterator[str]:
    """The origin of a server of files of this size, while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.fetch_server", str(size)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """The host of a local store with a bucket `media`, while the block lasts."""
    command = [sys.executable, "-m", "infra.local.gcs", "--port", "0", "--dir", str(folder), "--bucket", "media"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    finally:
        process.terminate()
        process.wait(10)
