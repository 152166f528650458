"""Sound files read in processes of their own, which are ended when they take too long, too much or too many bytes."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from shared.audio import worker
from shared.audio.tags import Cover, NoSound, Reading

SECONDS = 10.0  # for one file, its bytes' way from the bucket included
BYTES = 64 << 20  # of one file at most
READS = 20_000
AT_ONCE = 8  # processes, of some 15 MB each
FILES = 500  # that one process reads before another takes its place
ROOT = Path(__file__).parents[2]
# All a worker is told of the environment: where its modules are. No address and no secret is among it.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "HOME", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_GREEDY = (
    f"Reading it takes more than {SECONDS:g} s, {worker.CPU} s of them computing, or more memory than it may: "
    "it is broken, or made to do harm."
)

Fetch = Callable[[int, int], bytes]  # offset and length to that range's bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What a file says of itself, its cover, and what that took."""

    reading: Reading
    cover: Cover
    fetched: int  # bytes
    reads: int


class Prober:
    """Reads sound files, several at once; its processes are started when first needed and kept."""

    def __init__(self, *, seconds: float = SECONDS, most_bytes: int = BYTES) -> None:
        self._seconds, self._most_bytes = seconds, most_bytes
        self._lock, self._turns = threading.Lock(), threading.BoundedSemaphore(AT_ONCE)
        self._idle: list[_Worker] = []
        self._made_by: int | None = None

    def probe(self, fetch: Fetch, size: int, name: str) -> Probed:
        """What the file says of itself; raises NoSound, and whatever `fetch` raises."""
        with self._turns:
            return self._probe(fetch, size, name)

    def _probe(self, fetch: Fetch, size: int, name: str) -> Probed:
        until = time.monotonic() + self._seconds
        one = self._take()
        try:
            probed = one.probe(fetch, size, name, until=until, most_bytes=self._most_bytes)
        except NoSound as error:
            if error.code == "too_greedy":
                one.end()
            else:
                self._put_back(one)
            raise
        except BaseException:
            one.end()
            raise
        self._put_back(one)
        return probed

    def close(self) -> None:
        """End the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.end()

    def _take(self) -> _Worker:
        with self._lock:
            if self._made_by != os.getpid():  # those of a process this one was forked from are not ours
                self._idle, self._made_by = [], os.getpid()
            while self._idle:
                one = self._idle.pop()
                if one.alive:
                    return one
                one.end()  # it ended by itself; its pipes are still ours
        return _Worker()

    def _put_back(self, one: _Worker) -> None:
        if one.files >= FILES:
            one.end()
            return
        with self._lock:
            self._idle.append(one)


class _Worker:
    """One process, and the pipes to it."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        places = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        # Spawned, not forked: this process has threads, whose locks a fork would carry along half held.
        self._process = subprocess.Popen(  # our own module by our own interpreter
            [sys.executable, "-m", "shared.audio.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "PYTHONPATH": os.pathsep.join(places)},
        )
        self._inlet, self._outlet = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._ready = False
        self.files = 0

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def probe(self, fetch: Fetch, size: int, name: str, *, until: float, most_bytes: int) -> Probed:
        """Have it read a file; raises NoSound, and whatever `fetch` raises."""
        self.files += 1
        fetched = reads = 0
        if not self._ready:
            self._hear(until)
            self._ready = True
        self._say({"name": name, "size": size})
        while True:
            said, data = self._hear(until)
            if "offset" not in said:
                return _probed(said, data, fetched, reads)
            reads, fetched = reads + 1, fetched + said["length"]
            if fetched > most_bytes or reads > READS:
                message = f"Its tags lie behind more than {most_bytes >> 20} MB, or here and there all over it."
                raise NoSound("too_greedy", message)
            self._say({}, fetch(said["offset"], said["length"]))

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._inlet, self._outlet):
            with contextlib.suppress(OSError):  # what was not yet written has nobody to read it
                pipe.close()

    def _say(self, said: dict[str, Any], data: bytes = b"") -> None:
        try:
            worker.send(self._inlet, said, data)
        except OSError as error:  # it was ended for computing too long
            raise NoSound("too_greedy", _GREEDY) from error

    def _hear(self, until: float) -> tuple[dict[str, Any], bytes]:
        """What it says next; raises NoSound once time is up, or when it has come to an end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._outlet, selectors.EVENT_READ)
            if not selector.select(max(0.0, until - time.monotonic())):
                raise NoSound("too_greedy", _GREEDY)
        try:
            return worker.receive(self._outlet)
        except (EOFError, ValueError) as error:
            raise NoSound("too_greedy", _GREEDY) from error


def _probed(said: dict[str, Any], data: bytes, fetched: int, reads: int) -> Probed:
    if "reading" not in said:
        raise NoSound(str(said["code"]), str(said["message"]))
    cover = Cover(data=data, kind=said["cover"], refused=said["cover_refused"])
    return Probed(reading=Reading(**said["reading"]), cover=cover, fetched=fetched, reads=reads)
