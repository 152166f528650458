"""What bios for files of artists would cost, as far as that shows before anything is uploaded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.config import Settings
from shared.copying import Maker
from shared.dialect import Limits, detect
from shared.forecasts import Foretold, Range, Spoken, prompted
from shared.pipelines.artists import DEFAULT_PROMPT, LEAST_TOKENS, USUAL_SECONDS, USUAL_TOKENS
from shared.pipelines.artists.rows import ArtistForm
from shared.pipelines.base import ValidRow
from shared.prompts import load
from shared.rows import read
from shared.samples import HEAD
from shared.upstreams.openai import DEFAULT_MAX_OUTPUT_TOKENS, DEFAULT_MODEL, OVERHEAD_TOKENS
from shared.upstreams.prices import price_of

WITHIN = 1.0  # seconds the files are read for; what is left of them is reckoned from what was seen


def foretold(files: Sequence[Path], settings: Settings) -> Foretold:
    """What the rows of these files would take; raises InputError, ConfigError and OSError."""
    prompt, model = load(settings.prompt or DEFAULT_PROMPT), settings.openai_model or DEFAULT_MODEL
    until, sizes, keys = time.monotonic() + WITHIN, Counter[int](), set[str]()
    rejected = seen = 0
    for file in files:
        for rows, taken in _read(file):
            seen += taken
            for row in rows:
                if row is None:
                    rejected += 1
                elif row.key not in keys:
                    keys.add(row.key)
                    asked = prompt.render(artist_name=row.input["artist_name"], artist_data=row.input["artist_data"])
                    sizes[len(asked.text.encode())] += 1
            if time.monotonic() > until:
                break
    whole = sum(file.stat().st_size for file in files)
    share = whole / seen if seen else 1.0
    spoken = Spoken(low=LEAST_TOKENS, likely=USUAL_TOKENS, seconds=USUAL_SECONDS, basis="")
    found = prompted(
        list(sizes.items()), overhead=OVERHEAD_TOKENS, spoken=spoken, cost=price_of(model).cost,
        worst_output=settings.openai_max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS,
    )  # fmt: skip
    return Foretold(
        rows=round(len(keys) * share),
        rejected=round(rejected * share),
        exact=seen >= whole,
        micros=Range(likely=round(found.micros.likely * share), high=round(found.micros.high * share)),
        model=model,
    )


def _read(file: Path) -> Iterator[tuple[list[ValidRow | None], int]]:
    """A file's rows in chunks, None for one that will be rejected, each with the bytes that were read for it."""
    form, limits = ArtistForm(), Limits()
    with file.open("rb") as stream:
        head, size = stream.read(HEAD), file.stat().st_size
        layout = detect(head, whole=len(head) >= size, columns=form.columns, required=form.required, limits=limits)
        maker, at = Maker(form, layout), 0
        stream.seek(layout.start.offset)
        for chunk in read(stream, layout=layout, cursor=layout.start, limits=limits):
            rows = [each.row if isinstance(each.row, ValidRow) else None for each in maker.make(chunk)]
            yield rows, chunk.after.offset - at
            at = chunk.after.offset
        yield [], size - at
