"""The exports of the data folder, ways to drop them, and what their tables hold."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.fakes import FakeTmdb
from tests.workbench import Workbench

DATA = Path(__file__).parents[2] / "shared/data/movies"
EXPORTS = sorted(folder.name for folder in (DATA / "letterboxd").glob("u*"))


def needs_data() -> None:
    """Skip the test where the data folder is absent."""
    if not DATA.is_dir():
        pytest.skip("the data folder is not here")


def export_files(name: str) -> dict[str, bytes]:
    """The files of an export by their paths."""
    folder = DATA / "letterboxd" / name
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.csv"))}


def expected(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Counts and films of the correct merge of an export."""
    folder = DATA / "letterboxd/expected"
    with gzip.open(folder / f"{name}.films.jsonl.gz") as lines:
        films = [json.loads(line) for line in lines]
    return json.loads((folder / f"{name}.json").read_text()), films


HEADER = "Date,Name,Year,Letterboxd URI"


def csv_of(header: str, *rows: str) -> bytes:
    """A file of these lines."""
    return "\n".join([header, *rows, ""]).encode()


def film(n: int) -> str:
    """The nth film as a row of watched.csv."""
    return f"2024-01-{n % 28 + 1:02},Film {n},{1950 + n % 70},https://boxd.it/f{n}"


def watched(*numbers: int) -> bytes:
    """A watched.csv of the films of these numbers."""
    return csv_of(HEADER, *map(film, numbers))


def ratings(*numbers: int, stars: str = "4") -> bytes:
    """A ratings.csv of the films of these numbers."""
    return csv_of(f"{HEADER},Rating", *(f"{film(n)},{stars}" for n in numbers))


def diary(*numbers: int) -> bytes:
    """A diary.csv with an entry for each of the films of these numbers."""
    rows = (f"2024-01-01,Film {n},{1950 + n % 70},https://boxd.it/entry{n},3.5,,,2024-01-02" for n in numbers)
    return csv_of(f"{HEADER},Rating,Rewatch,Tags,Watched Date", *rows)


def zipped(files: dict[str, bytes]) -> bytes:
    """The files as an archive."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return written.getvalue()


def movies_bench(bench: Workbench, **changes: Any) -> Workbench:
    """The bench as the movies pipeline's, with a TMDB that knows every film."""
    made = Workbench(db=bench.db, url=bench.url, slug="movies", upstream=FakeTmdb(), **changes)
    made.store.checksums = True
    return made


def drop_files(bench: Workbench, files: dict[str, bytes], *, export: str = "mine", **options: str) -> UUID:
    """The session of the files, dropped one by one in their order."""
    sessions = {bench.drop(data, f"movies/{export}/{path}", **options) for path, data in files.items()}
    (session,) = sessions
    return session


def tables(bench: Workbench, session: UUID) -> dict[str, list[Any]]:
    """What the domain tables hold of a session, without the numbers of items: comparable whatever the order was."""
    return {
        "movies": sorted(
            map(
                tuple,
                bench.execute(
                    "SELECT coalesce(letterboxd_uri, title || coalesce(year::text, '')), title, year, rating::text, "
                    "watched_date::text, logged_date::text, liked, in_watchlist, diary_count, review_count, "
                    f"tags::text, tmdb_enriched, tmdb_id, match_method FROM movies WHERE session_id = '{session}'"
                ),
            ),
            key=repr,
        ),
        **{
            table: sorted(
                map(
                    tuple,
                    bench.execute(
                        "SELECT coalesce(m.letterboxd_uri, m.title || coalesce(m.year::text, '')), e.entry_uri, "
                        f"e.watched_date::text, e.logged_date::text, e.rating::text, e.rewatch, e.tags::text{more} "
                        f"FROM {table} e LEFT JOIN movies m ON m.session_id = e.session_id AND m.item_no = e.film_no "
                        f"WHERE e.session_id = '{session}'"
                    ),
                ),
                key=repr,
            )
            for table, more in (("diary_entries", ""), ("reviews", ", e.review"))
        },
        "unresolved": sorted(
            map(
                tuple,
                bench.execute(
                    "SELECT input->>'kind', input->>'name', input->>'year', outcome, code, error_message FROM items "
                    f"WHERE session_id = '{session}' AND code IN ('unresolved', 'watchlist_only')"
                ),
            ),
            key=repr,
        ),
    }
