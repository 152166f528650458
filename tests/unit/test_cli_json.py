"""`--json`: the last line of every command has the keys docs/cli-json.md shows, and nothing else is on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli import main
from tests.fake_api import FakeApi, FakeBucket, film_status, payment_of, status_of
from tests.unit.conftest import CSV, ID, Run

PAPER = Path(__file__).parents[2] / "docs" / "cli-json.md"
EXAMPLES: dict[str, Any] = {
    name: json.loads(example)
    for name, example in re.findall(
        r"^### (.+?)\n(?:(?!^#).)*?^```json\n(.*?)^```", PAPER.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
}
WORDS = {
    "status SESSION": ["status", ID],
    "run": ["run", "a.csv"],
    "upload": ["upload", "a.csv"],
    "results": ["results", ID, "--output", "r.jsonl"],
    "rejects": ["rejects", ID, "--output", "r.csv"],
    "reprocess": ["reprocess", ID],
    "match SESSION": ["match", ID],
    "match SESSION ITEM": ["match", ID, "12"],
    "match SESSION ITEM TMDB_ID": ["match", ID, "12", "593"],
    "verify": ["verify", ID],
    "status": ["status"],
    "up": ["up", "--detach"],
    "down": ["down"],
    "doctor": ["doctor"],
    "migrate": ["migrate"],
}
ELSEWHERE = {
    "logs": "tests/unit/test_cli_logs.py",
    "demo": "tests/unit/test_cli_demo.py",
    "export": "tests/unit/test_cli_assets.py",
    "import": "tests/unit/test_cli_assets.py",
}
STATUS_OF_ONE = ("watch", "pause", "resume", "cancel", "approve")
CANDIDATE = {"tmdb_id": 593, "title": "Solaris", "year": 1972, "score": 0.6, "reason": "exact title"}


@pytest.fixture
def deployment(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> FakeApi:
    """A deployment on which every command has something to answer."""
    Path("a.csv").write_bytes(CSV)
    api.default = [status_of()]
    api.items = [
        {
            "item_no": 12, "input": {"name": "Solaris", "year": 1968}, "outcome": "needs_review", "state": "completed",
            "code": "weak_match", "key": "k", "result": {"candidates": [CANDIDATE]}, "parent": None,
            "error_message": None,
        }
    ]  # fmt: skip
    api.answers[f"POST /api/session/{ID}/reprocess"] = {"opened": 3, "status": status_of()}
    api.answers[f"GET /api/session/{ID}/calls"] = payment_of()
    match = {"item_no": 12, "film_item_no": 12, "status": film_status()}
    api.answers[f"POST /api/session/{ID}/items/12/match"] = match
    verified = {"session_id": ID, "sound": True, "findings": [], "calls": {"succeeded": 10}, "payment": payment_of()}
    api.answers[f"GET /api/session/{ID}/verify"] = verified
    stack.update(pubsub="127.0.0.1:1", buckets={"uploads": "up"}, started_at="2026-11-21T10:08:39+00:00")
    monkeypatch.setattr("cli.stack_commands.migrate_database", lambda url: "0007")
    monkeypatch.setattr("cli.local.stop", lambda info, state_dir: None)
    return api


def keys(value: Any, path: str = "") -> set[str]:
    """Every key of a document, with those of the documents in it; a list counts by its first."""
    if isinstance(value, list):
        return keys(value[0], path) if value else set()
    if not isinstance(value, dict):
        return set()
    return {found for name, each in value.items() for found in (f"{path}{name}", *keys(each, f"{path}{name}."))}


# What the examples leave out, because it stands elsewhere on the page or is not the command's own.
SHORTENED = {
    "run": set(status_of()) | {"calls.succeeded"},
    "reprocess": {f"status.{name}" for name in (*status_of(), "calls.succeeded")},
    "match SESSION": {f"items.{name}" for name in keys({"result": {"candidates": [CANDIDATE]}})}
    | {
        f"items.{name}"
        for name in ("input", "input.name", "input.year", "state", "code", "key", "parent", "error_message")
    },
    "match SESSION ITEM TMDB_ID": {f"status.{name}" for name in film_status()},
    "status": {f"sessions.{name}" for name in (*status_of(), "calls.succeeded")}
    | {f"health.{name}" for name in ("upload_bucket", "results_bucket", "media_bucket")},
}
# What the fake deployment of the unit tests does not say and a real one does; tests/e2e/test_cli.py looks at that.
ONLY_REAL = {"calls.unknown", "calls.started", "resumed", "breaker", "quote"}
SIMULATED = {"processes.api", "buckets.uploads", "buckets.results", "buckets.media"}


@pytest.mark.parametrize("name", sorted(WORDS))
def test_the_last_line_has_the_keys_that_the_paper_shows(run: Run, deployment: FakeApi, name: str) -> None:
    ran = run(*WORDS[name], "--json")
    assert ran.code in (0, 1)
    assert [line for line in ran.out.splitlines() if line.startswith("{")] == [ran.out.splitlines()[-1]]
    shown, answered = keys(EXAMPLES[name]) - SIMULATED - ONLY_REAL, keys(ran.answer) - SIMULATED - ONLY_REAL
    assert shown <= answered | {"calls.succeeded"}, f"the paper shows {shown - answered}"
    more = answered - shown - SHORTENED.get(name, set()) - {"calls.succeeded"}
    assert not more, f"the paper does not show {more}"


@pytest.mark.parametrize("command", STATUS_OF_ONE)
def test_what_is_done_to_a_session_answers_its_status(run: Run, deployment: FakeApi, command: str) -> None:
    assert run(command, ID, "--json").answer == status_of()


def test_every_command_stands_in_the_paper() -> None:
    named = {name.split()[0] for name in EXAMPLES}
    assert named == {words[0] for words in WORDS.values()} | set(ELSEWHERE)
    commands = {main._name(command) for _, command, _ in main._COMMANDS}
    assert named | set(STATUS_OF_ONE) == commands
    for test in ELSEWHERE.values():
        assert "--json" in (PAPER.parents[1] / test).read_text("utf-8")


def test_several_sessions_are_a_sum(run: Run, deployment: FakeApi) -> None:
    Path("b.csv").write_bytes(CSV)
    answer = run("run", "a.csv", "b.csv", "--json").answer
    assert (answer["session_id"], len(answer["session_ids"]), len(answer["sessions"])) == (None, 2, 2)


def test_a_fault_is_a_document_of_its_own(run: Run, deployment: FakeApi) -> None:
    deployment.default = None
    ran = run("status", "00000000-0000-4000-8000-000000000001", "--json")
    assert (ran.code, set(ran.answer), set(ran.answer["error"])) == (
        2,
        {"error"},
        {"message", "exit_status", "problem"},
    )
    assert run("status", "zz", "--json").answer["error"].keys() == {"message", "exit_status"}
