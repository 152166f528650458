"""The demonstration: 25 artists through a whole deployment on this machine."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

from rich.panel import Panel

from cli import local
from cli.client import Api, Document
from cli.faults import Failed, WrongUsage
from cli.file_commands import Batch, run_batch
from cli.parameters import AsJson, StateDir
from cli.saving import Saved
from cli.showing import answers_table, counts, money
from cli.terminal import Terminal
from cli.verdict import verdict

SAMPLE = local.ROOT / "examples" / "artists-25.csv"
DEMO_STATE_DIR = Path(".rowlift-demo")
# The simulated upstream answers at once and all at once; paced like this there is something to watch.
LATENCY = 0.3
UPSTREAMS = {"openai": {"requests": 12, "tokens": 2_000_000, "period": 1}}
SHOWN = 5
# The demonstration costs nothing and touches no database but its own, whatever is set outside.
_LEFT_OUT = ("DATABASE_URL", "CLOUD_SQL_INSTANCE", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "PROMPT")


def demo(state_dir: StateDir = DEMO_STATE_DIR, as_json: AsJson = False) -> int:
    """See it work: start a stack, enrich 25 artists with simulated answers, show the results, stop. Takes seconds."""
    terminal = Terminal(as_json=as_json)
    began = time.monotonic()
    terminal.show(
        Panel.fit(
            "A CSV of 25 artists goes through bucket, ingest, ledger, Pub/Sub and process, and comes out\n"
            "as biographies. All of it runs on this machine; OpenAI is simulated, nothing is paid.",
            title="Rowlift",
            border_style="cyan",
        )
    )
    env = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    arguments = ("--simulate-latency", str(LATENCY), "--set", f"UPSTREAMS={json.dumps(UPSTREAMS)}")
    with local.running(state_dir, arguments, terminal=terminal, env=env) as (info, started):
        if not info.get("openai"):
            raise WrongUsage(f"The stack on {state_dir} asks the real OpenAI. Give the demo a --state-dir of its own.")
        api = Api(str(info["api"]))
        terminal.say(f"The stack is up after {time.monotonic() - began:.1f} s.")
        batch = Batch.checked([SAMPLE], "artists")
        output = state_dir / f"{SAMPLE.name}.results.jsonl"
        found, saved = run_batch(batch, api, str(info["storage"]), output, terminal)
        status = found[0]
        sound = _show(status, saved, info, api, terminal)
    seconds = round(time.monotonic() - began, 1)
    again = f"Stopped. `rowlift up --state-dir {state_dir}` finds the data again." if started else "The stack runs on."
    terminal.say(f"All of it took {seconds:g} s. {again}")
    terminal.say("Your own file: `rowlift run FILE --pipeline artists`. With OPENAI_API_KEY set, the bios are real.")
    terminal.answer({**status, **saved[0].document(), "sound": sound, "seconds": seconds} if saved else status)
    return verdict(found, terminal) if sound else 1


def _show(status: Document, saved: list[Saved], info: local.Info, api: Api, terminal: Terminal) -> bool:
    """Show what came out; whether the books balance. Raises Failed."""
    if not saved or saved[0].output is None:
        raise Failed(f"The demonstration ended {status['status']}. Its log is {info['log']}.")
    with saved[0].output.open("rb") as file:
        lines = [json.loads(line) for line in file]
    terminal.show(answers_table([line for line in lines if line["outcome"] == "enriched"][:SHOWN]))
    written = Counter(line["db_status"] for line in lines)["updated"]
    verified = bool(api.verify(UUID(status["session_id"]))["sound"])
    for name, value in (
        ("outcomes", ", ".join(f"{count:,} {outcome}" for outcome, count in counts(status))),
        ("cost", f"{money(status['spent_usd'])} at the real model's price, had it been asked"),
        ("results", f"{len(lines)} lines in {saved[0].output}"),
        ("database", f"{written} bios in table artists of {local.masked(str(info['database_url']))}"),
        ("books", "sound: every row accounted for, none paid for twice" if verified else "NOT SOUND, see `verify`"),
    ):
        terminal.say(f"{name:<10}{value}")
    return verified
