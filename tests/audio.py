"""A Rowlift of sound files in one process: its files real, its store fake."""

from __future__ import annotations

from typing import Any

from shared.upstreams.sound import SoundUpstream
from tests import sounds
from tests.workbench import PROBER, Workbench

SONGS = 4


class Heard:
    """The upstream that reads sound files; counts what it was asked."""

    name = "sound"

    def __init__(self, upstream: SoundUpstream) -> None:
        self._upstream = upstream
        self.requests: list[Any] = []

    def call(self, request: Any, *, timeout: float) -> Any:
        self.requests.append(request)
        return self._upstream.call(request, timeout=timeout)


def audio_bench(bench: Workbench) -> Workbench:
    """The audio pipeline, with some songs in the upload bucket: m/1.mp3 and so on."""
    made = Workbench(db=bench.db, url=bench.url, slug="audio")
    made.upstream = made.pipeline.__dict__["_sound"] = Heard(SoundUpstream(made.store, "media", PROBER))
    for n in range(1, SONGS + 1):
        made.store.put("up", f"m/{n}.mp3", sounds.mp3(0.1, TIT2=f"Song {n}"))
    return made


def listed(*names: str) -> bytes:
    """A list of sound files."""
    return ("file\r\n" + "".join(f"{name}\r\n" for name in names)).encode()


def songs(*numbers: int) -> bytes:
    """A list of some songs of `audio_bench`."""
    return listed(*(f"m/{n}.mp3" for n in numbers))
