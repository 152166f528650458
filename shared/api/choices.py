"""What a person can choose for an upload: pipelines and options, told from the code that carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import EnumMeta, StrEnum
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from pydantic.fields import FieldInfo

from shared.api.guard import LOOPBACK
from shared.config import Settings
from shared.options import ONLY_SOME, Options
from shared.pipelines import PIPELINES

_HELP: Final[Mapping[str, str]] = {
    "write_mode": "Where answers go: the domain tables (db), results.jsonl only (file), or both.",
    "skip_existing": "Leave rows alone whose answer the database has already.",
    "dry_run": "Check everything, show what it would cost and ask; call and write nothing.",
    "approve": "ask: parse, show the cost, then wait for a person's approval.",
    "budget": "The most the session may spend, in dollars; then it pauses.",
    "on_missing": "What an id the database does not have means.",
    "max_failed": "More failed rows than this, a count or a share such as 5%, fail the session.",
    "mode": "What is fetched: nothing (basic), documents and transcripts (text), or everything (full).",
    "dual_write": "Keep the enhanced sheet in the results bucket up to date while the session runs.",
    "watchlist": "Enrich films too that are only on the watchlist.",
    "reuse": "Whether an answer that was paid for before is used again.",
    "call_mode": "background: an answer is waited for by its id, and after a crash fetched instead of paid again.",
    "session": "Add the files to this session instead of a new one.",
    "resume": "Go on from an earlier results.jsonl: the name of an object under resume/ in the upload bucket.",
}
_OF_PAID_ONES: Final = frozenset({"budget", "reuse", "call_mode"})


def has_effect(option: str, slug: str) -> bool:
    """Whether an option, by its field's name, has an effect for a pipeline."""
    line = PIPELINES[slug]
    if option in _OF_PAID_ONES:
        return line.paid
    return option not in ONLY_SOME or option in line.heeds


def pipelines(settings: Settings) -> list[dict[str, Any]]:
    """The pipelines, by slug."""
    return [_pipeline(slug, settings) for slug in sorted(PIPELINES)]


def _pipeline(slug: str, settings: Settings) -> dict[str, Any]:
    line = PIPELINES[slug]
    groups = line.grouping is not None
    known = settings.pipelines.get(slug)
    address = getattr(settings, f"{known.upstream}_base_url", None) if known else None
    return {
        "slug": slug,
        "title": line.title or slug,
        "accepts": list(line.accepts),
        "groups_files": groups,
        "paid": line.paid,
        "columns": [] if groups else list(line(settings).form("", None).columns),
        "simulated": address is not None and urlsplit(address).hostname in LOOPBACK,
    }


def options() -> list[dict[str, Any]]:
    """The options, as object metadata names them."""
    return [_option(name, field) for name, field in Options.model_fields.items()]


def _option(name: str, field: FieldInfo) -> dict[str, Any]:
    kind, choices = kind_of(name, field)
    default = field.default
    return {
        "name": name.replace("_", "-"),
        "type": kind,
        "choices": choices,
        "default": default.value if isinstance(default, StrEnum) else default,
        "help": _HELP.get(name, ""),
        "pipelines": [slug for slug in sorted(PIPELINES) if has_effect(name, slug)],
    }


def kind_of(name: str, field: FieldInfo) -> tuple[str, list[str] | None]:
    """What kind of value an option takes: choice (with the choices), flag, money or text."""
    kinds = [field.annotation, *get_args(field.annotation)]
    chosen = next((one for one in kinds if isinstance(one, EnumMeta)), None)
    if chosen is not None:
        return "choice", [str(one.value) for one in chosen]  # type: ignore[var-annotated]
    if bool in kinds:
        return "flag", None
    return ("money" if name == "budget" else "text"), None
