"""TMDB's API, version 3: one question about films in, one answer or failure out.

Requests go to the transport itself, not through a client of the library: that one writes the address of every request
into the log, and a key of version 3 can only travel in the address. Answers are cut down to what Rowlift keeps; the
credits of one film alone are up to 160 kB. Nothing is tried again here: each try passes admission.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

import orjson

from shared.text import clean
from shared.upstreams import tmdb_errors as errors
from shared.upstreams.base import Failure, JsonAnswer

if TYPE_CHECKING:
    import httpx2

DEFAULT_BASE_URL: Final = "https://api.themoviedb.org/3"
LANGUAGE: Final = "en-US"
CONNECT_SECONDS: Final = 5.0
CAST_KEPT: Final = 10

_VERSION_3_KEY: Final = re.compile(r"[0-9a-fA-F]{32}").fullmatch
_IMDB_ID: Final = re.compile(r"tt\d+").fullmatch
_WHOLE: Final = 2**31  # what PostgreSQL's integer holds


@dataclass(frozen=True, slots=True)
class Search:
    """Which films have a title like this; with a year, those released in it anywhere."""

    title: str
    year: int | None


@dataclass(frozen=True, slots=True)
class Details:
    """The facts of one film, with its credits."""

    tmdb_id: int


@dataclass(frozen=True, slots=True)
class AlternativeTitles:
    """What one film is called elsewhere."""

    tmdb_id: int


Request: TypeAlias = Search | Details | AlternativeTitles


class TmdbUpstream:
    """Asks TMDB; shared by threads, and after a fork each process makes its own connections."""

    name: Final = "tmdb"

    def __init__(
        self,
        *,
        token: str,
        base_url: str = DEFAULT_BASE_URL,
        request_timeout: float,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        # Loaded here and not in the first calls: those would leave late and all at once (46 within a second of 40).
        import shared.upstreams.connections  # noqa: F401

        self.request_timeout = request_timeout
        self._base_url = base_url.rstrip("/")
        self._transport = transport  # for tests; else connections of our own
        self._sendable = bool(token) and token.isascii() and token.isprintable() and " " not in token
        self._params = {"language": LANGUAGE}
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "rowlift"}
        if _VERSION_3_KEY(token):
            self._params["api_key"] = token
        else:
            self._headers["Authorization"] = f"Bearer {token}"
        self._lock = threading.Lock()
        self._transports: dict[int, httpx2.BaseTransport] = {}

    def call(self, request: Request, *, timeout: float) -> JsonAnswer | Failure:
        """One request and its outcome within `timeout` seconds, or the request timeout if that is shorter."""
        if not self._sendable:
            return errors.failure(errors.UNSENDABLE)
        try:
            response = self._send(request, min(timeout, self.request_timeout))
        except Exception as error:
            failure = errors.failure_of(error)
            if failure is None:
                raise
            return failure
        if not 200 <= response.status_code < 300:
            of_film = not isinstance(request, Search)
            return errors.failure_of_status(response.status_code, response.headers, response.content, of_film=of_film)
        return read(request, response.content, response.headers)

    def close(self) -> None:
        """Close this process's connections."""
        transport = self._transports.pop(os.getpid(), None)
        if transport is not None:
            transport.close()

    def _send(self, request: Request, seconds: float) -> httpx2.Response:
        import httpx2

        path, params = _asked(request)
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
        response = self._connections().handle_request(
            httpx2.Request(
                "GET",
                f"{self._base_url}/{path}",
                params={**params, **self._params},
                headers=self._headers,
                extensions={"timeout": timeout.as_dict()},
            )
        )
        try:
            response.read()
        finally:
            response.close()
        return response

    def _connections(self) -> httpx2.BaseTransport:
        """This process's connections, made by the first call."""
        transport = self._transports.get(os.getpid())
        if transport is None:
            with self._lock:
                transport = self._transports.get(os.getpid()) or self._transport or self._connect()
                # Whatever was inherited through a fork belongs to the parent.
                self._transports = {os.getpid(): transport}
        return transport

    def _connect(self) -> httpx2.BaseTransport:
        import httpx2

        from shared.upstreams.connections import transport_to

        url = httpx2.URL(self._base_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise httpx2.UnsupportedProtocol("an address begins with http:// or https:// and a host")
        return transport_to(url)


def _asked(request: Request) -> tuple[str, dict[str, str]]:
    """The path and parameters of a request."""
    match request:
        case Search(title, year):
            # `year` looks at the release dates of all countries, `primary_release_year` only at the first.
            when = {} if year is None else {"year": str(year)}
            return "search/movie", {"query": clean(title), "include_adult": "false", **when}
        case Details(tmdb_id):
            return f"movie/{tmdb_id}", {"append_to_response": "credits,external_ids"}
        case AlternativeTitles(tmdb_id):
            return f"movie/{tmdb_id}/alternative_titles", {}
        case _:
            assert_never(request)


def read(request: Request, content: bytes, headers: Mapping[str, str]) -> JsonAnswer | Failure:
    """What a reply with status 200 says, cut down to what is used of it; a failure if it is no answer to that."""
    limits = errors.limits(headers)
    body = _decoded(content)
    kept = _kept(request, body) if isinstance(body, dict) else None
    if kept is None:
        return errors.failure(errors.MALFORMED, limits=limits)
    return JsonAnswer(body=kept, limits=limits)


def _decoded(content: bytes) -> Any:
    """The JSON value, None if there is none."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:  # orjson refuses lone surrogates, which occur in what people type
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _kept(request: Request, body: dict[str, Any]) -> dict[str, Any] | None:
    """What is used of the answer to a request; None if it is the answer to something else."""
    match request:
        case Search():
            return _search(body)
        case Details(tmdb_id):
            return _facts(body) if _whole(body.get("id")) == tmdb_id else None
        case AlternativeTitles(tmdb_id):
            return _titles(body) if _whole(body.get("id")) == tmdb_id else None
        case _:
            assert_never(request)


def _search(body: dict[str, Any]) -> dict[str, Any] | None:
    if not isinstance(body.get("results"), list):
        return None
    results = [_result(result) for result in _objects(body["results"]) if _whole(result.get("id"))]
    return {"results": results, "total_results": _whole(body.get("total_results")) or len(results)}


def _result(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": _whole(result["id"]),
        "title": _text(result.get("title")),
        "original_title": _text(result.get("original_title")),
        "original_language": _text(result.get("original_language")),
        "release_date": _date(result.get("release_date")),
        "popularity": _number(result.get("popularity")),
        "vote_count": _whole(result.get("vote_count")) or 0,
        "poster_path": _text(result.get("poster_path")),
    }


def _titles(body: dict[str, Any]) -> dict[str, Any] | None:
    if not isinstance(body.get("titles"), list):
        return None
    titles = (_text(entry.get("title")) for entry in _objects(body["titles"]))
    return {"titles": list(dict.fromkeys(filter(None, titles)))}


def _facts(body: dict[str, Any]) -> dict[str, Any]:
    votes = _whole(body.get("vote_count")) or 0
    people = _object(body.get("credits"))
    return {
        "tmdb_id": _whole(body["id"]),
        "imdb_id": _imdb_id(body),
        "title": _text(body.get("title")),
        "original_title": _text(body.get("original_title")),
        "original_language": _text(body.get("original_language")),
        "release_date": _date(body.get("release_date")),
        "runtime": _whole(body.get("runtime")) or None,
        "genres": _names(_objects(body.get("genres"))),
        "directors": _names(entry for entry in _objects(people.get("crew")) if entry.get("job") == "Director"),
        "cast": _cast(_objects(people.get("cast"))),
        "tmdb_rating": _number(body.get("vote_average")) if votes else None,
        "tmdb_votes": votes,
        "overview": _text(body.get("overview")),
        "poster_path": _text(body.get("poster_path")),
        "popularity": _number(body.get("popularity")),
    }


def _imdb_id(body: dict[str, Any]) -> str | None:
    for told in (body.get("imdb_id"), _object(body.get("external_ids")).get("imdb_id")):
        if isinstance(told, str) and _IMDB_ID(told):
            return told
    return None


def _cast(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first in order of billing; who has no place in it comes last."""

    def place(entry: dict[str, Any]) -> int:
        order = _whole(entry.get("order"))
        return _WHOLE if order is None else order

    named = [entry for entry in sorted(entries, key=place) if _text(entry.get("name"))]
    return [{"name": _text(entry["name"]), "role": _text(entry.get("character"))} for entry in named[:CAST_KEPT]]


def _names(entries: Iterable[dict[str, Any]]) -> list[str]:
    """The names in order, each once."""
    return list(dict.fromkeys(name for entry in entries if (name := _text(entry.get("name")))))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    """The text as PostgreSQL takes it; None for none and for an empty one."""
    return (clean(value).strip() or None) if isinstance(value, str) else None


def _number(value: object) -> float:
    """A finite number of at least 0, also one written as text; 0 for anything else."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return 0.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return number if isfinite(number) and number > 0 else 0.0


def _whole(value: object) -> int | None:
    """A whole number from 0 to what PostgreSQL's integer holds, also one written as text; None for anything else."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number < _WHOLE and number.is_integer() else None


def _date(value: object) -> str | None:
    """A day as YYYY-MM-DD; None for none and for what is no day."""
    try:
        return date.fromisoformat(value).isoformat() if isinstance(value, str) else None
    except ValueError:
        return None
