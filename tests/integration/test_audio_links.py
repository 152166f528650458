"""Sound files behind links: read by ranges where they lie, from hosts that may be asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.audio.listing import track_id
from shared.fetching.addresses import Hosts
from shared.fetching.web import Web
from shared.upstreams.sound import SoundUpstream
from tests import sounds
from tests.audio import listed
from tests.web_server import Handler, Server, serving
from tests.workbench import PROBER, Workbench

SONG = sounds.mp3(30, TIT2="Far Away", TPE1="Somebody", cover=sounds.png())


def in_ranges(handler: Handler) -> None:
    """As any file server does."""
    first, last = handler.headers["Range"].removeprefix("bytes=").split("-")
    part = SONG[int(first) : int(last) + 1]
    told = f"bytes {first}-{int(first) + len(part) - 1}/{len(SONG)}"
    handler.answer(part, 206, Content_Range=told, ETag='"one"')


def whole(handler: Handler) -> None:
    handler.answer(SONG)


def changing(handler: Handler) -> None:
    first = handler.headers["Range"].removeprefix("bytes=").split("-")[0]
    told = f"bytes {first}-{int(first) + 3}/{1 << 20}"
    handler.answer(b"\xff\xfb\x90\x00", 206, Content_Range=told, ETag=f'"{len(handler.server.requests)}"')


def endless(handler: Handler) -> None:
    handler.answer(b"x" * (17 << 20))


@contextmanager
def asked(bench: Workbench, server: Server, *hosts: str) -> Iterator[Workbench]:
    """A Rowlift that may ask the server, and the hosts beside it."""
    made = Workbench(db=bench.db, url=bench.url, slug="audio")
    web = Web(Hosts.parse(hosts or ("127.0.0.1",), testing=[server.origin]))
    made.pipeline.__dict__["_sound"] = SoundUpstream(made.store, "media", PROBER, web=web)
    yield made
    web.close()


def failed(bench: Workbench, link: str) -> str:
    """The error of a list with one link."""
    session = bench.drop(listed(link), "audio/l.csv", **{"max-failed": "100%"})
    for _ in range(30):
        if bench.run(session)["failed"]:
            break
    bench.assert_sound(session)
    return str(bench.item(session)["error_code"])


@pytest.mark.parametrize("behave", [in_ranges, whole])
def test_what_lies_behind_a_link_becomes_a_track_of_that_link(bench: Workbench, behave: object) -> None:
    with serving(behave) as server, asked(bench, server) as audio:  # type: ignore[arg-type]
        link = f"{server.url}/m/Far%20Away.mp3"
        session = audio.drop(listed(link), "audio/l.csv")
        assert audio.run(session)["enriched"] == 1
        (track,) = audio.db.rows("tracks_by_ids", ids=[track_id(link)])
        assert (track["title"], track["audio_path"]) == ("Far Away", link)
        assert track["thumbnail_path"].startswith("gs://media/covers/")
        assert len(server.requests) <= 3
        audio.assert_sound(session)


def test_a_host_that_may_not_be_asked_is_not(bench: Workbench) -> None:
    with serving(in_ranges) as server, asked(bench, server, "example.org") as audio:
        assert failed(audio, "https://example.com/a.mp3") == "upstream.refused_host"
        assert failed(audio, "http://169.254.169.254/computeMetadata/v1/") == "upstream.refused_host"
        assert server.requests == []


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (lambda handler: handler.answer(b"", 404), "upstream.deleted"),
        (lambda handler: handler.answer(b"<!DOCTYPE html><p>Sign in", 200), "upstream.not_audio"),
        (endless, "upstream.too_large"),
        (lambda handler: handler.answer(b"x", 206, Content_Range="bytes 7-7/9"), "upstream.rejected"),
    ],
)
def test_what_cannot_be_read_says_why(bench: Workbench, behave: object, code: str) -> None:
    with serving(behave) as server, asked(bench, server) as audio:  # type: ignore[arg-type]
        assert failed(audio, f"{server.url}/a.mp3") == code


def test_a_file_that_changes_while_it_is_read_is_read_again(bench: Workbench) -> None:
    with serving(changing) as server, asked(bench, server) as audio:
        assert failed(audio, f"{server.url}/a.mp3") == "upstream.network"
