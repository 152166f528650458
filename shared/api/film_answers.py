"""What the API answers about films; see `answers`."""

from __future__ import annotations

from datetime import date

from shared.api.answers import Answer, Json
from shared.states import Outcome


class Actor(Answer):
    """Somebody in a film."""

    name: str | None
    role: str | None


class Film(Answer):
    """One film of an export, with what TMDB knows of it."""

    item_no: int
    letterboxd_uri: str | None
    title: str
    year: int | None
    rating: float | None
    watched_date: date | None
    logged_date: date | None
    liked: bool
    in_watchlist: bool
    tags: list[str]
    diary_count: int
    review_count: int
    outcome: Outcome | None
    code: str | None
    tmdb_enriched: bool
    tmdb_id: int | None
    imdb_id: str | None
    imdb_rating: float | None
    tmdb_rating: float | None
    tmdb_votes: int | None
    genres: list[str] | None
    directors: list[str] | None
    cast: list[str | None] | None
    cast_roles: list[Actor] | None
    runtime: int | None
    original_title: str | None
    original_language: str | None
    release_date: date | None
    overview: str | None
    poster_path: str | None
    match_score: float | None
    match_method: str | None
    from_cache: bool | None


class DiaryEntry(Answer):
    """A film watched once."""

    item_no: int
    entry_uri: str | None
    watched_date: date | None
    logged_date: date | None
    rating: float | None
    rewatch: bool | None
    tags: list[str] | None


class Review(DiaryEntry):
    """What was written about it."""

    review: str | None


class WholeFilm(Film):
    """One film with its diary, its reviews, and, where it needs a person, the films it may be."""

    diary: list[DiaryEntry]
    reviews: list[Review]
    candidates: list[Json] | None


class YearCount(Answer):
    """Films of a year."""

    year: int | None
    films: int


class RatingCount(Answer):
    """Films of a rating."""

    rating: float | None
    films: int


class GenreCount(Answer):
    """Films of a genre."""

    genre: str
    films: int


class FilmsSummary(Answer):
    """Pictures of an export: how many films there are of each year, rating and genre."""

    by_year: list[YearCount]
    ratings: list[RatingCount]
    genres: list[GenreCount]
