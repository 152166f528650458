"""The frame around every pushed function: what is acknowledged, what is refused, what is logged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from shared.errors import InputError, LedgerDown, StatementFailed, StorageDown
from shared.events import Push, UploadedObject
from shared.serving import AGAIN, DONE, answer_event, answer_push

ENVELOPES = Path(__file__).parents[1] / "fixtures" / "envelopes"


def request(body: bytes = b"", *, method: str = "POST", headers: dict[str, str] | None = None) -> Request:
    return Request(EnvironBuilder(method=method, data=body, headers=headers).get_environ())


def push() -> Request:
    return request((ENVELOPES / "push-items.json").read_bytes())


def raising(error: Exception) -> Callable[[Any], None]:
    def handle(_: Any) -> None:
        raise error

    return handle


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_push_that_was_handled_is_acknowledged_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    taken: list[Push] = []
    assert answer_push(push(), taken.append) == DONE
    assert [one.message_id for one in taken] == ["17320418993144117"]
    assert logged(capsys) == []


@pytest.mark.parametrize("error", [LedgerDown(), StorageDown()])
def test_it_comes_again_when_ledger_or_store_is_away(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_push(push(), raising(error)) == AGAIN
    (line,) = logged(capsys)
    assert (line["severity"], line["reason"]) == ("WARNING", str(error))


def test_a_message_that_cannot_be_read_is_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_push(push(), raising(InputError("It names nothing.", code="input.message"))) == DONE
    (line,) = logged(capsys)
    assert (line["severity"], line["error_code"], line["reason"]) == ("ERROR", "input.message", "It names nothing.")


@pytest.mark.parametrize("error", [KeyError("x"), StatementFailed("no", sqlstate="42P01", constraint=None)])
def test_what_nobody_foresaw_is_logged_with_its_traceback_and_answered_as_the_function_chose(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer_push(push(), raising(error)) == DONE
    assert answer_push(push(), raising(error), unforeseen=AGAIN) == AGAIN
    for line in logged(capsys):
        assert line["severity"] == "ERROR"
        assert "Traceback" in line["message"]
        assert type(error).__name__ in line["message"]


def test_anything_but_post_only_asks_whether_it_is_up() -> None:
    warmed: list[bool] = []
    assert answer_push(request(method="GET"), raising(AssertionError())) == ("ok", 200)
    assert answer_push(request(method="GET"), raising(AssertionError()), warm=lambda: warmed.append(True)) == (
        "ok",
        200,
    )
    assert answer_push(push(), lambda _: None, warm=lambda: warmed.append(True)) == DONE
    assert warmed == [True]
    assert answer_event(request(method="GET"), raising(AssertionError())) == ("ok", 200)


def test_a_cloud_event_hands_over_its_object_and_another_event_nothing() -> None:
    event = json.loads((ENVELOPES / "cloudevent-binary.json").read_text("utf-8"))
    body, taken = json.dumps(event["body"]).encode(), list[UploadedObject]()
    assert answer_event(request(body, headers=event["headers"]), taken.append) == DONE
    assert [one.name for one in taken] == ["artists/list.csv"]
    other = {**event["headers"], "ce-type": "google.cloud.storage.object.v1.deleted"}
    assert answer_event(request(body, headers=other), raising(AssertionError())) == DONE
    assert answer_event(request(body, headers=event["headers"]), raising(ValueError())) == AGAIN
