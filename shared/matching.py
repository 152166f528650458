"""Which film of a list is the one somebody logged: folded titles, years, and a decision; pure.

A film is accepted only where its title is the wanted one, in some spelling or language, and its year the wanted one
or a neighbour: a log carries the year of the first showing, TMDB often that of the release, mostly a year later.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

REVIEWED: Final = 10  # candidates a person is shown
REVIEW_FROM: Final = 0.45  # the least score worth a person's look: the title whatever the year, or one much like it
# Two films of the same title and year: that with so many times the other's votes, and no less popular, is meant.
CLEAR_RATIO: Final = 10
CLEAR_VOTES: Final = 100

# What a title counts, by how it is the wanted one; anything else counts at most SIMILAR, by its likeness.
TITLES: Final[Mapping[str, float]] = {"exact": 1.0, "folded": 0.98, "original": 0.96, "alternative": 0.94}
SIMILAR: Final = 0.7
# What is left of that by the distance of the years.
SAME_YEAR: Final = 1.0
NEXT_YEAR: Final = 0.9
NO_YEAR: Final = 0.8
WITHIN_FIVE: Final = 0.6
FAR: Final = 0.5

# Letters that no normal form takes apart.
_LETTERS: Final = str.maketrans(
    {"&": "and", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ʻ": "", "ʼ": ""}
)
_MARKS: Final = re.compile("[\u0300-\u036f]")  # accents of Latin, Greek and Cyrillic; other scripts need theirs


@dataclass(frozen=True, slots=True)
class Wanted:
    """A film as somebody logged it."""

    title: str
    year: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A film of TMDB that may be the wanted one."""

    tmdb_id: int
    title: str
    original_title: str
    release_date: str | None
    popularity: float
    votes: int
    alternatives: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Candidate:
        """A result of a search, as the upstream cuts it down."""
        return cls(
            tmdb_id=result["id"],
            title=result["title"] or "",
            original_title=result["original_title"] or "",
            release_date=result["release_date"],
            popularity=result["popularity"],
            votes=result["vote_count"],
        )

    @property
    def year(self) -> int | None:
        """The year of its release."""
        return int(self.release_date[:4]) if self.release_date else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A candidate with how well it fits."""

    candidate: Candidate
    title: str | None  # how its title is the wanted one, a key of TITLES; None if it is not
    years_off: int | None  # None if either has no year
    score: float  # 0 to 1

    @property
    def reason(self) -> str:
        """What fits and what does not, for a person."""
        title = f"{self.title} title" if self.title else "another title"
        if self.years_off is None:
            return f"{title}, no year to compare"
        return f"{title}, " + ("same year" if not self.years_off else f"year {self.years_off:+d}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The film that was found, or those a person may choose from; neither if nothing comes near."""

    accepted: Scored | None = None
    method: str | None = None  # how it was found, for instance "folded" or "exact+near_year"
    review: tuple[Scored, ...] = ()  # best first


def mended(title: str) -> str:
    """The title with double-encoded UTF-8 decoded, composed, and each run of blanks one space."""
    if not title.isascii():
        with suppress(UnicodeError):  # as good titles raise
            title = _bytes(title).decode("utf-8")
        title = unicodedata.normalize("NFC", title)
    return " ".join(title.split())


def folded(title: str) -> str:
    """What is left of a title without case, accents, punctuation and blanks; empty if it is nothing but those."""
    for _ in range(2):  # the compatible form of a letter may be a capital, and the small form of one composed
        title = unicodedata.normalize("NFKD", title).replace("\N{COMBINING GREEK YPOGEGRAMMENI}", "ι")  # its small form
        title = _MARKS.sub("", title).casefold().translate(_LETTERS)
    title = unicodedata.normalize("NFC", title)
    return "".join(char for char in title if unicodedata.category(char)[0] in "LNM")


def rank(wanted: Wanted, candidates: Iterable[Candidate]) -> list[Scored]:
    """The candidates, best first; the same list for the same candidates in any order."""
    title = mended(wanted.title)
    scored = [_scored(title, wanted.year, candidate) for candidate in candidates]
    return sorted(scored, key=lambda s: (-s.score, -s.candidate.votes, -s.candidate.popularity, s.candidate.tmdb_id))


def decide(wanted: Wanted, candidates: Iterable[Candidate]) -> Decision:
    """The one film that is certain enough; else what a person should look at, if anything."""
    ranked = rank(wanted, candidates)
    best = [one for one in ranked if _acceptable(wanted, one) and one.score == ranked[0].score]
    if len(best) == 1 or (len(best) > 1 and _clear(best[0].candidate, best[1:])):
        return Decision(accepted=best[0], method=_method(wanted, best))
    return Decision(review=tuple(one for one in ranked if one.score >= REVIEW_FROM)[:REVIEWED])


def _bytes(title: str) -> bytes:
    """The bytes that an editor took for letters of Windows; it leaves five of them as they are."""
    return b"".join(char.encode("latin-1") if "\x80" <= char <= "\x9f" else char.encode("cp1252") for char in title)


def _scored(title: str, year: int | None, candidate: Candidate) -> Scored:
    how, counts = _title(title, candidate)
    off = None if year is None or candidate.year is None else candidate.year - year
    score = round(counts * _nearness(year, candidate.year), 4)
    return Scored(candidate=candidate, title=how, years_off=off, score=score)


def _title(title: str, candidate: Candidate) -> tuple[str | None, float]:
    """How the candidate is called what is wanted, and what that counts."""
    if mended(candidate.title) == title:
        return "exact", TITLES["exact"]
    plain = folded(title)
    others = [folded(candidate.title), folded(candidate.original_title)]
    if plain:
        for how, other in zip(("folded", "original"), others, strict=True):
            if other == plain:
                return how, TITLES[how]
        if any(folded(alternative) == plain for alternative in candidate.alternatives):
            return "alternative", TITLES["alternative"]
    likeness = max(SequenceMatcher(None, plain, other, autojunk=False).ratio() for other in others)
    return None, SIMILAR * likeness**3  # steeply: titles that are half alike are of films that have nothing in common


def _nearness(year: int | None, other: int | None) -> float:
    if year is None:  # an undated log is of a film that has no date yet
        return SAME_YEAR if other is None else NO_YEAR
    if other is None:
        return WITHIN_FIVE
    off = abs(other - year)
    return SAME_YEAR if not off else NEXT_YEAR if off == 1 else WITHIN_FIVE if off <= 5 else FAR


def _acceptable(wanted: Wanted, one: Scored) -> bool:
    if wanted.year is None:
        return one.title in ("exact", "folded")
    return one.title is not None and one.years_off in (-1, 0, 1)


def _clear(first: Candidate, others: Iterable[Scored]) -> bool:
    """Whether the most voted of several is so much better known that it is meant."""
    return first.votes >= CLEAR_VOTES and all(
        first.votes >= CLEAR_RATIO * other.candidate.votes and first.popularity >= other.candidate.popularity
        for other in others
    )


def _method(wanted: Wanted, best: list[Scored]) -> str:
    steps = [best[0].title or ""]
    if wanted.year is None:
        steps.append("no_year")
    elif best[0].years_off:
        steps.append("near_year")
    if len(best) > 1:
        steps.append("popularity")
    return "+".join(steps)
