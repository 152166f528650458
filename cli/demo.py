"""The demonstration: 25 artists and a small export of films through a whole deployment on this machine."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

from rich.panel import Panel

from cli import local
from cli.batches import Batch, run_batches, save_result
from cli.client import Api, Document
from cli.faults import Failed, WrongUsage
from cli.films import films_table
from cli.parameters import AsJson, StateDir
from cli.saving import Saved
from cli.showing import answers_table, money, tally
from cli.terminal import Terminal, speak_of
from cli.verdict import verdict

SAMPLE = local.ROOT / "examples" / "artists-25.csv"
EXPORT = local.ROOT / "examples" / "letterboxd-demo"
DEMO_STATE_DIR = Path(".rowlift-demo")
# The simulated upstreams answer at once and all at once; paced like this there is something to watch.
LATENCY = 0.3
UPSTREAMS = {
    "openai": {"requests": 12, "tokens": 2_000_000, "period": 1},
    "tmdb": {"requests": 12, "period": 1},
}
ANSWERED = ("enriched", "unchanged")  # a demo run again pays for nothing
BIOS_SHOWN, FILMS_SHOWN = 5, 12
# The demonstration costs nothing and touches no database but its own, whatever is set outside.
_LEFT_OUT = (
    "DATABASE_URL", "CLOUD_SQL_INSTANCE", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "PROMPT",
    "TMDB_API_TOKEN", "TMDB_BASE_URL", "TMDB_CACHE_DAYS", "APPROVE_ABOVE_USD",
)  # fmt: skip


def demo(state_dir: StateDir = DEMO_STATE_DIR, as_json: AsJson = False) -> int:
    """See it work: start a stack, enrich 25 artists and a dozen films with simulated answers, show them, stop."""
    terminal = Terminal(as_json=as_json)
    speak_of(("--state-dir", str(state_dir)))
    began = time.monotonic()
    terminal.show(
        Panel.fit(
            "A CSV of 25 artists goes through bucket, ingest, ledger, Pub/Sub and\n"
            "process, and comes out as biographies; the six files of a Letterboxd\n"
            "export come out as films. All of it runs on this machine; OpenAI and\n"
            "TMDB are simulated, nothing is paid.",
            title="Rowlift",
            border_style="cyan",
        )
    )
    env = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    arguments = ("--simulate-latency", str(LATENCY), "--set", f"UPSTREAMS={json.dumps(UPSTREAMS)}")
    with local.running(state_dir, arguments, terminal=terminal, env=env) as (info, started):
        _check_simulated(info, state_dir)
        api = Api(str(info["api"]))
        terminal.say(f"The stack is up after {time.monotonic() - began:.1f} s, with a dashboard: {info['api']}/")
        batches = [Batch.checked([SAMPLE], "artists"), Batch.checked([EXPORT], "movies")]
        found, _ = run_batches(batches, api, str(info["storage"]), terminal)
        saved = [
            _results(status, state_dir / f"{name}.results.jsonl", info, api)
            for status, name in zip(found, (SAMPLE.name, EXPORT.name), strict=True)
        ]
        _show(found, saved, info, terminal)
        sound = all(api.verify(UUID(status["session_id"]))["sound"] for status in found)
        told = "sound: every row accounted for, none paid for twice" if sound else "NOT SOUND, see `rowlift verify`"
        terminal.say(f"{'books':<10}{told}")
    seconds = round(time.monotonic() - began, 1)
    again = f"Stopped; `rowlift up --detach --state-dir {state_dir}` brings it all back." if started else "It runs on."
    terminal.say(f"All of it took {seconds:g} s. {again}")
    code = verdict(found, terminal)
    terminal.say("Your own file: `rowlift run FILE`. With OPENAI_API_KEY set, the bios are real.")
    terminal.say("Your own films: `rowlift run EXPORT.zip`. With TMDB_API_TOKEN set, they are real.")
    artists, films = found
    terminal.answer(
        {
            **artists,
            **saved[0].document(),
            "sound": sound,
            "seconds": seconds,
            "movies": {**films, **saved[1].document()},
        }
    )
    return code if sound else 1


def _check_simulated(info: local.Info, state_dir: Path) -> None:
    for upstream, name in (("openai", "OpenAI"), ("tmdb", "TMDB")):
        if not info.get(upstream):
            raise WrongUsage(f"The stack on {state_dir} asks the real {name}. Give the demo a --state-dir of its own.")


def _results(status: Document, output: Path, info: local.Info, api: Api) -> Saved:
    """The results of a session that completed; raises Failed."""
    if status["status"] != "completed":
        raise Failed(f"The demonstration ended {status['status']}. Its log is {info['log']}.")
    return save_result([UUID(status["session_id"])], api, output)


def _show(found: list[Document], saved: list[Saved], info: local.Info, terminal: Terminal) -> None:
    artists, films = found
    bios, exports = (_lines(one) for one in saved)
    terminal.show(answers_table([line for line in bios if line["outcome"] in ANSWERED][:BIOS_SHOWN]))
    terminal.show(films_table([line for line in exports if line["outcome"] in ANSWERED][:FILMS_SHOWN]))
    written = Counter(line["db_status"] for line in bios)["updated"]
    for name, value in (
        ("artists", ", ".join(words for _, words in tally(artists))),
        ("films", ", ".join(words for _, words in tally(films))),
        ("cost", f"{money(artists['spent_usd'])} at the real model's price, had it been asked"),
        ("results", f"{saved[0].lines} lines in {saved[0].output}"),
        ("", f"{saved[1].lines} lines in {saved[1].output}"),
        ("database", f"{written} bios in table artists of {local.masked(str(info['database_url']))}"),
    ):
        terminal.say(f"{name:<10}{value}")


def _lines(saved: Saved) -> list[Document]:
    assert saved.output is not None, "it was written to a file"  # noqa: S101
    return [json.loads(line) for line in saved.output.read_bytes().splitlines()]
