"""Sessions by the beginning of their id, on a fake deployment of several pages."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from cli.client import Api
from cli.faults import WrongUsage
from cli.naming import checked, session_named, short
from tests.fake_api import LOCAL, SESSION, FakeApi, status_of
from tests.unit.conftest import ID, Run

SESSIONS = [UUID(f"{number:08x}-0000-4000-8000-{number:012x}") for number in range(0xA000, 0xA000 + 250)]
TWIN = UUID("2f1c3b9e-ffff-4000-8000-000000000000")


def service(sessions: list[UUID]) -> tuple[Api, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        before, limit = request.url.params.get("before"), int(request.url.params["limit"])
        start = sessions.index(UUID(before)) + 1 if before else 0
        page = sessions[start : start + limit]
        more = start + limit < len(sessions)
        document = {"sessions": [status_of(each) for each in page], "next": str(page[-1]) if more else None}
        return httpx.Response(200, json=document)

    return Api(LOCAL, transport=httpx.MockTransport(handler)), asked


def test_a_whole_id_is_taken_without_asking() -> None:
    api, asked = service([])
    assert session_named(ID, api) == session_named(ID.upper().replace("-", ""), api) == SESSION
    assert asked == []


@pytest.mark.parametrize("text", [short(SESSION), "2F1C", "2f1c3b9e-5a0d", "2f1c3b9e5a0d5d579c1e8f4f5a1b7c1"])
def test_a_beginning_is_enough_on_whatever_page_the_session_is(text: str) -> None:
    api, asked = service([*SESSIONS, SESSION])
    assert session_named(text, api) == SESSION
    assert len(asked) == 3


def test_a_beginning_of_two_or_of_none_is_refused_and_both_are_named() -> None:
    api, _ = service([SESSION, TWIN])
    with pytest.raises(WrongUsage, match=rf"2 sessions begin with 2f1c3b9e: {SESSION}, {TWIN}\. Type more of it"):
        session_named("2f1c3b9e", api)
    with pytest.raises(WrongUsage, match="No session's id begins with beef; `rowlift status` lists the sessions"):
        session_named("beef", api)


@pytest.mark.parametrize("text", ["", "2f1", "nine", "2f1c3b9g", "2f1c" * 9, "last", "*"])
def test_what_no_id_begins_with_is_refused_at_once(text: str) -> None:
    with pytest.raises(WrongUsage, match="is not a session id, nor the first 4 or more digits of one"):
        checked(text)


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["watch"], ["results"], ["rejects"], ["reprocess"], ["match"], ["pause"], ["resume"], ["cancel"],
        ["approve"], ["verify"],
    ],
)  # fmt: skip
def test_every_command_takes_a_beginning(run: Run, api: FakeApi, stack: dict[str, Any], words: list[str]) -> None:
    api.answers[f"POST /api/session/{ID}/reprocess"] = {"opened": 0, "status": status_of()}
    api.answers[f"GET /api/session/{ID}/verify"] = httpx.Response(409, json={"detail": "Seen."})
    run(*words, short(SESSION))
    assert any(ID in request.url.path for request in api.requests)


def test_files_join_a_session_by_the_beginning_of_its_id(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: Any, files: list[str]
) -> None:
    ran = run("upload", "a.csv", "--session", short(SESSION), "--json")
    assert (ran.code, ran.answer["session_id"]) == (0, ID)
    assert bucket.uploaded[0]["metadata"] == {"session": ID}
