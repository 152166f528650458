"""The command's HTTP client: what is asked, with which token, and what each refusal means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import google.auth
import httpx
import pytest
from google.auth.exceptions import DefaultCredentialsError
from google.oauth2 import id_token

from cli.client import Api, NoSuchSession, identity_token
from cli.faults import Unreachable, WrongUsage
from tests.fake_api import CLOUD, LOCAL, SESSION, FakeApi, problem, status_of


def api(handler: Any, base: str = LOCAL, **details: Any) -> Api:
    return Api(base, transport=httpx.MockTransport(handler), **details)


def answering(response: Any) -> Api:
    return api(FakeApi(answers={f"GET /api/session/{SESSION}/status": response}))


def test_a_status_is_the_documents_of_the_api() -> None:
    fake = FakeApi({SESSION: [status_of()]})
    assert api(fake).status(SESSION) == status_of()
    assert "Authorization" not in fake.requests[0].headers


@pytest.mark.parametrize("code", [400, 404, 409, 410, 422])
def test_what_the_caller_did_wrong_ends_with_status_2_and_the_apis_own_words(code: int) -> None:
    with pytest.raises(WrongUsage, match="It is over") as caught:
        answering(problem(code, "It is over.")).status(SESSION)
    assert caught.value.status == 2
    assert caught.value.problem is not None
    assert caught.value.problem["status"] == code
    assert isinstance(caught.value, NoSuchSession) == (code == 404)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_what_the_service_cannot_do_now_ends_with_status_3(code: int) -> None:
    with pytest.raises(Unreachable, match=rf"cannot answer now \({code}\): Down") as caught:
        answering(problem(code, "Down for a moment.")).status(SESSION)
    assert caught.value.status == 3


@pytest.mark.parametrize("code", [401, 403])
def test_a_door_that_stays_shut_names_the_role(code: int) -> None:
    with pytest.raises(Unreachable, match=r"roles/run\.invoker"):
        answering(httpx.Response(code, text="<html>")).status(SESSION)


@pytest.mark.parametrize(
    ("response", "error", "words"),
    [
        (httpx.ConnectError("refused"), Unreachable, r"Cannot reach http://127.0.0.1:9 \(ConnectError\).*rowlift up"),
        (httpx.ReadTimeout("slow"), Unreachable, "did not answer in time"),
        (httpx.Response(200, text="<html>hello"), Unreachable, "not as Rowlift's API does"),
        (httpx.Response(200, json=[1]), Unreachable, "not as Rowlift's API does"),
        (httpx.Response(500, text="oops"), Unreachable, "it gives no reason"),
        (httpx.Response(404, json=["no"]), WrongUsage, "answers 404; is this the address"),
    ],
)
def test_other_answers(response: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        answering(response).status(SESSION)


def test_a_stream_that_is_cut_is_no_success() -> None:
    def pieces() -> Any:
        yield b"one\n"
        raise httpx.ReadError("cut")

    cut = httpx.Response(200, content=pieces())
    service = api(FakeApi(answers={f"GET /api/session/{SESSION}/results": cut}))
    with pytest.raises(Unreachable, match="ReadError"), service.results(SESSION) as stream:
        list(stream)


def test_actions_send_their_body() -> None:
    fake = FakeApi({SESSION: [status_of()]})
    api(fake).act(SESSION, "resume", {"budget_usd": 2.5})
    api(fake).act(SESSION, "pause")
    assert fake.sent("POST", f"/api/session/{SESSION}/resume") == [{"budget_usd": 2.5}]
    assert fake.sent("POST", f"/api/session/{SESSION}/pause") == [{}]


def test_an_https_address_gets_a_token_made_for_it_which_is_renewed_when_it_has_expired() -> None:
    tokens = iter(("old", "new"))
    asked: list[str] = []

    def token(audience: str) -> str:
        asked.append(audience)
        return next(tokens)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        expired = len(seen) == 2
        return httpx.Response(401) if expired else httpx.Response(200, json={"status": "ok"})

    seen: list[str] = []
    service = api(handler, CLOUD + "/", token=token)
    service.health()
    service.health()
    assert seen == ["Bearer old", "Bearer old", "Bearer new"]
    assert asked == [CLOUD, CLOUD]


def test_a_fresh_token_that_is_refused_is_not_tried_again() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(401)

    with pytest.raises(Unreachable, match="does not let you in"):
        api(handler, CLOUD, token=lambda _: "t").health()
    assert len(seen) == 1


@pytest.mark.parametrize(
    "base", ["http://rowlift.example.com", "http://10.0.0.7:8080", "ftp://127.0.0.1", "nonsense", ""]
)
def test_no_token_goes_over_an_open_line_and_nonsense_is_no_address(base: str) -> None:
    with pytest.raises(WrongUsage, match=r"not encrypted|no address of an API"):
        Api(base)


@pytest.mark.parametrize("base", ["http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:8080"])
def test_loopback_needs_no_token(base: str) -> None:
    assert api(FakeApi(), base).local


def test_a_service_account_gets_its_token_for_the_audience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_token, "fetch_id_token", lambda request, audience: f"for {audience}")
    assert identity_token(CLOUD) == f"for {CLOUD}"


def _no_service_account(*_: object) -> str:
    raise DefaultCredentialsError("none")


def test_a_person_sends_the_token_of_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    person = SimpleNamespace(id_token="mine", refresh=lambda request: None)
    monkeypatch.setattr(id_token, "fetch_id_token", _no_service_account)
    monkeypatch.setattr(google.auth, "default", lambda: (person, None))
    assert identity_token(CLOUD) == "mine"


@pytest.mark.parametrize("found", [None, SimpleNamespace(refresh=lambda request: None)])
def test_without_credentials_the_login_is_named(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    monkeypatch.setattr(id_token, "fetch_id_token", _no_service_account)
    monkeypatch.setattr(google.auth, "default", lambda: (found, None) if found else _no_service_account())
    with pytest.raises(Unreachable, match="gcloud auth application-default login"):
        identity_token(CLOUD)


def test_the_page_of_newest_sessions_is_as_long_as_asked() -> None:
    fake = FakeApi()
    assert [each["session_id"] for each in api(fake).sessions(limit=3)["sessions"]] == [str(SESSION)]
    assert fake.requests[0].url.params["limit"] == "3"


HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    ("response", "error", "words"),
    [
        (httpx.Response(200, text="<html>", headers=HTML), Unreachable, "an HTML page.*a proxy or login page stands"),
        (httpx.Response(502, text="<html>", headers=HTML), Unreachable, r"cannot answer now \(502\).*an HTML page"),
        (
            httpx.Response(302, headers={"Location": "https://login.example/x"}), Unreachable,
            "sends you on to https://login.example/x, a login page perhaps",
        ),
        (httpx.Response(503, json={"detail": "Full."}, headers={"Retry-After": "7"}), Unreachable, "Try again in 7 s"),
        (problem(404, "There is no session x."), NoSuchSession, "`rowlift status` lists the sessions"),
        (problem(410, "The session has expired."), WrongUsage, "Upload the file again: answers that were paid for"),
        (problem(403, "Requests from elsewhere are refused."), WrongUsage, "Requests from elsewhere are refused"),
    ],
)  # fmt: skip
def test_each_refusal_says_what_to_do_next(response: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        answering(response).status(SESSION)


def test_why_there_are_no_credentials_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    path = tmp_path / "key.json"
    path.write_text("nonsense")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(Unreachable, match=r"No credentials for https://api-x.*key\.json.*gcloud auth"):
        identity_token(CLOUD)
