"""Cloud Storage on one machine: `python -m infra.local.gcs --port N --dir DIR [--bucket NAME ...]`.

gcp-storage-emulator does the work. Its own server answers one request at a time and reads an object whole for every
range of it, so the front is ours: a thread per request, downloads streamed from the file, preconditions on the
generation kept (the emulator ignores them), uploads appended instead of rewritten, and files replaced whole or not at
all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from email.message import Message
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from gcp_storage_emulator import server as emulator
from gcp_storage_emulator.exceptions import BadRequest, NotFound
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.storage import RESUMABLE_DIR, Storage

_LONGEST_FILE_NAME = 200  # bytes; file systems end at 255
_RANGE = re.compile(r"\s*bytes=(\d*)-(\d*)\s*")
_SHARE_OF_TIME = 20  # writing the index may take a twentieth of the time at most


class DiskStorage(Storage):  # type: ignore[misc]
    """The emulator's storage, safe against crashes and for many objects and large ones; callers hold `lock`."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._dirty = False
        self._written = self._cost = 0.0
        self.changes = time.time_ns()  # rises with every change
        super().__init__(data_dir=str(folder))
        self._store.write_bytes = self._replace
        threading.Thread(target=self._write_late, daemon=True).start()

    def _object_path(self, bucket_name: str, file_name: str) -> str:
        """Where an object's bytes are: in one folder per bucket, so that `a` and `a/b` may both be objects."""
        name = quote(file_name, safe="")
        if len(name) > _LONGEST_FILE_NAME:
            name = f"{name[:100]}-{sha256(file_name.encode()).hexdigest()}"
        return f"{bucket_name}/{name}"

    def file(self, bucket_name: str, file_name: str) -> Path:
        """The file that holds an object's bytes."""
        path: Path = self._store._disk_path(self._object_path(bucket_name, file_name))
        return path

    def _replace(self, relative: str, content: bytes) -> None:
        path: Path = self._store._disk_path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:100]}.{threading.get_ident()}.new")
        temporary.write_bytes(content)
        temporary.replace(path)

    def _write_config_to_file(self) -> None:
        """Write the index now, or soon if there are so many objects that this would be most of the work."""
        self.changes += 1
        if time.monotonic() - self._written < self._cost * _SHARE_OF_TIME:
            self._dirty = True
        else:
            self._write_index()

    def _write_index(self) -> None:
        began = time.monotonic()
        kept = ("buckets", "objects", "resumable", "bucket_iam_policies", "soft_deleted")
        self._store.write_bytes(".meta", json.dumps({name: getattr(self, name) for name in kept}).encode())
        self._dirty, self._written = False, time.monotonic()
        self._cost = self._written - began

    def _write_late(self) -> None:
        while True:
            time.sleep(0.05)
            with self.lock:
                if self._dirty and time.monotonic() - self._written >= self._cost * _SHARE_OF_TIME:
                    self._write_index()

    def flush(self) -> None:
        """Write the index if a change waits for it."""
        with self.lock:
            if self._dirty:
                self._write_index()

    def create_file(
        self, bucket_name: str, file_name: str, content: bytes, file_obj: dict[str, Any], file_id: str | None = None
    ) -> None:
        """Store an object, without the link the emulator makes: it holds this server's port of today, unquoted."""
        file_obj.pop("mediaLink", None)
        super().create_file(bucket_name, file_name, content, file_obj, file_id)

    def get_resumable_byte_count(self, file_id: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self.file(RESUMABLE_DIR, self.safe_id(file_id)).stat().st_size
        return 0

    def add_to_resumable_upload(
        self, file_id: str, content: bytes, total_size: int | None = None, expected_start: int | None = None
    ) -> bytes | None:
        """Append a chunk; the whole object when it is complete."""
        received = self.get_resumable_byte_count(file_id)
        if expected_start is not None and expected_start != received:
            raise BadRequest(f"Invalid Content-Range start: expected {received}, got {expected_start}")
        path = self.file(RESUMABLE_DIR, self.safe_id(file_id))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content or b"")
        if total_size is None or received + len(content or b"") < total_size:
            return None
        return path.read_bytes()[:total_size]

    def make_bucket(self, name: str) -> None:
        """Create a bucket that deletes at once; nothing if it exists."""
        with self.lock:
            buckets.create_bucket(name, self)
            self.buckets[name]["softDeletePolicy"] = {"retentionDurationSeconds": "0"}
            self._write_config_to_file()


class _Request(emulator.Request):  # type: ignore[misc]
    """A request whose multipart body is cut by its boundary: the emulator's e-mail parser takes a second per 10 MB."""

    @property
    def data(self) -> Any:
        if self._data is emulator._UNSET:
            header = Message()
            header["content-type"] = self.get_header("Content-Type", "")
            if header.get_content_type() == "multipart/related":
                self._data = _related(self._request_handler.rfile.read(), str(header.get_boundary()))
            else:
                self._data = emulator._read_data(self._request_handler, self._query)
        return self._data


def _related(body: bytes, boundary: str) -> dict[str, Any]:
    mark = b"--" + boundary.encode()
    _, _, rest = body.partition(mark + b"\r\n")
    meta, _, rest = rest.partition(b"\r\n" + mark + b"\r\n")
    content, _, _ = rest.rpartition(b"\r\n" + mark + b"--")
    head, _, content = content.partition(b"\r\n\r\n")
    kind = re.search(rb"(?i)content-type:\s*([^\r\n;]+)", head)
    return {
        "meta": json.loads(meta.partition(b"\r\n\r\n")[2]),
        "content": content,
        "content-type": kind.group(1).strip().decode() if kind else "application/octet-stream",
    }


class _Answer(emulator.Response):  # type: ignore[misc]
    """A response that is filled in under the lock and sent without it."""

    stream: io.BufferedReader | None = None
    length = 0

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        super().__init__(handler)
        self.method = ""

    def refuse(self, status: HTTPStatus, reason: str, message: str) -> None:
        """An error in the words of the JSON API."""
        self.status = status
        error = {"code": status.value, "message": message, "errors": [{"reason": reason, "message": message}]}
        self.json({"error": error})

    def close(self) -> None:
        if self.stream is None:
            super().close()
            return
        self._handler.send_response(self.status.value)
        for name, value in self._headers.items():
            self._handler.send_header(name, value)
        self._handler.send_header("Content-Length", str(self.length))
        self._handler.end_headers()
        with self.stream:
            _copy(self.stream, self._handler.wfile, self.length)


def _copy(source: io.BufferedReader, target: Any, length: int) -> None:
    while length > 0 and (block := source.read(min(length, 1 << 20))):
        target.write(block)
        length -= len(block)


def _download(request: Any, answer: _Answer, storage: DiskStorage) -> None:
    """The bytes of an object, or a range of them, from its open file: a later overwrite does not reach it."""
    bucket, name = request.params["bucket_name"], request.params["object_id"]
    facts = storage.get_file_obj(bucket, name)
    stream = storage.file(bucket, name).open("rb")
    size = os.fstat(stream.fileno()).st_size
    answer["Content-Type"] = facts.get("contentType") or "application/octet-stream"
    answer["X-Goog-Generation"] = str(facts["generation"])
    answer["X-Goog-Metageneration"] = str(facts["metageneration"])
    for key, value in (facts.get("metadata") or {}).items():
        if value is not None:
            answer[f"x-goog-meta-{quote(str(key))}"] = quote(str(value), safe=" !#$&'()*+,/:;=?@[]~|{}\"<>^`\\%")
    first, last = 0, size - 1
    asked = _RANGE.fullmatch(request.get_header("range", "") or "")
    if asked and (asked.group(1) or asked.group(2)):
        if asked.group(1):
            first = int(asked.group(1))
            last = min(int(asked.group(2) or last), last)
        else:
            first = max(0, size - int(asked.group(2)))
        if first >= size or first > last:
            stream.close()
            answer.refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "requestedRangeNotSatisfiable", "Range outside")
            answer["Content-Range"] = f"bytes */{size}"
            return
        answer.status = HTTPStatus.PARTIAL_CONTENT
        answer["Content-Range"] = f"bytes {first}-{last}/{size}"
    else:
        answer["X-Goog-Hash"] = f"crc32c={facts['crc32c']},md5={facts['md5Hash']}"
    stream.seek(first)
    answer.stream, answer.length = stream, last - first + 1


def _list_if_changed(request: Any, answer: _Answer, storage: DiskStorage) -> None:
    """A list of objects, or 304 to one who has seen it since the last change of anything."""
    mark = f'"{storage.changes}"'
    answer["ETag"] = mark
    if request.get_header("If-None-Match") == mark:
        answer.status = HTTPStatus.NOT_MODIFIED
    else:
        objects.ls(request, answer, storage)


class Handler(BaseHTTPRequestHandler):
    """One connection. The body is read before the lock is taken and the answer sent after it is given back."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    storage: DiskStorage

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        body = emulator._read_raw_data(self) or b""
        connection, self.rfile = self.rfile, io.BytesIO(body)
        if body and self.headers.get("Transfer-Encoding"):
            del self.headers["Transfer-Encoding"]
            self.headers["Content-Length"] = str(len(body))
        answer = _Answer(self)
        try:
            with self.storage.lock:
                self._route(path, answer)
        except NotFound:
            answer.refuse(HTTPStatus.NOT_FOUND, "notFound", "Not Found")
        finally:
            self.rfile = connection
        answer.close()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815  # the base class looks for these names

    def _route(self, path: str, answer: _Answer) -> None:
        method = self.headers.get("x-http-method-override") or self.command
        request = _Request(self, method)
        for pattern, handlers in _HANDLERS:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            request.set_match(match)
            handler = handlers.get(method)
            if handler is None:
                break
            if self._generation_is_met(request, handler, answer):
                media = request.query.get("alt") == ["media"]
                if handler is objects.download or (handler is objects.get and media):
                    handler = _download
                elif handler is objects.ls:
                    handler = _list_if_changed
                handler(request, answer, self.storage)
            return
        answer.refuse(HTTPStatus.NOT_IMPLEMENTED, "notImplemented", f"the local storage does not know {method} {path}")

    def _generation_is_met(self, request: Any, handler: Any, answer: _Answer) -> bool:
        """Whether the object is of the generation the request insists on; else the answer says that it is not."""
        if not request.query.keys() & {"generation", "ifGenerationMatch", "ifGenerationNotMatch"}:
            return True
        bucket = request.params.get("bucket_name")
        name = request.params.get("object_id")
        if handler is objects.insert:
            name = (request.query.get("name") or [None])[0] or _named_in_body(request)
        found = self.storage.objects.get(bucket, {}).get(name)
        now = str(found["generation"]) if found else "0"
        wanted = {key: values[0] for key, values in request.query.items()}
        if handler is not objects.restore and wanted.get("generation", now) != now:
            answer.refuse(HTTPStatus.NOT_FOUND, "notFound", f"No such object: {bucket}/{name}#{wanted['generation']}")
            return False
        if wanted.get("ifGenerationMatch", now) != now or wanted.get("ifGenerationNotMatch") == now:
            answer.refuse(HTTPStatus.PRECONDITION_FAILED, "conditionNotMet", f"The object's generation is {now}")
            return False
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: a line per request would drown the functions' own."""

    def log_error(self, format: str, *args: Any) -> None:  # noqa: A002
        sys.stderr.write(f"{format % args}\n")


def _named_in_body(request: Any) -> str | None:
    data = request.data
    meta = data.get("meta", data) if isinstance(data, dict) else {}
    name = meta.get("name")
    return str(name) if name else None


_HANDLERS = tuple((re.compile(pattern), handlers) for pattern, handlers in emulator.HANDLERS)


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1 only."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, storage: DiskStorage) -> None:
        super().__init__(("127.0.0.1", port), type("BoundHandler", (Handler,), {"storage": storage}))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left in mid-answer is no error; everything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Cloud Storage on 127.0.0.1, kept in a folder")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--bucket", action="append", default=[])
    options = parser.parse_args(arguments)
    storage = DiskStorage(options.dir.resolve())
    for name in options.bucket:
        storage.make_bucket(name)
    shutil.rmtree(storage.file(RESUMABLE_DIR, "x").parent, ignore_errors=True)  # uploads die with the server
    server = Server(options.port, storage)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(json.dumps({"ready": True, "port": server.server_address[1]}), flush=True)
    server.serve_forever(poll_interval=0.1)
    storage.flush()


if __name__ == "__main__":
    main()
