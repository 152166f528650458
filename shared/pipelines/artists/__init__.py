"""Artists: a name and what is known of it in, a short biography out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit
from uuid import UUID

from shared.columns import Scalar, Type
from shared.config import Settings
from shared.forecasts import ENOUGH_CALLS, Forecast, Foretold, Preview, Range, Spoken, prompted
from shared.options import OnMissing, Options, Reuse
from shared.paging import by_number
from shared.pipelines.artists.rows import ArtistForm, key_of
from shared.pipelines.base import Dialogue, Estimate, Input, Pipeline, Service, Settled, Told, Upstream
from shared.states import Outcome
from shared.text import clean, shortened
from shared.upstreams.base import Answer, Failure, TextAnswer, Usage

if TYPE_CHECKING:
    from shared.db import Database
    from shared.items import Item
    from shared.prompts import Prompt
    from shared.samples import Sample
    from shared.upstreams.openai import OpenAIUpstream
    from shared.upstreams.prices import Price

DEFAULT_PROMPT = "artist-bio/1"
# What is taken for an answer until enough are known: the prompt asks for 120 to 180 words, up to about 260 tokens, and
# with low effort a third of the answers take some reasoning. One to three sentences are the least.
USUAL_TOKENS, LEAST_TOKENS = 300, 60
USUAL_SECONDS = 4.0


class Artists(Pipeline):
    """The artists pipeline; the upstream client is made when first asked for."""

    slug = "artists"
    title = "Artists: a short biography for each row"
    service = Service(called="OpenAI", stand_in="openai", key="OPENAI_API_KEY")
    needs = ("OPENAI_API_KEY",)
    rows = ArtistForm()
    paid = True
    heeds = frozenset({"skip_existing", "on_missing"})
    of_the_row: ClassVar[Mapping[str, Type]] = {
        "item_no": Scalar.WHOLE, "artist_id": Scalar.TEXT, "artist_name": Scalar.TEXT, "artist_data": Scalar.TEXT,
        "line": Scalar.WHOLE,
    }  # fmt: skip
    whole: ClassVar[Mapping[str, Type]] = {
        "item_no": Scalar.WHOLE, "artist_id": Scalar.TEXT, "artist_name": Scalar.TEXT, "artist_data": Scalar.TEXT,
        "response_text": Scalar.TEXT, "response_id": Scalar.TEXT, "created": Scalar.TEXT, "db_status": Scalar.TEXT,
        "error": Scalar.TEXT, "outcome": Scalar.TEXT, "attempts": Scalar.WHOLE, "code": Scalar.TEXT,
        "error_code": Scalar.TEXT, "line": Scalar.WHOLE, "model": Scalar.TEXT, "prompt": Scalar.TEXT,
        "usage": {"input_tokens": Scalar.WHOLE, "output_tokens": Scalar.WHOLE},
    }  # fmt: skip
    short = ("artist_id", "db_status", "response_id", "error")

    def begin(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled | Dialogue]:
        """A bio asked for, unless it is there (skip-existing) or the artist is not (on-missing=error)."""
        known = self._known(db, items, options)
        return {item.number: known.get(item.number) or self.ask(item.input) for item in items}

    def _known(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled]:
        if not options.writes_domain or not (options.skip_existing or options.on_missing is OnMissing.ERROR):
            return {}
        rows = db.rows("artists_known", ids=[item.input["artist_id"] for item in items])
        has_bio = {row["key"]: row["has_bio"] for row in rows}
        settled = {}
        for item in items:
            key, number = item.input["artist_id"], item.number
            if options.skip_existing and has_bio.get(key):
                settled[number] = Settled(outcome=Outcome.SKIPPED, code="skip_existing")
            elif options.on_missing is OnMissing.ERROR and key not in has_bio:
                settled[number] = Settled(
                    outcome=Outcome.FAILED,
                    code="unknown_artist",
                    error_code="db.unknown_artist",
                    error_message=f"Table artists has no row {key}; add it, or drop the file with on-missing=create.",
                )
        return settled

    def ask(self, row: Input) -> Dialogue:
        """A bio, in one call."""
        answer = yield self._prompt.render(artist_name=row["artist_name"], artist_data=row["artist_data"])
        if isinstance(answer, Failure):
            return answer
        return Settled(outcome=Outcome.ENRICHED, result=self._result(cast(TextAnswer, answer)))

    def estimate(self, request: Any) -> Estimate:
        """Every byte a token, the whole output limit used."""
        usage = self._openai.worst_case(request)
        return Estimate(tokens=usage.total, micros=self._price.cost(usage))

    def cost(self, answer: Answer | Failure) -> int:
        """The answer's tokens at the price of the model that was asked."""
        return self._price.cost(answer.usage) if answer.usage else 0

    def forecast(self, db: Database, session: UUID, options: Options) -> Forecast:
        """One call for each artist that neither an earlier answer nor the options settle."""
        checks = options.writes_domain
        rows = list(
            by_number(
                db,
                "artists_forecast",
                session=session,
                configuration="" if options.reuse is Reuse.NEVER else self.configuration,
                skip_existing=checks and options.skip_existing,
                must_exist=checks and options.on_missing is OnMissing.ERROR,
            )
        )
        waiting, reusable, free = (sum(row[name] for row in rows) for name in ("items", "reusable", "free"))
        fixed = len(self._prompt.render(artist_name="", artist_data="").text.encode()) - 2 * len('""')
        sizes = [(fixed + row["size"], row["items"] - row["reusable"] - row["free"]) for row in rows]
        spoken = self._spoken(db)
        taken = prompted(
            sizes, overhead=_overhead(), worst_output=self._output_limit, spoken=spoken, cost=self._price.cost
        )
        calls = waiting - reusable - free
        return Forecast(
            to_run=calls,
            reusable=reusable,
            free=free,
            requests=Range(low=calls, likely=calls, high=calls),
            tokens_in=taken.tokens_in,
            tokens_out=taken.tokens_out,
            micros=taken.micros,
            seconds=spoken.seconds,
            basis=spoken.basis,
            model=self._model,
            prompt=str(self._prompt),
            prices_read_on=_prices_read_on(),
        )

    def _spoken(self, db: Database) -> Spoken:
        """How long answers were with this prompt and model, or what they are taken for."""
        row = db.row("calls_before", pipeline=self.slug, model=self._model, prompt=str(self._prompt))
        if row is None or row["calls"] < ENOUGH_CALLS:
            basis = f"about {USUAL_TOKENS} tokens an answer, as the prompt asks for; no history yet"
            return Spoken(low=LEAST_TOKENS, likely=USUAL_TOKENS, seconds=USUAL_SECONDS, basis=basis)
        usual = round(row["tokens_out"])
        return Spoken(
            low=int(row["tokens_out_low"]),
            likely=usual,
            seconds=float(row["seconds"]),
            basis=f"{row['calls']} earlier answers of {usual} tokens on average",
        )

    def preview(self, session: UUID, item_no: int, row: Input, options: Options) -> Preview:
        """The prompt as it would be sent, and the artist's row."""
        rendered = self._prompt.render(artist_name=row["artist_name"], artist_data=row["artist_data"])
        asked = shortened(rendered.input, 4_000)
        request = {"model": self._model, "instructions": rendered.instructions, "input": asked}
        return Preview(request=request, effect=_effect(row, options) if options.writes_domain else None)

    def _result(self, answer: TextAnswer) -> dict[str, Any]:
        """The bio with everything that says where it came from."""
        usage = answer.usage or Usage()
        return {
            "text": answer.text,
            "response_id": answer.response_id,
            "created": answer.created.isoformat(),
            "model": answer.model,
            "prompt": str(self._prompt),
            "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
        }

    def domain(self, row: Input, settled: Settled) -> dict[str, Any] | None:
        """The row of table artists, for a bio."""
        result = settled.result
        if settled.outcome not in (Outcome.ENRICHED, Outcome.UNCHANGED) or result is None:
            return None
        return {
            "id": row["artist_id"],
            "name": row["artist_name"],
            "bio": result["text"],
            "response_id": result["response_id"],
            "model": result["model"],
            "prompt": result["prompt"],
        }

    @classmethod
    def told(cls, line: Input) -> Told | None:
        """A bio by its words, or in short lines by the id of the answer it came with."""
        if "artist_id" not in line:
            return None
        answer: dict[str, Any] | None = None
        name, field = ("text", "response_text") if "response_text" in line else ("response_id", "response_id")
        value = line.get(field)
        if isinstance(value, str) and (value := clean(value)):
            answer = {name: value}
        return Told(key=key_of(line["artist_id"]), answer=answer, says=next(iter(answer.values())) if answer else "")

    @classmethod
    def recognises(cls, sample: Sample) -> bool:
        """A header that names its columns, or artists from the first line on."""
        return sample.names_columns_of(cls.rows) or sample.has_rows_of(cls.rows)

    @classmethod
    def foretell(cls, files: Sequence[Path], settings: Settings) -> Foretold:
        """What bios for the rows of files cost."""
        from shared.pipelines.artists.foretelling import foretold

        return foretold(files, settings)

    @property
    def configuration(self) -> str:
        """The prompt's name and version, and the model that is asked; and where, if that is not OpenAI itself.

        What a stand-in on this machine wrote is never reused for what OpenAI is asked.
        """
        from shared.upstreams.openai import DEFAULT_BASE_URL

        host, own = (
            urlsplit(url).hostname for url in (self._settings.openai_base_url or DEFAULT_BASE_URL, DEFAULT_BASE_URL)
        )
        return f"{self._prompt} {self._model}" + ("" if host == own else f" at {host}")

    @property
    def upstream(self) -> Upstream:
        """OpenAI."""
        return self._openai

    @cached_property
    def _prompt(self) -> Prompt:
        from shared.prompts import load

        return load(self._settings.prompt or DEFAULT_PROMPT)

    @property
    def _model(self) -> str:
        from shared.upstreams.openai import DEFAULT_MODEL

        return self._settings.openai_model or DEFAULT_MODEL

    @property
    def _output_limit(self) -> int:
        from shared.upstreams.openai import DEFAULT_MAX_OUTPUT_TOKENS

        return self._settings.openai_max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS

    @cached_property
    def _price(self) -> Price:
        from shared.upstreams.prices import price_of

        return price_of(self._model)

    @cached_property
    def _openai(self) -> OpenAIUpstream:
        from shared.upstreams.openai import DEFAULT_BASE_URL, OpenAIUpstream

        return OpenAIUpstream(
            api_key=self._settings.openai_api_key.get_secret_value(),
            base_url=self._settings.openai_base_url or DEFAULT_BASE_URL,
            model=self._model,
            max_output_tokens=self._output_limit,
            request_timeout=self._settings.pipelines[self.slug].request_timeout,
        )


def _overhead() -> int:
    from shared.upstreams.openai import OVERHEAD_TOKENS

    return OVERHEAD_TOKENS


def _prices_read_on() -> str:
    from shared.upstreams.prices import read_on

    return read_on()


def _effect(row: Input, options: Options) -> str:
    """The statement that writes an artist's bio, for people to read; what the answer brings stands as `…`."""
    name = str(row["artist_name"]).replace("'", "''")
    kept = " WHERE artists.bio IS NULL" if options.skip_existing else ""
    return (  # shown, never run
        f"INSERT INTO artists (id, name, bio, response_id, model, prompt) VALUES ('{row['artist_id']}', '{name}', "  # noqa: S608
        "'…', '…', '…', '…') ON CONFLICT (id) DO UPDATE SET bio = excluded.bio, response_id = excluded.response_id, "
        f"model = excluded.model, prompt = excluded.prompt{kept}"
    )
