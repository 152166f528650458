"""Recorded answers and errors of OpenAI, and what Rowlift makes of each; the transport is a function."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import openai
import pytest

from shared.prompts import load
from shared.upstreams import connections, openai_errors
from shared.upstreams.base import Answer, ErrorClass, Failure, RateLimits, Usage
from shared.upstreams.openai import DEFAULT_MAX_OUTPUT_TOKENS, DEFAULT_MODEL, OpenAIUpstream, read, worst_case_tokens
from shared.upstreams.prices import price_of

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "openai"
needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded traffic is not at {DATA}")
T, P, S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC
PROMPT = load("artist-bio/1")
KEY = "sk-test-0123456789abcdef"

RECORDED_ERRORS = {
    "400-chat-invalid_image_url-12.json": (P, "upstream.rejected", None),
    "400-chat-invalid_image_url-24.json": (P, "upstream.rejected", None),
    "400-chat-invalid_request_error-19.json": (S, "upstream.bad_configuration", None),
    "400-chat-invalid_value-15.json": (S, "upstream.bad_configuration", None),
    "400-chat-unsupported_parameter-max_tokens.json": (S, "upstream.bad_configuration", None),
    "400-chat-unsupported_value-18.json": (S, "upstream.bad_configuration", None),
    "400-invalid_prompt-policy.json": (P, "upstream.content_policy", None),
    "400-responses-decimal_below_min_value-20.json": (S, "upstream.bad_configuration", None),
    "400-responses-invalid_request_error-21.json": (P, "upstream.rejected", None),
    "400-responses-invalid_value-17.json": (P, "upstream.rejected", None),
    "400-responses-model_not_found-14.json": (S, "upstream.model_not_found", None),
    "400-responses-unsupported_file-16.json": (P, "upstream.rejected", None),
    "400-responses-unsupported_parameter-temperature.json": (S, "upstream.bad_configuration", None),
    "401-chat-invalid_api_key-22.json": (S, "upstream.bad_key", None),
    "401-chat-invalid_api_key-23.json": (S, "upstream.bad_key", None),
    "401-conversations-invalid_api_key-1.json": (S, "upstream.bad_key", None),
    "404-chat-model_not_found-10.json": (S, "upstream.model_not_found", None),
    "404-models-model_not_found-4.json": (S, "upstream.model_not_found", None),
    "429-insufficient_quota-old-null-code.json": (S, "upstream.quota_exhausted", None),
    "429-responses-insufficient_quota.json": (S, "upstream.quota_exhausted", None),
    "429-tokens-no-rate-limit-headers.json": (T, "upstream.rate_limited", 18.642),
    "429-tokens-rate_limit_exceeded.json": (T, "upstream.rate_limited", 1.574),
    "500-vector_stores-server_error-9.json": (T, "upstream.server_error", None),
    "503-overloaded.json": (T, "upstream.server_error", None),
    "batch-token_limit_exceeded.json": (T, "upstream.malformed", None),  # a 200 that is no response at all
}
RECORDED_ANSWERS = {
    "message-7b3ad8.json": '{"name":"Alice","age":30}',
    "message-8195f3.json": "The capital of France is Paris.",
    "message-c591fb.json": "Hello!",
    "message-d7a528.json": "The capital of France is Paris.",
    "reasoning-then-message-628520.json": "The sky looks blue mainly because",
    "reasoning-then-message-8f9bc3.json": "The sky looks blue mainly because",
    "reasoning-then-message-a2f6b8.json": "3",
    "reasoning-then-message-ece40d.json": "3",
    "web-search-b57c31.json": "The tallest mountain in Alberta is **Mount Columbia**",
}


def upstream(handler: Callable[[httpx2.Request], httpx2.Response], **changed: Any) -> OpenAIUpstream:
    settings = {"api_key": KEY, "request_timeout": 5.0, "base_url": "http://openai.test/v1"}
    return OpenAIUpstream(**{**settings, "transport": httpx2.MockTransport(handler), **changed})


def ask(answer: httpx2.Response | Exception, **changed: Any) -> Answer | Failure:
    def handler(_request: httpx2.Request) -> httpx2.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return upstream(handler, **changed).call(PROMPT.render(artist_name="Nobody", artist_data=""), timeout=5.0)


def failed(answer: httpx2.Response | Exception, **changed: Any) -> Failure:
    outcome = ask(answer, **changed)
    assert isinstance(outcome, Failure)
    return outcome


def recorded(folder: str, name: str) -> tuple[int, dict[str, str], Any]:
    file = json.loads((DATA / folder / name).read_text())
    headers = {k: v for k, v in (file.get("headers") or {}).items() if k not in ("content-length", "content-encoding")}
    return file["status"], headers, file["body"]


def error(**members: Any) -> dict[str, Any]:
    return {"error": {"message": "m", "type": "invalid_request_error", "param": None, "code": None, **members}}


def body(*output: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "id": "resp_1", "created_at": 1755603578, "status": "completed", "model": "m", "output": list(output),
        "usage": {"input_tokens": 7, "output_tokens": 3}, **members,
    }  # fmt: skip


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words}


@needs_recordings
def test_every_recorded_error_is_in_the_table_above() -> None:
    assert {path.name for path in (DATA / "errors").iterdir()} == set(RECORDED_ERRORS)


@needs_recordings
@pytest.mark.parametrize(("name", "expected"), RECORDED_ERRORS.items())
def test_recorded_errors(name: str, expected: tuple[ErrorClass, str, float | None]) -> None:
    status, headers, content = recorded("errors", name)
    outcome = failed(httpx2.Response(status, headers=headers, json=content))
    assert (outcome.kind, outcome.code, outcome.retry_after) == expected
    assert outcome.request_id == headers.get("x-request-id")
    assert outcome.call_state == ("failed" if status != 200 else "unknown")
    assert 20 < len(outcome.message) <= 500


@needs_recordings
def test_every_recorded_answer_is_in_the_table_above() -> None:
    whole = {path.name for path in (DATA / "responses").glob("*.json") if not path.name.startswith("background")}
    assert whole == set(RECORDED_ANSWERS)


@needs_recordings
@pytest.mark.parametrize(("name", "begins"), RECORDED_ANSWERS.items())
def test_recorded_answers(name: str, begins: str) -> None:
    status, headers, content = recorded("responses", name)
    outcome = ask(httpx2.Response(status, headers=headers, json=content))
    assert isinstance(outcome, Answer)
    assert outcome.text.startswith(begins)
    assert outcome.response_id == content["id"]
    assert outcome.model == content["model"]
    assert outcome.created == datetime.fromtimestamp(content["created_at"], UTC)
    assert outcome.usage.total == content["usage"]["total_tokens"]
    said = headers.get("x-ratelimit-limit-requests")
    assert outcome.limits == (
        RateLimits(requests=int(said), tokens=int(headers["x-ratelimit-limit-tokens"])) if said else None
    )


@needs_recordings
@pytest.mark.parametrize("name", ["background-queued-eaae71.json", "background-queued-ee4b47.json"])
def test_a_response_that_is_only_queued_is_no_answer_and_may_yet_cost(name: str) -> None:
    status, headers, content = recorded("responses", name)
    outcome = failed(httpx2.Response(status, headers=headers, json=content))
    assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.unfinished", "unknown")
    assert outcome.response_id == content["id"]


@needs_recordings
def test_the_failed_response_at_the_end_of_a_recorded_stream_holds_the_quota() -> None:
    last = json.loads((DATA / "responses" / "stream-openai-error.1.jsonl").read_text().splitlines()[-1])
    outcome = failed(httpx2.Response(200, json=last["response"]))
    assert (outcome.kind, outcome.code) == (S, "upstream.quota_exhausted")


@needs_recordings
def test_every_code_a_failed_response_can_have_is_in_the_table() -> None:
    document = json.loads(gzip.decompress((DATA / "openapi" / "openai-excerpt.json.gz").read_bytes()))
    codes = document["components"]["schemas"]["ResponseErrorCode"]["enum"]
    assert set(codes) - set(openai_errors.BY_CODE) == set()


@pytest.mark.parametrize(
    ("status", "content", "kind", "code"),
    [
        (400, error(param="max_output_tokens", code="invalid_value"), S, "upstream.bad_configuration"),
        (400, error(param="reasoning.effort", code="unsupported_value"), S, "upstream.bad_configuration"),
        (400, error(param="instructions"), S, "upstream.bad_configuration"),
        (400, error(param="input", code="context_length_exceeded"), P, "upstream.too_long"),
        (400, error(param="input", code="string_above_max_length"), P, "upstream.rejected"),
        (400, error(param="input_limit"), S, "upstream.bad_configuration"),
        (400, error(), P, "upstream.rejected"),
        (400, error(code="billing_hard_limit_reached"), S, "upstream.quota_exhausted"),
        (402, error(), S, "upstream.quota_exhausted"),
        (403, error(code="unsupported_country_region_territory"), S, "upstream.forbidden"),
        (404, error(), S, "upstream.bad_address"),
        (405, {}, S, "upstream.bad_address"),
        (301, {}, S, "upstream.bad_address"),
        (408, error(), T, "upstream.conflict"),
        (409, error(), T, "upstream.conflict"),
        (413, error(), P, "upstream.too_long"),
        (422, error(), P, "upstream.rejected"),
        (429, error(type="insufficient_quota", code=None), S, "upstream.quota_exhausted"),
        (429, error(type="billing_not_active"), S, "upstream.quota_exhausted"),
        (429, {}, T, "upstream.rate_limited"),
        (500, error(code="model_not_found"), T, "upstream.server_error"),
        (529, {}, T, "upstream.server_error"),
        (400, [1], P, "upstream.rejected"),
        (400, {"error": "text"}, P, "upstream.rejected"),
    ],
)
def test_statuses(status: int, content: Any, kind: ErrorClass, code: str) -> None:
    outcome = failed(httpx2.Response(status, json=content))
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, "failed")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_pages_of_the_edge_are_transient(status: int) -> None:
    resets = {"x-ratelimit-reset-requests": "6ms"}
    for headers, seconds in (({"retry-after": "7", **resets}, 7.0), (resets, None)):
        outcome = failed(httpx2.Response(status, html="<html><h1>Bad gateway</h1></html>", headers=headers))
        assert (outcome.kind, outcome.code, outcome.retry_after) == (T, "upstream.server_error", seconds)
    assert "<html>" not in outcome.message


@pytest.mark.parametrize(
    ("headers", "members", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, {}, 1.5),
        ({"retry-after": "3"}, {}, 3.0),
        ({"retry-after": "0.25"}, {}, 0.25),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, {}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, {}, 0.0),
        ({"retry-after": "soon", "x-ratelimit-reset-requests": "6ms"}, {}, 0.006),
        ({"retry-after": "-4"}, {}, None),
        ({"retry-after": "nan"}, {"message": "Please try again in 1m2s."}, 62.0),
        ({"x-ratelimit-reset-requests": "20m52.666s", "x-ratelimit-reset-tokens": "8.64s"}, {"type": "tokens"}, 8.64),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "9s"}, {}, 9.0),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "9s",
                "x-ratelimit-remaining-requests": "0",
            },
            {},
            1.0,
        ),
        ({}, {"message": "Please try again in 6ms. Visit"}, 0.006),
        ({}, {"message": "Please try again later"}, None),
        ({}, {"message": 7}, None),
    ],
)
def test_the_wait_after_a_429(headers: dict[str, str], members: dict[str, Any], seconds: float | None) -> None:
    outcome = failed(httpx2.Response(429, headers=headers, json=error(code="rate_limit_exceeded", **members)))
    assert outcome.retry_after == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(("text", "seconds"), [("6ms", 0.006), ("0s", 0.0), ("1h2m3.5s", 3723.5), ("1d", 86400.0)])
def test_durations(text: str, seconds: float) -> None:
    assert openai_errors.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1s later", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    assert openai_errors.duration(text) is None


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (body(message({"type": "refusal", "refusal": "I can't"})), P, "upstream.refused"),
        (body(message(text("half"), {"type": "refusal", "refusal": "no"})), P, "upstream.refused"),
        (body(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), P, "upstream.incomplete"),
        (body(status="incomplete", incomplete_details={"reason": "content_filter"}), P, "upstream.content_filter"),
        (body(status="failed", error={"code": "server_error", "message": "m"}), T, "upstream.server_error"),
        (body(status="failed", error={"code": "rate_limit_exceeded", "message": "m"}), T, "upstream.rate_limited"),
        (body(status="failed", error={"code": "invalid_prompt", "message": "m"}), P, "upstream.content_policy"),
        (body(status="failed", error={"code": "brand_new", "message": "m"}), T, "upstream.response_failed"),
        (body(status="failed", error=None), T, "upstream.response_failed"),
        (body(status="cancelled"), T, "upstream.response_failed"),
        (body(status="brand_new"), T, "upstream.response_failed"),
        (body(), T, "upstream.empty_answer"),
        (body(message(text("  \n\x00"))), T, "upstream.empty_answer"),
        (body({"type": "reasoning", "summary": []}), T, "upstream.empty_answer"),
    ],
)
def test_answers_that_are_none_keep_what_they_cost(content: dict[str, Any], kind: ErrorClass, code: str) -> None:
    outcome = failed(httpx2.Response(200, json=content))
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, "failed")
    assert outcome.usage == Usage(input_tokens=7, output_tokens=3)
    assert (outcome.response_id, outcome.model) == ("resp_1", "m")


def test_an_answer_cut_off_at_its_limit_names_the_setting() -> None:
    assert "raise OPENAI_MAX_OUTPUT_TOKENS" in failed(httpx2.Response(200, json=body(status="incomplete"))).message


@pytest.mark.parametrize(
    "content",
    [b"", b"oops", b'{"id": "resp', b"[]", b"null", b"{}", b'"text"', b'{"status": "completed", "output": 3}',
     b"\xff\xfe",
     json.dumps(body({"text": "no type"})).encode(), json.dumps(body(message(text("x")), created_at="x")).encode(),
     json.dumps(body(message(text("x")), created_at=1e300)).encode(),
     json.dumps(body(message({"type": "output_text"}))).encode(),
     json.dumps(body(message(text("x")), usage={"input_tokens": None})).encode()],
)  # fmt: skip
def test_a_200_that_cannot_be_read_is_transient_and_may_have_cost(content: bytes) -> None:
    outcome = failed(httpx2.Response(200, content=content))
    assert (outcome.kind, outcome.code, outcome.call_state) == (T, "upstream.malformed", "unknown")


def test_all_text_of_all_messages_is_joined() -> None:
    content = body(
        {"type": "reasoning"}, message(text("One, "), text("two")), {"type": "x"}, message(text(", three.\n"))
    )
    outcome = ask(httpx2.Response(200, json=content))
    assert isinstance(outcome, Answer)
    assert outcome.text == "One, two, three."


def test_lone_surrogates_and_nul_are_scrubbed() -> None:
    content = json.dumps(body(message(text("a\x00b \ud83d c é"))))
    outcome = read(content.encode(), {})
    assert isinstance(outcome, Answer)
    assert outcome.text == "ab ? c é"


def test_usage_details() -> None:
    usage = {
        "input_tokens": 9,
        "output_tokens": 2,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    }
    outcome = read(json.dumps(body(message(text("x")), usage=usage)).encode(), {})
    assert isinstance(outcome, Answer)
    assert outcome.usage == Usage(input_tokens=9, output_tokens=2, cached_tokens=4, cache_write_tokens=1)


@pytest.mark.parametrize(
    ("raised", "kind", "code", "call_state"),
    [
        (httpx2.ConnectError("refused"), T, "upstream.unreachable", "failed"),
        (httpx2.ConnectTimeout("late"), T, "upstream.unreachable", "failed"),
        (httpx2.PoolTimeout("full"), T, "upstream.unreachable", "failed"),
        (httpx2.ProxyError("proxy"), T, "upstream.unreachable", "failed"),
        (httpx2.ReadTimeout("late"), T, "upstream.timeout", "unknown"),
        (httpx2.WriteTimeout("late"), T, "upstream.timeout", "unknown"),
        (httpx2.ReadError("reset"), T, "upstream.cut", "unknown"),
        (httpx2.RemoteProtocolError("closed"), T, "upstream.cut", "unknown"),
        (httpx2.DecodingError("gzip"), T, "upstream.malformed", "unknown"),
        (httpx2.UnsupportedProtocol("ftp"), S, "upstream.bad_address", "failed"),
        (httpx2.LocalProtocolError("header"), S, "upstream.bad_configuration", "failed"),
    ],
)
def test_broken_connections(raised: Exception, kind: ErrorClass, code: str, call_state: str) -> None:
    outcome = failed(raised)
    assert (outcome.kind, outcome.code, outcome.call_state) == (kind, code, call_state)


def test_what_nobody_foresaw_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        ask(ZeroDivisionError("not ours"))


def subclasses(root: type) -> set[type]:
    return {root}.union(*(subclasses(below) for below in root.__subclasses__()))


def test_every_exception_of_the_openai_library_is_in_the_table() -> None:
    from openai import _exceptions

    public = {value for value in vars(_exceptions).values() if isinstance(value, type) and issubclass(value, Exception)}
    known = set(openai_errors.BY_EXCEPTION)
    names = {
        error.__name__ for error in subclasses(openai.OpenAIError) | public if error.__module__.startswith("openai")
    }
    assert names - known == set()


def test_every_transport_error_of_httpx_is_decided_and_httpcore_has_no_others() -> None:
    for error in subclasses(httpx2.RequestError):
        assert openai_errors._by_exception(error("x")) is not None, error
    ours = {error for error in vars(httpcore2).values() if isinstance(error, type) and issubclass(error, Exception)}
    for error in ours - {httpcore2.ConnectionNotAvailable}:
        assert type(connections.translated(error("x"))) is getattr(httpx2, error.__name__)
    assert isinstance(connections.translated(ValueError("x")), ValueError)


def test_codes_and_messages_keep_their_form() -> None:
    verdicts = [*openai_errors.BY_CODE.values(), *openai_errors.BY_STATUS.values()]
    verdicts += [verdict for verdict in openai_errors.BY_EXCEPTION.values() if verdict]
    assert {verdict.code.partition(".")[0] for verdict in verdicts} == {"upstream"}
    long = failed(httpx2.Response(500, json=error(message="x" * 10_000)))
    assert len(long.message) == 500


def test_no_key_gets_into_a_message() -> None:
    said = f"Incorrect API key provided: {KEY}. Bearer {KEY} was sent"
    for status in (400, 401, 403, 404, 429, 500):
        assert KEY[8:] not in failed(httpx2.Response(status, json=error(message=said))).message
    assert KEY not in repr(upstream(lambda _: httpx2.Response(500)))


@pytest.mark.parametrize("key", ["", "sk-with blank", "sk-line\n", "sk-ünïcode"])
def test_a_key_that_cannot_be_sent_is_a_bad_key(key: str) -> None:
    outcome = failed(httpx2.Response(200), api_key=key)
    assert (outcome.kind, outcome.code, outcome.call_state) == (S, "upstream.bad_key", "failed")
    assert not key or key not in outcome.message


def test_an_address_that_is_none_is_a_bad_address() -> None:
    outcome = failed(httpx2.Response(200), base_url="http://host:port/v1")
    assert (outcome.kind, outcome.code) == (S, "upstream.bad_address")


def test_the_request_is_what_the_service_wants() -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(500)

    rendered = PROMPT.render(artist_name="Sigur Rós", artist_data="")
    upstream(handler).call(rendered, timeout=2.0)
    upstream(handler, model="gpt-4.1-mini", max_output_tokens=300).call(rendered, timeout=99.0)
    assert len(seen) == 2, "the library must not try again by itself"
    first, second = (json.loads(request.content) for request in seen)
    assert first == {
        "model": DEFAULT_MODEL, "max_output_tokens": DEFAULT_MAX_OUTPUT_TOKENS, "store": False,
        "reasoning": {"effort": "low"}, "instructions": rendered.instructions, "input": rendered.input,
    }  # fmt: skip
    assert (second["model"], second["max_output_tokens"]) == ("gpt-4.1-mini", 300)
    assert "reasoning" not in second
    assert str(seen[0].url) == "http://openai.test/v1/responses"
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert seen[0].extensions["timeout"]["read"] == 2.0
    assert seen[1].extensions["timeout"] == {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}


def test_one_way_to_openai_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = upstream(lambda _: httpx2.Response(500))
    first = calls._wire()
    assert calls._wire() is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert calls._wire() is not first
    calls.close()
    assert calls._wires == {}


def test_the_worst_case() -> None:
    calls = upstream(lambda _: httpx2.Response(500))
    rendered = PROMPT.render(artist_name="Молчат Дома", artist_data="日本")
    worst = calls.worst_case(rendered)
    assert worst.input_tokens == worst_case_tokens(rendered.instructions + rendered.input)
    assert worst.output_tokens == 1200
    # 1,000 bios are reserved at less than a dollar, so a small budget does not stall on reservations.
    assert 0 < price_of(DEFAULT_MODEL).cost(worst) < 1000


@needs_recordings
def test_no_recorded_input_had_more_tokens_than_the_worst_case() -> None:
    checked = 0
    for path in (DATA / "responses").glob("*.json"):
        file = json.loads(path.read_text())
        wanted, usage = file["request"]["body"], file["body"]["usage"]
        if usage and isinstance(wanted["input"], str) and not wanted.get("tools"):
            assert usage["input_tokens"] <= worst_case_tokens(wanted["input"] + (wanted.get("instructions") or ""))
            checked += 1
    assert checked >= 5
