"""Letterboxd exports: which objects are one export, which of them hold films, and which records are one film.

Every record is an item. The one that makes a film known is the film's owner and is enriched; the others are merged into
it. What a record belongs to follows from all records of the export alone, so the order of the files does not matter.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from shared.letterboxd import Kind, place
from shared.options import Options
from shared.pipelines.base import ARCHIVE, NewItems, Part

if TYPE_CHECKING:
    from shared.db import Transaction


class Exports:
    """The exports under one pipeline's folder: `movies/<export>.zip`, `movies/<export>/watched.csv`."""

    def export(self, object_name: str) -> str:
        """The object's folder below that of the pipeline, or its own name without its ending."""
        pipeline, _, rest = object_name.partition("/")
        first, _, deeper = rest.partition("/")
        return f"{pipeline}/{first if deeper else PurePosixPath(first).stem}"

    def part(self, path: str, *, alone: bool) -> Part | None:
        """What an object is to its export, or a member of an archive (its path behind that of the archive).

        A CSV dropped alone under a name of its own is read as what its header says.
        """
        inside = path.split("/", 2)[2] if path.count("/") > 1 else path.rsplit("/", 1)[-1]
        if alone and inside.lower().endswith(".zip"):
            return Part(name=ARCHIVE)
        member = place(inside)
        if member.junk:
            return None
        if alone and member.unknown and inside.lower().endswith(".csv"):
            return Part(name="")
        return Part(name=member.kind or "", ignored=member.ignored)

    def reading_order(self, part: Part) -> int:
        """Films first: what belongs to them then finds them there."""
        order = [kind.value for kind in Kind]
        return order.index(part.name) if part.name in order else len(order)

    def merge(self, transaction: Transaction, made: NewItems, options: Options) -> list[str]:
        """Find each new record's film, and anew that of the records they have a say in; answers the films touched."""
        new = {"session": made.session, "first": made.first}
        chunk = {**new, "beyond": made.beyond}
        transaction.rows("keep_film_records", **chunk, watchlist=options.watchlist)
        transaction.rows("settle_repeated_records", **chunk)
        (outdated,) = transaction.rows("supersede_film_records", **new)
        (placed,) = transaction.rows("place_film_records", **new)
        touched = sorted({*outdated["films"], *placed["films"]})
        films = {"session": made.session, "films": touched}
        changed = [*transaction.rows("join_film_records", **films), *transaction.rows("detach_film_records", **new)]
        former = [row["item_no"] for row in changed if row["item_no"] < made.first]
        transaction.rows("carry_decisions", **films)
        transaction.rows("seat_film_owners", **films, first=made.first)
        transaction.rows("reopen_renamed_films", **films)
        if options.writes_domain:
            if former:
                transaction.rows("drop_former_movies", session=made.session, item_nos=former)
            transaction.rows("store_movies", **films)
            transaction.rows("drop_entries", **films, first=made.first)
            transaction.rows("store_diary", **films)
            transaction.rows("store_reviews", **films)
        transaction.rows("renew_settled_films", **films)
        return touched
