"""The dialogue that finds a film: what it asks, in which order, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.film_search import SEARCHES, Override, find_film
from shared.pipelines.base import Settled
from shared.states import Outcome
from shared.upstreams import tmdb_errors as errors
from shared.upstreams.base import Answer, ErrorClass, Failure, JsonAnswer
from shared.upstreams.tmdb import AlternativeTitles, Details, Request, Search

GONE = errors.failure(errors.NOT_FOUND)
LATE = errors.failure(errors.TIMED_OUT)
NONE_FOUND = JsonAnswer(body={"results": [], "total_results": 0})


def found(*films: dict[str, Any], total: int | None = None) -> JsonAnswer:
    return JsonAnswer(body={"results": list(films), "total_results": len(films) if total is None else total})


def film(tmdb_id: int, title: str, year: int | None, votes: int = 0) -> dict[str, Any]:
    return {
        "id": tmdb_id, "title": title, "original_title": title, "original_language": "en", "popularity": 1.0,
        "release_date": f"{year}-05-01" if year else None, "vote_count": votes, "poster_path": None,
    }  # fmt: skip


def facts(tmdb_id: int) -> JsonAnswer:
    return JsonAnswer(body={"tmdb_id": tmdb_id, "title": "as TMDB has it"})


def called(*titles: str) -> JsonAnswer:
    return JsonAnswer(body={"titles": list(titles)})


def talk(
    said: Mapping[Request, Answer | Failure], name: str, year: int | None, override: Override | None = None
) -> tuple[Settled | Failure, list[Request]]:
    """How the dialogue ends and what it asked; a search that `said` does not name finds nothing."""
    dialogue, asked = find_film(name, year, override=override), []
    try:
        request = next(dialogue)
        while True:
            asked.append(request)
            request = dialogue.send(said.get(request, NONE_FOUND) if isinstance(request, Search) else said[request])
    except StopIteration as ended:
        return ended.value, asked


def settled(*args: Any) -> tuple[Settled, list[Request]]:
    outcome, asked = talk(*args)
    assert isinstance(outcome, Settled), outcome
    return outcome, asked


def test_a_typical_film_takes_two_requests() -> None:
    said = {Search("Dr. No", 1962): found(film(646, "Dr. No", 1962), total=30), Details(646): facts(646)}
    outcome, asked = settled(said, "Dr. No", 1962)
    assert asked == [Search("Dr. No", 1962), Details(646)]
    assert outcome == Settled(
        outcome=Outcome.ENRICHED,
        result={"tmdb_id": 646, "title": "as TMDB has it", "match": {"method": "exact", "score": 1.0}},
    )


def test_the_title_is_mended_before_it_is_asked_for() -> None:
    _, asked = settled({}, " AmÃ©lieÂ\u00a0 Poulain", 2001)
    assert asked[0] == Search("Amélie Poulain", 2001)


def test_a_film_of_the_next_year_is_found_without_the_year() -> None:
    said = {Search("Kingsman", None): found(film(1, "Kingsman", 2015)), Details(1): facts(1)}
    outcome, asked = settled(said, "Kingsman", 2014)
    assert asked == [Search("Kingsman", 2014), Search("Kingsman", None), Details(1)]
    assert outcome.result["match"] == {"method": "exact+near_year", "score": 0.9}


def test_neighbouring_years_are_asked_only_where_an_answer_was_cut_off() -> None:
    others = [film(n, f"Up {n}", 1980) for n in range(10, 30)]
    said = {
        Search("Up", None): found(*others, total=21),
        Search("Up", 2010): found(film(1, "Up", 2010)),
        Details(1): facts(1),
    }
    outcome, asked = settled(said, "Up", 2009)
    assert asked == [Search("Up", 2009), Search("Up", None), Search("Up", 2010), Search("Up", 2008), Details(1)]
    assert outcome.result["match"]["method"] == "exact+near_year"
    assert settled({Search("Up", None): found(*others, total=20)}, "Up", 2009)[1] == asked[:2]


def test_two_neighbours_of_one_title_are_left_to_a_person() -> None:
    said = {
        Search("Saw", None): found(total=99),
        Search("Saw", 2005): found(film(1, "Saw", 2005)),
        Search("Saw", 2003): found(film(2, "Saw", 2003)),
    }
    outcome, asked = settled(said, "Saw", 2004)
    assert (outcome.outcome, outcome.code) == (Outcome.NEEDS_REVIEW, "weak_match")
    assert len(asked) == 4


def test_other_titles_are_asked_of_films_of_the_right_year() -> None:
    said = {
        Search("007", 1962): found(film(1, "Lolita", 1962), film(646, "Dr. No", 1962)),
        Search("007", None): found(film(2, "Mission 007", 2025)),
        AlternativeTitles(1): called("Humbert"),
        AlternativeTitles(646): called("James Bond", "007"),
        Details(646): facts(646),
    }
    outcome, asked = settled(said, "007", 1962)
    assert asked[:2] == [Search("007", 1962), Search("007", None)]
    assert set(asked[2:-1]) == {AlternativeTitles(1), AlternativeTitles(646)}
    assert outcome.result["match"] == {"method": "alternative", "score": 0.94}


def test_the_search_ends_with_the_other_title_that_fits() -> None:
    said = {
        Search("Dr No Again", 1962): found(film(646, "Dr. No", 1962), film(1, "Lolita", 1962)),
        AlternativeTitles(646): called("Dr. No again"),
        Details(646): facts(646),
    }
    _, asked = settled(said, "Dr No Again", 1962)
    assert asked[2:] == [AlternativeTitles(646), Details(646)]


@pytest.mark.parametrize("year", [1962, None])
def test_what_is_not_there_costs_few_requests(year: int | None) -> None:
    outcome, asked = settled({}, "No Such Film", year)
    assert outcome == Settled(outcome=Outcome.NOT_FOUND, code="no_such_film", result={})
    assert len(asked) == (1 if year is None else 2)


def test_what_is_not_there_costs_at_most_four() -> None:
    many = found(*(film(n, f"Quite another {n}", 2010) for n in range(20)), total=999)
    said: dict[Request, Answer | Failure] = {Search("Up", year): many for year in (2009, 2010, 2008, None)}
    outcome, asked = settled(said, "Up", 2009)
    assert outcome.outcome is Outcome.NOT_FOUND
    assert len(asked) == SEARCHES


def test_a_doubtful_film_comes_with_its_candidates() -> None:
    said = {Search("The Lion King", None): found(film(8587, "The Lion King", 1994, votes=9999))}
    outcome, asked = settled(said, "The Lion King", 2019)
    assert outcome == Settled(
        outcome=Outcome.NEEDS_REVIEW,
        code="weak_match",
        result={
            "candidates": [{
                "tmdb_id": 8587, "title": "The Lion King", "original_title": "The Lion King",
                "release_date": "1994-05-01", "year": 1994, "popularity": 1.0, "score": 0.5,
                "reason": "exact title, year -25",
            }],
            "match": {"method": None, "score": 0.5},
        },
    )  # fmt: skip
    assert len(asked) == 2


def test_a_deleted_film_gives_way_to_the_next() -> None:
    said = {
        Search("Emma", 1996): found(film(1, "Emma", 1996), film(2, "EMMA", 1996)),
        Details(1): GONE,
        Details(2): facts(2),
    }
    outcome, asked = settled(said, "Emma", 1996)
    assert asked == [Search("Emma", 1996), Details(1), Details(2)]
    assert outcome.result["match"] == {"method": "folded", "score": 0.98}


def test_a_deleted_film_leaves_the_rest_to_a_person_or_nothing() -> None:
    said = {Search("Emma", 1996): found(film(1, "Emma", 1996), film(2, "Emma", 2020)), Details(1): GONE}
    outcome, _ = settled(said, "Emma", 1996)
    assert [one["tmdb_id"] for one in outcome.result["candidates"]] == [2]
    alone, _ = settled({**said, Search("Emma", 1996): found(film(1, "Emma", 1996))}, "Emma", 1996)
    assert (alone.outcome, alone.code) == (Outcome.NOT_FOUND, "no_such_film")


def test_a_film_deleted_before_its_other_titles_are_told_is_left_out() -> None:
    said = {Search("007", 1962): found(film(646, "007 again", 1962)), AlternativeTitles(646): GONE}
    outcome, asked = settled(said, "007", 1962)
    assert outcome.code == "no_such_film"
    assert asked[-1] == AlternativeTitles(646)


SAID: dict[Request, Answer | Failure] = {
    Search("007", 1962): found(film(646, "Dr. No", 1962)),
    Search("007", None): found(total=99),
    AlternativeTitles(646): called("007"),
    Details(646): facts(646),
}


@pytest.mark.parametrize("request_", [*SAID, Search("007", 1963), Search("007", 1961)], ids=str)
def test_any_other_failure_is_passed_on(request_: Request) -> None:
    # With the neighbouring years four are spent, so the other titles are only asked where the answer is whole.
    cut_off = found(total=99 if isinstance(request_, Search) else 0)
    outcome, asked = talk({**SAID, Search("007", None): cut_off, request_: LATE}, "007", 1962)
    assert outcome is LATE
    assert asked[-1] == request_


class TestADecisionOfAPerson:
    def test_is_taken_without_a_search(self) -> None:
        outcome, asked = settled({Details(5): facts(5)}, "Emma", 1996, Override(5))
        assert asked == [Details(5)]
        assert outcome.outcome is Outcome.ENRICHED
        assert outcome.result["match"] == {"method": "override", "score": 1.0}

    def test_none_of_these_asks_nothing(self) -> None:
        outcome, asked = settled({}, "Emma", 1996, Override(None))
        assert outcome == Settled(outcome=Outcome.NOT_FOUND, code="override_none", result={})
        assert asked == []

    def test_a_deleted_choice_is_asked_for_again(self) -> None:
        outcome, _ = settled({Details(5): GONE}, "Emma", 1996, Override(5))
        assert (outcome.outcome, outcome.code) == (Outcome.NEEDS_REVIEW, "override_gone")

    def test_a_failure_is_passed_on(self) -> None:
        assert talk({Details(5): LATE}, "Emma", 1996, Override(5))[0] is LATE


titles = st.sampled_from(("Emma", "EMMA", "Emma Peeters", "Home", "???"))
films = st.builds(film, st.integers(1, 6), titles, st.none() | st.integers(1994, 1999), st.sampled_from((0, 50, 5000)))
answers = st.builds(
    lambda some, more: found(*some, total=len(some) + more), st.lists(films, max_size=5), st.just(0) | st.just(9)
)


@given(st.data(), titles, st.none() | st.integers(1995, 1998))
def test_whatever_tmdb_says_the_dialogue_ends_within_its_bounds(
    data: st.DataObject, name: str, year: int | None
) -> None:
    dialogue, before, gone = find_film(name, year), [], 0
    try:
        request = next(dialogue)
        while True:
            if isinstance(request, Search):
                answer: Answer | Failure = data.draw(answers)
            elif data.draw(st.booleans()):
                answer = GONE
            else:
                answer = facts(request.tmdb_id) if isinstance(request, Details) else called(data.draw(titles))
            if isinstance(request, Details):
                gone += answer is GONE
            else:
                assert not gone  # nothing is searched for after the details
                before.append(request)
            request = dialogue.send(answer)
    except StopIteration as ended:
        outcome = ended.value
    assert len(before) == len(set(before)) <= SEARCHES
    assert isinstance(outcome, Settled)
    match outcome.outcome:
        case Outcome.ENRICHED:
            assert outcome.result["match"]["score"] > 0.75
        case Outcome.NEEDS_REVIEW:
            assert 1 <= len(outcome.result["candidates"]) <= 10
        case other:
            assert (other, outcome.code) == (Outcome.NOT_FOUND, "no_such_film")


def test_failures_of_tmdb_that_only_look_like_a_missing_film_are_passed_on() -> None:
    address = errors.failure(errors.BAD_ADDRESS)
    said = {Search("Dr. No", 1962): found(film(646, "Dr. No", 1962)), Details(646): address}
    outcome, _ = talk(said, "Dr. No", 1962)
    assert isinstance(outcome, Failure)
    assert outcome.kind is ErrorClass.SYSTEMIC
