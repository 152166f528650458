"""Whether a deployment works: three rows go in as people's do, and have to come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cli.faults import Failed, Unreachable
from cli.local import ROOT

# The same rows each time: from the second on their answers are reused, and nothing is paid.
ROWS: Final = (
    "artist_id,artist_name,artist_data\n"
    "00000000-0000-4000-8000-00000005a0c1,Nina Simone,type: Person\n"
    "00000000-0000-4000-8000-00000005a0c2,Fela Kuti,type: Person\n"
    "00000000-0000-4000-8000-00000005a0c3,Sigur Rós,type: Group\n"
)
PIPELINE: Final = "artists"
BUDGET_USD: Final = "0.05"
WORKED: Final = ("enriched", "unchanged")
WITHIN: Final = 600.0  # seconds until somebody who was just let in is let in everywhere
AGAIN_AFTER: Final = 15.0
UNREACHABLE: Final = 3  # exit status of the command


def smoke(api: str, *, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """The session's final status, once all three rows have their results; raises Failed, Unreachable.

    A deployment that was made a moment ago lets nobody in for a while, so not being let in is tried again.
    """
    with tempfile.TemporaryDirectory(prefix="rowlift-smoke-") as folder:
        file, results = Path(folder) / "smoke.csv", Path(folder) / "results.jsonl"
        file.write_text(ROWS, "utf-8")
        until = time.monotonic() + WITHIN
        while (done := _run(file, results, api)).returncode == UNREACHABLE and time.monotonic() < until:
            say(f"not let in yet: {_told(done)}; trying again in {AGAIN_AFTER:g} s")
            sleep(AGAIN_AFTER)
        if done.returncode == UNREACHABLE:
            raise Unreachable(_told(done))
        status = _answer(done)
        outcomes = (
            [json.loads(line)["outcome"] for line in results.read_text("utf-8").splitlines()]
            if results.exists()
            else []
        )
        if done.returncode != 0 or len(outcomes) != 3 or any(one not in WORKED for one in outcomes):
            came = ", ".join(outcomes) or "none"
            raise Failed(f"Of three rows these came back: {came}. Session {status.get('session_id')}: {_told(done)}")
        return status


def _run(file: Path, results: Path, api: str) -> subprocess.CompletedProcess[str]:
    words = [
        "run",
        str(file),
        "--pipeline",
        PIPELINE,
        "--write-mode",
        "file",
        "--budget",
        BUDGET_USD,
        "--approve",
        "auto",
    ]
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words, "--output", str(results), "--api", api, "--json"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


def _told(done: subprocess.CompletedProcess[str]) -> str:
    """What the command said went wrong."""
    answer = _answer(done)
    said = answer.get("error", {}).get("message") or answer.get("error_message") or answer.get("pause_reason")
    lines = done.stderr.strip().splitlines()
    return str(said or (lines[-1] if lines else f"it ended with status {done.returncode}"))
