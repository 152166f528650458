"""Sheets of people, a web that has every file, and ways to look at what became of them."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from shared.links import Kind, Link, parse_link
from shared.people_sheet import BASIC, ENHANCED
from shared.upstreams.base import Answer, Failure, JsonAnswer
from tests.workbench import Workbench

DATA = Path(__file__).parents[2] / "shared/data/assets"
VIDEO, OTHER_VIDEO = "https://youtu.be/dQw4w9WgXcQ", "https://youtu.be/a-b_C1d2E3f"
PLAYLIST = "https://www.youtube.com/playlist?list=PLrAXtmErZgOeiKm4sgNOknGvNjby9efdf"
FILE = "https://drive.google.com/file/d/1AbCdEfGhIjKlMnOpQrStUvWxYz012345/view"
FOLDER = "https://drive.google.com/drive/folders/1FoLdErIdExAmPlE0123456789abcdefg"
DOCUMENT = "https://docs.google.com/document/d/1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVwXyZ_-abcdEf/edit"


def needs_data() -> None:
    """Skip the test where the data folder is absent."""
    if not DATA.is_dir():
        pytest.skip("the data folder is not here")


def sheet(rows: Sequence[Mapping[str, str]], columns: Sequence[str] = ENHANCED) -> bytes:
    """A sheet of these rows; cells that are left out are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def person(number: int, link: str = "", **cells: str) -> dict[str, str]:
    """A row of a sheet."""
    return {
        "row_id": str(number),
        "name": f"Person {number}",
        "email": f"person{number}@example.org",
        "type": "FF-Fi/Se-CP/B(S) #4",
        "link": link,
        **cells,
    }


def basic(*links: str) -> bytes:
    """A basic sheet of people who have these links, numbered down to 1."""
    return sheet([person(len(links) - i, link) for i, link in enumerate(links)], BASIC)


def read(data: bytes) -> list[dict[str, str]]:
    """The rows of a sheet."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


class FakeWeb:
    """Has every file, and in every list the two that `lists` names; `script` may say otherwise. Counts requests."""

    name = "web"

    def __init__(self, script: Callable[[Any], Answer | Failure | None] = lambda request: None) -> None:
        self._lock = threading.Lock()
        self.script = script
        self.requests: list[Any] = []
        self.lists: dict[Kind, list[Link]] = {
            Kind.PLAYLIST: [parse_link(VIDEO), parse_link(OTHER_VIDEO)],
            Kind.FOLDER: [parse_link(FILE)],
        }

    def asked(self) -> list[tuple[str, str | None]]:
        """What was asked for, and of which media id."""
        return [(str(request.what), request.link.id) for request in self.requests]

    def call(self, request: Any, *, timeout: float) -> Answer | Failure:
        with self._lock:
            self.requests.append(request)
        if scripted := self.script(request):
            return scripted
        if request.what == "listing":
            return JsonAnswer(body={"links": self.lists[request.link.kind], "metadata": {}})
        return JsonAnswer(
            body=stored(f"{request.link.url} {request.what}", f"{request.link.id}{_ENDINGS[str(request.what)]}")
        )


_ENDINGS = {
    "video": ".mp4", "transcript": "_transcript.vtt", "file": ".pdf", "document_pdf": ".pdf", "document_text": ".txt",
}  # fmt: skip


def stored(content: str, name: str) -> dict[str, Any]:
    """What is answered of a file in the media bucket."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {
        "filename": name, "content_type": "video/mp4", "file_size_bytes": len(content), "sha256": digest,
        "cloud_storage_url": f"gs://media/sha256/{digest}", "metadata": {"title": "A title"},
    }  # fmt: skip


def assets_bench(bench: Workbench, upstream: Any = None, **changes: Any) -> Workbench:
    """The bench as the assets pipeline's."""
    return Workbench(db=bench.db, url=bench.url, slug="assets", upstream=upstream or FakeWeb(), **changes)


def drop(bench: Workbench, data: bytes, name: str = "assets/people.csv", **options: str) -> UUID:
    """The session of a sheet that was dropped and has run to its end."""
    session = bench.drop(data, name, **options)
    status = bench.run(session)
    assert status["status"] == "completed", status
    bench.assert_sound(session)
    return session


def files(bench: Workbench, columns: str = "person_row_id, asset_type, what, media_id, download_status, origin") -> Any:
    """The rows of table assets."""
    return sorted(map(tuple, bench.execute(f"SELECT {columns} FROM assets")), key=repr)
