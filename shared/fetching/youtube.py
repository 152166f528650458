"""Videos, transcripts and playlists of YouTube: yt-dlp says where they are, and they are fetched like any other file.

Nothing of ours can merge streams or run JavaScript, so only formats that are one whole file with picture and sound are
taken; of most videos that is the 360p one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.files import Desk
from shared.fetching.settings import FORMAT, LANGUAGES
from shared.fetching.wanted import Fetch, What
from shared.fetching.web import Ask
from shared.links import Kind, Link, parse_link
from shared.text import clean, shortened, visible

if TYPE_CHECKING:
    from shared.fetching.youtube_network import Extractor

MOST_LISTED: Final = 5_000
MOST_CAPTIONS: Final = 4 * 1024 * 1024
_VIDEO_ID: Final = re.compile(r"[A-Za-z0-9_-]{11}").fullmatch

# Words of YouTube's refusals as yt-dlp passes them on; it has no codes for them. The first line that fits decides.
_WORDS: Final = tuple(
    (re.compile(words, re.IGNORECASE), cause)
    for words, cause in (
        (r"confirm your age|age.restricted|inappropriate for some users", Cause.AGE_RESTRICTED),
        (r"not a bot|rate.limit|http error 429|too many requests|try again later", Cause.BUSY),
        (r"private video|(?:video|list) is private|members.only|join this channel|requires payment", Cause.PRIVATE),
        (r"workspace administrator|network administrator|in your country|geo.?restrict", Cause.NETWORK_RESTRICTED),
        (r"removed|deleted|terminated|no longer available|does not exist|been closed", Cause.DELETED),
        (r"live event will begin|premieres in|is (?:currently )?live|is not yet available", Cause.NOT_YET),
        (r"video unavailable|content isn.t available|video is (?:not available|unavailable)", Cause.UNAVAILABLE),
        (r"requested format is not available|no video formats|drm", Cause.NO_FORMAT),
        (r"unsupported url|no suitable extractor|incomplete youtube id|invalid url", Cause.UNSUPPORTED),
        (r"http error 40[34]", Cause.UNAVAILABLE),
        (r"http error 5\d\d", Cause.SERVER),
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What of a video is taken."""

    format: str = FORMAT  # as yt-dlp reads it
    languages: tuple[str, ...] = LANGUAGES  # of captions, the best first; any other is better than none


class YouTube:
    """Fetches from YouTube."""

    def __init__(self, desk: Desk, choice: Choice) -> None:
        self._desk, self._choice = desk, choice

    def fetch(self, fetch: Fetch, *, until: float) -> dict[str, Any]:
        """A video, its transcript, or the videos of a playlist; raises FetchError."""
        match fetch.what:
            case What.LISTING:
                return self._listed(fetch.link, until=until)
            case What.TRANSCRIPT:
                return self._transcript(fetch, until=until)
            case What.VIDEO:
                return self._video(fetch, until=until)
        raise FetchError(Cause.UNSUPPORTED, f"a {fetch.what} of YouTube's")

    def _video(self, fetch: Fetch, *, until: float) -> dict[str, Any]:
        info = self._about(fetch.link, {"format": self._choice.format}, until=until)
        if info.get("is_live"):
            raise FetchError(Cause.NOT_YET, "it is being broadcast just now")
        url = chosen_url(info)
        headers = {str(name): str(value) for name, value in (info.get("http_headers") or {}).items()}
        kept_back = {"accept-encoding", "host", "cookie"}
        ask = Ask(headers={name: value for name, value in headers.items() if name.lower() not in kept_back})
        with self._desk.fetcher.open(url, ask, until=until) as file:
            if file.is_page():
                raise FetchError(Cause.NO_FILE, f"{file.address.host} sent a page for the video")
            ending = clean(str(info.get("ext") or "mp4"))
            content_type = file.content_type or f"video/{ending}"
            about = about_video(info)
            return self._desk.keep(
                fetch, file.pieces(), original=f"{fetch.link.id}.{ending}", content_type=content_type, metadata=about
            )

    def _transcript(self, fetch: Fetch, *, until: float) -> dict[str, Any]:
        # Whatever is wrong with the formats does not concern captions.
        info = self._about(fetch.link, {"format": "best", "ignore_no_formats_error": True}, until=until)
        found = captions(info, self._choice.languages)
        with self._desk.fetcher.open(found.url, until=until) as file:
            text = spoken(file.text(MOST_CAPTIONS))
        if not text:
            raise FetchError(Cause.NO_CAPTIONS, "its captions hold no words")
        about = {**about_video(info), "language": found.language, "automatic": found.automatic}
        return self._desk.keep(
            fetch, [text.encode()], original=f"{fetch.link.id}.txt", content_type="text/plain", metadata=about
        )

    def _listed(self, link: Link, *, until: float) -> dict[str, Any]:
        playlist = link.playlist_id or link.id
        url = f"https://www.youtube.com/playlist?list={playlist}" if link.kind is Kind.PLAYLIST else link.url
        params = {"extract_flat": "in_playlist", "noplaylist": False, "playlistend": MOST_LISTED}
        info = self._asked(url, params, until=until)
        ids = [str(entry.get("id")) for entry in info.get("entries") or () if isinstance(entry, dict)]
        links = [parse_link(f"https://www.youtube.com/watch?v={one}") for one in dict.fromkeys(ids) if _VIDEO_ID(one)]
        return {
            "links": links,
            "metadata": {"title": visible(str(info.get("title") or ""))[:500], "listed": len(links)},
        }

    def _about(self, link: Link, params: Mapping[str, Any], *, until: float) -> dict[str, Any]:
        if not _VIDEO_ID(link.id or ""):
            raise FetchError(Cause.REFUSED_LINK, "the id of a video has 11 characters")
        return self._asked(f"https://www.youtube.com/watch?v={link.id}", params, until=until)

    def _asked(self, url: str, params: Mapping[str, Any], *, until: float) -> dict[str, Any]:
        """What yt-dlp finds out; its media are not touched."""
        from shared.fetching.youtube_network import Extractor

        fetcher = self._desk.fetcher
        extractor = Extractor(dict(params), fetcher.web, fetcher.pace, until)
        return _judged(extractor, url)


def _plain(extractor: Extractor, url: str) -> dict[str, Any]:
    """The facts yt-dlp has, lists made of what it reads lazily."""
    found = extractor.extract_info(url, download=False)
    if not isinstance(found, dict):
        raise FetchError(Cause.SITE_CHANGED, "yt-dlp found nothing")
    return {**found, "entries": list(found.get("entries") or ())}


def _judged(extractor: Extractor, url: str) -> dict[str, Any]:
    """What yt-dlp finds out; its failures as ours."""
    from yt_dlp.utils import YoutubeDLError

    try:
        return _plain(extractor, url)
    except FetchError:
        raise
    except YoutubeDLError as error:
        said = judge(str(error))
        vague = said.cause in (Cause.SITE_CHANGED, Cause.NO_FORMAT)
        raise (extractor.failed or (extractor.turned_away if vague else None) or said) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise FetchError(Cause.SITE_CHANGED, f"yt-dlp broke with {type(error).__name__}") from error


def judge(said: str) -> FetchError:
    """The error a message of yt-dlp's stands for."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", said[:2_000]).removeprefix("ERROR: ")
    cause = next((cause for words, cause in _WORDS if words.search(said)), Cause.SITE_CHANGED)
    return FetchError(cause, f"YouTube: {shortened(re.split(r'; please report|[.] (?:See|Use) ', said)[0], 250)}")


def chosen_url(info: Mapping[str, Any]) -> str:
    """Where the one file is that was chosen; raises FetchError where it would have to be put together."""
    url, protocol = info.get("url"), str(info.get("protocol") or "https")
    if info.get("requested_formats") or not isinstance(url, str) or protocol not in ("http", "https"):
        raise FetchError(Cause.NO_FORMAT, "the format chosen is more than one file; nothing here can merge them")
    return url


def about_video(info: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a video's facts."""
    kept = ("title", "channel", "channel_id", "upload_date", "duration", "format_id", "width", "height")
    facts = {name: info[name] for name in kept if isinstance(info.get(name), str | int | float)}
    return {name: visible(value)[:500] if isinstance(value, str) else value for name, value in facts.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Captions:
    """Where captions are, in which language, and whether a machine wrote them."""

    url: str
    language: str
    automatic: bool


def captions(info: Mapping[str, Any], languages: Sequence[str]) -> Captions:
    """The best captions of a video: a person's in these languages, a machine's, a person's in any."""
    written, heard = info.get("subtitles") or {}, info.get("automatic_captions") or {}
    own = [str(info.get("language") or ""), *(name for name in heard if str(name).endswith("-orig"))]
    for source, names, automatic in (
        (written, [*_matching(written, languages)], False),
        (heard, [*_matching(heard, languages), *_matching(heard, own)], True),
        (written, sorted(name for name in written if name != "live_chat"), False),
    ):
        for name in names:
            if url := _json3(source.get(name) or ()):
                return Captions(url=url, language=str(name), automatic=automatic)
    raise FetchError(Cause.NO_CAPTIONS)


def _matching(source: Mapping[str, Any], languages: Sequence[str]) -> list[str]:
    """The names of what is in these languages, in their order; `en` stands for `en-GB` too."""
    return [
        name
        for language in languages
        if language
        for name in sorted(source, key=lambda name: (len(str(name)), str(name)))
        if str(name) == language or str(name).startswith(f"{language}-")
    ]


def _json3(entries: Sequence[Any]) -> str | None:
    found = [entry for entry in entries if isinstance(entry, dict) and entry.get("ext") == "json3"]
    return next((str(entry["url"]) for entry in found if entry.get("url")), None)


def spoken(source: str) -> str:
    """The words of captions in YouTube's own format, a line each, without those that only repeat the line before."""
    try:
        events = orjson.loads(source).get("events")
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise FetchError(Cause.SITE_CHANGED, "YouTube's captions are not in the form that was asked for") from error
    lines: list[str] = []
    for event in events if isinstance(events, list) else ():
        segments = event.get("segs") if isinstance(event, dict) else None
        said = "".join(str(one.get("utf8") or "") for one in segments or () if isinstance(one, dict))
        line = " ".join(said.split())
        if line and (not lines or lines[-1] != line):
            lines.append(line)
    return clean("\n".join(lines))
