"""Which pipeline files are for, where they tell it themselves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from cli.faults import WrongUsage
from shared.copying import Maker
from shared.csvtext import printable
from shared.dialect import Limits, detect
from shared.errors import InputError
from shared.letterboxd import kind_of_header
from shared.pipelines.artists import ArtistForm
from shared.pipelines.base import ValidRow
from shared.rows import read
from shared.text import shortened

HEAD = 64 * 1024


def guessed(files: Sequence[Path]) -> str:
    """The one pipeline all of these files look like; raises WrongUsage."""
    found = {file: _pipeline_of(file) for file in files}
    slugs = sorted(set(found.values()))
    if len(slugs) > 1:
        told = " and ".join(f"{next(file for file in files if found[file] == slug)} like {slug}" for slug in slugs)
        raise WrongUsage(f"{told} look different: run them one after the other, or say --pipeline.")
    return slugs[0]


def _pipeline_of(file: Path) -> str:
    if file.is_dir() or file.suffix.lower() == ".zip":
        return "movies"  # folders and archives are exports
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD)
    except FileNotFoundError as error:
        raise WrongUsage(f"{file} does not exist; name the files to upload.") from error
    except OSError as error:
        raise WrongUsage(f"Cannot read {file}: {error.strerror}.") from error
    if _are_artists(head, whole=len(head) < HEAD):
        return "artists"
    text = head.decode("utf-8-sig", "replace")
    first = next((line for line in text.splitlines() if line.strip()), "")
    header = next(csv.reader([first]), [])
    if {"artist_id", "artist_name"} <= {cell.strip().lower() for cell in header}:  # and no row: ingest says so better
        return "artists"
    if kind_of_header(header):
        return "movies"
    told = shortened(printable(first).strip(), 80)
    why = (
        f"its first line reads “{told}”, which names neither artist_id and artist_name nor the columns of a "
        "Letterboxd export"
        if told
        else "it is empty"
    )
    raise WrongUsage(f"It is not clear what {file} is for: {why}. Say --pipeline artists or --pipeline movies.")


def _are_artists(head: bytes, *, whole: bool) -> bool:
    """Whether a header names the columns of artists, or without one a row of the beginning is an artist's."""
    form, limits = ArtistForm(), Limits()
    try:
        layout = detect(head, whole=whole, columns=form.columns, required=form.required, limits=limits)
        if layout.header is not None:
            return True
        rows = read(BytesIO(head[layout.start.offset :]), layout=layout, cursor=layout.start, limits=limits)
        return any(isinstance(made.row, ValidRow) for chunk in rows for made in Maker(form, layout).make(chunk))
    except InputError:
        return False
