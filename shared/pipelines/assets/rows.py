"""How a row of a people sheet reads: who it is about, the links it has, and what was downloaded from them already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from shared.links import Kind, Link, Provider, parse_links
from shared.people_sheet import BASIC, COLUMNS, LINK_COLUMNS, Tracked, tracked
from shared.pipelines.base import InvalidRow, ValidRow
from shared.text import clean, shortened

_LONGEST = {"row_id": 200, "name": 1_000, "email": 1_000}  # characters; an index holds the first
_LONGEST_SOURCE = 400
_MOST_LINKS = 1_000  # of a row


class AssetsForm:
    """How the rows of a people sheet read, in each of its widths."""

    columns: tuple[str, ...] = COLUMNS
    required: tuple[str, ...] = ("row_id", "name", "link")
    header_words = frozenset(
        {"id", "row", "person", "full name", "e-mail", "url", "links", "video", "personality type"}
    )
    headerless = False
    may_be_empty = False

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The person in these cells with their links; the cells themselves are kept to the letter."""
        kept = {name: clean(cell) for name, cell in zip(COLUMNS, cells, strict=True) if cell is not None}
        said = {name: kept.get(name, "").strip() for name in BASIC}
        if refused := _refused(said, kept):
            return refused
        links = links_of(kept)
        if len(links) > _MOST_LINKS:
            return InvalidRow(
                column="link",
                code="input.too_many_links",
                reason=f"The row has {len(links):,} links, more than {_MOST_LINKS:,}; divide it.",
            )
        groups, findings = tracked(kept, links)
        made: dict[str, Any] = {
            "row_id": said["row_id"],
            "name": said["name"],
            "email": said["email"],
            "type": kept.get("type", ""),
            "links": [{**link_input(link), "source": source_of(link)} for link in links],
            "cells": kept,
        }
        if told := [_group_input(one) for one in groups]:
            made["tracked"] = told
        if findings:
            made["findings"] = [finding.value for finding in findings]
        if extra:
            made["extra"] = {clean(name): clean(cell) for name, cell in extra.items()}
        return ValidRow(key=row_key(said["row_id"], links[0] if links else None), input=made)


def _refused(said: Mapping[str, str], kept: Mapping[str, str]) -> InvalidRow | None:
    """Why a row can be nobody's; None if it is somebody's."""
    for column, code, remedy in (
        ("row_id", "input.empty_row_id", "give the row a number that no other has"),
        ("name", "input.empty_name", "give the person's name"),
    ):
        if column not in kept:
            return InvalidRow(
                column=column, code="input.missing_cell", reason=f"The row ends before {column}; it may be cut off."
            )
        if not said[column] or said[column].lower() == "nan":
            return InvalidRow(column=column, code=code, reason=f"{column} is empty; {remedy}.")
    for column, most in _LONGEST.items():
        if len(said[column]) > most:
            return InvalidRow(
                column=column,
                code="input.long_cell",
                reason=f"{column} has {len(said[column]):,} characters, not {most:,}: {shortened(said[column], 40)!r}.",
            )
    return None


def links_of(cells: Mapping[str, str]) -> list[Link]:
    """Every link of a row, each once, those of column `link` first."""
    found: dict[tuple[str, ...], Link] = {}
    for column in LINK_COLUMNS:
        for link in parse_links(cells.get(column)):
            found.setdefault(link.identity, link)
    return list(found.values())


def source_of(link: Link) -> str:
    """What names a link in the ledger: its provider and id, or its address, cut short where that is long."""
    named = f"{link.provider}:{link.id}" if link.id is not None else link.url
    return named if len(named) <= _LONGEST_SOURCE else f"sha256:{sha256(named.encode()).hexdigest()}"


def row_key(row_id: str, link: Link | None) -> str:
    """The key of a row: the person's, and their first link, so that a person may have rows with other links."""
    return row_id if link is None else f"{row_id} {source_of(link)}"


def link_input(link: Link) -> dict[str, Any]:
    """A link as an item's input holds it; `link_from` reads it back."""
    found = {
        "provider": link.provider.value,
        "kind": link.kind.value,
        "id": link.id,
        "url": link.url,
        "playlist_id": link.playlist_id,
        "start_seconds": link.start_seconds,
        "resource_key": link.resource_key,
    }
    return {name: value for name, value in found.items() if value is not None}


def link_from(stored: Mapping[str, Any]) -> Link:
    """The link that `link_input` wrote."""
    return Link(
        provider=Provider(stored["provider"]),
        kind=Kind(stored["kind"]),
        url=stored["url"],
        id=stored.get("id"),
        playlist_id=stored.get("playlist_id"),
        start_seconds=stored.get("start_seconds"),
        resource_key=stored.get("resource_key"),
    )


def _group_input(one: Tracked) -> dict[str, Any]:
    """What the sheet says of a group, as an item's input holds it."""
    return {
        "group": one.group.value,
        "status": one.status.value,
        "settled": one.settled,
        "permanent": one.permanent,
        "files": list(one.files),
    }
