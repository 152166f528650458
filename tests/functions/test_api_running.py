"""Uploads as deployed: the API under gunicorn, in front of a store that speaks the bucket's protocol."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psutil
import pytest

from shared.storage import CloudStore
from tests.conftest import _administer
from tests.functions.running import Answer, Running

BOUNDARY = "----a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MB = 1_000_000


@pytest.fixture(scope="module")
def running(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The API alone, on a database of this module's own; a larger body than 64 MB is refused."""
    name = f"uploads_{os.getpid()}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE template")
    api = Running(tmp_path_factory.mktemp("uploads"), server.replace("/template", f"/{name}"))
    api.functions = ("api",)
    api.plan.environ["MAX_UPLOAD_BYTES"] = str(64 * MB)  # type: ignore[index]
    try:
        api.start()
        yield api
    finally:
        api.stop()
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def body(*files: tuple[str, int], **fields: str) -> Iterator[bytes]:
    """A form in pieces of about 100 kB, its fields behind its files of these sizes."""
    row = b"x" * 99 + b"\n"
    for name, size in files:
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        for at in range(0, size, 100_000):
            yield (row * 1_000)[: size - at]
        yield b"\r\n"
    for name, value in fields.items():
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    yield f"--{BOUNDARY}--\r\n".encode()


def uploaded(running: Running, *files: tuple[str, int], chunked: bool = False, **fields: str) -> Answer:
    """What the API answers to a form that was sent in pieces."""
    headers = {"Content-Type": FORM}
    if not chunked:
        headers["Content-Length"] = str(sum(map(len, body(*files, **fields))))
    connection = http.client.HTTPConnection("127.0.0.1", running.plan.ports["api"], timeout=100)
    try:
        connection.request("POST", "/api/upload", body=body(*files, **fields), headers=headers, encode_chunked=chunked)
        response = connection.getresponse()
        return Answer(status=response.status, headers=response.headers, body=response.read())
    finally:
        connection.close()


def objects(running: Running, prefix: str) -> dict[str, dict[str, Any]]:
    """What the bucket holds below a prefix, by name."""
    bucket = running.plan.topology.bucket_names()["UPLOAD_BUCKET"]
    answer = running.send("storage", f"/storage/v1/b/{bucket}/o?prefix={prefix}", method="GET")
    return {one["name"]: one for one in answer.json.get("items", [])}


def high_water(running: Running) -> float:
    """The most memory in MB that a process of the API has had."""
    process = running._processes["api"]
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return max(_peak(one.pid) for one in family) / 1_000


def _peak(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_is_in_the_bucket_with_its_options(running: Running, chunked: bool) -> None:
    answer = uploaded(
        running, ("list.csv", 1_234), ("more.csv", 8 << 20), chunked=chunked, pipeline="artists", budget="3"
    )
    assert answer.status == 202, answer.body
    found = answer.json
    stored = [objects(running, name)[name] for name in found["files"]]
    assert [int(one["size"]) for one in stored] == [1_234, 8 << 20]
    assert [one["contentType"] for one in stored] == ["text/csv"] * 2
    assert stored[0]["metadata"] == stored[1]["metadata"] == {"budget": "3", "session": found["session_id"]}
    assert running.send("api", f"/api/session/{found['session_id']}/status", method="GET").json["budget_usd"] == 3.0


def test_an_address_takes_its_object_with_the_options(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.plan.url("storage"))
    bucket, name = running.plan.topology.bucket_names()["UPLOAD_BUCKET"], "artists/direct/list.csv"
    address = CloudStore().upload_address(
        bucket, name, "text/csv", 8, metadata={"budget": "3"}, origin="http://localhost"
    )
    assert objects(running, name) == {}
    path = address.partition(running.plan.url("storage"))[2]
    put = running.send("storage", path, method="PUT", body=b"a,b\r\nc,d", headers={"Content-Type": "text/csv"})
    assert put.status == 200
    stored = objects(running, name)[name]
    assert (stored["size"], stored["contentType"], stored["metadata"]) == ("8", "text/csv", {"budget": "3"})


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_a_problem_document(running: Running, chunked: bool) -> None:
    answer = uploaded(running, ("list.csv", 65 * MB), chunked=chunked, pipeline="artists")
    assert (answer.status, answer.headers["Content-Type"]) == (413, "application/problem+json")
    assert str(64 * MB) in answer.json["detail"]


def test_memory_stays_flat(running: Running) -> None:
    assert uploaded(running, ("small.csv", 5 * MB), pipeline="artists").status == 202
    before = high_water(running)
    assert uploaded(running, ("large.csv", 60 * MB), pipeline="artists").status == 202
    assert uploaded(running, ("huge.csv", 90 * MB), pipeline="artists").status == 413
    pieces = (b" " * MB for _ in range(90))
    connection = http.client.HTTPConnection("127.0.0.1", running.plan.ports["api"], timeout=100)
    connection.request("POST", f"/api/session/{uuid4()}/pause", body=pieces, encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 413
    connection.close()
    assert high_water(running) < before + 30
