"""What files hold and would cost, as far as this machine can tell before anything is uploaded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.inputs import Input
from cli.showing import money
from shared.config import Settings
from shared.copying import Maker
from shared.dialect import Limits, detect
from shared.errors import ConfigError, InputError
from shared.forecasts import Range, Spoken, prompted
from shared.options import MICROS, Options, Reuse
from shared.pipelines.artists import DEFAULT_PROMPT, LEAST_TOKENS, USUAL_SECONDS, USUAL_TOKENS, ArtistForm
from shared.pipelines.base import ValidRow
from shared.rows import read

HEAD = 64 * 1024
WITHIN = 1.0  # seconds the files are read for; what is left of them is reckoned from what was seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Foretold:
    """What some files would take: rows that would run, and what that costs at the price of a model."""

    rows: int
    rejected: int
    exact: bool  # whether the files were read to their end
    micros: Range
    model: str

    def sentence(self, options: Options, *, simulated: bool = False) -> str:
        """It for people, with what the budget makes of it."""
        about = "" if self.exact else "about "
        bad = f" ({self.rejected:,} more will be rejected)" if self.rejected else ""
        usual, most = (money(figure / MICROS) for figure in (self.micros.likely, self.micros.high))
        return (
            f"{about}{self.rows:,} row{'' if self.rows == 1 else 's'}{bad} for {self.model}: about {usual}, "
            f"{most} at most{' at its real price' if simulated else ''}{self._reused(options)}{self._fits(options)}"
        )

    @staticmethod
    def _reused(options: Options) -> str:
        return "" if options.reuse is Reuse.NEVER else ", less what was answered before"

    def _fits(self, options: Options) -> str:
        if options.budget is None:
            return ""
        if self.micros.high <= options.budget:
            return "; the budget is enough whatever happens"
        return "; the budget is enough for that" if self.micros.likely <= options.budget else "; more than the budget"


def foretold(inputs: Sequence[Input], pipeline: str, settings: Settings) -> Foretold | None:
    """What these files would take; None where nothing is paid or they cannot be read."""
    reckon = _FORETELLERS.get(pipeline)
    try:
        found = reckon([one.file for one in inputs], settings) if reckon else None
    except (InputError, ConfigError, OSError):  # ingest says it better
        return None
    return found if found and found.rows else None


def _artists(files: Sequence[Path], settings: Settings) -> Foretold:
    from shared.prompts import load
    from shared.upstreams.openai import DEFAULT_MAX_OUTPUT_TOKENS, DEFAULT_MODEL, OVERHEAD_TOKENS
    from shared.upstreams.prices import price_of

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


_FORETELLERS: dict[str, Callable[[Sequence[Path], Settings], Foretold]] = {"artists": _artists}
