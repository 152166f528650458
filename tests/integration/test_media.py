"""The media bucket on the local Cloud Storage, through Google's client library: files once, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from infra.local.topology import ROOT
from shared import media
from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.media import INCOMING, MediaBucket, object_name


class Running:
    """The store as its own process."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "infra.local.gcs", "--port", "0", "--dir", str(folder), "--bucket", "media"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        url = f"http://127.0.0.1:{json.loads(self.process.stdout.readline())['port']}"
        self.client = storage.Client(
            project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
        )

    def names(self) -> set[str]:
        return {blob.name for blob in self.client.list_blobs("media")}

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = Running(tmp_path_factory.mktemp("media"))
    yield server
    server.stop()


@pytest.fixture
def store(running: Running) -> MediaBucket:
    for name in running.names():
        running.client.bucket("media").blob(name).delete()
    return MediaBucket("media", lambda: running.client)


def pieces(size: int, piece: int = 70_001) -> Iterator[bytes]:
    body = bytes(range(251)) * (size // 251 + 1)
    yield from (body[i : min(i + piece, size)] for i in range(0, size, piece))


@pytest.mark.parametrize("size", [0, 1, 1_000_000, media.BLOCK, media.BLOCK + 1, 2 * media.BLOCK, 3 * media.BLOCK + 17])
def test_a_file_comes_back_as_it_went_under_its_digest(running: Running, store: MediaBucket, size: int) -> None:
    body = b"".join(pieces(size))
    kept = store.keep(pieces(size), "video/mp4")
    assert (kept.sha256, kept.size) == (hashlib.sha256(body).hexdigest(), size)
    assert kept.url == f"gs://media/{object_name(kept.sha256)}"
    blob = running.client.bucket("media").get_blob(object_name(kept.sha256))
    assert blob.download_as_bytes() == body
    assert (blob.content_type, blob.content_disposition) == ("video/mp4", "attachment")
    assert running.names() == {blob.name}  # nothing is left over


@pytest.mark.parametrize("size", [10, 2 * media.BLOCK + 5])
def test_the_same_file_is_there_once(running: Running, store: MediaBucket, size: int) -> None:
    first = store.keep(pieces(size), "video/mp4")
    generation = running.client.bucket("media").get_blob(object_name(first.sha256)).generation
    assert store.keep(pieces(size, piece=999), "application/pdf") == first
    assert running.client.bucket("media").get_blob(object_name(first.sha256)).generation == generation


@pytest.mark.parametrize("after", [1_000, media.BLOCK + 1_000, 3 * media.BLOCK])
def test_a_file_that_breaks_off_leaves_nothing(running: Running, store: MediaBucket, after: int) -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(after)
        raise FetchError(Cause.NETWORK, "cut")

    with pytest.raises(FetchError) as raised:
        store.keep(broken(), "video/mp4")
    assert raised.value.cause == Cause.NETWORK
    assert running.names() == set()


def test_a_crash_before_the_copy_leaves_only_what_is_removed_by_age(
    running: Running, store: MediaBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(MediaBucket, "_settle", dies)
    monkeypatch.setattr(storage.Blob, "delete", dies)
    with pytest.raises(SystemExit):
        store.keep(pieces(2 * media.BLOCK), "video/mp4")
    monkeypatch.undo()
    assert all(name.startswith(INCOMING) for name in running.names())
    kept = store.keep(pieces(2 * media.BLOCK), "video/mp4")
    assert object_name(kept.sha256) in running.names()


def test_no_more_than_a_few_blocks_are_held_whatever_the_size(store: MediaBucket) -> None:
    import tracemalloc

    def endless() -> Iterator[bytes]:
        piece = bytes(65_536)
        for _ in range(1_000):  # 65 MB
            yield piece

    tracemalloc.start()
    try:
        store.keep(endless(), "video/mp4")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * media.BLOCK


@pytest.mark.parametrize("kind", ["", "nonsense", "text/html\r\nX-Evil: 1", "a/" + "b" * 500])
def test_a_type_that_is_none_is_not_passed_on(running: Running, store: MediaBucket, kind: str) -> None:
    kept = store.keep([b"x" + kind.encode()], kind)
    assert running.client.bucket("media").get_blob(object_name(kept.sha256)).content_type == "application/octet-stream"


@pytest.mark.parametrize("size", [10, 2 * media.BLOCK])
def test_a_bucket_that_is_not_there_holds_the_session(running: Running, size: int) -> None:
    with pytest.raises(FetchError) as raised:
        MediaBucket("nowhere", lambda: running.client).keep(pieces(size), "video/mp4")
    assert raised.value.cause == Cause.STORE_REFUSES


@pytest.mark.parametrize(
    ("error", "cause"),
    [("Forbidden", Cause.STORE_REFUSES), ("Unauthorized", Cause.STORE_REFUSES),
     ("ServiceUnavailable", Cause.STORE_DOWN), ("TooManyRequests", Cause.STORE_DOWN)],
)  # fmt: skip
def test_what_the_store_s_errors_mean(
    store: MediaBucket, monkeypatch: pytest.MonkeyPatch, error: str, cause: Cause
) -> None:
    from google.api_core import exceptions

    def fails(*_: Any, **__: Any) -> None:
        raise getattr(exceptions, error)("no")

    monkeypatch.setattr(storage.Blob, "exists", fails)
    with pytest.raises(FetchError) as raised:
        store.keep([b"x"], "video/mp4")
    assert raised.value.cause == cause
