"""Artists: a name and what is known of it in, a short biography out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from shared.config import Settings
from shared.forecasts import ENOUGH_CALLS, Forecast, Preview, Range, Spoken, prompted
from shared.options import OnMissing, Options, Reuse
from shared.paging import by_number
from shared.pipelines.base import Dialogue, Estimate, Grouping, Input, InvalidRow, Settled, Told, Upstream, ValidRow
from shared.states import Outcome
from shared.text import clean, shortened
from shared.upstreams.base import Answer, Failure, TextAnswer, Usage

if TYPE_CHECKING:
    from shared.db import Database
    from shared.items import Item
    from shared.prompts import Prompt
    from shared.upstreams.openai import OpenAIUpstream
    from shared.upstreams.prices import Price

DEFAULT_PROMPT = "artist-bio/1"
# What is taken for an answer until enough are known: the prompt asks for 120 to 180 words, up to about 260 tokens, and
# with low effort a third of the answers take some reasoning. One to three sentences are the least.
USUAL_TOKENS, LEAST_TOKENS = 300, 60
USUAL_SECONDS = 4.0
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch

_HEX = re.compile(r"[0-9a-fA-F]{32}").fullmatch


def _uuid(value: Any) -> Any:
    """Any spelling Python's uuid accepts: with or without hyphens, braces, urn:uuid:, either case."""
    if not isinstance(value, str):
        return value
    digits = value.strip().replace("urn:", "").replace("uuid:", "").strip("{}").replace("-", "")
    if not _HEX(digits):  # Python's uuid also takes what int() does: 0x, +, _ and digits of other scripts
        raise ValueError("is not a UUID, such as 5b11f4ce-a62d-471e-81fc-a69a8278c7da")
    return UUID(digits)


def _key_of(artist_id: Any) -> str | None:
    """The key of the artist with this id; None if it is none."""
    try:
        return str(_uuid(artist_id)) if isinstance(artist_id, str) else None
    except ValueError:
        return None


class ArtistRow(BaseModel):
    """One row of an artists file."""

    model_config = ConfigDict(frozen=True)

    artist_id: Annotated[UUID, BeforeValidator(_uuid)]
    artist_name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    artist_data: str = ""


class ArtistForm:
    """How the rows of an artists file read."""

    columns: tuple[str, ...] = ("artist_id", "artist_name", "artist_data")
    required: tuple[str, ...] = ("artist_id", "artist_name")
    header_words = frozenset({"id", "uuid", "gid", "mbid", "name", "artist", "artist name", "artist id", "data", "bio"})
    headerless = True
    may_be_empty = False

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The artist in these cells. Canonical ids skip pydantic, which is for every other spelling and every fault."""
        artist_id, name, data = cells
        if artist_id is None or name is None:
            column = "artist_id" if artist_id is None else "artist_name"
            return InvalidRow(
                column=column, code="input.missing_cell", reason=f"The row ends before {column}; it needs {_NEEDED}."
            )
        stripped = clean(name).strip()
        if not (stripped and _CANONICAL(artist_id)):
            try:
                row = ArtistRow(artist_id=artist_id, artist_name=stripped)  # type: ignore[arg-type]
            except ValidationError as error:
                return _invalid(error)
            artist_id = str(row.artist_id)
        made: dict[str, Any] = {"artist_id": artist_id, "artist_name": stripped, "artist_data": clean(data or "")}
        if extra:
            made["extra"] = {clean(key): clean(value) for key, value in extra.items()}
        return ValidRow(key=artist_id, input=made)


class Artists:
    """The artists pipeline; the upstream client is made when first asked for."""

    slug = "artists"
    needs: tuple[str, ...] = ("OPENAI_API_KEY",)
    paid = True
    caches = False
    tells_more = False
    grouping: Grouping | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def form(self, part: str, header: Sequence[str] | None) -> ArtistForm:
        """The one form there is."""
        return ArtistForm()

    def begin(self, db: Database, items: Sequence[Item], options: Options) -> dict[int, Settled | Dialogue]:
        """A bio asked for, unless it is there (skip-existing) or the artist is not (on-missing=error)."""
        known = self._known(db, items, options)
        return {item.number: known.get(item.number) or self._ask(item.input) for item in items}

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

    def _ask(self, row: Input) -> Dialogue:
        answer = yield self._prompt.render(artist_name=row["artist_name"], artist_data=row["artist_data"])
        if isinstance(answer, Failure):
            return answer
        return Settled(outcome=Outcome.ENRICHED, result=self._result(cast(TextAnswer, answer)))

    def recall(self, db: Database, requests: Sequence[Any]) -> dict[Any, Answer]:
        """Nothing: every bio is asked for."""
        return {}

    def remember(self, db: Database, answers: Mapping[Any, Answer]) -> None:
        """Nothing is kept beside the ledger."""

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

    @staticmethod
    def told(line: Input) -> Told | None:
        """A bio by its words, or in short lines by the id of the answer it came with."""
        if "artist_id" not in line:
            return None
        answer: dict[str, Any] | None = None
        name, field = ("text", "response_text") if "response_text" in line else ("response_id", "response_id")
        value = line.get(field)
        if isinstance(value, str) and (value := clean(value)):
            answer = {name: value}
        return Told(key=_key_of(line["artist_id"]), answer=answer, says=next(iter(answer.values())) if answer else "")

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


_NEEDED = "artist_id, artist_name and, if there is any, artist_data"


def _invalid(error: ValidationError) -> InvalidRow:
    fault = error.errors()[0]
    column = str(fault["loc"][0])
    if column == "artist_name":
        return InvalidRow(
            column=column, code="input.empty_name", reason="artist_name is empty; give the artist's name."
        )
    shown = clean(str(fault["input"]))[:60]
    reason = f"artist_id {shown!r} is not a UUID, such as 5b11f4ce-a62d-471e-81fc-a69a8278c7da."
    return InvalidRow(column=column, code="input.bad_uuid", reason=reason)
