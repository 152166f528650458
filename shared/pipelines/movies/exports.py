"""Letterboxd exports: which objects are one export, which of them hold films, and which records are one film.

Every record is an item. The one that makes a film known is the film's owner and is enriched; the others are merged into
it. What a record belongs to follows from all records of the export alone, so the order of the files does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.letterboxd import Kind, place
from shared.options import Options
from shared.pipelines.base import ARCHIVE, NewItems, Part, ValidRow

if TYPE_CHECKING:
    from shared.db import Transaction

# What makes a film known, if it names the film; with option watchlist what stands on the watchlist does too.
_MAKERS = frozenset({Kind.WATCHED.value, Kind.RATING.value, Kind.LIKE.value})


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

    def together(
        self, transaction: Transaction, session: UUID, rows: Mapping[int, ValidRow], options: Options
    ) -> AbstractSet[int]:
        """All but records that make a film known by its URI and are the only ones of its URI and of its name and year.

        Nor has anybody decided about such a film. Most records of a large export are such.
        """
        makers = _MAKERS | {Kind.WATCHLIST.value} if options.watchlist else _MAKERS
        uris = [row.input["uri"] for row in rows.values()]
        aliases = [_alias(row) for row in rows.values()]
        often_uri, often_alias = Counter(uris), Counter(aliases)
        lone = [
            (number, uri, alias)
            for (number, row), uri, alias in zip(rows.items(), uris, aliases, strict=True)
            if often_alias[alias] == 1 and often_uri[uri] == 1 and uri is not None and row.input["kind"] in makers
        ]
        if lone:
            (known,) = transaction.rows(
                "known_films",
                session=session,
                uris=[uri for _, uri, _ in lone],
                aliases=[alias for _, _, alias in lone],
            )
            known_uris, known_aliases = set(known["uris"]), set(known["aliases"])
            lone = [one for one in lone if one[1] not in known_uris and one[2] not in known_aliases]
        return rows.keys() - {number for number, _, _ in lone}

    def merge(
        self, transaction: Transaction, made: NewItems, together: AbstractSet[int], options: Options
    ) -> list[str]:
        """Find each new record's film, and anew that of the records they have a say in; answers the films touched."""
        chunk = {"session": made.session, "first": made.first, "beyond": made.beyond}
        touched = self._merge_together(transaction, chunk, options) if together else []
        if made.beyond - made.first > len(together):
            transaction.rows("keep_lone_films", **chunk, together=sorted(together), domain=options.writes_domain)
        return touched

    def _merge_together(self, transaction: Transaction, chunk: Mapping[str, Any], options: Options) -> list[str]:
        """Merge the records that may belong with others, before the lone ones of the chunk are among them."""
        session, first = chunk["session"], chunk["first"]
        new = {"session": session, "first": first}
        transaction.rows("keep_film_records", **chunk, watchlist=options.watchlist)
        transaction.rows("settle_repeated_records", **chunk)
        (outdated,) = transaction.rows("supersede_film_records", **new)
        (placed,) = transaction.rows("place_film_records", **new)
        touched = sorted({*outdated["films"], *placed["films"]})
        films = {"session": session, "films": touched}
        changed = [*transaction.rows("join_film_records", **films), *transaction.rows("detach_film_records", **new)]
        former = [row["item_no"] for row in changed if row["item_no"] < first]
        transaction.rows("carry_decisions", **films)
        transaction.rows("seat_film_owners", **films, first=first)
        transaction.rows("reopen_renamed_films", **films)
        if options.writes_domain:
            if former:
                transaction.rows("drop_former_movies", session=session, item_nos=former)
            transaction.rows("store_movies", **films)
            transaction.rows("drop_entries", **films, first=first)
            transaction.rows("store_diary", **films)
            transaction.rows("store_reviews", **films)
        transaction.rows("renew_settled_films", **films)
        return touched


def _alias(row: ValidRow) -> str:
    """Name and year, as statement `keep_film_records` puts them together."""
    return f"{row.input['name']} ({row.input['year'] or ''})"
