"""The stack's own log: one command finds all lines of an upload, and one trace holds them together."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from infra.local.topology import ROOT
from tests.e2e.stacks import Deck
from tests.workbench import artists_csv

TRACE = "logging.googleapis.com/trace"


def logs(deck: Deck, session: object, *words: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines `rowlift logs` finds, and its answer."""
    state_dir = str(deck.stack.state_dir)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "logs", str(session), "--json", "--state-dir", state_dir, *words],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    *found, answer = [json.loads(line) for line in done.stdout.splitlines()]
    return found, answer


def test_every_line_of_an_upload_is_found_by_its_trace_and_no_other_s(deck: Deck) -> None:
    given = "5e" * 16
    sent = deck.api.post(
        "/api/upload",
        params={"pipeline": "artists"},
        files={"file": ("one.csv", artists_csv(12), "text/csv")},
        headers={"traceparent": f"00-{given}-{'12' * 8}-01"},
    ).raise_for_status()
    session = sent.json()["session_id"]
    other = deck.drop(artists_csv(12, first=500), "artists/logs-two.csv")
    assert deck.wait(session)["trace_id"] == given
    own = deck.wait(other)["trace_id"]
    assert own not in (None, given)
    for one, trace, functions in (
        (session, given, {"api", "ingest", "process-artists", "finalize"}),
        (other, own, {"ingest", "process-artists", "finalize"}),
    ):
        found, answer = logs(deck, one)
        assert {line["function"] for line in found} == functions
        assert {line[TRACE].rpartition("/")[2] for line in found} == {trace} == {*answer["trace_ids"]}
        assert {line["session_id"] for line in found} == {str(one)}
        assert [line["time"] for line in found] == sorted(line["time"] for line in found)
        assert sum(line["message"] == "Item settled" for line in found) == 12
        assert found[-1]["message"] == "Session finalized"
        assert answer["lines"] == len(found)
