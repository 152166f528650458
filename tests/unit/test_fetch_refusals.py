"""What hosts really answer in place of a file: each recorded refusal has its class and its advice on another try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from shared.errors import FetchError
from shared.fetching import causes
from shared.fetching.addresses import Address
from shared.fetching.causes import MEANINGS, Cause, cause_of, code_of, failure_of, meaning_of
from shared.fetching.drive import entry_link
from shared.fetching.google_errors import judge_api, judge_page
from shared.fetching.pages import Page
from shared.fetching.web import PLAIN, Reply
from shared.fetching.youtube import judge
from shared.health import AWAY, RATE_LIMITED
from shared.links import parse_link
from shared.upstreams.base import ErrorClass

# In the order of the record: the class, and whether another try makes sense.
EXPECTED = (
    (Cause.EXPORT_INSTEAD, False),
    (Cause.TOO_LARGE, False),
    (Cause.NOT_EXPORTABLE, False),
    (Cause.NO_FILE, False),  # the page alone, without its form; with it the file is fetched
    (Cause.QUOTA, True),
    (Cause.PRIVATE, False),
    (Cause.UNAVAILABLE, True),
    (Cause.AGE_RESTRICTED, False),
    (Cause.NETWORK_RESTRICTED, False),
)


def reply(status: int, body: bytes) -> Any:
    """An answer of Drive's."""
    answer = httpcore2.Response(status, headers=[("content-type", "application/json")], content=body)

    class File(Reply):
        def text(self, most: int) -> str:
            return self.read(most).decode()

    return File(Address("https", "www.googleapis.com", 443, "/"), PLAIN, answer)


def told(record: dict[str, Any]) -> FetchError:
    """The error that a recorded refusal is taken for."""
    if "message" in record:
        return judge(record["message"])
    if isinstance(record["body"], dict):
        with pytest.raises(FetchError) as raised:
            judge_api(reply(record["status"], json.dumps(record["body"]).encode()))
        return raised.value
    return judge_page(Page(record["body"]), "drive.google.com")


def test_each_recorded_refusal_has_its_class(shared_data: Path) -> None:
    records = json.loads((shared_data / "assets/download-errors.json").read_text("utf-8"))
    assert len(records) == len(EXPECTED)
    for record, (cause, again) in zip(records, EXPECTED, strict=True):
        error = told(record)
        assert error.cause == cause, record
        assert MEANINGS[cause].again is again, record
        if "permanent" in record:
            assert again is str(record["permanent"]).startswith("unclear"), record
        failure = failure_of(error)
        assert failure.code == f"upstream.{cause}"
        assert failure.message.startswith(MEANINGS[cause].advice)
    quota = failure_of(told(records[4]))
    assert (quota.retry_after or 0) >= 3_600  # hours, not seconds


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader", Cause.DELETED),
        ("ERROR: [youtube] x: Video unavailable. This video is no longer available because the YouTube account "
         "associated with this video has been terminated.", Cause.DELETED),
        ("ERROR: [youtube] x: Video unavailable", Cause.UNAVAILABLE),
        ("ERROR: [youtube] x: This video is not available in your country", Cause.NETWORK_RESTRICTED),
        ("ERROR: [youtube] x: Sign in to confirm you’re not a bot. Use --cookies", Cause.BUSY),
        ("ERROR: [youtube] x: Join this channel to get access to members-only content", Cause.PRIVATE),
        ("ERROR: [youtube] x: This live event will begin in 3 days.", Cause.NOT_YET),
        ("ERROR: [youtube] x: Requested format is not available.", Cause.NO_FORMAT),
        ("ERROR: [youtube:tab] x: YouTube said: The playlist does not exist.", Cause.DELETED),
        ("ERROR: [youtube] x: HTTP Error 429: Too Many Requests", Cause.BUSY),
        ("ERROR: [youtube] x: HTTP Error 503: Service Unavailable", Cause.SERVER),
        ("ERROR: [youtube] x: Unable to extract yt initial data; please report this issue on …", Cause.SITE_CHANGED),
    ],
)  # fmt: skip
def test_what_youtube_says(said: str, cause: Cause) -> None:
    assert judge(said).cause == cause


@pytest.mark.parametrize(
    ("status", "reason", "cause"),
    [
        (404, "notFound", Cause.DELETED), (403, "insufficientFilePermissions", Cause.PRIVATE),
        (403, "downloadQuotaExceeded", Cause.QUOTA), (403, "userRateLimitExceeded", Cause.BUSY),
        (429, "whatever", Cause.BUSY), (500, "backendError", Cause.SERVER), (400, "keyInvalid", Cause.BAD_CREDENTIALS),
        (403, "accessNotConfigured", Cause.BAD_CREDENTIALS), (403, "new", Cause.PRIVATE), (418, "new", Cause.REJECTED),
    ],
)  # fmt: skip
def test_reasons_of_drive(status: int, reason: str, cause: Cause) -> None:
    body = {"error": {"errors": [{"reason": reason}], "code": status, "message": "said"}}
    with pytest.raises(FetchError) as raised:
        judge_api(reply(status, json.dumps(body).encode()))
    assert raised.value.cause == cause


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"error": "x"}', b'{"error": {"errors": [1, null]}}']
)
def test_an_error_of_any_form_is_judged_by_its_status(body: bytes) -> None:
    with pytest.raises(FetchError) as raised:
        judge_api(reply(503, body))
    assert raised.value.cause == Cause.SERVER


def test_a_key_that_is_wrong_is_told_by_details_too() -> None:
    body = {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}
    with pytest.raises(FetchError) as raised:
        judge_api(reply(400, json.dumps(body).encode()))
    assert failure_of(raised.value).kind is ErrorClass.SYSTEMIC


class TestTheTable:
    def test_is_whole(self) -> None:
        assert set(MEANINGS) == set(Cause)
        assert all(meaning.advice and not meaning.advice.endswith(".") for meaning in MEANINGS.values())

    def test_one_host_that_fails_does_not_stop_all_others(self) -> None:
        """Only what concerns every link may open the breaker or slow everybody down."""
        assert {cause for cause in Cause if code_of(cause) in AWAY} == {Cause.OFFLINE, Cause.STORE_DOWN}
        assert RATE_LIMITED not in map(code_of, Cause)

    def test_codes_can_be_read_back(self) -> None:
        for cause in Cause:
            assert cause_of(code_of(cause)) is cause
            assert meaning_of(code_of(cause)) is MEANINGS[cause]
        assert cause_of(None) is cause_of("quota") is cause_of("upstream.x") is meaning_of("db.x") is None

    def test_words_of_strangers_move_no_cursor(self) -> None:
        message = failure_of(FetchError(Cause.NO_FILE, "a\x1b[2Jb\u202ec\nd\x00")).message
        assert message.endswith(". a [2Jb c d")

    def test_a_wait_is_told_only_where_another_try_makes_sense(self) -> None:
        assert failure_of(FetchError(Cause.PRIVATE, retry_after=5)).retry_after is None
        assert failure_of(FetchError(Cause.BUSY, retry_after=5)).retry_after == 5
        assert failure_of(FetchError(Cause.BUSY)).retry_after == 60
        assert len(failure_of(FetchError(Cause.BUSY, "x" * 2_000)).message) <= 500
        assert causes.failure_of(FetchError(Cause.NO_CAPTIONS)).message == MEANINGS[Cause.NO_CAPTIONS].advice


def test_a_folder_s_entries_lead_where_they_seem_to() -> None:
    document, folder = "application/vnd.google-apps.document", "application/vnd.google-apps.folder"
    shortcut = {"targetId": "1234567890t", "targetMimeType": folder, "targetResourceKey": "0-key"}
    entries = [
        {"id": "1234567890a", "mimeType": "video/mp4"},
        {"id": "1234567890b", "mimeType": document},
        {"id": "1234567890c", "mimeType": folder},
        {"id": "1234567890d", "mimeType": "application/vnd.google-apps.shortcut", "shortcutDetails": shortcut},
        {"id": "../x", "mimeType": "video/mp4"},
        {"mimeType": "video/mp4"},
        None,
    ]
    found = [link for entry in entries if (link := entry_link(entry)) is not None]
    assert [(link.provider, link.kind) for link in found] == [
        ("drive", "file"), ("docs", "document"), ("drive", "folder"), ("drive", "folder")
    ]  # fmt: skip
    assert [parse_link(link.url).id for link in found] == [link.id for link in found]
    assert found[3].resource_key == "0-key"
