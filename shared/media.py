"""The media bucket: files under the SHA-256 of what they hold, so that the same file is there once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol
from uuid import uuid4

from shared.errors import FetchError, StorageError
from shared.fetching.causes import Cause
from shared.storage import TIMEOUT, patience, translated

# A process that keeps 16 files at once holds about seven blocks of each, the storage library's copies included: 319 MB
# in all with blocks of 2 MiB, and under 250 with these.
BLOCK: Final = 1024 * 1024
INCOMING: Final = "incoming/"  # files that are not whole yet; a lifecycle rule may remove what is a day old there
_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII).fullmatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A file in the bucket."""

    sha256: str
    size: int
    url: str  # gs://


class Media(Protocol):
    """Where files are kept."""

    def keep(self, pieces: Iterable[bytes], content_type: str) -> Kept:
        """Store what the pieces hold; raises FetchError, and what the pieces raise."""


def object_name(sha256: str) -> str:
    """The name of the object that holds the bytes of this digest."""
    assert _DIGEST(sha256), "a digest in hexadecimal digits"  # noqa: S101
    return f"sha256/{sha256}"


def place_of(url: str) -> tuple[str, str] | None:
    """Bucket and name of a gs:// address; None for any other."""
    bucket, slash, name = url.removeprefix("gs://").partition("/")
    return (bucket, name) if url.startswith("gs://") and bucket and slash and name else None


def usable_type(told: str) -> str:
    """The content type a host told, if it has the form of one; else that of any bytes."""
    return told if _TYPE(told) else "application/octet-stream"


class MediaBucket:
    """Keeps files in a bucket; `client` gives the storage library's client of this process."""

    def __init__(self, name: str, client: Callable[[], Any]) -> None:
        self._name, self._client = name, client

    def keep(self, pieces: Iterable[bytes], content_type: str) -> Kept:
        """Store what the pieces hold, unless it is there; at no time more than a block of it is held.

        A file of one block is hashed before it is sent. A longer one is sent under a name of its own and copied within
        the store when its digest is known; if this is cut short nothing appears under a digest.
        """
        digest, blocks = hashlib.sha256(), _blocks(pieces)
        first = next(blocks, b"")
        second = next(blocks, None)
        digest.update(first)
        kind = usable_type(content_type)
        with _judged():
            if second is None:
                return self._keep_small(first, digest.hexdigest(), kind)
            return self._keep_large(first, chain([second], blocks), digest, kind)

    def _keep_small(self, content: bytes, digest: str, content_type: str) -> Kept:
        blob = self._blob(object_name(digest))
        if not blob.exists(timeout=TIMEOUT, retry=patience()):
            blob.upload_from_string(content, content_type=content_type, timeout=TIMEOUT, retry=patience())
        return self._kept(digest, len(content))

    def _keep_large(self, first: bytes, rest: Iterable[bytes], digest: Any, content_type: str) -> Kept:
        incoming = self._blob(f"{INCOMING}{uuid4()}")
        size = len(first)
        opened = incoming.open("wb", content_type=content_type, timeout=TIMEOUT, ignore_flush=True, retry=patience())
        with opened as writer:
            writer.write(first)
            for block in rest:
                digest.update(block)
                size += len(block)
                writer.write(block)
        try:
            self._settle(incoming, object_name(digest.hexdigest()))
        finally:
            with suppress(Exception):  # a leftover is removed by age
                incoming.delete(timeout=TIMEOUT)
        return self._kept(digest.hexdigest(), size)

    def _settle(self, incoming: Any, name: str) -> None:
        """Have a whole file under its digest, by a copy within the store."""
        final = self._blob(name)
        if final.exists(timeout=TIMEOUT):
            return
        token, _, _ = final.rewrite(incoming, timeout=TIMEOUT)
        while token is not None:
            token, _, _ = final.rewrite(incoming, token=token, timeout=TIMEOUT)

    def _blob(self, name: str) -> Any:
        blob = self._client().bucket(self._name).blob(name, chunk_size=BLOCK)
        blob.content_disposition = "attachment"  # a page somebody made is not to run where its address is signed
        return blob

    def _kept(self, digest: str, size: int) -> Kept:
        return Kept(sha256=digest, size=size, url=f"gs://{self._name}/{object_name(digest)}")


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as blocks of one size, the last one shorter."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        while size >= BLOCK:
            whole = b"".join(held)
            yield whole[:BLOCK]
            held, size = [whole[BLOCK:]], size - BLOCK
    if size:
        yield b"".join(held)


@contextmanager
def _judged() -> Iterator[None]:
    """The store's errors as a failed fetch: the bucket is away, or takes nothing at all."""
    try:
        with translated():
            yield
    except StorageError as error:
        status = getattr(error.__cause__, "code", None) or _status(error.__cause__)
        refuses = status in (400, 401, 403, 404)
        raise FetchError(Cause.STORE_REFUSES if refuses else Cause.STORE_DOWN, str(error)) from error


def _status(error: BaseException | None) -> int | None:
    answered = getattr(error, "response", None)
    status = getattr(answered, "status_code", None)
    return status if isinstance(status, int) else None
