"""TMDB's errors, recorded and constructed, and what Rowlift makes of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstreams import tmdb_errors as errors
from shared.upstreams.base import ErrorClass, Failure, RateLimits

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "movies" / "tmdb"
needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded answers are not at {DATA}")
T, P, S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC


def of_status(
    status: int, code: int | None = None, *, of_film: bool = True, said: str = "said", **headers: str
) -> Failure:
    body = {} if code is None else {"status_code": code, "status_message": said, "success": False}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return errors.failure_of_status(status, httpx2.Headers(named), orjson.dumps(body), of_film=of_film)


@needs_recordings
def test_recorded_errors() -> None:
    expected = {
        (401, 7): (S, "upstream.bad_key"),
        (404, 34): (P, "upstream.not_found"),
        (400, 22): (P, "upstream.rejected"),
        (422, 20): (P, "upstream.rejected"),
        (429, 25): (T, "upstream.rate_limited"),
        (503, 46): (T, "upstream.server_error"),
        (500, 11): (T, "upstream.server_error"),
        (504, 24): (T, "upstream.server_error"),
    }
    recorded = json.loads((DATA / "errors.json").read_text())
    assert {(entry["status"], entry["body"]["status_code"]) for entry in recorded} == set(expected)
    for entry in recorded:
        headers = httpx2.Headers(entry.get("headers", {}))
        outcome = errors.failure_of_status(entry["status"], headers, orjson.dumps(entry["body"]), of_film=True)
        assert (outcome.kind, outcome.code) == expected[entry["status"], entry["body"]["status_code"]], entry


@needs_recordings
def test_the_legacy_limit_tells_its_wait_and_its_size() -> None:
    recorded = json.loads((DATA / "errors.json").read_text())
    entry = next(entry for entry in recorded if "X-RateLimit-Limit" in entry.get("headers", {}))
    outcome = errors.failure_of_status(429, httpx2.Headers(entry["headers"]), orjson.dumps(entry["body"]), of_film=True)
    assert outcome.retry_after == 9
    assert outcome.limits == RateLimits(requests=40, tokens=None, period=10)


@pytest.mark.parametrize(
    ("status", "code", "kind", "ours"),
    [
        (401, 3, S, "upstream.bad_key"),
        (401, 7, S, "upstream.bad_key"),
        (401, 10, S, "upstream.bad_key"),
        (401, 14, S, "upstream.bad_key"),
        (401, 17, S, "upstream.bad_key"),
        (401, None, S, "upstream.bad_key"),
        (401, 34, S, "upstream.bad_key"),  # the status stands above a code that does not fit it
        (403, 45, S, "upstream.forbidden"),
        (403, None, S, "upstream.forbidden"),
        (404, 6, P, "upstream.not_found"),
        (404, 34, P, "upstream.not_found"),
        (404, None, S, "upstream.bad_address"),
        (500, 44, P, "upstream.not_found"),
        (301, None, S, "upstream.bad_address"),
        (400, 27, P, "upstream.rejected"),
        (405, 42, P, "upstream.rejected"),
        (418, None, P, "upstream.rejected"),
        (408, None, T, "upstream.conflict"),
        (429, None, T, "upstream.rate_limited"),
        (200, 25, T, "upstream.rate_limited"),
        (500, None, T, "upstream.server_error"),
        (502, 43, T, "upstream.server_error"),
        (503, 9, T, "upstream.server_error"),
        (529, None, T, "upstream.server_error"),
    ],
)
def test_statuses_and_codes(status: int, code: int | None, kind: ErrorClass, ours: str) -> None:
    outcome = of_status(status, code)
    assert (outcome.kind, outcome.code) == (kind, ours)


def test_a_search_that_is_not_found_is_at_the_wrong_address() -> None:
    outcome = of_status(404, 34, of_film=False)
    assert (outcome.kind, outcome.code) == (S, "upstream.bad_address")
    assert "TMDB_BASE_URL" in outcome.message


@pytest.mark.parametrize(("status", "code"), [(401, 7), (403, 45), (403, None), (401, None)])
def test_what_a_person_has_to_mend_is_named(status: int, code: int | None) -> None:
    assert "TMDB_API_TOKEN" in of_status(status, code).message


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("9", 9.0), ("0", 0.0), ("0.5", 0.5), ("999999999", 86_400.0), ("-1", None), ("soon", None), ("inf", None),
     ("nan", None), ("", None)],
)  # fmt: skip
def test_retry_after_in_seconds(told: str, seconds: float | None) -> None:
    assert of_status(429, 25, retry_after=told).retry_after == seconds


def test_retry_after_as_a_date_counts_by_the_clock_that_sent_it() -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC)
    date, later = (format_datetime(when, usegmt=True) for when in (now, now + timedelta(seconds=30)))
    assert of_status(503, retry_after=later, date=date).retry_after == 30
    assert of_status(503, retry_after=date, date=later).retry_after == 0


def test_only_what_is_tried_again_has_a_wait() -> None:
    assert of_status(401, 7, retry_after="9").retry_after is None
    assert of_status(404, 34, retry_after="9").retry_after is None


@pytest.mark.parametrize("told", ["", "0", "many", "-4", "4.5", "9" * 30])
def test_a_limit_that_is_none_is_ignored(told: str) -> None:
    assert of_status(429, 25, x_ratelimit_limit=told).limits is None


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null", b'"x"', b'{"status_code": "7"}', b"\xff"])
def test_bodies_of_somebody_else(content: bytes) -> None:
    outcome = errors.failure_of_status(502, {}, content, of_film=True)
    assert (outcome.kind, outcome.code) == (T, "upstream.server_error")
    assert "status 502" in outcome.message


@given(st.integers(300, 599), st.none() | st.integers(-5, 60), st.text(max_size=600), st.booleans())
def test_every_error_has_a_class_a_code_and_a_short_sentence(
    status: int, code: int | None, said: str, of_film: bool
) -> None:
    outcome = errors.judge(status, code, of_film=of_film)
    assert outcome.code.startswith("upstream.")
    if status in (401, 403):
        assert outcome.kind is S
    assert 20 < len(errors.failure(outcome, said=said).message) <= 500


@pytest.mark.parametrize(
    "secret", ["0123456789abcdef0123456789abcdef", "eyJhbGciOi.eyJhdWQiOi.x-_y", "Bearer whatever-it-is"]
)
def test_tokens_in_what_tmdb_says_are_blotted_out(secret: str) -> None:
    for status, code in ((401, 7), (403, 45), (400, 22), (429, 25), (500, 11)):
        message = of_status(status, code, said=f"key {secret} is bad, ?api_key={secret.split()[-1]}").message
        assert secret.split()[-1] not in message


def subclasses(root: type) -> set[type]:
    return {root}.union(*(subclasses(below) for below in root.__subclasses__()))


def test_every_transport_error_of_httpx_is_decided() -> None:
    for error in subclasses(httpx2.RequestError):
        assert errors.failure_of(error("x")) is not None, error
    assert errors.failure_of(httpx2.InvalidURL("x")) is not None
    assert errors.failure_of(ZeroDivisionError("x")) is None
