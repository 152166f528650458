"""How well films are found: precision, recall and requests against the recorded catalogue.

`python -m tests.bench.matching` prints the figures and every film that did not end as it should.

Two measurements. *Table*: the Letterboxd films whose TMDB id somebody's tool found, against the real records.
*Exports*: every film of the ten exports, against the real and the synthetic records; the film expected is the record
of the same title, the nearest in years and no more than two off, as the README of the data counts them. That is how
films are found, too, so this one measures the way there (searches, ties, films left out) more than the judgement;
therefore each film found is also looked for with its own record taken away, and then nothing must be accepted.
"""

from __future__ import annotations

import csv
import gzip
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from infra.local.upstreams.tmdb_catalogue import Catalogue
from shared.film_search import find_film
from shared.matching import mended
from shared.pipelines.base import Settled
from shared.states import Outcome
from shared.upstreams.base import Failure, JsonAnswer
from shared.upstreams.tmdb import AlternativeTitles, Details, Request, Search, read
from shared.upstreams.tmdb_errors import NOT_FOUND, failure

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "movies"
PRECISION, RECALL = 0.995, 0.96
YEARS_OFF = 2  # how far apart the README's count still takes two films of one title for the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A film as logged, and the ids that are right; none of them where there is no such film."""

    name: str
    year: int | None
    expected: frozenset[int]
    apart: str | None = None  # why it counts for neither precision nor recall


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """How the dialogue for one case ended."""

    case: Case
    settled: Settled
    requests: int

    @property
    def accepted(self) -> int | None:
        return self.settled.result["tmdb_id"] if self.settled.outcome is Outcome.ENRICHED else None

    @property
    def right(self) -> bool:
        return self.accepted in self.case.expected


@dataclass(kw_only=True, slots=True)
class Measured:
    """What one measurement came to."""

    name: str
    films: dict[int, dict[str, Any]]
    found: list[Found] = field(default_factory=list)
    without: list[Found] = field(default_factory=list)  # the films found, their own record taken away

    @property
    def counted(self) -> list[Found]:
        return [one for one in self.found if one.case.apart is None]

    @property
    def precision(self) -> float:
        accepted = [one for one in self.counted if one.accepted is not None]
        return sum(one.right for one in accepted) / len(accepted)

    @property
    def recall(self) -> float:
        existing = [one for one in self.counted if one.case.expected]
        return sum(one.right for one in existing) / len(existing)

    @property
    def mistaken(self) -> list[Found]:
        """Those for which another film was accepted when their own was away."""
        return [one for one in self.without if one.accepted is not None]

    @property
    def requests_per_film(self) -> float:
        return sum(one.requests for one in self.found) / len(self.found)

    def lines(self) -> Iterator[str]:
        """The figures, then the confusions."""
        counted = self.counted
        outcomes = Counter(one.settled.outcome.value for one in counted)
        methods = Counter(one.settled.result["match"]["method"] for one in counted if one.accepted is not None)
        requests = Counter(one.requests for one in self.found)
        wrong = sum(one.accepted is not None and not one.right for one in counted)
        yield f"{self.name}: {len(counted)} films, {sum(bool(one.case.expected) for one in counted)} in the catalogue"
        yield f"  precision {self.precision:.2%} ({wrong} wrong), bar {PRECISION:.1%}"
        yield f"  recall {self.recall:.2%}, bar {RECALL:.0%}"
        yield f"  outcomes {dict(outcomes.most_common())}"
        yield f"  methods {dict(methods.most_common())}"
        yield f"  requests per film {self.requests_per_film:.3f}: {dict(sorted(requests.items()))}"
        apart = Counter((one.case.apart, one.settled.outcome.value) for one in self.found if one.case.apart)
        for (why, outcome), count in sorted(apart.items()):
            yield f"  apart: {why}, {outcome}: {count}"
        yield f"  without their own record: {len(self.mistaken)} of {len(self.without)} films take another"
        for one in self.mistaken:
            yield f"    {self._confusion(one)}"
        yield "  confusions (wanted | accepted | expected | why):"
        for one in counted:
            if not one.right and (one.accepted is not None or one.case.expected):
                yield f"    {self._confusion(one)}"

    def _confusion(self, one: Found) -> str:
        expected = ", ".join(map(self._film, sorted(one.case.expected))) or "nothing"
        if one.accepted is not None:
            why = one.settled.result["match"]["method"]
        else:
            shown = (one.settled.result or {}).get("candidates", [])
            place = next((n for n, film in enumerate(shown, 1) if film["tmdb_id"] in one.case.expected), None)
            why = f"{one.settled.outcome.value}, " + (
                f"number {place} of {len(shown)}" if place else f"{len(shown)} others"
            )
            why += f": {shown[0]['reason']}" if shown else ""
        accepted = "nothing" if one.accepted is None else self._film(one.accepted)
        return f"{one.case.name} ({one.case.year}) | {accepted} | {expected} | {why}"

    def _film(self, tmdb_id: int) -> str:
        film = self.films[tmdb_id]
        return f"{film['title']} ({film['release_date'][:4]}) {tmdb_id}"


def measured() -> list[Measured]:
    """Both measurements."""
    real, synthetic = _lines("catalogue.jsonl.gz"), _lines("catalogue-synthetic.jsonl.gz")
    return [
        _measure("table", real, table_cases),
        _measure("exports", real + synthetic, export_cases),
    ]


def _measure(name: str, lines: list[bytes], cases: Any) -> Measured:
    catalogue = Catalogue(lines)
    films = {film["id"]: film for film in map(orjson.loads, lines)}
    result = Measured(name=name, films=films)
    for case in cases(films):
        settled, requests = ask(catalogue, case)
        result.found.append(Found(case=case, settled=settled, requests=requests))
        if case.expected and case.apart is None:
            settled, requests = ask(catalogue, case, without=case.expected)
            lone = replace(case, expected=frozenset())
            result.without.append(Found(case=lone, settled=settled, requests=requests))
    return result


def ask(catalogue: Catalogue, case: Case, *, without: Set[int] = frozenset()) -> tuple[Settled, int]:
    """How a film ends when the catalogue answers, but for some films, and how many requests that took."""
    dialogue = find_film(case.name, case.year)
    requests, answer = 0, None
    try:
        while True:
            answer = answered(catalogue, dialogue.send(answer), without)  # type: ignore[arg-type]  # first None
            requests += 1
    except StopIteration as ended:
        return ended.value, requests


def answered(catalogue: Catalogue, request: Request, without: Set[int] = frozenset()) -> JsonAnswer | Failure:
    """What TMDB with this catalogue says, cut down by the code that does so in production."""
    match request:
        case Search(title, year):
            body: dict[str, Any] | None = catalogue.search(title, year=year)
            body["results"] = [film for film in body["results"] if film["id"] not in without]
        case Details(tmdb_id):
            body = catalogue.movie(tmdb_id, ("credits", "external_ids"))
        case AlternativeTitles(tmdb_id):
            body = catalogue.member(tmdb_id, "alternative_titles")
    return failure(NOT_FOUND) if body is None else read(request, orjson.dumps(body), {})


def table_cases(films: dict[int, dict[str, Any]]) -> Iterator[Case]:
    """The films of the id table; those without an id are television and match nothing."""
    with (DATA / "tmdb" / "letterboxd-to-tmdb.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            tmdb_id = int(row["tmdb_movie_id"] or 0)
            apart = None
            if row["suspect"]:
                apart = "suspect id"
            elif tmdb_id and tmdb_id not in films:
                apart = "id not in the catalogue"
            yield Case(
                name=row["letterboxd_name"],
                year=int(row["letterboxd_year"]) if row["letterboxd_year"] else None,
                expected=frozenset({tmdb_id} if tmdb_id in films and not row["suspect"] else ()),
                apart=apart,
            )


def export_cases(films: dict[int, dict[str, Any]]) -> Iterator[Case]:
    """Every film of the exports, each name and year once."""
    by_title: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for film in films.values():
        for title in {_plain(film["title"]), _plain(film["original_title"])}:
            by_title[title].append(film)
    for name, year in dict.fromkeys(_logged()):
        expected = _nearest(by_title[_plain(name)], year)
        apart = "several of that title and year" if len(expected) > 1 else None
        yield Case(name=name, year=year, expected=expected, apart=apart)


def _logged() -> Iterator[tuple[str, int | None]]:
    folders = sorted(path for path in (DATA / "letterboxd").iterdir() if (path / "diary.csv").is_file())
    for folder in folders:
        path = folder / "watched.csv"
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    yield row["Name"], int(row["Year"]) if row["Year"] else None
        else:  # the one of semicolons
            with (folder / "diary.csv").open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file, delimiter=";"):
                    yield row["Name"], int(row["Year"]) if row["Year"] else None


def _nearest(films: Iterable[dict[str, Any]], year: int | None) -> frozenset[int]:
    off: defaultdict[int, set[int]] = defaultdict(set)
    for film in films:
        if year is None:
            off[1 if film["release_date"] else 0].add(film["id"])
        elif film["release_date"]:
            off[abs(int(film["release_date"][:4]) - year)].add(film["id"])
    least = min(off, default=YEARS_OFF + 1)
    return frozenset(off[least]) if least <= YEARS_OFF else frozenset()


def _plain(title: str) -> str:
    """A title without case, accents and punctuation, by other means than those that are measured."""
    apart = unicodedata.normalize("NFKD", mended(title).replace("&", "and")).casefold()
    return "".join(char for char in apart if char.isalnum()) or title


def _lines(name: str) -> list[bytes]:
    with gzip.open(DATA / "tmdb" / name) as file:
        return list(file)


if __name__ == "__main__":
    for measurement in measured():
        print("\n".join(measurement.lines()))
