"""What the files of a Letterboxd export are, by their paths and by their headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What one row of a file says, in the order the files of an export are best read in."""

    WATCHED = "watched"
    """A film was seen."""
    RATING = "rating"
    """What a film is rated today."""
    LIKE = "like"
    """A film is liked, seen or not."""
    WATCHLIST = "watchlist"
    """A film shall be seen."""
    DIARY = "diary"
    """A film was seen on a day, with the rating of that day; its URI is the entry's, not the film's."""
    REVIEW = "review"
    """What was written about a film; its URI is the entry's, not the film's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file of an export by its path; exactly one of `kind`, `ignored` and `junk` says what becomes of it."""

    path: str
    kind: Kind | None = None
    ignored: str | None = None  # why it is not read, a sentence for the person who dropped it
    unknown: bool = False  # ignored because no export has a file of this name
    junk: bool = False  # left by an archiver or a file browser, not worth a word


_FILES = {
    "watched.csv": Kind.WATCHED,
    "ratings.csv": Kind.RATING,
    "likes.csv": Kind.LIKE,
    "films.csv": Kind.LIKE,
    "watchlist.csv": Kind.WATCHLIST,
    "diary.csv": Kind.DIARY,
    "reviews.csv": Kind.REVIEW,
}
_FOLDERS = {
    "deleted": "deleted/ holds what was deleted on Letterboxd, which is not imported.",
    "orphaned": "orphaned/ holds entries whose film is gone from Letterboxd, which are not imported.",
    "lists": "lists/ holds lists of films, which say nothing about having seen them and are not imported.",
}
_HOLDS_NO_FILMS = {
    "profile.csv": "profile.csv holds the account, no films.",
    "comments.csv": "comments.csv holds comments, no films.",
}
_LIKES_OTHERS = "likes/ holds likes of films in films.csv; this file of it holds no films."
_UNKNOWN = (
    "This is no file of a Letterboxd export that holds films; those are watched.csv, ratings.csv, likes/films.csv, "
    "watchlist.csv, diary.csv and reviews.csv."
)
_JUNK = {".ds_store", "thumbs.db", "desktop.ini"}


def place(path: str) -> Member:
    """What the file at this path inside an export is; case, backslashes and folders around the export are no matter."""
    *folders, name = path.replace("\\", "/").lower().split("/")
    if not name or name in _JUNK or name.startswith("._") or "__macosx" in folders:
        return Member(path=path, junk=True)
    for folder, reason in _FOLDERS.items():
        if folder in folders:
            return Member(path=path, ignored=reason)
    if folders and folders[-1] == "likes" and name != "films.csv":
        return Member(path=path, ignored=_LIKES_OTHERS)
    if kind := _FILES.get(name):
        return Member(path=path, kind=kind)
    if name in _HOLDS_NO_FILMS:
        return Member(path=path, ignored=_HOLDS_NO_FILMS[name])
    return Member(path=path, ignored=_UNKNOWN, unknown=True)


def kind_of_header(cells: Sequence[str]) -> Kind | None:
    """What the rows under this header say, for a file under a name of its own; None if they are no films of an export.

    Watched, likes and the watchlist have one header in common and are taken for watched.
    """
    names = {cell.strip("\ufeff").strip().casefold() for cell in cells}
    if "name" not in names or "position" in names:  # a list has positions; its films need not have been seen
        return None
    if "review" in names:
        return Kind.REVIEW
    if "watched date" in names:
        return Kind.DIARY
    if "rating" in names:
        return Kind.RATING
    return Kind.WATCHED if names & {"year", "letterboxd uri"} else None
