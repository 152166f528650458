"""What is to be fetched for a row, under which mode, and what its sheet says is there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from shared.fetching.wanted import What
from shared.links import Kind, Link, Provider, parse_link
from shared.options import Mode
from shared.people_sheet import group_of, is_transcript, one_file
from shared.pipelines.assets.rows import link_from, link_input, source_of

_NAMESPACE = UUID("0d0f1cf6-3a3d-5d0b-9f57-6f6a2a3fb7c5")


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """One thing to fetch. `source` names the link of the sheet that it comes from."""

    what: What
    link: Link
    source: str

    def asset_type(self) -> str:
        """The word table assets has for it."""
        match self.what:
            case What.TRANSCRIPT:
                return "youtube_transcript"
            case What.DOCUMENT_PDF | What.DOCUMENT_TEXT:
                return "document"
        return {Provider.YOUTUBE: "youtube_video", Provider.DRIVE: "drive_file"}.get(self.link.provider, "file")

    def asset_id(self, row_id: str) -> UUID:
        """The id of what comes of it for a person: the same whenever it is fetched."""
        return asset_id(row_id, self.what, source_of(self.link))

    def input(self) -> dict[str, Any]:
        """The want as an item's input holds it; `want_from` reads it back."""
        return {"what": self.what.value, "link": link_input(self.link), "source": self.source}


def want_from(stored: Mapping[str, Any]) -> Want:
    """The want that `Want.input` wrote."""
    return Want(what=What(stored["what"]), link=link_from(stored["link"]), source=stored["source"])


def asset_id(row_id: str, what: str, named: str) -> UUID:
    """The id of an asset of a person's."""
    return uuid5(_NAMESPACE, f"{row_id}\n{what}\n{named}")


_WANTED: Mapping[Kind, tuple[What, ...]] = {
    Kind.VIDEO: (What.VIDEO, What.TRANSCRIPT),
    Kind.PLAYLIST: (What.LISTING,),
    Kind.FOLDER: (What.LISTING,),
    Kind.FILE: (What.FILE,),
    Kind.URL: (What.FILE,),
    Kind.DOCUMENT: (What.DOCUMENT_PDF, What.DOCUMENT_TEXT),
    Kind.PRESENTATION: (What.DOCUMENT_PDF, What.DOCUMENT_TEXT),
    Kind.SPREADSHEET: (What.DOCUMENT_PDF,),
}
# What is left out of each mode.
_NOT_IN = {
    Mode.BASIC: frozenset(What),
    Mode.TEXT: frozenset({What.VIDEO, What.FILE}),
    Mode.FULL: frozenset[What](),
}


def wants_of(link: Link, mode: Mode, *, source: str | None = None) -> list[Want]:
    """What is fetched of a link; empty for one the mode leaves out."""
    if link.kind is Kind.VIDEO_LIST:
        videos = [parse_link(f"https://www.youtube.com/watch?v={one}") for one in (link.id or "").split(",")]
        return [want for video in videos for want in wants_of(video, mode, source=source_of(link))]
    return [
        Want(what=what, link=link, source=source or source_of(link))
        for what in _WANTED.get(link.kind, (What.NOTHING,))
        if what not in _NOT_IN[mode]
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a row's item fetches itself, and what others are to fetch for it; `code` says why it fetches nothing."""

    own: Want | None
    rest: tuple[Want, ...] = ()
    code: str | None = None


def plan(row: Mapping[str, Any], mode: Mode, *, again: bool) -> Plan:
    """What a row is to have fetched. `again`: a person asks anew, so what the sheet has is no reason to leave it."""
    links = [link_from(stored) for stored in row["links"]]
    if not links:
        return Plan(own=None, code="no_link")
    if mode is Mode.BASIC:
        return Plan(own=None, code="row_only")
    wanted = [want for link in links for want in wants_of(link, mode)]
    if not wanted:
        return Plan(own=None, code="not_in_mode")
    settled = {one["group"]: one for one in row.get("tracked", ()) if one["settled"]}
    left = [want for want in wanted if group_of(want.link.provider) not in settled]
    if not left and not again:
        lost = all(one["permanent"] for one in settled.values())
        return Plan(own=None, code="failed_for_good" if lost else "in_sheet")
    own, *rest = left or wanted
    return Plan(own=own, rest=tuple(rest))


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A file that a sheet says was downloaded, and what it is."""

    name: str
    group: str
    want: Want
    id: UUID


def listed_files(row: Mapping[str, Any]) -> Iterator[Listed]:
    """The files a sheet lists for a row, each with the link it most likely came from."""
    links = [link_from(stored) for stored in row["links"]]
    for one in row.get("tracked", ()):
        if one["status"] == "failed":
            continue
        own = [link for link in links if group_of(link.provider) == one["group"]]
        taken: set[UUID] = set()
        for name in one["files"]:
            yield _listed(row["row_id"], name, one["group"], _likely(name, own), taken)


def _likely(name: str, links: Sequence[Link]) -> Link | None:
    """The link whose id a file's name begins with, as downloaders name files; else the first."""
    return next((link for link in links if link.id and name.startswith(link.id[:8])), links[0] if links else None)


def _listed(row_id: str, name: str, group: str, link: Link | None, taken: set[UUID]) -> Listed:
    """The file as what a fetch of its link would make, the first time; further ones are told by their names."""
    what = What.FILE
    if group == "youtube":
        what = What.TRANSCRIPT if is_transcript(name) else What.VIDEO
    elif link is not None and link.provider is Provider.DOCS:
        what = What.DOCUMENT_TEXT if name.lower().endswith(".txt") else What.DOCUMENT_PDF
    unknown = Provider.YOUTUBE if group == "youtube" else Provider.DRIVE
    link = link or Link(provider=unknown, kind=Kind.NONE, url="")
    want = Want(what=what, link=link, source=source_of(link))
    found = want.asset_id(row_id)
    if not one_file(link) or found in taken:
        found = asset_id(row_id, what, f"{source_of(link)}\n{name}")
    taken.add(found)
    return Listed(name=name, group=group, want=want, id=found)
