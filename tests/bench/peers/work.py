"""The work that is the same for all: rows with the prompt Rowlift makes of them, and what is sent beside it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from shared.pipelines.artists import DEFAULT_PROMPT
from shared.prompts import load
from shared.upstreams.openai import OpenAIUpstream
from tests.workbench import artists_csv


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row as a peer is given it."""

    id: str
    input: str  # the prompt, filled in

    @property
    def digest(self) -> str:
        """What the simulated OpenAI's log calls the input."""
        return blake2b(self.input.encode(), digest_size=12).hexdigest()


def rows(n: int, first: int) -> list[Row]:
    """The rows of `artists_csv`."""
    prompt, lines = load(DEFAULT_PROMPT), csv.DictReader(io.StringIO(artists_csv(n, first=first).decode()))
    found = []
    for line in lines:
        rendered = prompt.render(artist_name=line["artist_name"], artist_data=line["artist_data"])
        found.append(Row(id=line["artist_id"], input=rendered.input))
    return found


def request() -> dict[str, Any]:
    """What Rowlift sends beside a row's input: model, limits, instructions."""
    upstream = OpenAIUpstream(api_key="sk-simulated", request_timeout=60)
    return {**upstream._constant, "instructions": load(DEFAULT_PROMPT).instructions}
