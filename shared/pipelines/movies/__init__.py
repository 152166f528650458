"""Movies: the records of a Letterboxd export in, every film with what TMDB knows of it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast
from uuid import UUID

from shared.columns import Scalar, Type
from shared.errors import InputError
from shared.film_search import SEARCHES, Override, find_film
from shared.forecasts import Forecast, Preview, Range
from shared.letterboxd import Kind, kind_of_header
from shared.options import Options
from shared.paging import by_number
from shared.pipelines.base import Dialogue, Form, Input, Pipeline, Service, Settled, Told, Upstream
from shared.pipelines.movies.exports import Exports
from shared.pipelines.movies.forms import LetterboxdForm, forms
from shared.states import Outcome
from shared.text import clean
from shared.upstreams.base import Answer, JsonAnswer
from shared.upstreams.tmdb import DEFAULT_BASE_URL, AlternativeTitles, Details, Request, Search, TmdbUpstream

if TYPE_CHECKING:
    from shared.db import Database, Row
    from shared.items import Item
    from shared.samples import Sample

# What of a film's facts has a column of its own in table movies.
_COLUMNS = (
    "tmdb_id", "imdb_id", "tmdb_rating", "tmdb_votes", "genres", "directors", "cast", "runtime", "original_title",
    "original_language", "release_date", "overview", "poster_path",
)  # fmt: skip
_TEXT, _WHOLE, _NUMBER, _TRUTH = Scalar.TEXT, Scalar.WHOLE, Scalar.NUMBER, Scalar.TRUTH
_DIARY: Type = {
    "watched_date": _TEXT, "logged_date": _TEXT, "rating": _NUMBER, "rewatch": _TRUTH, "tags": [_TEXT],
}  # fmt: skip
_CANDIDATE: Type = {
    "tmdb_id": _WHOLE, "title": _TEXT, "original_title": _TEXT, "release_date": _TEXT, "year": _WHOLE,
    "popularity": _NUMBER, "score": _NUMBER, "reason": _TEXT,
}  # fmt: skip
_LINE: Mapping[str, Type] = {
    "item_no": _WHOLE, "kind": _TEXT, "letterboxd_uri": _TEXT, "title": _TEXT, "year": _WHOLE, "outcome": _TEXT,
    "code": _TEXT, "parent": _WHOLE, "rating": _NUMBER, "watched_date": _TEXT, "logged_date": _TEXT, "liked": _TRUTH,
    "in_watchlist": _TRUTH, "tags": [_TEXT], "diary": [_DIARY], "tmdb_id": _WHOLE, "imdb_id": _TEXT, "genres": [_TEXT],
    "directors": [_TEXT], "cast": [{"name": _TEXT, "role": _TEXT}], "runtime": _WHOLE, "original_title": _TEXT,
    "original_language": _TEXT, "release_date": _TEXT, "tmdb_rating": _NUMBER, "tmdb_votes": _WHOLE, "overview": _TEXT,
    "poster_path": _TEXT, "match": {"method": _TEXT, "score": _NUMBER}, "candidates": [_CANDIDATE],
    "from_cache": _TRUTH, "db_status": _TEXT, "error": _TEXT, "error_code": _TEXT, "attempts": _WHOLE, "line": _WHOLE,
}  # fmt: skip
_OF_THE_RECORD = (
    "item_no", "kind", "letterboxd_uri", "title", "year", "parent", "rating", "watched_date", "logged_date", "liked",
    "in_watchlist", "tags", "diary", "line",
)  # fmt: skip
REQUEST_SECONDS = 0.2  # TMDB answers within about so long
# Finds the columns of a file whose kind its name does not tell.
_ANY = LetterboxdForm(
    kind=Kind.WATCHED,
    columns=tuple(dict.fromkeys(column for form in forms.values() for column in form.columns)),
    required=("Name",),
)


class Movies(Pipeline):
    """The movies pipeline; the upstream client is made when first asked for."""

    slug = "movies"
    title = "Films: a Letterboxd export, and what TMDB knows of each film"
    service = Service(called="TMDB", stand_in="tmdb", key="TMDB_API_TOKEN")
    needs = ("TMDB_API_TOKEN",)
    accepts = (".csv", ".zip")
    grouping = Exports()
    known_by = "the columns of a Letterboxd export"
    caches = True
    tells_more = True
    heeds = frozenset({"watchlist"})
    never_ran = ("watchlist_only", "unresolved")
    of_the_row: ClassVar[Mapping[str, Type]] = {name: _LINE[name] for name in _OF_THE_RECORD}
    whole = _LINE
    short = ("item_no", "letterboxd_uri", "tmdb_id", "db_status", "error")

    def form(self, part: str, header: Sequence[str] | None) -> Form:
        """The form of that kind of file; a file under a name of its own is what its header says."""
        if part:
            return forms[Kind(part)]
        if header is None:
            return _ANY
        kind = kind_of_header(header)
        if kind is None:
            found = ", ".join(header)[:200]
            message = (
                f"The header is none of Letterboxd's, which name Name, Year and Letterboxd URI; it reads {found!r}."
            )
            raise InputError(message, code="input.missing_column")
        named = {cell.strip().casefold() for cell in header}
        if missing := [column for column in forms[kind].required if column.casefold() not in named]:
            raise InputError(f"The header lacks {' and '.join(missing)}.", code="input.missing_column")
        return forms[kind]

    def begin(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled | Dialogue]:
        """A film looked for, or taken as a person decided once."""
        if not items:
            return {}
        rows = db.rows("find_films", session=items[0].session, films=[item.key for item in items])
        films = {row["film"]: row for row in rows}
        # A file that is read meanwhile may give a film another key, or another owner; the record names it all the same.
        return {item.number: _look_for(films.get(item.key) or _named(item)) for item in items}

    def recall(self, db: Database, requests: Sequence[Request]) -> dict[Any, Answer]:
        """What TMDB was asked before, by any session."""
        named = {_name(request): request for request in requests}
        rows = db.rows("recall_answers", requests=list(named))
        return {named[row["request"]]: JsonAnswer(body=row["body"]) for row in rows}

    def remember(self, db: Database, answers: Mapping[Any, Answer]) -> None:
        """Keep what TMDB answered."""
        kept = [
            {"request": _name(request), "body": cast(JsonAnswer, answer).body} for request, answer in answers.items()
        ]
        if kept:
            db.rows("remember_answers", answers=kept, days=self._settings.tmdb_cache_days)

    def forecast(self, db: Database, session: UUID, options: Options) -> Forecast:
        """A search and the details for each film whose search is not remembered."""
        pages = list(by_number(db, "movies_forecast", session=session))
        films, remembered = (sum(page[name] for page in pages) for name in ("films", "remembered"))
        new = films - remembered
        return Forecast(
            to_run=films,
            requests=Range(low=new, likely=2 * new, high=(SEARCHES + 1) * films),
            seconds=REQUEST_SECONDS,
            basis=f"two requests for each of {new} films, {remembered} are remembered",
        )

    def preview(self, session: UUID, item_no: int, row: Input, options: Options) -> Preview:
        """The search for the film, and the film's row."""
        search = next(find_film(row["name"], row["year"]))
        kept = ", ".join(f'"{column}" = …' for column in ("tmdb_enriched", *_COLUMNS))
        effect = f"UPDATE movies SET {kept} WHERE session_id = '{session}' AND item_no = {item_no}"  # noqa: S608  # shown
        request = {"search": _name(search), "then": "the details of the film that fits"}
        return Preview(request=request, effect=effect if options.writes_domain else None)

    def domain(self, row: Input, settled: Settled) -> dict[str, Any] | None:
        """What TMDB adds to the film's row; all of it empty for a film that was not found."""
        result = settled.result or {}
        match settled.outcome:
            case Outcome.ENRICHED:
                match_ = result["match"]
                facts = {column: result[column] for column in _COLUMNS}
                return {**facts, "match_score": match_["score"], "match_method": match_["method"]}
            case Outcome.NOT_FOUND | Outcome.NEEDS_REVIEW:
                return {"tmdb_id": None}
            case _:
                return None

    @classmethod
    def told(cls, line: Input) -> Told | None:
        """A film by its URI, or its title and year where it has none, and the film of TMDB's it is; perhaps none."""
        if "letterboxd_uri" not in line:
            return None
        tmdb_id, outcome = line.get("tmdb_id"), line.get("outcome")
        looked_for = (
            outcome in (Outcome.NOT_FOUND, Outcome.NEEDS_REVIEW) if outcome else line.get("db_status") == "updated"
        )
        if isinstance(tmdb_id, int) and 0 < tmdb_id < 1 << 63:
            return Told(key=_film_of(line), answer={"tmdb_id": tmdb_id}, says=f"TMDB {tmdb_id}")
        return Told(key=_film_of(line), answer={"tmdb_id": None} if looked_for else None, says="no film of TMDB's")

    @classmethod
    def recognises(cls, sample: Sample) -> bool:
        """An archive, a folder, or a header of Letterboxd's."""
        return sample.folder or sample.ending == ".zip" or kind_of_header(sample.header) is not None

    @property
    def upstream(self) -> Upstream:
        """TMDB."""
        return self._tmdb

    @cached_property
    def _tmdb(self) -> TmdbUpstream:
        return TmdbUpstream(
            token=self._settings.tmdb_api_token.get_secret_value(),
            base_url=self._settings.tmdb_base_url or DEFAULT_BASE_URL,
            request_timeout=self._settings.pipelines[self.slug].request_timeout,
        )


def _film_of(line: Input) -> str | None:
    """The key of the film that a line of results is about, as film_records has it."""
    uri, title, year = line["letterboxd_uri"], line.get("title"), line.get("year")
    if isinstance(uri, str) and uri:
        return clean(uri)
    return f"title:{clean(title)} ({year or ''})" if isinstance(title, str) and title else None


def _named(item: Item) -> Row:
    return {"title": item.input["name"], "year": item.input["year"], "decided": False}


def _look_for(film: Row) -> Dialogue:
    override = Override(tmdb_id=film["tmdb_id"]) if film["decided"] else None
    return find_film(film["title"], film["year"], override=override)


def _name(request: Request) -> str:
    """What an answer is remembered under; the version rises when an answer is trimmed to something else."""
    match request:
        case Search(title=title, year=year):
            return f"1/search/{year or 'any'}/{title}"
        case Details(tmdb_id=tmdb_id):
            return f"1/movie/{tmdb_id}"
        case AlternativeTitles(tmdb_id=tmdb_id):
            return f"1/movie/{tmdb_id}/alternative_titles"
