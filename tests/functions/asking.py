"""Asking the API in this process, and reading what it answers."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import flask
from functions_framework import read_request
from werkzeug.test import Client, TestResponse

from shared.api.routing import Api
from shared.serving import answer_request


def client_of(api: Api) -> Client:
    """The API as the framework mounts it: every path and method goes to the one handler."""
    app = flask.Flask("api")
    rule = app.url_rule_class("/<path:path>", endpoint="run")
    app.url_map.add(rule)
    app.url_map.add(app.url_rule_class("/", defaults={"path": ""}, endpoint="run"))
    app.view_functions["run"] = lambda path: answer_request(flask.request, api.answer)
    app.after_request(read_request)
    return app.test_client()


def problem(response: TestResponse, status: int, kind: str | None = None) -> dict[str, Any]:
    """The problem document of a refusal, its frame checked."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.mimetype == "application/problem+json"
    found = json.loads(response.data)
    assert found["status"] == status
    assert found["type"] == (f"urn:rowlift:problem:{kind}" if kind else "about:blank")
    assert found["title"]
    assert found["detail"]
    assert found["instance"] == response.request.path
    return found


def items_of(http: Client, session: UUID, query: str = "") -> dict[str, Any]:
    response = http.get(f"/api/session/{session}/items?{query}")
    assert response.status_code == 200
    return response.json
