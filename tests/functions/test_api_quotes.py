"""Quotes as the API tells of them, and the options about money as its uploads take them."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from werkzeug.test import Client

from shared.quoting import UNQUOTED
from tests.functions.asking import problem
from tests.workbench import Workbench, artists_csv


def sent(http: Client, **fields: str) -> Any:
    data = {"pipeline": "artists", **fields, "file": (BytesIO(artists_csv(3)), "list.csv")}
    return http.post("/api/upload", data=data)


def test_a_quoted_session_has_its_quote_in_every_answer(http: Client, bench: Workbench) -> None:
    session = bench.drop(artists_csv(3), approve="ask")
    for path in ("", "/status"):
        found = http.get(f"/api/session/{session}{path}").json
        assert (found["status"], found["quote"]["to_run"], found["bound_by"]) == ("quoted", 3, "approval")
    approved = http.post(f"/api/session/{session}/approve").json
    assert (approved["status"], approved["quote"]["to_run"]) == ("enriching", 3)
    assert bench.run(session)["status"] == "completed"
    assert http.get(f"/api/session/{session}/status").json["quote"]["to_run"] == 3


def test_one_that_nobody_asked_about_has_none(http: Client, bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    assert http.get(f"/api/session/{session}/status").json["quote"] is None


def test_uploads_take_the_options_about_money(http: Client, bench: Workbench) -> None:
    found = sent(http, approve="ask", reuse="never", budget="1").json
    session = UUID(found["session_id"])
    options = bench.facts(session)["options"]
    assert (options["approve"], options["reuse"], options["budget"]) == ("ask", "never", 1_000_000)
    assert bench.facts(session)["approval"] == "awaited"
    (fault,) = problem(sent(http, reuse="perhaps"), 422, "invalid-request")["errors"]
    assert "'always' or 'never'" in fault["message"]


def test_a_dry_run_needs_no_approval(http: Client, bench: Workbench) -> None:
    session = UUID(sent(http, approve="ask", dry_run="true").json["session_id"])
    assert bench.facts(session)["approval"] == "none"


def test_a_bad_prompt_is_no_reason_to_tell_nothing(
    http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.pipelines.artists.DEFAULT_PROMPT", "artist-bio/999")
    session = bench.drop(artists_csv(1), approve="ask")
    found = http.get(f"/api/session/{session}/status").json
    assert (found["status"], found["pause_reason"]) == ("quoted", UNQUOTED)
    assert found["quote"]["error"].startswith("There is no prompt 'artist-bio/999'")
