"""The sheet of people and their files as other tools keep it: its columns, and what its tracking cells say.

A row tracks what was downloaded from its YouTube links and from its Google links, each group in three columns. Cells
follow conventions that grew: an empty status is pending, file names are joined by commas that names may hold too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from shared.csv_export import unguarded
from shared.links import Kind, Link, Provider

BASIC = ("row_id", "name", "email", "type", "link")
TRACKING = (
    "youtube_status", "youtube_files", "youtube_media_id", "drive_status", "drive_files", "drive_media_id",
    "last_download_attempt", "download_errors",
)  # fmt: skip
ENHANCED = (*BASIC, *TRACKING)
FURTHER = (
    "extracted_links", "youtube_playlist", "google_drive", "processed", "document_text", "permanent_failure",
    "file_uuids", "s3_paths",
)  # fmt: skip
COLUMNS = (*ENHANCED, *FURTHER)
LINK_COLUMNS = ("link", "extracted_links", "youtube_playlist", "google_drive")


class Group(StrEnum):
    """Whose links a status is about; links of others have none in the sheet."""

    YOUTUBE = "youtube"
    DRIVE = "drive"  # Docs too


class Status(StrEnum):
    """How far a group's download is, by the sheet."""

    PENDING = "pending"
    DOWNLOADING = "downloading"  # by a run that died, else the sheet would not be here: pending again
    COMPLETED = "completed"
    FAILED = "failed"


class Finding(StrEnum):
    """Where a row's cells disagree, with one another or with what they can mean."""

    STALE_DOWNLOAD = "stale_download"  # a run died while it downloaded; pending again
    NO_FILES = "completed_without_files"
    FILES_UNFINISHED = "files_but_not_completed"
    NO_LINK = "status_without_link"
    OTHER_ID = "media_id_of_another_link"
    AMBIGUOUS_FILES = "ambiguous_file_names"
    UNKNOWN_STATUS = "unknown_status"
    BAD_TIME = "unreadable_time"
    BAD_JSON = "unreadable_json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """What a sheet says of one group of a row."""

    group: Group
    status: Status
    files: tuple[str, ...] = ()
    media_id: str | None = None
    permanent: bool = False  # whether trying again was found to make no sense

    @property
    def settled(self) -> bool:
        """Whether there is nothing to fetch any more, by the sheet."""
        return self.status is Status.COMPLETED or self.permanent


def group_of(provider: str) -> Group | None:
    """The group a provider's links are of; None for links that no column tracks."""
    return {
        Provider.YOUTUBE.value: Group.YOUTUBE,
        Provider.DRIVE.value: Group.DRIVE,
        Provider.DOCS.value: Group.DRIVE,
    }.get(provider)


def tracked(cells: Mapping[str, str], links: Sequence[Link]) -> tuple[list[Tracked], list[Finding]]:
    """What the tracking cells say of each group, and where they disagree."""
    found: list[Tracked] = []
    findings: list[Finding] = []
    for group in Group:
        own = [link for link in links if group_of(link.provider) is group]
        one, odd = _tracked(group, cells, own)
        findings += odd
        if own or one.files:
            found.append(one)
    when = cells.get("last_download_attempt", "").strip()
    if when and moment(when) is None:
        findings.append(Finding.BAD_TIME)
    if any(cells.get(name, "").strip() and json_object(cells[name]) is None for name in ("file_uuids", "s3_paths")):
        findings.append(Finding.BAD_JSON)
    return found, list(dict.fromkeys(findings))


def _tracked(group: Group, cells: Mapping[str, str], links: Sequence[Link]) -> tuple[Tracked, list[Finding]]:
    said = cells.get(f"{group}_status", "").strip().lower()
    status = Status(said) if said in [*Status] else Status.PENDING
    names = split_files(cells.get(f"{group}_files", ""), known=_known_names(cells))
    media_id = unguarded(cells.get(f"{group}_media_id", "").strip()) or None
    findings = [
        finding
        for finding, holds in (
            (Finding.UNKNOWN_STATUS, bool(said) and said not in [*Status]),
            (Finding.STALE_DOWNLOAD, status is Status.DOWNLOADING),
            (Finding.NO_FILES, status is Status.COMPLETED and not names.files),
            (Finding.FILES_UNFINISHED, status is not Status.COMPLETED and bool(names.files)),
            (Finding.NO_LINK, not links and (status in (Status.COMPLETED, Status.FAILED) or bool(names.files))),
            (Finding.OTHER_ID, bool(media_id and links) and media_id not in {link.id for link in links}),
            (Finding.AMBIGUOUS_FILES, names.ambiguous),
        )
        if holds
    ]
    if status is Status.DOWNLOADING:
        status = Status.PENDING
    lost = [word.strip() for word in cells.get("permanent_failure", "").lower().split(",")]
    permanent = group.value in lost and status is not Status.COMPLETED
    one = Tracked(group=group, status=status, files=names.files, media_id=media_id, permanent=permanent)
    return one, findings


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """The file names of a cell, and whether they could be others."""

    files: tuple[str, ...]
    ambiguous: bool = False


_ENDS_A_NAME = re.compile(r"[^\s.]\.[A-Za-z0-9]{1,5}$").search


def split_files(cell: str, *, known: frozenset[str] = frozenset()) -> Names:
    """The names in a cell that joins them by commas, although names may hold commas.

    A name ends where it has an ending such as `.mp4`. `known` names are recognised whatever they look like.
    """
    if not cell.strip():
        return Names(files=())
    pieces = unguarded(cell).split(",")
    files: list[str] = []
    ambiguous, begin = False, 0
    while begin < len(pieces):
        ends = range(len(pieces), begin, -1)
        whole = next((end for end in ends if ",".join(pieces[begin:end]).strip() in known), None)
        if whole is None:
            whole = next((end for end in reversed(ends) if _ENDS_A_NAME(pieces[end - 1].strip())), len(pieces))
            ambiguous |= whole - begin > 1 or (begin > 0 and pieces[begin].startswith(" "))
        if name := ",".join(pieces[begin:whole]).strip(" ,"):
            files.append(name)
        begin = whole
    return Names(files=tuple(files), ambiguous=ambiguous)


def _known_names(cells: Mapping[str, str]) -> frozenset[str]:
    """The names of files that the widest form of the sheet tells without ambiguity."""
    return frozenset(json_object(cells.get("file_uuids", "")) or ())


def json_object(cell: str) -> dict[str, object] | None:
    """The JSON object in a cell; None if there is none."""
    try:
        found = orjson.loads(cell)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def moment(cell: str) -> datetime | None:
    """The moment a cell tells, with or without fraction and zone; None if it tells none."""
    try:
        return datetime.fromisoformat(cell.strip())
    except ValueError:
        return None


def is_transcript(name: str) -> bool:
    """Whether a YouTube file is the words of a video, by its name."""
    return name.lower().endswith((".vtt", ".srt", ".txt")) or "_transcript." in name.lower()


def one_file(link: Link) -> bool:
    """Whether a link is to one thing, whose file it names; others list files of many names."""
    return link.kind in (Kind.VIDEO, Kind.FILE, Kind.DOCUMENT, Kind.SPREADSHEET, Kind.PRESENTATION)
