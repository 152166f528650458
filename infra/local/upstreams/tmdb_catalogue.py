"""The films of the simulated TMDB, and the bodies the real one would make of them.

`Catalogue.load()` takes the recorded catalogue of ../shared/data where that is, else the project's own list of
films in `tmdb_films.json`. Nothing here knows of sockets or of HTTP.
"""

from __future__ import annotations

import gzip
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from sys import intern
from typing import Any, Final

import orjson

RECORDED: Final = Path(__file__).resolve().parents[4] / "shared" / "data" / "movies" / "tmdb"
OWN_LIST: Final = Path(__file__).with_name("tmdb_films.json")
PAGE: Final = 20
APPENDABLE: Final = ("credits", "external_ids", "alternative_titles", "release_dates")
GENRES: Final = {
    28: "Action", 12: "Adventure", 16: "Animation", 35: "Comedy", 80: "Crime", 99: "Documentary", 18: "Drama",
    10751: "Family", 14: "Fantasy", 36: "History", 27: "Horror", 10402: "Music", 9648: "Mystery", 10749: "Romance",
    878: "Science Fiction", 10770: "TV Movie", 53: "Thriller", 10752: "War", 37: "Western",
}  # fmt: skip

_FILES: Final = ("catalogue.jsonl.gz", "catalogue-synthetic.jsonl.gz")
_PERSON_IDS: Final = 70_000_000  # from here on they are invented
# Letters that no normal form takes apart, and apostrophes, which join: "Schindler's" is one word.
_PLAIN: Final = str.maketrans({"æ": "ae", "ø": "o", "œ": "oe", "ł": "l", "đ": "d", "ı": "i", "'": "", "’": "", "ʻ": ""})


def folded(title: str) -> str:
    """The title as search compares it: its words in lower case, without accents and punctuation."""
    apart = unicodedata.normalize("NFKD", title.casefold().translate(_PLAIN))
    if not apart.isascii():
        apart = "".join(char for char in apart if not unicodedata.combining(char))
    words = "".join(char if char.isalnum() else " " for char in apart).split()
    return " ".join(words) or title.strip()  # a title may be nothing but punctuation


@dataclass(frozen=True, kw_only=True, slots=True)
class _Film:
    """What search needs of a film, and its whole record as JSON."""

    id: int
    titles: tuple[str, ...]  # folded
    words: tuple[str, ...]
    year: int | None
    popularity: float
    line: bytes

    @classmethod
    def of(cls, line: bytes, record: dict[str, Any]) -> _Film:
        others = (other["title"] for other in record.get("alternative_titles", ()))
        titles = tuple(dict.fromkeys(map(folded, (record["title"], record["original_title"], *others))))
        return cls(
            id=record["id"],
            titles=titles,
            words=tuple(intern(word) for word in dict.fromkeys(" ".join(titles).split())),
            year=int(record["release_date"][:4]) if record["release_date"] else None,
            popularity=record["popularity"] or 0.0,
            line=line,
        )

    def has(self, start: str) -> bool:
        """Whether one of its words begins so."""
        return any(word.startswith(start) for word in self.words)


class Catalogue:
    """Films by id, by IMDb id and by the words of their titles."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._films: dict[int, _Film] = {}
        self._imdb: dict[str, int] = {}
        holders: dict[str, list[_Film]] = {}
        for line in lines:
            record = orjson.loads(line)
            film = self._films[record["id"]] = _Film.of(line, record)
            if record["imdb_id"]:
                self._imdb.setdefault(record["imdb_id"], film.id)
            for word in film.words:
                holders.setdefault(word, []).append(film)
        self._words = sorted(holders)
        self._holders = [holders[word] for word in self._words]
        self._before = [0]  # how many holders the words before each have, so that a range is counted by subtraction
        for films in self._holders:
            self._before.append(self._before[-1] + len(films))

    @classmethod
    def load(cls, folder: Path | None = None) -> Catalogue:
        """The recorded catalogue in `folder`; without a folder the one beside the project, or else the own list."""
        if folder is None:
            folder = RECORDED if RECORDED.is_dir() else None
        return cls.own() if folder is None else cls(_recorded_lines(folder))

    @classmethod
    def own(cls) -> Catalogue:
        """The project's own list of films, the same on every machine."""
        return cls(_own_lines(OWN_LIST))

    def __len__(self) -> int:
        return len(self._films)

    def records(self) -> Iterator[dict[str, Any]]:
        """Every film's record."""
        return (orjson.loads(film.line) for film in self._films.values())

    def search(
        self, query: str, *, year: int | None = None, primary_release_year: int | None = None, page: int = 1
    ) -> dict[str, Any]:
        """The body of /3/search/movie: exact titles first, then by popularity."""
        asked = folded(query)
        years = {year, primary_release_year} - {None}
        found = [film for film in self._matching(asked.split()) if all(film.year == wanted for wanted in years)]
        found.sort(key=lambda film: (asked not in film.titles, -film.popularity, film.id))
        shown = found[(page - 1) * PAGE : page * PAGE]
        return {
            "page": page,
            "results": [_summary(orjson.loads(film.line)) for film in shown],
            "total_pages": max(1, -(-len(found) // PAGE)),
            "total_results": len(found),
        }

    def _matching(self, starts: list[str]) -> list[_Film]:
        """The films of whose words each start begins one; gathered by the rarest, checked for the others."""
        if not starts:
            return []
        ranges = []
        for start in starts:
            first = bisect_left(self._words, start)
            last = bisect_left(self._words, start + "\U0010ffff", lo=first)
            ranges.append((self._before[last] - self._before[first], first, last, start))
        _, first, last, rarest = min(ranges)
        others = [start for start in starts if start != rarest]
        gathered = {film.id: film for films in self._holders[first:last] for film in films}
        return [film for film in gathered.values() if all(map(film.has, others))]

    def movie(self, id_or_imdb: int | str, append: Iterable[str] = ()) -> dict[str, Any] | None:
        """The body of /3/movie/{id} with the members asked for; none for an unknown film."""
        record = self._record(id_or_imdb)
        if record is None:
            return None
        return _details(record) | {name: _MEMBERS[name](record) for name in append if name in _MEMBERS}

    def member(self, id_or_imdb: int | str, name: str) -> dict[str, Any] | None:
        """The body of /3/movie/{id}/{name}, for a name of `APPENDABLE`; none for an unknown film."""
        record = self._record(id_or_imdb)
        return None if record is None else {"id": record["id"], **_MEMBERS[name](record)}

    def find(self, imdb_id: str) -> dict[str, Any]:
        """The body of /3/find/{imdb_id}."""
        record = self._record(imdb_id)
        movies = [] if record is None else [_summary(record) | {"media_type": "movie"}]
        kinds = ("person_results", "tv_results", "tv_episode_results", "tv_season_results")
        return {"movie_results": movies, **{kind: [] for kind in kinds}}

    def _record(self, id_or_imdb: int | str) -> dict[str, Any] | None:
        text = str(id_or_imdb)
        film = self._films.get(int(text) if text.isascii() and text.isdecimal() else self._imdb.get(text, -1))
        return None if film is None else orjson.loads(film.line)


def _summary(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "adult": False,
        "backdrop_path": None,
        "genre_ids": [genre["id"] for genre in record["genres"]],
        "id": record["id"],
        "title": record["title"],
        "original_language": record["original_language"] or "xx",  # TMDB's code for none
        "original_title": record["original_title"],
        "overview": record["overview"],
        "popularity": record["popularity"] or 0.0,
        "poster_path": None,
        "release_date": record["release_date"],
        "softcore": False,
        "video": False,
        "vote_average": record["vote_average"],
        "vote_count": record["vote_count"],
    }


def _details(record: dict[str, Any]) -> dict[str, Any]:
    details = _summary(record)
    del details["genre_ids"]
    countries = record.get("production_countries", [])
    return details | {
        "belongs_to_collection": None,
        "budget": record.get("budget", 0),
        "genres": record["genres"],
        "homepage": record.get("homepage", ""),
        "imdb_id": record["imdb_id"],
        "origin_country": [country["iso_3166_1"] for country in countries],
        "production_companies": [
            {"id": company["id"], "logo_path": None, "name": company["name"], "origin_country": ""}
            for company in record.get("production_companies", [])
        ],
        "production_countries": countries,
        "revenue": record.get("revenue", 0),
        "runtime": record["runtime"],
        "spoken_languages": [
            {"english_name": language["name"], "iso_639_1": language["iso_639_1"], "name": language["name"]}
            for language in record.get("spoken_languages", [])
        ],
        "status": record.get("status", "Released"),
        "tagline": record.get("tagline", ""),
    }


def _credits(record: dict[str, Any]) -> dict[str, Any]:
    known = record["credits"] or {"cast": [], "crew": []}
    film = record["id"]
    return {
        "cast": [
            _person(film, place, entry, "Acting")
            | {"cast_id": place, "character": entry["character"], "order": entry["order"]}
            for place, entry in enumerate(known["cast"])
        ],
        "crew": [
            _person(film, place, entry, entry["department"]) | {"department": entry["department"], "job": entry["job"]}
            for place, entry in enumerate(known["crew"], len(known["cast"]))
        ],
    }


def _person(film: int, place: int, entry: dict[str, Any], department: str) -> dict[str, Any]:
    return {
        "adult": False,
        "gender": 0,
        "id": entry["id"],
        "known_for_department": department,
        "name": entry["name"],
        "original_name": entry["name"],
        "popularity": 0.0,
        "profile_path": None,
        "credit_id": f"{film:012x}{place:012x}",
    }


def _external_ids(record: dict[str, Any]) -> dict[str, Any]:
    others = ("wikidata_id", "facebook_id", "instagram_id", "twitter_id")
    return {"imdb_id": record["imdb_id"], **dict.fromkeys(others)}


def _alternative_titles(record: dict[str, Any]) -> dict[str, Any]:
    return {"titles": record.get("alternative_titles", [])}


def _release_dates(record: dict[str, Any]) -> dict[str, Any]:
    if not record["release_date"]:
        return {"results": []}
    date = {
        "certification": "", "descriptors": [], "iso_639_1": "", "note": "",
        "release_date": f"{record['release_date']}T00:00:00.000Z", "type": 3,
    }  # fmt: skip
    return {"results": [{"iso_3166_1": "US", "release_dates": [date]}]}


_MEMBERS: Final = dict(zip(APPENDABLE, (_credits, _external_ids, _alternative_titles, _release_dates), strict=True))


def _recorded_lines(folder: Path) -> Iterator[bytes]:
    for name in _FILES:
        with gzip.open(folder / name) as file:
            yield from file


def _own_lines(path: Path) -> Iterator[bytes]:
    """The project's own films in the shape of the recorded ones; its file holds names where those hold entries."""
    for film in orjson.loads(path.read_bytes()):
        crew = [{**_named(name), "department": "Directing", "job": "Director"} for name in film.pop("directors")]
        cast = [{**_named(n), "character": role, "order": place} for place, (n, role) in enumerate(film.pop("cast"))]
        others = [{"iso_3166_1": "US", "title": title, "type": ""} for title in film.pop("alternative_titles", ())]
        genres = [{"id": number, "name": GENRES[number]} for number in film.pop("genres")]
        made = {"genres": genres, "alternative_titles": others, "credits": {"cast": cast, "crew": crew}}
        yield orjson.dumps({**film, **made})


def _named(name: str) -> dict[str, Any]:
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
    return {"id": _PERSON_IDS + number % 20_000_000, "name": name}
