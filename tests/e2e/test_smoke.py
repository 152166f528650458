"""The three rows that a deployment is tried with, on a local stack."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from cli.faults import Failed, Unreachable
from infra.deploy import smoke
from tests.e2e.stacks import Deck


@pytest.fixture(autouse=True)
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --api the command puts files into the bucket as Google's library finds it: here it finds the stack's."""
    if "deck" in request.fixturenames:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("deck").stack.info["storage"])
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "rowlift-local")


def nobody(_: Any) -> None:
    raise AssertionError(f"nothing is to be said or waited for: {_}")


def test_three_rows_come_back_and_are_paid_once(deck: Deck) -> None:
    first = smoke.smoke(deck.stack.info["api"], say=nobody, sleep=nobody)
    again = smoke.smoke(deck.stack.info["api"], say=nobody, sleep=nobody)
    assert (first["enriched"], again["unchanged"], again["spent_usd"]) == (3, 3, 0)
    assert deck.db.rows("artists_known", ids=[line.partition(",")[0] for line in smoke.ROWS.splitlines()[1:]]) == []


def test_a_bad_key_is_told_with_its_session_and_cause(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "ROWS", smoke.ROWS.replace("05a0c", "05a0d"))  # rows whose answers are not known yet
    deck.openai.misbehave(key_ok=False)
    with pytest.raises(Failed, match=r"Of three rows these came back: none\. Session [0-9a-f-]{36}: .*key"):
        smoke.smoke(deck.stack.info["api"], say=nobody, sleep=nobody)


@pytest.mark.parametrize("let_in_after", [1, 3])
def test_not_being_let_in_yet_is_tried_again(monkeypatch: pytest.MonkeyPatch, let_in_after: int) -> None:
    said: list[str] = []

    def run(file: Any, results: Any, api: str) -> subprocess.CompletedProcess[str]:
        if len(said) < let_in_after:
            refused = '{"error": {"message": "https://api does not let you in (403).", "exit_status": 3}}'
            return subprocess.CompletedProcess([], 3, stdout=refused, stderr="")
        results.write_text('{"outcome": "enriched"}\n' * 3)
        return subprocess.CompletedProcess([], 0, stdout='{"session_id": "x"}\n', stderr="")

    monkeypatch.setattr(smoke, "_run", run)
    assert smoke.smoke("https://api", say=said.append, sleep=lambda _: None) == {"session_id": "x"}
    assert len(said) == let_in_after
    assert "does not let you in (403)" in said[0]


def test_never_being_let_in_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "WITHIN", 0.0)
    monkeypatch.setattr(smoke, "_run", lambda *_: subprocess.CompletedProcess([], 3, stdout="", stderr="no way\n"))
    with pytest.raises(Unreachable, match="no way"):
        smoke.smoke("https://api", say=nobody, sleep=nobody)


@pytest.mark.parametrize(
    ("words", "status"), [(["plan", "--env", "nowhere"], 2), (["archive", "--bad"], 2), (["no"], 2)]
)
def test_the_commands_end_with_a_sentence_and_a_status(words: Sequence[str], status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.deploy", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
