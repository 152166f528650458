"""The bytes of a planned file, and what has to come of each of its lines. Pure."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass
from uuid import UUID, uuid5

from tests.faults.plan import Drop

_SPACE = UUID("6b1f3a52-8f52-4f0e-9a3c-2f4f5a6d7e80")
_WIDE = "; ".join(["a long description that makes the row wide"] * 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of artists with what its lines are."""

    data: bytes
    artists: dict[int, str]  # line -> name, for each artist's own row
    duplicates: frozenset[int]  # lines
    rejects: frozenset[int]  # lines

    @property
    def lines(self) -> int:
        """Records in the file."""
        return len(self.artists) + len(self.duplicates) + len(self.rejects)


def artist_id(seed: int, number: int) -> str:
    """The id of an artist no other seed has."""
    return str(uuid5(_SPACE, f"{seed} {number}"))


def artist_name(seed: int, number: int) -> str:
    """The name by which the upstream's log knows that artist."""
    return f"Seeded {seed} Artist {number}"


def make_file(seed: int, drop: Drop) -> File:
    """The file of a drop; the same bytes for the same seed and drop."""
    rng = random.Random(f"rows {seed} {drop.name}")
    rows = [("artist", n) for n in range(drop.first, drop.first + drop.unique)]
    rows += [("reject", n) for n in range(drop.rejects)]
    rng.shuffle(rows)
    for _ in range(drop.duplicates):  # behind the row they repeat: the earlier one is the artist's own
        own = rng.choice([at for at, (kind, _) in enumerate(rows) if kind == "artist"])
        rows.insert(rng.randint(own + 1, len(rows)), ("duplicate", rows[own][1]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["artist_id", "artist_name", "artist_data"])
    artists, duplicates, rejects = {}, set(), set()
    for line, (kind, number) in enumerate(rows, start=2):
        data = f"type: Person; row {line}" + (f"; {_WIDE}" if drop.wide else "")
        key, name = artist_id(seed, number), artist_name(seed, number)
        if kind == "reject":
            key = f"no-uuid-{number}"
            rejects.add(line)
        elif kind == "duplicate":
            duplicates.add(line)
        else:
            artists[line] = name
        writer.writerow([key, name, data])
    return File(
        data=text.getvalue().encode(), artists=artists, duplicates=frozenset(duplicates), rejects=frozenset(rejects)
    )
