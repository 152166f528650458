"""Titles folded, candidates ranked, and which of them is taken."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.matching import REVIEW_FROM, REVIEWED, Candidate, Wanted, decide, folded, mended, rank


def film(
    title: str, year: int | None, *, votes: int = 0, popularity: float = 1.0, original: str | None = None,
    tmdb_id: int = 1, alternatives: tuple[str, ...] = (),
) -> Candidate:  # fmt: skip
    return Candidate(
        tmdb_id=tmdb_id,
        title=title,
        original_title=title if original is None else original,
        release_date=None if year is None else f"{year:04d}-05-01",
        popularity=popularity,
        votes=votes,
        alternatives=alternatives,
    )


def numbered(*films: Candidate) -> list[Candidate]:
    return [replace(one, tmdb_id=number) for number, one in enumerate(films, 1)]


class TestFolding:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Irreversible", "Irréversible"),
            ("Amélie", "AME\u0301LIE"),
            ("Tucker and Dale vs. Evil", "Tucker & Dale vs Evil"),
            ("Star Wars: Episode III – Revenge", "Star Wars: Episode III -\u00a0Revenge"),
            ("National Lampoon's", "National Lampoon’s"),
            ('Playdate with "Destiny"', "Playdate with “Destiny”"),
            ("tick, tick... BOOM!", "tick, tick… Boom!"),
            ("WALL·E", "Wall-E"),
            ("Spider-Man", "Spiderman"),
            ("Ægir & Œdipe", "Aegir and Oedipe"),
            ("Straße", "STRASSE"),
            ("Øya", "Oya"),
            ("Łódź", "Lodz"),
            ("Ёлки", "елки"),
            ("ﬁlm", "film"),
            ("Alien³", "Alien 3"),
            ("Ｆｕｌｌ", "full"),
            ("Moana", "Moʻana"),
        ],
    )
    def test_spellings_of_one_title(self, one: str, other: str) -> None:
        assert folded(one) == folded(other) != ""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Intruders", "The Intruders"),  # both of 2015
            ("Saw V", "Saw VI"),
            ("Rocky II", "Rocky 2"),
            ("か", "が"),
            ("कमल", "कमला"),
            ("Up", "Us"),
        ],
    )
    def test_titles_of_two_films(self, one: str, other: str) -> None:
        assert folded(one) != folded(other)

    @pytest.mark.parametrize("title", ["", "???", " \u00a0", "…", "♥"])
    def test_nothing_is_left_of_signs(self, title: str) -> None:
        assert folded(title) == ""

    @given(st.text())
    def test_folding_a_folded_title_changes_nothing(self, title: str) -> None:
        assert folded(folded(title)) == folded(title)

    @given(st.text())
    def test_case_form_and_blanks_are_no_matter(self, title: str) -> None:
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            assert folded(unicodedata.normalize(form, title)) == folded(title)
        assert folded(f" {title}\u00a0!") == folded(title)
        assert folded(title.casefold()) == folded(title)

    @given(st.text(st.characters(max_codepoint=0x7F)))
    def test_letters_and_digits_stay(self, title: str) -> None:
        kept = "".join(char for char in title.replace("&", "and") if char.isalnum()).lower()
        assert folded(title) == kept


class TestMending:
    @pytest.mark.parametrize(
        ("broken", "whole"),
        [
            ("AmÃ©lie", "Amélie"),
            ("WALLÂ·E", "WALL·E"),
            ("Episode I â€“ The Phantom Menace", "Episode I – The Phantom Menace"),
            ("Episode I â\x80\x93 The Phantom Menace", "Episode I – The Phantom Menace"),
            ("BrÃ¼no", "Brüno"),
            ("Ã\x81gora", "Ágora"),
            ("Revenge of\u00a0the  Sith", "Revenge of the Sith"),
            ("Ame\u0301lie", "Amélie"),
        ],
    )
    def test_what_is_broken_is_mended(self, broken: str, whole: str) -> None:
        assert mended(broken) == whole

    @pytest.mark.parametrize("title", ["Amélie", "Ночной дозор", "少林足球", "São Paulo", "Ã", "Café – Été", "½"])
    def test_what_is_whole_stays(self, title: str) -> None:
        assert mended(title) == title

    @given(st.text(st.characters(min_codepoint=0xA0, max_codepoint=0x24F), min_size=1))
    def test_what_was_encoded_twice_comes_back(self, title: str) -> None:
        title = mended(title)
        assert mended(title.encode().decode("latin-1")) == mended(title)


@pytest.mark.parametrize(
    ("wanted", "films", "taken", "method"),
    [
        (Wanted("Emma", 1996), [film("Emma", 2020), film("Emma", 1996)], 2, "exact"),
        (Wanted("Up", 2009), [film("UP", 2009), film("Up", 2009)], 2, "exact"),
        (Wanted("Irreversible", 2002), [film("Irréversible", 2002)], 1, "folded"),
        (Wanted("AmÃ©lie", 2001), [film("Amélie", 2001)], 1, "exact"),
        (Wanted("Dr. No", 1962), [film("Dr. No", 1962, alternatives=("007",))], 1, "exact"),
        (Wanted("007", 1962), [film("Dr. No", 1962)], None, None),
        (Wanted("007", 1962), [film("Dr. No", 1962, alternatives=("James Bond", "007"))], 1, "alternative"),
        (Wanted("City of God", 2002), [film("Cidade de Deus", 2002)], None, None),
        (Wanted("Cidade de Deus", 2002), [film("City of God", 2002, original="Cidade de Deus")], 1, "original"),
        (Wanted("Kingsman", 2014), [film("Kingsman", 2015)], 1, "exact+near_year"),
        (Wanted("Kingsman", 2014), [film("Kingsman", 2013)], 1, "exact+near_year"),
        (Wanted("Jack Frost", 1997), [film("Jack Frost", 1998), film("Jack Frost", 1997)], 2, "exact"),
        (Wanted("Kingsman", 2014), [film("Kingsman", 2016)], None, None),
        (Wanted("The Lion King", 2019), [film("The Lion King", 1994, votes=9999, popularity=99)], None, None),
        (Wanted("Belle", 2021), [film("Belle", 2013)], None, None),
        (Wanted("Psycho", 2020), [film("Psycho", 1960, votes=9999)], None, None),
        (Wanted("Brigada", 2002), [film("Starship Troopers", 1997, votes=9999)], None, None),
        (Wanted("Brigada", 2002), [film("Starship Troopers", 2002, votes=9999)], None, None),
        (Wanted("Belle", 2021), [film("Belle", None)], None, None),
        # Several of one title and year.
        (Wanted("The Gift", 2015), [film("The Gift", 2015, votes=4), film("The Gift", 2015, votes=1049)], 2,
         "exact+popularity"),
        (Wanted("The Gift", 2015), [film("The Gift", 2015, votes=200), film("The Gift", 2015, votes=1049)], None, None),
        (Wanted("Drifting", 2026), [film("Drifting", 2026, votes=0), film("Drifting", 2026, votes=30)], None, None),
        (Wanted("Dare", 2018), [film("Dare", 2018, votes=2084), film("Dare", 2018, votes=36, popularity=19)],
         None, None),
        (Wanted("Saw", 2004), [film("Saw", 2003, votes=10), film("Saw", 2005, votes=20)], None, None),
        (Wanted("Saw", 2004), [film("Saw", 2003, votes=10), film("Saw", 2005, votes=900)], 2,
         "exact+near_year+popularity"),
        # Without a year.
        (Wanted("Inception", None), [film("Inception", 2010), film("Inception: The Cobol Job", 2010)], 1,
         "exact+no_year"),
        (Wanted("Emma", None), [film("Emma", 1996), film("Emma", 2020)], None, None),
        (Wanted("Emma", None), [film("Emma", 1996, votes=10), film("Emma", 2020, votes=2000)], 2,
         "exact+no_year+popularity"),
        (Wanted("Box Set", None), [film("Box Set", 1996, votes=900), film("Box Set", None)], 2, "exact+no_year"),
        (Wanted("Deadpool 3", None), [film("Deadpool & Wolverine", 2024, alternatives=("Deadpool 3",))], None, None),
        # Titles of nothing but signs.
        (Wanted("???", 1999), [film("!!!", 1999)], None, None),
        (Wanted("???", 1999), [film("???", 1999)], 1, "exact"),
        (Wanted("", 1999), [film("♥", 1999)], None, None),
        (Wanted("Anything", 1999), [], None, None),
    ],
)  # fmt: skip
def test_traps(wanted: Wanted, films: list[Candidate], taken: int | None, method: str | None) -> None:
    decision = decide(wanted, numbered(*films))
    assert (decision.accepted.candidate.tmdb_id if decision.accepted else None) == taken
    assert decision.method == method


def test_a_person_sees_the_likeliest_first_and_why() -> None:
    films = numbered(
        film("The Meg", 2018), film("The Meg 2: The Trench", 2023), film("Meg 2: The Trench", 2026), film("Home", 2023)
    )
    shown = [(one.candidate.tmdb_id, one.reason) for one in decide(Wanted("Meg 2: The Trench", 2023), films).review]
    assert shown == [(3, "exact title, year +3"), (2, "another title, same year")]
    undated = decide(Wanted("Belle", 2021), [film("Belle", None)]).review
    assert [one.reason for one in undated] == ["exact title, no year to compare"]


def test_no_more_are_shown_than_a_person_can_look_at() -> None:
    review = decide(Wanted("Love", 2015), numbered(*(film("Love", year) for year in range(1950, 2000)))).review
    assert len(review) == REVIEWED


TITLES = ("Emma", "EMMA", "Emma.", "Émma", "Emma Peeters", "Ema", "Home", "???", "")
titles = st.sampled_from(TITLES)
years = st.none() | st.integers(1994, 2001)
candidates = st.lists(
    st.builds(
        film,
        titles,
        years,
        votes=st.sampled_from((0, 5, 99, 100, 1000, 20_000)),
        popularity=st.sampled_from((0.0, 1.0, 50.0)),
        original=titles,
        alternatives=st.lists(titles, max_size=2).map(tuple),
    ),
    max_size=12,
).map(lambda films: numbered(*films))
logged = st.builds(Wanted, titles, years)


@given(logged, candidates, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(wanted: Wanted, films: list[Candidate], dice: random.Random) -> None:
    shuffled = dice.sample(films, len(films))
    assert decide(wanted, films) == decide(wanted, shuffled)
    assert rank(wanted, films) == rank(wanted, shuffled)


@given(logged, candidates)
def test_what_is_taken_has_the_title_and_the_year(wanted: Wanted, films: list[Candidate]) -> None:
    decision = decide(wanted, films)
    if decision.accepted is None:
        return
    taken = decision.accepted.candidate
    assert taken in films
    assert not decision.review
    assert folded(wanted.title) in {folded(name) for name in (taken.title, taken.original_title, *taken.alternatives)}
    if wanted.year is None:
        assert folded(taken.title) == folded(wanted.title)
    else:
        assert taken.year is not None
        assert abs(taken.year - wanted.year) <= 1


@given(logged, candidates)
def test_scores_fall_from_one_to_nothing(wanted: Wanted, films: list[Candidate]) -> None:
    scores = [one.score for one in rank(wanted, films)]
    assert sorted(scores, reverse=True) == scores
    assert len(scores) == len(films)
    assert all(0 <= score <= 1 for score in scores)
    assert all(one.score >= REVIEW_FROM for one in decide(wanted, films).review)


@given(logged, candidates)
def test_a_film_that_fits_less_changes_nothing(wanted: Wanted, films: list[Candidate]) -> None:
    taken = decide(wanted, films).accepted
    if taken is not None:
        far = film("Quite Another Thing", 1930, votes=10**6, popularity=10**3, tmdb_id=99)
        assert decide(wanted, [*films, far]).accepted == taken


@given(logged, candidates)
def test_a_second_film_just_like_it_makes_it_uncertain(wanted: Wanted, films: list[Candidate]) -> None:
    taken = decide(wanted, films).accepted
    if taken is not None:
        assert decide(wanted, [*films, replace(taken.candidate, tmdb_id=99)]).accepted is None
