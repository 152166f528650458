"""Who did what: nothing is done that is not written down first, and what came of it stands beside it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from werkzeug.test import Client

from shared.errors import LedgerDown
from tests.functions.asking import problem
from tests.functions.test_api_guard import token
from tests.functions.test_api_upload import accepted, sent
from tests.workbench import Workbench, artist_id, artists_csv


def entries(http: Client, session: UUID | str) -> list[tuple[str, str, dict[str, Any]]]:
    """What the log says, oldest first."""
    found = http.get(f"/api/session/{session}/audit").json["entries"]
    return [(one["action"], one["actor"], one["details"]) for one in reversed(found)]


def test_every_action_is_written_down_with_its_details(http: Client, bench: Workbench) -> None:
    found = accepted(sent(http, ("list.csv", artists_csv(2)), pipeline="artists", approve="ask", budget="2"))
    session = UUID(found["session_id"])
    bench.ingest.take(bench.store.written.pop())
    one = f"/api/session/{session}"
    http.post(f"{one}/approve")
    http.post(f"{one}/pause", json={"reason": "lunch"})
    http.post(f"{one}/resume", json={"budget_usd": 3})
    bench.run(session)
    http.post(f"{one}/reprocess", json={"key": artist_id(1)})
    http.post(f"{one}/cancel")
    options = {"approve": "ask", "budget": "2"}
    assert entries(http, session) == [
        ("upload", "local", {"pipeline": "artists", "files": found["files"], "options": options}),
        ("approve", "local", {}),
        ("pause", "local", {"reason": "lunch"}),
        ("resume", "local", {"budget_usd": 3.0}),
        ("reprocess", "local", {"key": artist_id(1), "opened": 1}),
        ("cancel", "local", {}),
    ]


def test_it_names_who_google_says_it_was(http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    session = bench.drop(artists_csv(1))
    monkeypatch.setenv("K_REVISION", "api-1")
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    headers = {"Authorization": token({"email": "ann@example.com"}), "traceparent": traceparent}
    http.post(f"/api/session/{session}/pause", headers=headers)
    assert entries(http, session) == [("pause", "ann@example.com", {})]
    assert bench.value("SELECT trace_id FROM audit_log") == "ab" * 16


def test_what_is_refused_is_written_down_as_that(http: Client, bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    problem(http.post(f"/api/session/{session}/approve"), 409, "conflict")
    ((action, _, details),) = entries(http, session)
    assert action == "approve"
    assert "does not wait for approval" in details["refused"]


def test_what_broke_off_is_too_and_tells_no_secret(
    http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.drop(artists_csv(1))
    broken(monkeypatch, bench, "hold_session")
    problem(http.post(f"/api/session/{session}/pause"), 503, "ledger-down")
    assert entries(http, session) == [("pause", "local", {"failed": "LedgerDown"})]


@pytest.mark.parametrize("action", ["pause", "resume", "cancel", "reprocess"])
def test_nothing_is_done_that_cannot_be_written_down(
    http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    session = bench.drop(artists_csv(2))
    bench.run(session)
    bench.sessions.reprocess(session, outcomes=["enriched"], key=artist_id(2))
    if action == "resume":
        bench.sessions.pause(session)
    before = bench.sessions.status(session)
    broken(monkeypatch, bench, "record_action")
    body = {"outcomes": ["enriched"]} if action == "reprocess" else {}
    problem(http.post(f"/api/session/{session}/{action}", json=body), 503, "ledger-down")
    assert bench.sessions.status(session) == before


def test_nothing_is_uploaded_either(http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, bench, "record_action")
    problem(sent(http, ("list.csv", artists_csv(2)), pipeline="artists"), 503, "ledger-down")
    assert bench.store.written == []
    assert bench.value("SELECT count(*) FROM sessions") == 0


def test_an_addition_that_cannot_be_written_undoes_nothing(
    http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bench.drop(artists_csv(1))
    bench.run(session)
    broken(monkeypatch, bench, "complete_record")
    response = http.post(f"/api/session/{session}/reprocess", json={"outcomes": ["enriched"]})
    assert (response.status_code, response.json["opened"]) == (200, 1)
    assert entries(http, session) == [("reprocess", "local", {"outcomes": ["enriched"]})]


def test_unknown_sessions_leave_no_trace(http: Client, bench: Workbench) -> None:
    for action in ("pause", "resume", "cancel", "approve", "reprocess"):
        problem(http.post(f"/api/session/{uuid4()}/{action}"), 404, "not-found")
    problem(http.get(f"/api/session/{uuid4()}/audit"), 404, "not-found")
    assert bench.value("SELECT count(*) FROM audit_log") == 0


def test_it_is_kept_after_the_session_has_expired(http: Client, bench: Workbench) -> None:
    session = bench.drop(artists_csv(1))
    http.post(f"/api/session/{session}/pause")
    bench.execute(f"UPDATE sessions SET expires_at = now() - interval '1 s' WHERE id = '{session}'")
    bench.rescuer.round()
    assert [action for action, _, _ in entries(http, session)] == ["pause"]


def broken(monkeypatch: pytest.MonkeyPatch, bench: Workbench, statement: str) -> None:
    """Have the ledger be away for one statement."""
    rows = bench.db.rows

    def away(name: str, **params: Any) -> Any:
        if name == statement:
            raise LedgerDown("connection to 10.0.0.1 lost")
        return rows(name, **params)

    monkeypatch.setattr(bench.db, "rows", away)
