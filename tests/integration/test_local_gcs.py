"""The local Cloud Storage, through Google's client library and as its own process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.exceptions import NotFound

from infra.local.relay import Listing, StorageAwayError
from infra.local.topology import ROOT

BYTES = bytes(range(256)) * 4_000 + b"\r\n--\r\n\r\n--x--\r\n\n"  # line ends and dashes an e-mail parser would touch


class Running:
    """The server as a process, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "infra.local.gcs", "--port", "0", "--dir", str(folder), "--bucket", "uploads"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{json.loads(self.process.stdout.readline())['port']}"
        self.client = storage.Client(
            project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
        )
        self.bucket = self.client.bucket("uploads")

    def stop(self, *, kill: bool = False) -> int:
        self.client.close()
        (self.process.kill if kill else self.process.terminate)()
        self.process.stdout.close()
        return self.process.wait(10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = Running(tmp_path_factory.mktemp("gcs"))
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["a/b c/ü#?%.csv", "a", "a/b", "x" * 1000, "..%2F", "üñ/日本"])
def test_any_name_and_any_bytes_come_back_as_they_went(running: Running, name: str) -> None:
    blob = running.bucket.blob(name)
    blob.metadata = {"write-mode": "both", "note": "ß"}
    blob.upload_from_string(BYTES, content_type="text/csv")
    found = running.bucket.get_blob(name)
    assert found.download_as_bytes() == BYTES
    assert found.metadata == {"write-mode": "both", "note": "ß"}
    assert (found.content_type, found.size) == ("text/csv", len(BYTES))
    assert name in {each.name for each in running.bucket.list_blobs()}


def test_ranges(running: Running) -> None:
    blob = running.bucket.blob("ranges")
    blob.upload_from_string(BYTES)
    assert blob.download_as_bytes(start=10, end=19) == BYTES[10:20]
    assert blob.download_as_bytes(start=len(BYTES) - 3) == BYTES[-3:]
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=len(BYTES))
    running.bucket.blob("empty").upload_from_string(b"")
    assert running.bucket.blob("empty").download_as_bytes() == b""


def test_a_replaced_generation_is_gone(running: Running) -> None:
    blob = running.bucket.blob("pinned")
    blob.upload_from_string("first")
    first = blob.generation
    running.bucket.blob("pinned").upload_from_string("second")
    with pytest.raises(NotFound):
        running.bucket.blob("pinned", generation=first).download_as_bytes()
    with pytest.raises(NotFound):
        running.bucket.blob("pinned", generation=first).reload()
    assert running.bucket.blob("pinned").download_as_bytes() == b"second"


def test_preconditions_hold_and_one_of_many_creators_wins(running: Running) -> None:
    def create(number: int) -> bool:
        try:
            running.bucket.blob("created").upload_from_string(str(number), if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1
    with pytest.raises(exceptions.PreconditionFailed):
        running.bucket.blob("created").delete(if_generation_match=1)


def test_a_large_object_is_written_and_read_in_pieces(running: Running) -> None:
    piece = os.urandom(1 << 20)
    with running.bucket.blob("large").open("wb", chunk_size=4 << 20) as file:
        for _ in range(24):
            file.write(piece)
    digest = hashlib.md5()
    with running.bucket.blob("large").open("rb", chunk_size=5 << 20) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    assert digest.hexdigest() == hashlib.md5(piece * 24).hexdigest()


def test_an_abandoned_upload_leaves_no_object(running: Running) -> None:
    def write() -> None:
        with running.bucket.blob("abandoned").open("wb") as file:
            file.write(BYTES)
            raise KeyError("the writer failed")

    with pytest.raises(KeyError):
        write()
    assert not running.bucket.blob("abandoned").exists()


def test_many_clients_at_once(running: Running) -> None:
    def round_trip(number: int) -> bool:
        blob = running.bucket.blob(f"many/{number}")
        blob.upload_from_string(str(number))
        return blob.download_as_bytes() == str(number).encode()

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(round_trip, range(200)))
    assert sum(1 for _ in running.bucket.list_blobs(prefix="many/")) == 200


def test_the_listing_is_sent_again_only_after_a_change(running: Running) -> None:
    listing = Listing(running.url, "uploads")
    assert listing.fetch()
    assert listing.fetch() is None
    running.bucket.blob("news").upload_from_string("x")
    assert "news" in {resource["name"] for resource in listing.fetch() or ()}
    listing.forget()
    with pytest.raises(StorageAwayError, match="answers 404"):
        Listing(running.url, "no-such-bucket").fetch()


def test_everything_survives_a_restart_even_a_hard_one(tmp_path: Path) -> None:
    first = Running(tmp_path)
    first.bucket.blob("kept").upload_from_string(BYTES)
    generation = first.bucket.get_blob("kept").generation
    first.bucket.blob("deleted").upload_from_string("x")
    first.bucket.blob("deleted").delete()
    first.stop()
    second = Running(tmp_path)
    second.bucket.blob("late").upload_from_string("y")
    second.stop(kill=True)
    third = Running(tmp_path)
    try:
        assert {blob.name for blob in third.bucket.list_blobs()} >= {"kept"}
        assert third.bucket.get_blob("kept").generation == generation
        assert third.bucket.get_blob("kept").download_as_bytes() == BYTES
        assert not third.bucket.blob("deleted").exists()
        assert not list(tmp_path.rglob("*.new"))
    finally:
        third.stop()
