"""Files into the upload bucket, with the options as the object's metadata."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from cli.client import LOGIN
from cli.faults import Unreachable, WrongUsage
from cli.inputs import Input
from shared.errors import ObjectGone, StorageDown
from shared.sessions import session_id
from shared.storage import translated

TIMEOUT = 60.0  # for each request of an upload, not for all of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploaded:
    """A file that is in the bucket, and the session it belongs to."""

    input: Input
    object: str  # gs://bucket/name
    generation: int
    bytes: int
    session: UUID

    @property
    def version(self) -> str:
        """The object as it was uploaded, and no later one of its name."""
        return version(self.object, self.generation)

    def document(self) -> dict[str, Any]:
        """The upload as JSON shows it."""
        return {
            "session_id": str(self.session),
            "file": str(self.input.file),
            "object": self.object,
            "generation": self.generation,
            "bytes": self.bytes,
        }


def version(name: str, generation: int | str) -> str:
    """One generation of an object, as one text."""
    return f"{name}#{generation}"


class Uploader:
    """Puts files into one bucket: of the local storage at an address, else of Google Cloud Storage."""

    def __init__(self, bucket: str, *, storage: str | None) -> None:
        self._bucket, self._storage = bucket, storage
        self._client: Any = None

    def put(self, one: Input, metadata: Mapping[str, str], *, session: UUID | None = None) -> Uploaded:
        """Upload a file; it makes a session of its own unless it joins one. Raises Unreachable, WrongUsage."""
        kind = mimetypes.guess_type(one.file.name)[0] or "text/csv"
        blob = self.keep(one.file, one.object, kind, metadata)
        generation = int(blob.generation)
        return Uploaded(
            input=one,
            object=f"gs://{self._bucket}/{one.object}",
            generation=generation,
            bytes=int(blob.size or 0),
            session=session or session_id(self._bucket, one.object, generation),
        )

    def keep(self, file: Path, name: str, kind: str, metadata: Mapping[str, str] | None = None) -> Any:
        """The object a file has become, of this name and type. Raises Unreachable, WrongUsage."""
        try:
            with translated():
                self._client = self._client or _client(self._storage)
                blob = self._client.bucket(self._bucket).blob(name)
                blob.metadata = dict(metadata or {}) or None
                blob.upload_from_filename(str(file), content_type=kind, timeout=TIMEOUT)
        except ObjectGone as error:
            raise WrongUsage(f"There is no bucket {self._bucket}, or you may not see it.") from error
        except StorageDown as error:
            remedy = "Is the stack still up? `rowlift status` tells." if self._storage else LOGIN
            raise Unreachable(f"Cannot upload {file} to {self._bucket}. {error} {remedy}") from error
        except OSError as error:
            raise WrongUsage(f"Cannot read {file}: {error.strerror or error}.") from error
        return blob


def _client(storage: str | None) -> Any:
    from google.cloud.storage import Client

    if storage is None:
        return Client()
    from google.auth.credentials import AnonymousCredentials

    # A proxy of the environment could not reach this machine's own ports.
    others = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, (others, "127.0.0.1", "localhost")))
    return Client(project="rowlift-local", credentials=AnonymousCredentials(), client_options={"api_endpoint": storage})
