"""Films as people see them: those of a session's results, those that need a decision, and what may be chosen."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.client import Document


def first_films(results: Path, count: int) -> list[Document]:
    """The first enriched films of a file of results; none if it holds something else."""
    with results.open("rb") as file:
        lines = (json.loads(line) for line in file)
        films = (line for line in lines if line.get("outcome") == "enriched" and "directors" in line)
        return list(itertools.islice(films, count))


def called(film: Document) -> str:
    """A film's title and year."""
    year = film.get("year")
    return f"{film.get('title') or film.get('name')} ({year})" if year else str(film.get("title") or film.get("name"))


def films_table(films: Sequence[Document]) -> Table:
    """Films with what TMDB says of them, a line each."""
    table = Table(padding=(0, 1), header_style="bold")
    for heading, style in (("film", "cyan"), ("genres", ""), ("directors", "")):
        table.add_column(heading, style=style)
    for film in films:
        table.add_row(Text(called(film)), _names(film["genres"]), _names(film["directors"]))
    return table


def reviews_table(items: Sequence[Document]) -> Table:
    """Items that need a decision, a line each with the reason."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("item", "film", "why"):
        table.add_column(heading, justify="right" if heading == "item" else "left", overflow="fold")
    for item in items:
        table.add_row(str(item["item_no"]), Text(called(item["input"])), Text(why(item)))
    return table


def why(item: Document) -> str:
    """Why an item needs a decision, in a sentence."""
    if item.get("error_message"):
        return str(item["error_message"])
    number = len(candidates(item))
    return (
        f"TMDB has {number} that may be meant, none for certain." if number else "TMDB no longer has what was chosen."
    )


def candidates(item: Document) -> list[Document]:
    """What an item's film may be, best first."""
    return list((item.get("result") or {}).get("candidates") or ())


def candidates_table(found: Sequence[Document]) -> Table:
    """What a film may be, a line each."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "tmdb id", "title", "year", "score", "why"):
        table.add_column(heading, justify="right" if heading in ("", "tmdb id", "score") else "left", overflow="fold")
    for rank, one in enumerate(found, 1):
        cells: tuple[Any, ...] = (
            rank,
            one["tmdb_id"],
            one["title"],
            one["year"] or "",
            f"{one['score']:.2f}",
            one["reason"],
        )
        table.add_row(*(Text(str(cell)) for cell in cells))
    return table


def _names(value: Any) -> Text:
    return Text(", ".join(map(str, value or ())))
