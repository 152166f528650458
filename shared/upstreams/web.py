"""The upstream that fetches: a link in; a file in the media bucket, or what a playlist or folder holds, out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from shared.errors import FetchError
from shared.fetching.addresses import Hosts
from shared.fetching.causes import Cause, failure_of
from shared.fetching.docs import export
from shared.fetching.drive import Drive
from shared.fetching.files import Desk, Templates
from shared.fetching.pace import Pace
from shared.fetching.plain import fetch_file
from shared.fetching.settings import FetchSettings
from shared.fetching.transfer import Fetcher
from shared.fetching.wanted import Fetch, What
from shared.fetching.web import Web
from shared.fetching.youtube import Choice, YouTube
from shared.links import Kind, Provider
from shared.logs import log
from shared.media import Media
from shared.upstreams.base import Failure, JsonAnswer

# What of a call is left for the store when the source's time is over: a tenth, in seconds at most.
SLACK: Final = 5.0


def web_of(settings: FetchSettings) -> Web:
    """Guarded HTTP as the settings have it."""
    return Web(Hosts.parse(settings.hosts, testing=settings.test_origins), stand_in=settings.stand_in_address)


class WebUpstream:
    """Fetches files; shared by threads."""

    name: Final = "web"

    def __init__(self, settings: FetchSettings, media: Media, *, web: Web | None = None) -> None:
        self._web = web or web_of(settings)
        pace = Pace(at_once=settings.at_once, per_second=settings.per_second)
        fetcher = Fetcher(self._web, pace, most_bytes=settings.max_bytes)
        names = Templates(video=settings.name_video, transcript=settings.name_transcript, file=settings.name_file)
        self._desk = Desk(fetcher=fetcher, media=media, templates=names)
        self._drive = Drive(self._desk, key=settings.drive_key.get_secret_value())
        choice = Choice(format=settings.video_format, languages=settings.caption_languages)
        self._youtube = YouTube(self._desk, choice)

    def call(self, request: Fetch, *, timeout: float) -> JsonAnswer | Failure:
        """The file as table assets has it, or why there is none, within `timeout` seconds."""
        until = time.monotonic() + timeout - min(SLACK, timeout / 10)
        try:
            return JsonAnswer(body=self._way(request)(request, until))
        except FetchError as error:
            return failure_of(_placed(error, request))
        except Exception as error:  # what one link brings to light is not to pass for an upstream that is away
            log("ERROR", "Unforeseen error in a fetch", error=error)
            return failure_of(FetchError(Cause.FAULT, type(error).__name__))

    def close(self) -> None:
        """Close this process's connections."""
        self._web.close()

    def _way(self, request: Fetch) -> Callable[[Fetch, float], dict[str, Any]]:
        """How such a link is fetched."""
        link = request.link
        if request.what is What.NOTHING or link.kind in (Kind.NONE, Kind.FORM, Kind.CHANNEL):
            raise FetchError(Cause.UNSUPPORTED, f"{link.url[:200]} leads to nothing that is a file")
        match link.provider:
            case Provider.YOUTUBE:
                return lambda fetch, until: self._youtube.fetch(fetch, until=until)
            case Provider.DRIVE:
                return lambda fetch, until: self._drive.fetch(fetch, until=until)
            case Provider.DOCS:
                return lambda fetch, until: export(self._desk, fetch, until=until)
        return lambda fetch, until: fetch_file(self._desk, fetch, until=until)


def _placed(error: FetchError, request: Fetch) -> FetchError:
    """The error; that Google's hosts are out of reach concerns every link, so the breaker is to hear of it."""
    if (
        error.cause == Cause.NETWORK
        and "cannot be resolved" in error.detail
        and request.link.provider != Provider.OTHER
    ):
        return FetchError(Cause.OFFLINE, error.detail)
    return error
