"""What the simulated web holds: files made of their ids, so that the same link is always the same file.

What an id, a video's or a path contains decides what becomes of it: PRIVATE, DELETED, QUOTA, LARGE, EMPTY, DOCUMENT and
so on, in capitals, as `MARKS` has them.
"""

from __future__ import annotations

import re
from hashlib import sha256
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

MARKS: Final = {
    "PRIVATE": "only people it was shared with may see it",
    "DELETED": "there is no such file",
    "QUOTA": "downloaded too often",
    "LARGE": "too large for the virus scan: a page asks whether it is really wanted",
    "NOEXPORT": "too large to be exported",
    "PAGE": "a page in place of the file",
    "MUTE": "a video without captions",
    "SPLIT": "a video whose picture and sound are separate files",
}
SIZE: Final = 20_000
_MARK: Final = re.compile("|".join(MARKS))
_QUOTA: Final = (
    "<html><head><title>Google Drive - Quota exceeded</title></head><body><p>Sorry, you can't view or download this"
    " file at this time.</p><p>Too many users have viewed or downloaded this file recently. Please try accessing the"
    " file again later. If the file you are trying to access is particularly large or is shared with many people, it"
    " may take up to 24 hours to be able to view or download the file. If you still can't access a file after 24 hours,"
    " contact your domain administrator.</p></body></html>"
)


def mark(text: str) -> str:
    """What is special about an id or path; empty for nothing."""
    found = _MARK.search(text)
    return found[0] if found else ""


def content(name: str, kind: bytes = b"", size: int = SIZE) -> bytes:
    """The bytes of a file: the same for the same name."""
    seed = sha256(name.encode()).digest()
    return (kind + seed * (size // len(seed) + 1))[:size]


def pdf(name: str) -> bytes:
    """A page that says what it is of, small and yet a PDF."""
    return b"%PDF-1.4\n% simulated by rowlift: " + name.encode() + b"\n" + content(name, size=4_000).hex().encode()


def refusal_page(marked: str) -> tuple[int, str] | None:
    """What Drive and Docs answer instead of the file: a status and a page."""
    pages = {
        "PRIVATE": (403, "<title>Google Drive - Access Denied</title><p>You need access. Request access.</p>"),
        "DELETED": (404, "<title>Page Not Found</title><p>Sorry, the file you have requested does not exist.</p>"),
        "QUOTA": (200, _QUOTA),
        "PAGE": (200, "<html><title>Something else</title><p>Not the file.</p></html>"),
    }  # fmt: skip
    return pages.get(marked)


def confirm_page(known: str) -> str:
    """The page that warns of a file too large for the virus scan, with its form."""
    inputs = {"id": known, "export": "download", "confirm": "t", "uuid": sha256(known.encode()).hexdigest()[:32]}
    hidden = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in inputs.items())
    return (
        "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
        "<p>Google Drive can't scan this file for viruses.</p><p>The file is too large for Google to scan for viruses."
        ' Would you still like to download this file?</p><form id="download-form" method="get"'
        ' action="https://drive.usercontent.google.com/download">'
        f'<input type="submit" id="uc-download-link" value="Download anyway">{hidden}</form></body></html>'
    )


def api_error(status: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    """An error of Drive's API."""
    told = {"domain": "global", "reason": reason, "message": message}
    return status, {"error": {"errors": [told], "code": status, "message": message}}


def player(video: str) -> dict[str, Any]:
    """What YouTube's player is told of a video, as far as yt-dlp reads it."""
    refusals = {
        "PRIVATE": ("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video"),
        "DELETED": ("ERROR", "Video unavailable", "This video has been removed by the uploader"),
        "QUOTA": ("ERROR", "Video unavailable", "This content isn't available."),
    }
    marked = mark(video)
    details = {
        "videoId": video, "title": f"Simulated video {video}", "lengthSeconds": "19", "author": "Rowlift",
        "channelId": "UC" + "0" * 22, "isLiveContent": False, "shortDescription": "simulated", "viewCount": "1",
    }  # fmt: skip
    if marked in refusals:
        status, reason, more = refusals[marked]
        screen = {"playerErrorMessageRenderer": {"reason": {"simpleText": reason}, "subreason": {"simpleText": more}}}
        return {
            "playabilityStatus": {"status": status, "reason": reason, "errorScreen": screen},
            "videoDetails": details,
        }
    return {
        "playabilityStatus": {"status": "OK", "playableInEmbed": True},
        "videoDetails": details,
        "streamingData": {"expiresInSeconds": "21540", **_streams(video, split=marked == "SPLIT")},
        **({} if marked == "MUTE" else {"captions": _captions(video)}),
    }


def _streams(video: str, *, split: bool) -> dict[str, Any]:
    def stream(itag: int, mime: str, **more: Any) -> dict[str, Any]:
        url = "https://rr1---sn-simulated.googlevideo.com/videoplayback?" + urlencode({"id": video, "itag": itag})
        return {"itag": itag, "url": url, "mimeType": mime, "bitrate": 500_000, "contentLength": str(SIZE), **more}

    size = {"width": 640, "height": 360, "fps": 25, "qualityLabel": "360p", "quality": "medium"}
    whole = stream(18, 'video/mp4; codecs="avc1.42001E, mp4a.40.2"', audioQuality="AUDIO_QUALITY_LOW", **size)
    apart = [stream(134, 'video/mp4; codecs="avc1.4d401e"', **size), stream(140, 'audio/mp4; codecs="mp4a.40.2"')]
    return {"formats": [] if split else [whole], "adaptiveFormats": apart}


def _captions(video: str) -> dict[str, Any]:
    url = "https://www.youtube.com/api/timedtext?" + urlencode({"v": video, "lang": "en", "kind": "asr"})
    track = {
        "baseUrl": url, "name": {"simpleText": "English (auto-generated)"}, "vssId": "a.en", "languageCode": "en",
        "kind": "asr", "isTranslatable": False,
    }  # fmt: skip
    return {
        "playerCaptionsTracklistRenderer": {"captionTracks": [track], "audioTracks": [{"captionTrackIndices": [0]}]}
    }


def captions(video: str) -> dict[str, Any]:
    """Captions in YouTube's own format."""
    words = ["so this is", "a simulated video", "a simulated video", f"of the id {video}"]
    return {"wireMagic": "pb3", "events": [{"tStartMs": 1000 * i, "segs": [{"utf8": w}]} for i, w in enumerate(words)]}


def playlist_page(playlist: str) -> str:
    """The page of a playlist with three videos, as far as yt-dlp reads it."""
    import orjson

    videos = [sha256(f"{playlist}{i}".encode()).hexdigest()[:11] for i in range(3)]
    entries = [
        {
            "playlistVideoRenderer": {
                "videoId": video,
                "title": {"runs": [{"text": f"Video {video}"}]},
                "isPlayable": True,
            }
        }
        for video in videos
    ]
    videos_of = {"playlistVideoListRenderer": {"contents": entries, "playlistId": playlist}}
    listed = {"sectionListRenderer": {"contents": [{"itemSectionRenderer": {"contents": [videos_of]}}]}}
    data = {
        "contents": {
            "twoColumnBrowseResultsRenderer": {"tabs": [{"tabRenderer": {"selected": True, "content": listed}}]}
        },
        "metadata": {"playlistMetadataRenderer": {"title": f"Playlist {playlist}"}},
    }
    return f"<html><script>var ytInitialData = {orjson.dumps(data).decode()};</script></html>"
