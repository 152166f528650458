"""The enhanced sheet rebuilt: every row as it was read, its tracking cells told anew where something was fetched since.

Cells nobody has touched come out to the letter, so that a sheet that is imported and exported is the same sheet.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from shared.csv_export import guarded
from shared.db import Database
from shared.dialect import Layout
from shared.people_sheet import ENHANCED, Group, json_object, split_files

PAGE = 1_000
_NO_CAPTIONS = "upstream.no_captions"  # a video without words is no failed one
# An id may begin with a hyphen, and so may a file that is named for it. Without any sign but these nothing in it runs.
_IDS = frozenset({"youtube_media_id", "drive_media_id", "youtube_files", "drive_files"})
_PLAIN_ID = re.compile(r"[-\w][-\w., ]*").fullmatch


def sheet_pages(db: Database, *, session: UUID | None = None, guard: bool = True, page: int = PAGE) -> Iterator[bytes]:
    """The sheet as CSV in pieces: of a session, or of everybody, each as the newest sheet has them."""
    sheets = db.rows("sheets") if session is None else db.rows("sheet", session=session)
    names, shown = header_of([layout for sheet in sheets for layout in sheet["layouts"] or ()])
    yield _written([[_safe("", cell, guard=guard) for cell in shown]])
    for sheet in sheets:
        after = 0
        while rows := db.rows(
            "sheet_page", session=sheet["session_id"], newest=session is None, after=after, size=page
        ):
            yield _written(
                [[_safe(name, cells.get(name, ""), guard=guard) for name in names] for cells in map(row_of, rows)]
            )
            after = rows[-1]["item_no"]


def header_of(layouts: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The columns of the export by their names, and as they are written: those of the newest file first.

    Behind them stand those of older files, and the tracking columns nobody has yet.
    """
    shown: dict[str, str] = {}
    for layout in map(Layout.from_dict, reversed([*layouts])):
        header = layout.header or layout.names
        for name, cell in zip(layout.names, header, strict=True):
            shown.setdefault(name, cell)
    for name in ENHANCED:
        shown.setdefault(name, name)
    return list(shown), list(shown.values())


def row_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a row by their columns; `files` are what the database has of its links."""
    cells: dict[str, str] = dict(row["cells"])
    files = [
        {**file, "group": Group.YOUTUBE if file["asset_type"].startswith("youtube") else Group.DRIVE}
        for file in row["files"] or ()
        if file["asset_type"] != "file" or file["source"].startswith(("drive:", "docs:"))
    ]
    tried = [file for file in files if file["origin"] == "fetch" and file["download_status"] != "pending"]
    for group in {file["group"] for file in tried}:
        own = [file for file in files if file["group"] is group and file["error_code"] != _NO_CAPTIONS]
        _tell(cells, group, own)
    if moments := [file["attempted_at"] for file in tried if file["attempted_at"]]:
        cells["last_download_attempt"] = _moment(max(moments))
    return cells


def _tell(cells: dict[str, str], group: Group, files: Sequence[Mapping[str, Any]]) -> None:
    """Say in the cells of a group how far its files are."""
    failed = [file for file in files if file["download_status"] == "failed"]
    waiting = any(file["download_status"] == "pending" for file in files)
    cells[f"{group}_status"] = "failed" if failed else "pending" if waiting else "completed"
    here = [file for file in files if file["filename"] and file["download_status"] in ("uploaded", "downloaded")]
    _append_names(cells, f"{group}_files", [file["filename"] for file in here])
    if not cells.get(f"{group}_media_id", "").strip():
        cells[f"{group}_media_id"] = next((file["media_id"] for file in files if _names_media(file)), "")
    messages = [file["error_message"] for file in failed if file["error_message"] and file["origin"] == "fetch"]
    _append(cells, "download_errors", messages, "; ")
    if "permanent_failure" in cells:
        lost = [word.strip() for word in cells["permanent_failure"].split(",") if word.strip()]
        final = bool(failed) and all(file["try_again"] is False for file in failed)
        kept = [word for word in lost if word != group.value] + ([group.value] if final else [])
        if set(kept) != set(lost):
            cells["permanent_failure"] = ",".join(sorted(kept, reverse=True))
    _tell_objects(cells, here)


def _names_media(file: Mapping[str, Any]) -> bool:
    """Whether a file's id is what the sheet's media id column holds: playlists leave it empty."""
    id_, source = file["media_id"], file["source"]
    return bool(id_) and source.endswith(f":{id_}") and not (file["what"] == "listing" and source.startswith("youtube"))


def _append_names(cells: dict[str, str], column: str, names: Sequence[str]) -> None:
    """Add names to those a cell lists already."""
    cell = cells.get(column, "")
    listed = {*split_files(cell, known=frozenset(names)).files}
    more = [name for name in dict.fromkeys(names) if name not in listed]
    cells[column] = ",".join([*([cell] if cell.strip() else []), *more])


def _append(cells: dict[str, str], column: str, words: Sequence[str], between: str) -> None:
    cell = cells.get(column, "")
    more = [word for word in dict.fromkeys(words) if word not in cell]
    cells[column] = between.join([*([cell] if cell.strip() else []), *more])


def _tell_objects(cells: dict[str, str], here: Sequence[Mapping[str, Any]]) -> None:
    """Name the fetched files' ids and objects, in sheets that have columns for them."""
    kept = [file for file in here if file["origin"] == "fetch" and file["cloud_storage_url"]]
    for column, found in (
        ("file_uuids", {file["filename"]: file["asset_id"] for file in kept}),
        ("s3_paths", {file["asset_id"]: file["cloud_storage_url"] for file in kept}),
    ):
        before = json_object(cells.get(column, "")) if column in cells else None
        if column in cells and found and (before is not None or not cells[column].strip()):
            merged = {**(before or {}), **{name: value for name, value in found.items() if name not in (before or {})}}
            if merged != before:
                cells[column] = orjson.dumps(merged).decode()


def _moment(text: str) -> str:
    """A moment of PostgreSQL's JSON as sheets write it: in UTC, to the second."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _safe(column: str, cell: str, *, guard: bool) -> str:
    return guarded(cell) if guard and not (column in _IDS and _PLAIN_ID(cell)) else cell


def _written(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
