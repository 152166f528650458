"""What the API lets people do to sessions, and the bodies it takes for it."""

from __future__ import annotations

import io
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from werkzeug.test import Client

from shared.api.requests import BODY_LIMIT
from tests.functions.asking import items_of, problem
from tests.workbench import Workbench, artist_id, artists_csv


class TestActions:
    def test_pause_and_resume(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3))
        found = http.post(f"/api/session/{session}/pause", json={"reason": " lunch\x00 "}).json
        assert (found["status"], found["pause_reason"]) == ("paused", "lunch")
        found = http.post(f"/api/session/{session}/resume").json
        assert (found["status"], found["pause_reason"]) == ("enriching", None)
        assert bench.run(session)["status"] == "completed"
        problem(http.post(f"/api/session/{session}/pause"), 409, "conflict")

    def test_pause_without_a_reason_says_that_a_person_did_it(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        assert "person" in http.post(f"/api/session/{session}/pause", json={"reason": None}).json["pause_reason"]

    def test_resume_takes_a_budget(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1), budget="1")
        assert http.post(f"/api/session/{session}/resume", json={"budget_usd": 2.5}).json["budget_usd"] == 2.5
        bench.execute("UPDATE sessions SET spent = 1000")
        problem(http.post(f"/api/session/{session}/resume", json={"budget_usd": 0}), 422, "usage")
        bench.execute("UPDATE sessions SET spent = 0")
        bench.run(session)
        problem(http.post(f"/api/session/{session}/resume"), 409, "conflict")

    def test_cancel_settles_what_waits(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(3))
        found = http.post(f"/api/session/{session}/cancel").json
        assert (found["status"], found["cancelled"], found["open"]) == ("cancelled", 3, 0)
        problem(http.post(f"/api/session/{session}/cancel"), 409, "conflict")
        problem(http.post(f"/api/session/{session}/resume"), 409, "conflict")

    def test_what_has_ended_cannot_be_changed(self, http: Client, bench: Workbench) -> None:
        done = bench.drop(artists_csv(1))
        bench.run(done)
        assert "completed" in problem(http.post(f"/api/session/{done}/cancel"), 409, "conflict")["detail"]
        cancelled = bench.drop(artists_csv(1), "artists/other.csv")
        bench.sessions.cancel(cancelled)
        problem(http.post(f"/api/session/{cancelled}/reprocess"), 409, "conflict")
        bench.execute(f"UPDATE sessions SET expired_at = now() WHERE id = '{done}'")
        for action in ("resume", "cancel", "approve", "reprocess"):
            problem(http.post(f"/api/session/{done}/{action}"), 410, "expired")

    def test_approve_lets_a_quoted_session_start(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2), approve="ask")
        assert http.get(f"/api/session/{session}/status").json["status"] == "quoted"
        assert http.post(f"/api/session/{session}/approve", data=b" ").json["status"] == "enriching"
        assert bench.run(session)["enriched"] == 2
        problem(http.post(f"/api/session/{session}/approve"), 409, "conflict")

    def test_reprocess_opens_what_failed(self, http: Client, bench: Workbench) -> None:
        session = some_failed(bench, http, failed=2, of=4)
        found = http.post(f"/api/session/{session}/reprocess").json
        assert (found["opened"], found["status"]["failed"], found["status"]["open"]) == (2, 0, 2)
        assert bench.run(session)["enriched"] == 4

    def test_reprocess_by_outcome_or_by_key(self, http: Client, bench: Workbench) -> None:
        session = some_failed(bench, http, failed=1, of=3)
        one = http.post(f"/api/session/{session}/reprocess", json={"key": artist_id(3)}).json
        assert one["opened"] == 1
        assert [item["item_no"] for item in items_of(http, session, "state=available")["items"]] == [3]
        two = http.post(
            f"/api/session/{session}/reprocess", json={"outcomes": ["failed", "enriched"], "key": None}
        ).json
        assert two["opened"] == 2

    def test_reprocess_refuses_what_cannot_run_again(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(1))
        found = problem(http.post(f"/api/session/{session}/reprocess", json={"outcomes": ["rejected"]}), 422, "usage")
        assert "not_found" in found["detail"]
        bench.execute(f"UPDATE sessions SET expires_at = now() WHERE id = '{session}'")
        problem(http.post(f"/api/session/{session}/reprocess"), 410, "expired")

    def test_reprocess_of_no_outcome_is_not_reprocess_of_all(self, http: Client, bench: Workbench) -> None:
        session = bench.drop(artists_csv(2))
        bench.run(session)
        problem(http.post(f"/api/session/{session}/reprocess", json={"outcomes": []}), 422, "invalid-request")
        assert bench.sessions.status(session)["enriched"] == 2

    def test_a_change_is_logged_with_its_session(
        self, http: Client, bench: Workbench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session = bench.drop(artists_csv(1))
        http.post(f"/api/session/{session}/pause/")
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (line["action"], line["session_id"], line["severity"]) == ("pause", str(session), "INFO")

    def test_unknown_sessions_are_not_found(self, http: Client) -> None:
        for action in ("pause", "resume", "cancel", "approve", "reprocess"):
            problem(http.post(f"/api/session/{uuid4()}/{action}"), 404, "not-found")
            problem(http.post(f"/api/session/17/{action}"), 404, "not-found")


class TestBodies:
    """With the ledger away: a body is refused before anything is asked or changed."""

    @pytest.mark.parametrize(("action", "body", "fields"), [
        ("cancel", {"force": True}, ["force"]),
        ("approve", {"by": "me"}, ["by"]),
        ("pause", {"reason": 7}, ["reason"]),
        ("pause", {"reason": " \x00 "}, ["reason"]),
        ("pause", {"reason": "x" * 501}, ["reason"]),
        ("resume", {"budget_usd": -1, "budget": 1}, ["budget", "budget_usd"]),
        ("resume", {"budget_usd": "2.50"}, ["budget_usd"]),
        ("resume", {"budget_usd": True}, ["budget_usd"]),
        ("resume", {"budget_usd": 1e300}, ["budget_usd"]),
        ("reprocess", {"outcomes": "failed"}, ["outcomes"]),
        ("reprocess", {"outcomes": [1]}, ["outcomes.0"]),
        ("reprocess", {"key": ""}, ["key"]),
        ("cancel", [], ["body"]),
        ("pause", None, ["body"]),
    ])  # fmt: skip
    def test_what_is_not_expected_is_refused_by_name(
        self, away: Client, action: str, body: Any, fields: list[str]
    ) -> None:
        response = away.post(f"/api/session/{uuid4()}/{action}", data=json.dumps(body))
        found = problem(response, 422, "invalid-request")
        assert sorted(fault["field"] for fault in found["errors"]) == fields
        assert all(fault["message"] for fault in found["errors"])

    @pytest.mark.parametrize("body", [b"{", b"reason=x", b"\xff", b'{"reason": "\\ud800"}', b"[" * 5_000])
    def test_what_is_not_json_is_a_bad_request(self, away: Client, body: bytes) -> None:
        assert "not JSON" in problem(away.post(f"/api/session/{uuid4()}/pause", data=body), 400)["detail"]

    @pytest.mark.parametrize("announced", [True, False])
    def test_a_large_body_is_refused_whether_its_length_is_announced_or_not(
        self, away: Client, announced: bool
    ) -> None:
        for size, status in ((BODY_LIMIT, 400), (BODY_LIMIT + 1, 413)):
            response = away.open(
                f"/api/session/{uuid4()}/pause", method="POST", input_stream=io.BytesIO(b"x" * size),
                content_length=size if announced else None, environ_overrides={"wsgi.input_terminated": True},
            )  # fmt: skip
            assert ("64 KB" in problem(response, status)["detail"]) == (status == 413)


def some_failed(bench: Workbench, http: Client, *, failed: int, of: int) -> UUID:
    """An ended session whose first items failed, their upstream being mended now."""
    session = bench.drop(artists_csv(of), max_failed="100%")
    bench.run(session)
    bench.execute(
        "UPDATE items SET state = 'discarded', outcome = 'failed', error_code = 'upstream.500', error_message = 'x' "
        f"WHERE session_id = '{session}' AND item_no <= {failed}"
    )
    assert http.get(f"/api/session/{session}/status").json["failed"] == failed
    return session
