"""Links as people put them into sheets: whose they are, what they lead to, and its id; nothing is asked of anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from html import unescape
from itertools import pairwise
from urllib.parse import SplitResult, parse_qs, unquote, urljoin, urlsplit

from shared.text import clean


class Provider(StrEnum):
    """Who has what a link leads to."""

    YOUTUBE = "youtube"
    DRIVE = "drive"
    DOCS = "docs"
    OTHER = "other"


class Kind(StrEnum):
    """What a link leads to."""

    VIDEO = "video"
    PLAYLIST = "playlist"
    VIDEO_LIST = "video_list"  # ids joined by a comma, in the link itself
    CHANNEL = "channel"
    FILE = "file"  # of Drive; `open?id=` may turn out to be a folder or a document
    FOLDER = "folder"
    DOCUMENT = "document"
    SPREADSHEET = "spreadsheet"
    PRESENTATION = "presentation"
    FORM = "form"
    PUBLISHED = "published"  # to the web; its id is none of Drive's
    URL = "url"  # of somebody else
    NONE = "none"  # a page of the provider's that is nothing of these


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One link: `id` is what its provider knows it by, None for URL and NONE."""

    provider: Provider
    kind: Kind
    url: str  # without wrappers around it, with a scheme
    id: str | None = None
    playlist_id: str | None = None  # of a playlist, and of a video watched in one
    start_seconds: int | None = None
    resource_key: str | None = None  # what Drive asks for with ids of before 2021

    @property
    def identity(self) -> tuple[str, ...]:
        """The same for links to the same thing, however they are written."""
        return (self.provider, self.kind, self.url if self.id is None else self.id)


def parse_links(cell: str | None) -> list[Link]:
    """The links of a cell in their order, each once; empty for a cell that holds none, such as `nan` or `see email`."""
    links: dict[tuple[str, ...], Link] = {}
    for written in _written(clean(cell or "")):
        link = parse_link(written)
        links.setdefault(link.identity, link)
    return list(links.values())


def parse_link(url: str) -> Link:
    """What one URL leads to; a scheme may be missing."""
    url = unescape(url.strip())
    if url.lower().startswith(("http%3a", "https%3a")):
        url = unquote(url)
    if not _SCHEME(url):
        url = f"https://{url}"
    for _ in range(_MOST_WRAPPERS):
        parts = _split(url)
        wrapped = _unwrapped(parts) if parts else None
        if wrapped is None:
            break
        url = wrapped
    return _read(url)


# A link ends at white space, at the signs that sheets join links by, and at quotes and brackets around it.
_BETWEEN = re.compile(r"[\s|<>\"]+|[,;]+(?=(?:https?://|www\.))", re.IGNORECASE).split
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE).match
_BARE = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::[0-9]+)?/\S", re.IGNORECASE).match
_ESCAPED = re.compile(r"https?%3a%2f%2f", re.IGNORECASE).match
_MOST_WRAPPERS = 4
_ID = re.compile(r"[A-Za-z0-9_-]+").match
_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{10,}").fullmatch  # 28, 33 or 44 in practice; other lengths came and will come
_PLAYLIST = re.compile(r"(?:PL|UU|OL|FL|LL|RD|EC|WL)[A-Za-z0-9_-]*").fullmatch
_TIME = re.compile(r"(?:([0-9]{1,3})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,7})s?)?").fullmatch
_GOOGLE = re.compile(r"(?:www\.)?google(?:\.com?)?\.[a-z]{2,3}").fullmatch

_YOUTUBE_HOSTS = frozenset({
    "youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "gaming.youtube.com",
    "youtube-nocookie.com", "www.youtube-nocookie.com",
})  # fmt: skip
_SHORT_HOSTS = frozenset({"youtu.be", "www.youtu.be", "y2u.be"})
_THUMBNAIL_HOSTS = frozenset({"i.ytimg.com", "i1.ytimg.com", "i2.ytimg.com", "i3.ytimg.com", "img.youtube.com"})
_DRIVE_HOSTS = frozenset({"drive.google.com", "drive.usercontent.google.com"})
_DOCS_KINDS = {
    "document": Kind.DOCUMENT,
    "spreadsheets": Kind.SPREADSHEET,
    "presentation": Kind.PRESENTATION,
    "forms": Kind.FORM,
}
_VIDEO_FOLDERS = frozenset({"shorts", "live", "embed", "v", "vi", "e", "watch", "an_webp"})
_CHANNEL_FOLDERS = frozenset({"channel", "c", "user"})


def _written(cell: str) -> Iterator[str]:
    """What in a cell is written as a link."""
    for word in _BETWEEN(cell):
        url = word.lstrip("([{'").rstrip("',;.")
        if url.endswith(")") and "(" not in url:
            url = url.rstrip("').")
        if _SCHEME(url) or _BARE(url) or _ESCAPED(url):
            yield url


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None for what is none, and where it carries credentials, for `youtube.com@evil.org`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    return parts if host and "@" not in parts.netloc else None


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _asked(parts: SplitResult) -> dict[str, str]:
    """The parameters of a URL, the first of each name."""
    return {name: values[0] for name, values in parse_qs(parts.query, max_num_fields=100).items()}


def _unwrapped(parts: SplitResult) -> str | None:
    """Where a redirecting page of Google's or YouTube's leads; None if it is none."""
    host, path = _host(parts), parts.path.rstrip("/")
    if _GOOGLE(host) and path == "/url":
        asked = _asked(parts)
        target = asked.get("q") or asked.get("url")
    elif host in _YOUTUBE_HOSTS and path == "/redirect":
        target = _asked(parts).get("q")
    elif host in _YOUTUBE_HOSTS and path == "/attribution_link":
        inner = _asked(parts).get("u")
        target = urljoin("https://www.youtube.com/", inner) if inner else None
    else:
        return None
    return target if target and _SCHEME(target) else None


def _read(url: str) -> Link:
    other = Link(provider=Provider.OTHER, kind=Kind.URL, url=url)
    if url.startswith("youtube://") and (found := _ID(url.removeprefix("youtube://"))):
        return Link(provider=Provider.YOUTUBE, kind=Kind.VIDEO, id=found[0], url=url)
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https"):
        return other
    host = _host(parts)
    if host in _YOUTUBE_HOSTS | _SHORT_HOSTS | _THUMBNAIL_HOSTS:
        return _youtube(url, parts)
    if host in _DRIVE_HOSTS:
        return _drive(url, parts)
    return _docs(url, parts) if host == "docs.google.com" else other


def _youtube(url: str, parts: SplitResult) -> Link:
    asked, folders = _asked(parts), _folders(parts)
    listed = asked.get("list", "")
    if video := _video_id(parts, asked, folders):
        return Link(
            provider=Provider.YOUTUBE,
            kind=Kind.VIDEO,
            url=url,
            id=video,
            playlist_id=listed if _PLAYLIST(listed) else None,
            start_seconds=_seconds(asked.get("t") or asked.get("start", "")),
        )
    first = folders[0] if folders else ""
    if first == "watch_videos" and (ids := _ids(asked.get("video_ids", ""))):
        return Link(provider=Provider.YOUTUBE, kind=Kind.VIDEO_LIST, url=url, id=ids)
    if (first == "playlist" or folders == ["embed", "videoseries"] or _PLAYLIST(listed)) and (found := _ID(listed)):
        return Link(provider=Provider.YOUTUBE, kind=Kind.PLAYLIST, url=url, id=found[0], playlist_id=found[0])
    if first.startswith("@"):
        return Link(provider=Provider.YOUTUBE, kind=Kind.CHANNEL, url=url, id=first)
    if first in _CHANNEL_FOLDERS and len(folders) > 1:
        return Link(provider=Provider.YOUTUBE, kind=Kind.CHANNEL, url=url, id=folders[1])
    return Link(provider=Provider.YOUTUBE, kind=Kind.NONE, url=url)


def _folders(parts: SplitResult) -> list[str]:
    return [unquote(folder) for folder in parts.path.split("/") if folder]


def _video_id(parts: SplitResult, asked: dict[str, str], folders: list[str]) -> str | None:
    """The id of the video a link is about, wherever it stands."""
    named = asked.get("v") or asked.get("vi")
    if named is None and _host(parts) in _SHORT_HOSTS:
        named = folders[0] if folders else ""
    elif named is None and len(folders) > 1 and folders[0] in _VIDEO_FOLDERS and folders[1] != "videoseries":
        named = folders[1]
    elif named is None and parts.fragment.startswith("p/"):  # of a channel's page, long ago
        named = parts.fragment.rpartition("/")[2]
    found = _ID(named or "")
    return found[0] if found else None


def _ids(joined: str) -> str:
    return ",".join(found[0] for one in joined.split(",") if (found := _ID(one.strip())))


def _seconds(written: str) -> int | None:
    """What `90`, `90s` and `1m30s` say; None for anything else."""
    found = _TIME(written)
    if not written or found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _drive(url: str, parts: SplitResult) -> Link:
    asked, folders = _asked(parts), _folders(parts)
    key = asked.get("resourcekey")
    kind = Kind.FOLDER if {"folders", "folderview"} & set(folders) else Kind.FILE
    after = _after(folders, "folders") if kind is Kind.FOLDER else _after(folders, "d")
    found = next((one for one in (after, asked.get("id", "")) if one and _DRIVE_ID(one)), None)
    if found is None:
        return Link(provider=Provider.DRIVE, kind=Kind.NONE, url=url)
    return Link(provider=Provider.DRIVE, kind=kind, url=url, id=found, resource_key=key)


def _after(folders: list[str], name: str) -> str | None:
    """The part of a path that follows one called `name`."""
    return next((following for one, following in pairwise(folders) if one == name), None)


def _docs(url: str, parts: SplitResult) -> Link:
    folders = _folders(parts)
    named = next((folder for folder in folders if folder in _DOCS_KINDS), None)
    if named is None:  # docs.google.com/uc?id= and /file/d/ are Drive's
        return _drive(url, parts)
    kind, found = _DOCS_KINDS[named], _after(folders, "d")
    if found == "e":  # published: forms have such ids too
        found = _after(folders, "e")
        kind = kind if kind is Kind.FORM else Kind.PUBLISHED
    if found is None or not _DRIVE_ID(found):
        return Link(provider=Provider.DOCS, kind=Kind.NONE, url=url)
    return Link(provider=Provider.DOCS, kind=kind, url=url, id=found, resource_key=_asked(parts).get("resourcekey"))
