"""What is asked of the upstream that fetches: a link, what of it, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.links import Link


class What(StrEnum):
    """What of a link is fetched."""

    VIDEO = "video"
    TRANSCRIPT = "transcript"
    FILE = "file"
    DOCUMENT_PDF = "document_pdf"
    DOCUMENT_TEXT = "document_text"
    LISTING = "listing"  # what a playlist or folder holds
    NOTHING = "nothing"  # a link to what is no file: a person has to look


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetch:
    """One request: its answer is a file in the media bucket, or the links a playlist or folder holds."""

    what: What
    link: Link
    row_id: str = ""  # for the file's name
