"""The dialogue that finds a film at TMDB: by its title and year, or as a person decided.

Most films take two requests, the search and the details. A search that finds nothing certain is widened: without the
year, with the neighbouring years where that answer is cut off, and by what likely films are called elsewhere.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from shared.matching import Candidate, Decision, Scored, Wanted, decide, mended, rank
from shared.states import Outcome
from shared.upstreams.base import Answer, Failure, JsonAnswer
from shared.upstreams.tmdb import AlternativeTitles, Details, Request, Search
from shared.upstreams.tmdb_errors import NOT_FOUND

if TYPE_CHECKING:
    from shared.pipelines.base import Settled

SEARCHES: Final = 4  # requests spent at most before the details; also what a film that is not there costs

Dialogue: TypeAlias = "Generator[Request, Answer | Failure, Settled | Failure]"
Step: TypeAlias = Generator[Request, Answer | Failure, Failure | None]


@dataclass(frozen=True, slots=True)
class Override:
    """What a person decided a film to be; None for none of TMDB's."""

    tmdb_id: int | None


def find_film(name: str, year: int | None, *, override: Override | None = None) -> Dialogue:
    """How a logged film ended: enriched with its facts, left to a person, or not there."""
    if override is not None:
        return (yield from _overridden(override))
    search = _FilmSearch(Wanted(mended(name), year))
    for ask in (search.by_title, search.in_neighbouring_years, search.by_other_titles):
        failure = yield from ask()
        if failure is not None:
            return failure
        if search.decision.accepted:
            break
    while (accepted := search.decision.accepted) is not None:
        facts = _body((yield Details(accepted.candidate.tmdb_id)))
        if not isinstance(facts, Failure):
            return _enriched(facts, search.decision.method, accepted.score)
        if facts.code != NOT_FOUND.code:
            return facts
        search.forget(accepted.candidate)
    return _undecided(search.decision.review)


def _overridden(override: Override) -> Dialogue:
    if override.tmdb_id is None:
        return _settled(Outcome.NOT_FOUND, code="override_none", result={})
    facts = _body((yield Details(override.tmdb_id)))
    if not isinstance(facts, Failure):
        return _enriched(facts, "override", 1.0)
    if facts.code != NOT_FOUND.code:
        return facts
    return _settled(Outcome.NEEDS_REVIEW, code="override_gone", result={"candidates": []})


def _body(answer: Answer | Failure) -> dict[str, Any] | Failure:
    if isinstance(answer, JsonAnswer):
        return answer.body
    if isinstance(answer, Failure):
        return answer
    raise TypeError(f"TMDB answers in JSON, not {answer!r}")


def _settled(outcome: Outcome, *, code: str | None = None, result: dict[str, Any] | None = None) -> Settled:
    from shared.pipelines.base import Settled  # its package imports the movies, and they this module

    return Settled(outcome=outcome, code=code, result=result)


def _enriched(facts: dict[str, Any], method: str | None, score: float) -> Settled:
    return _settled(Outcome.ENRICHED, result={**facts, "match": {"method": method, "score": score}})


def _undecided(review: Iterable[Scored]) -> Settled:
    candidates = [_shown(one) for one in review]
    if not candidates:
        return _settled(Outcome.NOT_FOUND, code="no_such_film", result={})
    match = {"method": None, "score": candidates[0]["score"]}
    return _settled(Outcome.NEEDS_REVIEW, code="weak_match", result={"candidates": candidates, "match": match})


def _shown(one: Scored) -> dict[str, Any]:
    candidate = one.candidate
    return {
        "tmdb_id": candidate.tmdb_id,
        "title": candidate.title,
        "original_title": candidate.original_title,
        "release_date": candidate.release_date,
        "year": candidate.year,
        "popularity": candidate.popularity,
        "score": one.score,
        "reason": one.reason,
    }


@dataclass(slots=True)
class _FilmSearch:
    """What the searches of one film have brought so far, and what that comes to."""

    wanted: Wanted
    decision: Decision = field(default_factory=Decision)
    candidates: dict[int, Candidate] = field(default_factory=dict)
    asked: int = 0
    more: bool = False  # the answer to the search without a year was cut off

    def by_title(self) -> Step:
        """Search with the year, and without it if that does not settle it."""
        for year in dict.fromkeys((self.wanted.year, None)):
            failure = yield from self._search(year)
            if failure is not None or self.decision.accepted:
                return failure
        return None

    def in_neighbouring_years(self) -> Step:
        """Search the years after and before, if the search without a year could not show them all."""
        if self.more and self.wanted.year is not None:
            for year in (self.wanted.year + 1, self.wanted.year - 1):
                failure = yield from self._search(year)
                if failure is not None:
                    return failure
        return None

    def by_other_titles(self) -> Step:
        """Ask what the films of the right year are called elsewhere."""
        likely = [one.candidate for one in rank(self.wanted, self.candidates.values()) if _likely(self.wanted, one)]
        for candidate in likely[: SEARCHES - self.asked]:
            body = _body((yield AlternativeTitles(candidate.tmdb_id)))
            self.asked += 1
            if not isinstance(body, Failure):
                self._know(replace(candidate, alternatives=tuple(body["titles"])))
            elif body.code == NOT_FOUND.code:
                self.forget(candidate)
            else:
                return body
            if self.decision.accepted:
                break
        return None

    def forget(self, candidate: Candidate) -> None:
        """Leave out a film that TMDB has deleted."""
        del self.candidates[candidate.tmdb_id]
        self._know()

    def _search(self, year: int | None) -> Step:
        body = _body((yield Search(self.wanted.title, year)))
        self.asked += 1
        if isinstance(body, Failure):
            return body
        results = body["results"]
        self._know(*map(Candidate.of, results))
        if year is None:
            self.more = body["total_results"] > len(results)
        return None

    def _know(self, *candidates: Candidate) -> None:
        self.candidates |= {candidate.tmdb_id: candidate for candidate in candidates}
        self.decision = decide(self.wanted, self.candidates.values())


def _likely(wanted: Wanted, one: Scored) -> bool:
    """Whether only the title speaks against it."""
    return one.title is None and (wanted.year is None or one.years_off in (-1, 0, 1))
