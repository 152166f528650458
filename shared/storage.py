"""The object store: an uploaded object as a stream pinned to its generation, or read here and there; result writers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from shared.errors import ObjectGone, StorageDown
from shared.events import UploadedObject
from shared.logs import log

BLOCK = 4 * 1024 * 1024
KEPT = 256 * 1024  # what an ObjectReader holds
TIMEOUT = 30.0


class Ranges(Protocol):
    """One generation of an object, read a range at a time."""

    @property
    def size(self) -> int:
        """In bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range within the object; raises ObjectGone or StorageDown."""


class Store(Protocol):
    """What ingest and finalize need of the object store."""

    def ranges(self, bucket: str, name: str, generation: int | None) -> Ranges:
        """One generation of an object, its newest if none is named; raises ObjectGone or StorageDown."""

    def open(self, bucket: str, name: str, generation: int, *, offset: int, size: int) -> ObjectStream:
        """One generation of an object, from a byte offset on."""

    def write(self, bucket: str, name: str, content_type: str, *, metadata: Mapping[str, str] | None = None) -> Any:
        """A context manager giving a binary writer; the object appears when the block ends well, and only then."""

    def upload_address(
        self, bucket: str, name: str, content_type: str, size: int, *, metadata: Mapping[str, str], origin: str | None
    ) -> str:
        """An address that takes this one object by PUT, from a page of `origin` too, and needs no other permission."""

    def download_address(self, bucket: str, name: str, *, seconds: float, disposition: str) -> str | None:
        """An address that gives this object to whoever has it, for a while; None where nothing can sign one."""

    def find(self, bucket: str, name: str) -> UploadedObject:
        """The newest generation of an object."""

    def names(self, bucket: str, prefix: str) -> list[str]:
        """The names of all objects below a prefix."""

    def read(self, bucket: str, name: str) -> bytes:
        """The whole of a small object."""

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Delete every object below a prefix; answers how many."""


class ObjectStream:
    """The bytes of one generation of an object, fetched in blocks by range."""

    def __init__(self, blob: Any, *, offset: int, size: int, generation: int) -> None:
        self._blob, self._at, self._size, self._generation = blob, offset, size, generation
        self._buffer = b""

    def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes, b"" at the end; raises ObjectGone or StorageDown."""
        if not self._buffer and self._at < self._size:
            end = min(self._at + BLOCK, self._size) - 1
            with translated():
                self._buffer = self._blob.download_as_bytes(start=self._at, end=end, raw_download=True, timeout=TIMEOUT)
            # The emulator keeps no generations: it would answer with the bytes of a newer one.
            if self._blob.generation is not None and int(self._blob.generation) != self._generation:
                raise ObjectGone
            if not self._buffer:
                raise ObjectGone("The object ended before its announced size: it was replaced while it was read.")
            self._at += len(self._buffer)
        if n < 0 or n >= len(self._buffer):
            taken, self._buffer = self._buffer, b""
        else:
            taken, self._buffer = self._buffer[:n], self._buffer[n:]
        return taken


class ObjectRanges:
    """One generation of an object, read a range at a time."""

    def __init__(self, blob: Any) -> None:
        self._blob, self._generation = blob, int(blob.generation)
        self.size = int(blob.size or 0)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range within the object; raises ObjectGone or StorageDown."""
        with translated():
            found: bytes = self._blob.download_as_bytes(
                start=offset, end=offset + length - 1, raw_download=True, timeout=TIMEOUT
            )
        # The emulator keeps no generations: it would answer with the bytes of a newer one.
        if int(self._blob.generation) != self._generation or not found:
            raise ObjectGone
        return found


class ObjectReader:
    """An object to be read here and there, from as few streams as that allows.

    What follows is read on from the same stream. One that is opened near the object's end begins early enough for all
    that stands there, the directory of a ZIP archive with its end.
    """

    def __init__(self, fetch: Callable[[int], _Readable], size: int) -> None:
        self._fetch, self._size = fetch, size
        self._at = 0
        self._stream: _Readable | None = None
        self._kept, self._start = b"", 0

    def seek(self, offset: int, /) -> int:
        """Go to an offset of the object; costs nothing."""
        self._at = offset
        return offset

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes from there, b"" at the end; raises ObjectGone or StorageDown."""
        if self._at >= self._size:
            return b""
        if not self._start <= self._at < self._start + len(self._kept):
            self._go()
        begin = self._at - self._start
        taken = self._kept[begin : begin + size]
        self._at += len(taken)
        return taken

    def _go(self) -> None:
        """Keep the piece of the object that holds the offset."""
        if self._stream is None or self._at != self._start + len(self._kept):
            self._kept, self._start = b"", max(0, min(self._at, self._size - KEPT))
            self._stream = self._fetch(self._start)
        while self._start + len(self._kept) <= self._at:
            self._start += len(self._kept)
            self._kept = self._stream.read(KEPT)
            if not self._kept:
                raise ObjectGone("The object ended before its announced size: it was replaced while it was read.")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class CloudStore:
    """Google Cloud Storage, or its emulator where STORAGE_EMULATOR_HOST says so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None
        self._made_by: int | None = None

    def open(self, bucket: str, name: str, generation: int, *, offset: int, size: int) -> ObjectStream:
        """One generation of an object, from a byte offset on; raises ObjectGone if it is there no more."""
        with translated():
            blob = self.client().bucket(bucket).blob(name, generation=generation)
            blob.reload(timeout=TIMEOUT)
        if int(blob.generation) != generation:
            raise ObjectGone
        return ObjectStream(blob, offset=offset, size=size, generation=generation)

    def ranges(self, bucket: str, name: str, generation: int | None) -> ObjectRanges:
        """One generation of an object, its newest if none is named; raises ObjectGone or StorageDown."""
        client = self.client().bucket(bucket)
        with translated():
            blob = client.blob(name, generation=generation)
            blob.reload(timeout=TIMEOUT)
            if generation is not None and int(blob.generation) != generation:
                raise ObjectGone
            pinned = client.blob(name, generation=int(blob.generation))
            pinned.reload(timeout=TIMEOUT)
        return ObjectRanges(pinned)

    @contextmanager
    def write(
        self, bucket: str, name: str, content_type: str, *, metadata: Mapping[str, str] | None = None
    ) -> Iterator[BinaryIO]:
        """A binary writer; nothing appears when the block raises (text mode would publish the torn object).

        It holds a block of what was written; the library's own choice is 40 MiB, for each of the threads that write.
        """
        blob = self.client().bucket(bucket).blob(name, chunk_size=BLOCK)
        if metadata:
            blob.metadata = dict(metadata)
        opened = blob.open("wb", content_type=content_type, timeout=TIMEOUT, ignore_flush=True, retry=patience())
        with translated(), opened as writer:
            yield writer

    def upload_address(
        self, bucket: str, name: str, content_type: str, size: int, *, metadata: Mapping[str, str], origin: str | None
    ) -> str:
        """The address of a resumable upload session, for a week and one object of this size; raises StorageDown."""
        blob = self.client().bucket(bucket).blob(name)
        blob.metadata = dict(metadata)
        with translated():
            address = blob.create_resumable_upload_session(
                content_type=content_type, size=size, origin=origin, timeout=TIMEOUT
            )
        return str(address)

    def download_address(self, bucket: str, name: str, *, seconds: float, disposition: str) -> str | None:
        """A signed address for so many seconds; None with the emulator, or for an account that may not sign.

        A function's service account has no key of its own: IAM signs for it (roles/iam.serviceAccountTokenCreator on
        itself).
        """
        from datetime import timedelta

        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        if os.environ.get("STORAGE_EMULATOR_HOST"):
            return None
        client = self.client()
        credentials, signer = client._credentials, {}
        try:
            if not hasattr(credentials, "sign_bytes"):
                credentials.refresh(Request())
                signer = {"service_account_email": credentials.service_account_email, "access_token": credentials.token}
            return str(
                client.bucket(bucket)
                .blob(name)
                .generate_signed_url(
                    version="v4", expiration=timedelta(seconds=seconds), response_disposition=disposition, **signer
                )
            )
        except (GoogleAuthError, AttributeError, ValueError) as error:
            log("WARNING", "No address could be signed; the file goes through the API", reason=str(error))
            return None

    def find(self, bucket: str, name: str) -> UploadedObject:
        """The newest generation of an object; raises ObjectGone or StorageDown."""
        blob = self.client().bucket(bucket).blob(name)
        with translated():
            blob.reload(timeout=TIMEOUT)
        return UploadedObject.from_resource({**blob._properties, "bucket": bucket, "name": name})

    def names(self, bucket: str, prefix: str) -> list[str]:
        """The names of all objects below a prefix; raises StorageDown."""
        with translated():
            return [str(blob.name) for blob in self.client().list_blobs(bucket, prefix=prefix, timeout=TIMEOUT)]

    def read(self, bucket: str, name: str) -> bytes:
        """The whole of a small object; raises ObjectGone or StorageDown."""
        with translated():
            content: bytes = self.client().bucket(bucket).blob(name).download_as_bytes(timeout=TIMEOUT)
        return content

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Delete every object below a prefix; answers how many."""
        from google.api_core.exceptions import NotFound

        deleted = 0
        with translated():
            for blob in list(self.client().list_blobs(bucket, prefix=prefix, timeout=TIMEOUT)):
                try:
                    blob.delete(timeout=TIMEOUT)
                    deleted += 1
                except NotFound:
                    continue
        return deleted

    def client(self) -> Any:
        """The client library's client of this process."""
        with self._lock:
            if self._client is None or self._made_by != os.getpid():
                self._client, self._made_by = _client(), os.getpid()
            return self._client


def patience() -> Any:
    """How the library is to try while the store is away: for 30 s; it would for 120."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(TIMEOUT)


def _client() -> Any:
    from google.cloud import storage

    if not os.environ.get("STORAGE_EMULATOR_HOST"):
        return storage.Client()
    from google.auth.credentials import AnonymousCredentials

    return storage.Client(
        project=os.environ.get("GOOGLE_CLOUD_PROJECT", "rowlift-local"), credentials=AnonymousCredentials()
    )


@contextmanager
def translated() -> Iterator[None]:
    """The client library's errors as ours: gone for 404, 412 and 416, down for everything else of theirs."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import InvalidResponse

    try:
        yield
    except (NotFound, PreconditionFailed) as error:
        raise ObjectGone from error
    except InvalidResponse as error:
        if error.response.status_code in (404, 412, 416):
            raise ObjectGone from error
        raise StorageDown(f"The object store answered {error.response.status_code}.") from error
    except (GoogleAPICallError, RetryError, GoogleAuthError, requests.RequestException, ConnectionError) as error:
        raise StorageDown(f"The object store cannot be reached ({type(error).__name__}).") from error
