"""Quotes: what a parsed session would cost and take, told before anything is asked, and what follows from it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from shared.config import Settings, UpstreamLimits
from shared.db import Database, Row
from shared.errors import ConfigError, StatementFailed, TooSlow
from shared.forecasts import Forecast, Limits, duration
from shared.logs import log
from shared.options import MICROS, Approve, Options
from shared.pipelines import PIPELINES, pipeline
from shared.pipelines.base import Pipeline
from shared.progress import standing
from shared.states import Outcome

PREVIEWED = 5
UNQUOTED = "The session could not be quoted; approve it, or cancel."


def first_approval(options: Options, slug: str, settings: Settings) -> str:
    """Whether a new session waits for approval: when that was asked for, or where every cost is looked at first."""
    looked_at = slug in PIPELINES and PIPELINES[slug].paid and settings.approve_above_usd is not None
    waits = options.approve is Approve.ASK or looked_at
    return "awaited" if waits and not options.dry_run else "none"


class Quoter:
    """Makes the quotes of sessions whose files are read."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db, self._settings = db, settings

    def quote(self, session: UUID) -> bool:
        """Quote a session, once for each epoch; whether that let it go on without a person.

        One that cannot be quoted is told so in the quote's place, and waits for a person.
        """
        found = self._db.row("session", session=session)
        if found is None or found["pipeline"] not in self._settings.pipelines:
            return False
        if found["quoted_epoch"] == found["epoch"]:
            return False
        try:
            quote = self._made(found)
        except (ConfigError, StatementFailed, TooSlow) as error:  # a prompt nobody wrote, a table that is missing
            log("ERROR", "Session cannot be quoted", error_code="db.quote", reason=str(error))
            waits = found["approval"] == "awaited"  # a dry run does not
            quote = {"error": str(error), "waits_because": UNQUOTED if waits else None}
        asked = Options.model_validate(found["options"]).approve is Approve.ASK
        goes_on = not asked and quote["waits_because"] is None
        if goes_on and found["approval"] == "awaited":
            self._db.rows("forget_notices", session=session)
        row = self._db.row("store_quote", session=session, epoch=found["epoch"], quote=quote, goes_on=goes_on)
        return goes_on and row is not None

    def _made(self, found: Row) -> dict[str, Any]:
        session: UUID = found["id"]
        options = Options.model_validate(found["options"])
        real = options.model_copy(update={"dry_run": False})
        line = pipeline(found["pipeline"], self._settings)
        forecast = line.forecast(self._db, session, real)
        limits = self._limits(found["pipeline"])
        seconds, bound_by = duration(forecast, limits)
        usd = forecast.micros.document(MICROS)
        return {
            **self._rows(session),
            "to_run": forecast.to_run,
            "reusable": forecast.reusable,
            "free": forecast.free,
            "requests": forecast.requests.document(),
            "tokens_in": forecast.tokens_in.document(),
            "tokens_out": forecast.tokens_out.document(),
            "usd": usd,
            "duration_seconds": seconds,
            "bound_by": bound_by,
            "limits": {
                "requests": limits.requests,
                "tokens": limits.tokens,
                "period": limits.period,
                "concurrency": limits.concurrency,
            },
            "basis": forecast.basis,
            "model": forecast.model,
            "prompt": forecast.prompt,
            "prices_read_on": forecast.prices_read_on,
            **self._budget(found, forecast),
            "approve_above_usd": self._settings.approve_above_usd if line.paid else None,
            "waits_because": self._waits_because(line, options, usd["likely"]),
            **({"preview": self._preview(session, line, real)} if options.dry_run else {}),
        }

    def _rows(self, session: UUID) -> dict[str, int]:
        files = self._db.rows("session_files", session=session)
        counted = standing(self._db, session).counts
        repeated = counted[Outcome.DUPLICATE] + counted[Outcome.MERGED]
        return {
            "rows": sum(file["records_read"] for file in files),
            "rejected": counted[Outcome.REJECTED],
            "duplicates": repeated,
        }

    def _limits(self, slug: str) -> Limits:
        chosen = self._settings.pipelines[slug]
        setting = self._settings.upstreams.get(chosen.upstream, UpstreamLimits(requests=None))
        asked = {"requests": setting.requests, "tokens": setting.tokens}
        present = self._db.row("present_limits", upstream=chosen.upstream, **asked) or asked
        return Limits(
            requests=present["requests"],
            tokens=present["tokens"],
            period=setting.period,
            concurrency=chosen.concurrency,
        )

    @staticmethod
    def _budget(found: Row, forecast: Forecast) -> dict[str, Any]:
        """What the budget leaves, and whether it holds the likely and the highest cost; None without one."""
        if found["budget"] is None:
            return {"budget_usd": None, "budget_holds_likely": None, "budget_holds_high": None}
        left = found["budget"] - found["spent"] - found["reserved"]
        return {
            "budget_usd": found["budget"] / MICROS,
            "budget_holds_likely": forecast.micros.likely <= left,
            "budget_holds_high": forecast.micros.high <= left,
        }

    def _waits_because(self, line: Pipeline, options: Options, likely: float) -> str | None:
        """Why the session waits although nobody asked it to; None if it need not."""
        most = self._settings.approve_above_usd
        if not line.paid or most is None or likely <= most or options.dry_run or options.approve is Approve.ASK:
            return None
        amounts = f"{_dollars(likely)} is above APPROVE_ABOVE_USD, {_dollars(most)}"
        return f"The likely cost of {amounts}; approve it, or cancel."

    def _preview(self, session: UUID, line: Pipeline, options: Options) -> dict[str, Any]:
        """What would be asked and written for the first items, and what the work would run on, as known here."""
        first = self._db.rows("first_waiting", session=session, size=PREVIEWED)
        chosen = self._settings.pipelines[line.slug]
        return {
            "items": [
                {
                    "item_no": row["item_no"],
                    "key": row["key"],
                    **line.preview(session, row["item_no"], row["input"], options).document(),
                }
                for row in first
            ],
            "pool": {
                "pool_size": chosen.pool_size,
                "threads": chosen.threads,
                "instances": chosen.instances,
                "items_per_message": chosen.items_per_message,
                "window": self._settings.window(line.slug),
            },
        }


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 0.01 or not amount else f"${amount:.6f}"
