"""Whose requests the API answers, whom it takes them for, and what browsers are told."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from werkzeug.test import Client

from shared.api.guard import LOCAL, UNKNOWN, who
from shared.api.requests import QUERY_LIMIT
from tests.functions.asking import problem
from tests.workbench import Workbench, artists_csv

PAUSE = f"/api/session/{uuid4()}/pause"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_REVISION", "api-00001")


class TestOrigins:
    """With the ledger away: 403 is said before it is asked, 503 is what the others get."""

    @pytest.mark.parametrize("headers", [
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "else"},
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:8081"},
        {"Origin": "http://localhost.evil.example"}, {"Origin": "http://localhost@evil.example"}, {"Origin": ""},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    ])  # fmt: skip
    def test_other_sites_pages_change_nothing(self, away: Client, headers: dict[str, str]) -> None:
        assert "another site" in problem(away.post(PAUSE, headers=headers), 403)["detail"]
        problem(away.post("/api/upload", headers=headers), 403)

    @pytest.mark.parametrize("headers", [
        {}, {"Origin": "http://localhost"}, {"Origin": "http://LOCALHOST"}, {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8080"},  # a proxy may change Host
    ])  # fmt: skip
    def test_its_own_page_and_tools_do(self, away: Client, headers: dict[str, str]) -> None:
        problem(away.post(PAUSE, headers=headers), 503, "ledger-down")

    def test_reading_is_no_change(self, away: Client) -> None:
        assert away.get("/openapi.json", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


class TestHosts:
    @pytest.mark.parametrize("host", [
        "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.2", "0.0.0.0",
        "", "[::1", "localhost@evil.example", "evil.example#localhost",
    ])  # fmt: skip
    def test_off_cloud_run_no_other_name_than_this_machines_is_answered(self, away: Client, host: str) -> None:
        response = away.get("/openapi.json", headers={"Host": host})
        assert "this machine" in problem(response, 403)["detail"]

    @pytest.mark.parametrize("host", ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"])
    def test_its_own_names_on_any_port_are(self, away: Client, host: str) -> None:
        assert away.get("/openapi.json", headers={"Host": host}).status_code == 200

    @pytest.mark.usefixtures("cloud")
    def test_on_cloud_run_any_name_is(self, away: Client) -> None:
        assert away.get("/openapi.json", headers={"Host": "api-1.run.app"}).status_code == 200

    def test_the_name_the_local_stack_gives_a_function_does_not_make_it_the_cloud(
        self, away: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("K_SERVICE", "rowlift-api")
        problem(away.get("/openapi.json", headers={"Host": "evil.example"}), 403)


def token(payload: Any) -> str:
    """A bearer token as Cloud Run passes it on, its signature gone."""
    middle = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"Bearer e30.{middle}.SIGNATURE_REMOVED_BY_GOOGLE"


def asked(**headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with Flask("x").test_request_context("/", headers=named) as context:
        return who(context.request)


PERSON = "accounts.google.com:ann@example.com"
PROXY = token({"email": "service-1@gcp-sa-iap.iam.gserviceaccount.com"})


class TestWho:
    def test_off_cloud_run_nobody_is_believed(self) -> None:
        assert asked(Authorization=token({"email": "ann@example.com"}), X_Goog_Authenticated_User_Email=PERSON) == LOCAL

    @pytest.mark.usefixtures("cloud")
    @pytest.mark.parametrize(("headers", "expected"), [
        ({}, UNKNOWN),
        ({"Authorization": token({"email": "ann@example.com"})}, "ann@example.com"),
        ({"Authorization": token({"sub": "1234"})}, "1234"),
        ({"X_Goog_Authenticated_User_Email": PERSON}, "ann@example.com"),
        ({"X_Goog_Authenticated_User_Email": PERSON, "X_Serverless_Authorization": PROXY}, "ann@example.com"),
        ({"X_Goog_Authenticated_User_Email": PERSON, "Authorization": PROXY}, "ann@example.com"),
    ])  # fmt: skip
    def test_googles_word_is_taken(self, headers: dict[str, str], expected: str) -> None:
        assert asked(**headers) == expected

    @pytest.mark.usefixtures("cloud")
    def test_nobody_let_in_by_a_token_can_claim_to_be_another(self) -> None:
        mine = token({"email": "bob@example.com"})
        assert asked(Authorization=mine, X_Goog_Authenticated_User_Email=PERSON) == "bob@example.com"
        other = token({"email": "ann@example.com"})  # not looked at by Cloud Run beside the other header
        assert asked(X_Serverless_Authorization=mine, Authorization=other) == "bob@example.com"

    @pytest.mark.usefixtures("cloud")
    @pytest.mark.parametrize("value", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "Bearer a.e30.c",
                                       "Bearer a.W10.c", token("x"), token({"email": 7}), "Bearer a.ÿ.c"])  # fmt: skip
    def test_what_cannot_be_read_is_nobody(self, value: str) -> None:
        assert asked(Authorization=value) == UNKNOWN


class TestLimits:
    def test_a_long_query_is_refused(self, away: Client) -> None:
        problem(away.get(f"/api/session/{uuid4()}/items?q=" + "x" * QUERY_LIMIT), 414)
        problem(away.get("/api/sessions?" + "&".join(f"a{i}=1" for i in range(900))), 414)

    @pytest.mark.parametrize("query", [f"q={'x' * 101}", f"error_code={'x' * 101}", "q=%00%20", "error_code=%20"])
    def test_words_have_bounds(self, away: Client, query: str) -> None:
        problem(away.get(f"/api/session/{uuid4()}/items?{query}"), 422, "invalid-request")

    @pytest.mark.parametrize("session", ["17", "..", "%2e%2e", "x" * 300, "%00", "'; DROP TABLE items; --", "é"])
    def test_ids_that_are_none_are_not_found(self, away: Client, session: str) -> None:
        for end in ("/status", "/progress", "/errors", "/audit", "/resumed", "/manifest", "/movies/summary"):
            response = away.get(f"/api/session/{session}{end}")
            assert response.status_code == 404
            assert len(response.data) < 1_000

    @pytest.mark.parametrize(("path", "part"), [
        ("/api/session/{}/status", "session"), ("/api/session/{}/progress", "session_progress"),
        ("/api/session/{}/audit", "audit_entries"), ("/api/session/{}/items?q=x", "items_between"),
        ("/api/session/{}/results?after=s0", "results_horizon"), ("/api/session/{}/resumed", "resumed_findings"),
    ])  # fmt: skip
    def test_no_answer_holds_a_trace_of_the_code(
        self, http: Client, bench: Workbench, monkeypatch: pytest.MonkeyPatch, path: str, part: str
    ) -> None:
        session = bench.drop(artists_csv(1))
        rows = bench.db.rows

        def broken(name: str, **params: Any) -> Any:
            if name == part:
                raise ZeroDivisionError("secret inner life")
            return rows(name, **params)

        monkeypatch.setattr(bench.db, "rows", broken)
        response = http.get(path.format(session))
        problem(response, 500)
        for word in ("secret", "Traceback", "ZeroDivision", ".py", "File ", "SELECT"):
            assert word not in response.text
