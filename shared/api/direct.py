"""Uploads that go straight to the bucket: their session announced, and an address for each file."""

from __future__ import annotations

import os
from typing import Any

from shared.api.forms import SentFile
from shared.api.requests import DirectBody, LinkBody, PlannedFile
from shared.api.uploads import Destination, Upload, Uploads, content_type, upload_of
from shared.config import Settings
from shared.db import Database
from shared.errors import Conflict
from shared.pipelines import PIPELINES
from shared.problems import Fault
from shared.storage import Store


def offered() -> bool:
    """Whether files can go straight to the bucket: Cloud Storage's addresses can be reached, an emulator's cannot."""
    return not os.environ.get("STORAGE_EMULATOR_HOST")


def linked(body: LinkBody, file: SentFile) -> Upload[SentFile]:
    """What a body asks for with the file that was read for it; raises InvalidRequest with every fault."""
    spelled = {name.strip().lower().replace("-", "_"): _spelled(value) for name, value in body.options.items()}
    return upload_of({**spelled, "pipeline": body.pipeline}, [file], [])


def planned(body: DirectBody) -> Upload[PlannedFile]:
    """What a body asks for; raises InvalidRequest with every fault."""
    spelled = {name.strip().lower().replace("-", "_"): _spelled(value) for name, value in body.options.items()}
    fields = {**spelled, "pipeline": body.pipeline} | ({"export": body.export} if body.export else {})
    known = PIPELINES.get(body.pipeline)
    faults = []
    if known is not None and known.grouping is None and len(body.files) > 1:  # the first to come would end the session
        faults.append(Fault(field="files", message=f"ask for one at a time: {body.pipeline} makes a session of each"))
    return upload_of(fields, body.files, faults)


class DirectUploads:
    """Prepares uploads for the bucket; ingest does the rest once it is told of the objects."""

    def __init__(self, db: Database, uploads: Uploads, store: Store, settings: Settings) -> None:
        self._db, self._uploads, self._store, self._bucket = db, uploads, store, settings.upload_bucket

    def check_offered(self) -> None:
        """Raise Conflict where files cannot go straight to the bucket."""
        if not offered():
            raise Conflict("Files cannot go straight to this bucket; send them to POST /api/upload.")

    def open(
        self, upload: Upload[PlannedFile], to: Destination, *, origin: str | None, trace_id: str | None
    ) -> dict[str, Any]:
        """The session, announced, and for each file an address made for pages of `origin`. Raises StorageDown.

        The session stays `uploading` until the first file is there.
        """
        self._uploads.announce(upload, to.session, trace_id)
        files = [self._address(name, file, to, origin) for name, file in upload.objects.items()]
        status = str((self._db.row("session", session=to.session) or {})["status"])
        return {"session_id": str(to.session), "status": status, "files": files}

    def _address(self, name: str, file: PlannedFile, to: Destination, origin: str | None) -> dict[str, Any]:
        kind = content_type(name)
        url = self._store.upload_address(self._bucket, name, kind, file.size, metadata=to.metadata, origin=origin)
        return {"name": file.name, "object": name, "url": url, "method": "PUT", "headers": {"Content-Type": kind}}


def _spelled(value: str | float | bool) -> str:
    """As object metadata spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
