"""A stand-in for TMDB's API, version 3: films found by title, told by id, within a limit.

`python -m infra.local.upstreams.tmdb --port N [--latency 0.2] [--limit 50] [--own-list]` serves below /3
search/movie, movie/{id} (with append_to_response) and its parts, find/{imdb_id}, genre/movie/list, configuration and
authentication, and beside that what `simulation.py` has for every stand-in. The films are in `tmdb_catalogue.py`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote, unquote_plus

import orjson
from pydantic import Field

from infra.local.upstreams import simulation
from infra.local.upstreams.http_server import Answer, Reply, Request
from infra.local.upstreams.tmdb_catalogue import APPENDABLE, GENRES, Catalogue

# Every misbehaviour there is, and what the client sees.
FAULTS: Final = {
    "429": "over the limit, with Retry-After unless `retry_after` is null",
    "500": "internal error",
    "503": "maintenance",
    "504": "the backend timed out",
    "cut": "the connection closes in the middle of the body",
    "hang": "no answer at all",
    "malformed": "200 and a body that is not JSON",
    "slow": "a good answer, late",
}

MOST_PAGES: Final = 500
MOST_APPENDED: Final = 20
LEGACY_REQUESTS: Final = 40
LEGACY_SECONDS: Final = 10
_TYPE: Final = b"application/json; charset=utf-8"

# TMDB's own numbers, and what it says with each.
_MESSAGES: Final = {
    5: "Invalid parameters: Your request parameters are incorrect.",
    7: "Invalid API key: You must be granted a valid key.",
    11: "Internal error: Something went wrong, contact TMDb.",
    22: "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer.",
    24: "Your request to the backend server timed out. Try again.",
    25: "Your request count is over the allowed limit.",
    27: "Too many append to response objects: The maximum number of remote calls is 20.",
    34: "The resource you requested could not be found.",
    46: "The API is undergoing maintenance. Try again later.",
}
_STATUS_FAULTS: Final = {"429": 25, "500": 11, "503": 46, "504": 24}
_CONFIGURATION: Final = {
    "images": {
        "base_url": "http://image.tmdb.org/t/p/",
        "secure_base_url": "https://image.tmdb.org/t/p/",
        "backdrop_sizes": ["w300", "w780", "w1280", "original"],
        "logo_sizes": ["w45", "w92", "w154", "w185", "w300", "w500", "original"],
        "poster_sizes": ["w92", "w154", "w185", "w342", "w500", "w780", "original"],
        "profile_sizes": ["w45", "w185", "h632", "original"],
        "still_sizes": ["w92", "w185", "w300", "original"],
    },
    "change_keys": ["adult", "alternative_titles", "cast", "genres", "overview", "title"],
}
_FILM: Final = re.compile(r"^movie/(\d{1,12}|tt\d+)(?:-[^/]*)?(?:/(\w+))?$", re.ASCII)

Told = tuple[int, Any]  # status and body


class Behaviour(simulation.Behaviour):
    """How the stand-in behaves now; names are the titles asked for, or the ids of films, which are named whole."""

    known_faults: ClassVar = FAULTS

    retry_after: int | None = 1  # seconds in the Retry-After header of a 429; null leaves it out
    limit: int = Field(default=50, ge=1)  # requests let through in any one second
    legacy: bool = False  # the limit of before 2019 instead: 40 in 10 s, told in headers
    down: bool = False  # true: 503 for everything


class SimulatedTMDB(simulation.Simulated[Behaviour]):
    """Answers requests for films."""

    def __init__(self, behaviour: Behaviour, log: simulation.Log, catalogue: Catalogue) -> None:
        super().__init__(behaviour, log)
        self._catalogue = catalogue
        self._let_through: deque[float] = deque()  # within the last second
        self._window = (0.0, 0)  # of the legacy limit: its end, and the requests in it

    def respond(self, request: Request) -> Answer:
        """The reply to a request, good or bad."""
        path, _, query = request.path.partition("?")
        asked = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # of several the first counts
        call = simulation.Call(key=_key(path, query))
        tries = self.log.start(call)
        headers, refusal = self._refused(request, asked)
        if refusal is None:
            call.fault = self._fault(path, asked, tries)
            refusal = self._failed(call.fault)
        status, body = refusal or self._told(request.method, path, asked)
        if status == 429 and not self.behaviour.legacy and self.behaviour.retry_after is not None:
            headers = b"retry-after: %d\r\n" % self.behaviour.retry_after
        whole = b'{"page":1,"results":[{"id":' if call.fault == "malformed" else orjson.dumps(body)
        wait = self.behaviour.seconds(call.key, tries, call.fault)
        return self.log.finished(call, Reply(status, whole, headers, _TYPE), wait)

    def _refused(self, request: Request, asked: dict[str, str]) -> tuple[bytes, Told | None]:
        """What the service says before it looks at what is asked for, if anything, and the headers of its limit."""
        if self.behaviour.down:
            return b"", _error(503, 46)
        headers, over = self._over_the_limit()
        if over is not None:
            return headers, over
        scheme, _, token = request.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = (token if scheme.lower() == "bearer" else "") or asked.get("api_key", "")
        good = self.behaviour.key_ok and key and "wrong" not in key
        return headers, None if good else _error(401, 7)

    def _over_the_limit(self) -> tuple[bytes, Told | None]:
        if self.behaviour.legacy:
            return self._over_the_legacy_limit()
        now, passed = time.monotonic(), self._let_through
        while passed and passed[0] <= now - 1.0:
            passed.popleft()
        if len(passed) >= self.behaviour.limit:
            return b"", _error(429, 25)
        passed.append(now)
        return b"", None

    def _over_the_legacy_limit(self) -> tuple[bytes, Told | None]:
        now = time.time()
        end, count = self._window
        if now >= end:
            end, count = now + LEGACY_SECONDS, 0
        count += 1
        self._window = end, count
        headers = b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n" % (
            LEGACY_REQUESTS, max(0, LEGACY_REQUESTS - count), int(end) + 1,
        )  # fmt: skip
        if count <= LEGACY_REQUESTS:
            return headers, None
        said = f"Your request count ({count}) is over the allowed limit of {LEGACY_REQUESTS}."
        return headers + b"retry-after: %d\r\n" % (int(end - now) + 1), (
            429,
            {"status_code": 25, "status_message": said},
        )

    def _fault(self, path: str, asked: dict[str, str], tries: int) -> str | None:
        film = _FILM.match(path.removeprefix("/3/"))
        if film:
            return self.behaviour.fault(film[1], tries, whole=True)
        return self.behaviour.fault(asked.get("query") or path, tries)

    def _failed(self, fault: str | None) -> Told | None:
        return _error(int(fault), _STATUS_FAULTS[fault]) if fault in _STATUS_FAULTS else None

    def _told(self, method: str, path: str, asked: dict[str, str]) -> Told:
        """Status and body of what is asked for."""
        below = unquote(path).removeprefix("/3/")
        if method != "GET" or below == path:
            return _error(404, 34)
        if film := _FILM.match(below):
            return self._film(film[1], film[2], asked)
        if below.startswith("find/"):
            return self._found(below.removeprefix("find/"), asked)
        answers: dict[str, Callable[[], Told]] = {
            "search/movie": lambda: self._searched(asked),
            "genre/movie/list": lambda: (200, {"genres": [{"id": i, "name": name} for i, name in GENRES.items()]}),
            "configuration": lambda: (200, _CONFIGURATION),
            "authentication": lambda: (200, {"success": True, "status_code": 1, "status_message": "Success."}),
        }
        return answers[below]() if below in answers else _error(404, 34)

    def _searched(self, asked: dict[str, str]) -> Told:
        query = asked.get("query", "").strip()
        if not query:
            return 422, {"errors": ["query must be provided"]}
        page = _number(asked.get("page", "1"))
        if page is None or not 1 <= page <= MOST_PAGES:
            return _error(400, 22)
        years = {name: _number(asked.get(name, "")) for name in ("year", "primary_release_year")}
        return 200, self._catalogue.search(query, page=page, **years)

    def _film(self, film: str, part: str | None, asked: dict[str, str]) -> Told:
        append = [name for name in asked.get("append_to_response", "").split(",") if name]
        if len(append) > MOST_APPENDED:
            return _error(400, 27)
        if part is not None and part not in APPENDABLE:
            return _error(404, 34)
        body = self._catalogue.member(film, part) if part else self._catalogue.movie(film, append)
        return _error(404, 34) if body is None else (200, body)

    def _found(self, imdb_id: str, asked: dict[str, str]) -> Told:
        if not asked.get("external_source"):
            return _error(422, 5)
        return 200, self._catalogue.find(imdb_id if asked["external_source"] == "imdb_id" else "")


def _error(status: int, code: int) -> Told:
    return status, {"success": False, "status_code": code, "status_message": _MESSAGES[code]}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _key(path: str, query: str) -> str:
    """Path and query in plain letters, as the log shows them: without the key."""
    shown = "&".join(part for part in query.split("&") if not part.startswith("api_key="))
    return unquote(path) + (f"?{unquote_plus(shown)}" if shown else "")


def main(arguments: list[str] | None = None) -> None:
    """Read the options, then serve."""
    parser = simulation.parser("tmdb", "A simulated TMDB.")
    parser.add_argument("--limit", type=int, default=50, help="requests let through in any one second")
    parser.add_argument("--own-list", action="store_true", help="the project's own films, whatever else is there")
    chosen = parser.parse_args(arguments)
    try:
        behaviour = Behaviour(latency=chosen.latency, faults=chosen.faults, seed=chosen.seed, limit=chosen.limit)
    except ValueError as wrong:
        parser.error(str(wrong))
    catalogue = Catalogue.own() if chosen.own_list else Catalogue.load()
    asyncio.run(simulation.serve(chosen.port, SimulatedTMDB(behaviour, simulation.Log(chosen.log), catalogue)))


if __name__ == "__main__":
    main()
