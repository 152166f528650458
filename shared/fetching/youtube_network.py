"""yt-dlp's network, which is ours: each of its requests passes the guard of links and addresses like any other.

Loaded with the first video only: yt-dlp takes a second and some 60 MB.
"""

from __future__ import annotations

import io
import time
from typing import Any, Final

from yt_dlp import YoutubeDL
from yt_dlp.globals import plugin_dirs
from yt_dlp.networking import Request, RequestDirector, RequestHandler, Response
from yt_dlp.networking.exceptions import HTTPError, TransportError

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.pace import Pace
from shared.fetching.transfer import status_error
from shared.fetching.web import Ask, Web

MOST: Final = 8 * 1024 * 1024  # of one answer; a watch page has about one
_KEPT_BACK: Final = frozenset({"host", "connection", "content-length", "accept-encoding", "transfer-encoding"})


class Silent:
    """Where yt-dlp's words go: errors come as exceptions."""

    def debug(self, message: str) -> None:
        """Nothing."""

    info = warning = error = debug


class GuardedRH(RequestHandler):  # type: ignore[misc]
    """Sends yt-dlp's requests by our web.

    It remembers the first that failed of itself and the first that was turned away, to tell why: yt-dlp goes on over
    both and says at the end that it found nothing.
    """

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    RH_NAME = "guarded"

    def __init__(self, web: Web, pace: Pace, until: float, **rest: Any) -> None:
        super().__init__(**rest)
        self._web, self._pace, self._until = web, pace, until
        self.failed: FetchError | None = None
        self.turned_away: FetchError | None = None

    def _check_extensions(self, extensions: dict[str, Any]) -> None:
        extensions.clear()  # whatever they ask for, no request is sent otherwise

    def _send(self, request: Request) -> Response:
        headers = self._get_headers(request)
        cookies = self._get_cookiejar(request).get_cookie_header(request.url)
        sent = {name: str(value) for name, value in headers.items() if name.lower() not in _KEPT_BACK}
        if cookies:
            sent["Cookie"] = cookies
        ask = Ask(method=request.method, headers=sent, body=_body(request.data))
        try:
            return self._answered(request.url, ask)
        except FetchError as error:
            self.failed = self.failed or error
            raise TransportError(str(error), cause=error) from error

    def _answered(self, url: str, ask: Ask) -> Response:
        if time.monotonic() >= self._until:
            raise FetchError(Cause.TOO_SLOW, "YouTube was asked for too long")
        host = self._web.hosts.read(url).host
        with self._pace.turn(host, until=self._until), self._web.ask(url, ask, until=self._until) as reply:
            body = reply.read(MOST)
        if reply.status == 429 or reply.status >= 500:
            self.turned_away = self.turned_away or status_error(reply)
        headers = {name: value for name, value in reply.headers.items() if name != "set-cookie"}
        answer = Response(io.BytesIO(body), reply.address.url, headers, reply.status)
        if not 200 <= reply.status < 300:
            raise HTTPError(answer)
        return answer


class Extractor(YoutubeDL):  # type: ignore[misc]
    """yt-dlp without disk, other programs, plugins or any network but ours."""

    def __init__(self, params: dict[str, Any], web: Web, pace: Pace, until: float) -> None:
        plugin_dirs.value = []  # read when the first of these is made
        self._guard: tuple[Web, Pace, float] = (web, pace, until)
        super().__init__({**_PARAMS, **params, "logger": Silent()}, auto_init=True)

    @property
    def failed(self) -> FetchError | None:
        """Why the network failed it first, if it did."""
        network = self.__dict__.get("network")
        return network.failed if network is not None else None

    @property
    def turned_away(self) -> FetchError | None:
        """How YouTube turned a request away first, for now, if it did."""
        network = self.__dict__.get("network")
        return network.turned_away if network is not None else None

    @property
    def _request_director(self) -> RequestDirector:
        found = self.__dict__.get("_ours")
        if found is None:
            web, pace, until = self._guard
            found = self.__dict__["_ours"] = RequestDirector(logger=Silent(), verbose=False)
            self.network = GuardedRH(
                web, pace, until, logger=Silent(), headers=self.params["http_headers"], cookiejar=self.cookiejar
            )
            found.add_handler(self.network)
        return found


_PARAMS: Final[dict[str, Any]] = {
    "quiet": True, "no_warnings": True, "noprogress": True, "simulate": True, "skip_download": True,
    "cachedir": False, "cookiefile": None, "cookiesfrombrowser": None, "proxy": "", "source_address": None,
    "retries": 0, "extractor_retries": 0, "ignoreerrors": False, "check_formats": False, "enable_file_urls": False,
    "noplaylist": True, "allowed_extractors": ["youtube.*"], "js_runtimes": {}, "remote_components": [],
    "ffmpeg_location": "/nonexistent", "no_color": True, "color": "never", "color_policy": None,
}  # fmt: skip


def _body(data: Any) -> bytes | None:
    if data is None or isinstance(data, bytes):
        return data
    return data.read(MOST) if hasattr(data, "read") else b"".join(data)
