"""People and their files over the API: whose files there are, the bytes of one, and the whole sheet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

from flask import Response
from werkzeug.datastructures import ContentRange
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import parse_range_header

from shared.api.asking import Ask, json_response
from shared.api.streaming import streamed
from shared.config import Settings
from shared.db import Database, Row
from shared.errors import Conflict, InputError, NotFound, ObjectGone
from shared.media import object_name, place_of
from shared.sessions import Sessions, known_session
from shared.sheet_export import sheet_pages
from shared.storage import Store

FIRST = UUID(int=0)
SIGNED_SECONDS = 15 * 60
_SAFE_TYPES = ("video/", "audio/", "image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain", "text/vtt")


class People:
    """Answers requests about people and their files; raises our errors, which `routing` makes problem documents of."""

    def __init__(self, db: Database, sessions: Sessions, store: Store, settings: Settings) -> None:
        self._db, self._sessions, self._store, self._settings = db, sessions, store, settings

    def assets(self, ask: Ask, row_id: str) -> Response:
        """A person, and a page of their files."""
        found = self._person(row_id)
        query = ask.query
        files = self._db.rows(
            "files_of_person", row_id=found["row_id"], after=query.after or FIRST, size=query.limit + 1
        )
        page, more = files[: query.limit], len(files) > query.limit
        return json_response(
            {
                "row_id": found["row_id"],
                "name": found["name"],
                "email": found["email"],
                "type": found["personality_type"],
                "link": found["source_link"],
                "assets": [self._document(file) for file in page],
                "next": page[-1]["asset_id"] if more else None,
            }
        )

    def bring(self, ask: Ask, row_id: str) -> Response:
        """That the media bucket holds a file now which the person's sheet lists."""
        found, body = self._person(row_id), ask.body
        bucket, name = self._settings.media_bucket, object_name(body.sha256)
        try:
            there = self._store.find(bucket, name)
        except ObjectGone as error:
            raise NotFound(f"The media bucket holds no {name}; upload the file there first.") from error
        if there.size != body.size:
            raise Conflict(f"The media bucket holds {there.size} bytes as {name}, not {body.size}; upload it again.")
        brought = self._db.row(
            "bring_file", row_id=found["row_id"], file=body.name, url=f"gs://{bucket}/{name}", sha256=body.sha256,
            size=body.size, content_type=body.content_type,
        )  # fmt: skip
        if brought is None:
            raise NotFound(f"The sheet lists no file {body.name!r} for row {row_id} that is still to come.")
        return json_response({"asset_id": brought["asset_id"], "cloud_storage_url": f"gs://{bucket}/{name}"})

    def file(self, ask: Ask, asset: str) -> Response:
        """The bytes of a file: sent on to a signed address of the bucket's, or streamed, ranges too."""
        try:
            found = self._db.row("asset", asset=UUID(asset))
        except ValueError:
            found = None
        place = place_of(found["cloud_storage_url"] or "") if found else None
        if found is None or place is None:
            raise NotFound(f"There is no file {asset[:60]!r} here; GET /api/people/ROW/assets lists a person's.")
        disposition = _disposition(found)
        signed = self._store.download_address(*place, seconds=SIGNED_SECONDS, disposition=disposition)
        if signed is not None:
            return Response(status=302, headers={"Location": signed})
        return self._streamed(ask, found, place, disposition)

    def sheet(self, ask: Ask) -> Response:
        """The enhanced sheet: of a session, or of everybody."""
        session = ask.query.session
        if session is not None:
            found = self._sessions.get(known_session(str(session)))
            if found["pipeline"] != "assets":
                raise Conflict(f"Session {session} is one of {found['pipeline']}; only those of assets have a sheet.")
        pages = sheet_pages(self._db, session=session, guard=ask.query.formulas == "guard")
        answer = streamed(pages, "text/csv", session=session)
        answer.headers["Content-Disposition"] = 'attachment; filename="assets.csv"'
        return answer

    def _person(self, row_id: str) -> Row:
        found = self._db.row("person", row_id=row_id)
        if found is None:
            raise NotFound(f"No sheet has a row {row_id[:60]!r} yet.")
        return found

    def _document(self, file: Row) -> dict[str, Any]:
        failed = file["download_status"] == "failed"
        here = place_of(file["cloud_storage_url"] or "") is not None
        return {
            **{name: file[name] for name in _TOLD},
            "failure": (file["error_code"] or "").rpartition(".")[2] or None if failed else None,
            "try_again": file["try_again"] if failed else None,
            "error": file["error_message"] if failed else None,
            "download": f"/api/assets/{file['asset_id']}/file" if here else None,
        }

    def _streamed(self, ask: Ask, found: Row, place: tuple[str, str], disposition: str) -> Response:
        """The bytes through this API, where nothing signs addresses."""
        try:
            there = self._store.find(*place)
        except ObjectGone as error:
            raise NotFound("The media bucket holds this file no more; reprocess its row.") from error
        size = there.size or 0
        wanted = parse_range_header(ask.request.headers.get("Range"))
        span = wanted.range_for_length(size) if wanted else None
        headers = {"Accept-Ranges": "bytes", "Content-Disposition": disposition}
        if wanted is not None and span is None:
            raise RequestedRangeNotSatisfiable(size, description=f"The file has {size} bytes; ask for some of those.")
        begin, end = span or (0, size)
        if span is not None:
            headers["Content-Range"] = str(ContentRange("bytes", begin, end, size))
        stream = self._store.open(*place, there.generation, offset=begin, size=end)
        pieces = _pieces(stream, end - begin)
        answer = streamed(pieces, _content_type(found), session=None)
        answer.status_code = 200 if span is None else 206
        answer.headers.update({**headers, "Content-Length": str(end - begin)})
        return answer


_TOLD = (
    "asset_id", "asset_type", "original_url", "media_id", "local_file_path", "cloud_storage_url", "filename",
    "content_type", "file_size_bytes", "sha256", "download_status", "metadata", "attempted_at",
)  # fmt: skip


def _pieces(stream: Any, left: int) -> Iterator[bytes]:
    while left > 0:
        piece = stream.read(min(left, 1 << 18))
        if not piece:
            raise InputError("The file ended early: it was replaced while it was read.", code="input.object_gone")
        left -= len(piece)
        yield piece


def _content_type(found: Row) -> str:
    """The file's own type where a browser shows it harmlessly; HTML of others is none of ours to serve."""
    kind = str(found["content_type"] or "").partition(";")[0].strip().lower()
    return kind if kind.startswith(_SAFE_TYPES) else "application/octet-stream"


def _disposition(found: Row) -> str:
    name = found["filename"] or str(found["asset_id"])
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\' else "_" for letter in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
