"""Platform envelopes, as captured, become typed facts; anything else is refused in our own words."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InputError
from shared.events import Push, UploadedObject, cloud_event, is_cloud_event, uploaded_object

ENVELOPES = Path(__file__).parents[1] / "fixtures" / "envelopes"
OBJECT = UploadedObject(
    bucket="rowlift-uploads",
    name="artists/list.csv",
    generation=1763111550123456,
    size=2841,
    checksum="w5qMGk0IPXyWq8bAhr3i1A==",
    metadata={"write-mode": "both", "skip-existing": "true"},
)


def captured(name: str) -> bytes:
    return (ENVELOPES / f"{name}.json").read_bytes()


def pushed(**message: Any) -> bytes:
    return json.dumps({"message": message}).encode()


class TestPush:
    def test_keeps_what_the_framework_would_drop(self) -> None:
        push = Push.parse(captured("push-items"))
        assert push.delivery_attempt == 3
        assert push.subscription == "projects/rowlift-prod/subscriptions/rowlift-artists"
        assert push.message_id == "17320418993144117"
        assert push.attributes["pipeline"] == "artists"
        assert json.loads(push.data)["items"] == [12, 13]

    def test_without_data_has_empty_data(self) -> None:
        push = Push.parse(captured("push-without-data"))
        assert (push.data, push.attributes) == (b"", {"pipeline": "artists"})

    def test_a_dead_letter_names_where_it_comes_from_and_has_no_delivery_attempt(self) -> None:
        push = Push.parse(captured("dead-letter"))
        assert push.attributes["CloudPubSubDeadLetterSourceSubscription"] == "rowlift-artists"
        assert push.delivery_attempt is None

    def test_bare_messages_have_defaults(self) -> None:
        push = Push.parse(b'{"message": {}, "deliveryAttempt": "many"}')
        assert (push.data, push.attributes, push.message_id, push.subscription) == (b"", {}, "", "")
        assert push.delivery_attempt is None

    def test_attributes_are_texts(self) -> None:
        assert Push.parse(pushed(attributes={"n": 1})).attributes == {"n": "1"}

    @pytest.mark.parametrize("body", [
        b"", b"{", b"\xff", b"null", b"7", b"[]", b"{}", b'{"message": 7}', b'{"message": null}', b'{"message": []}',
        pushed(data="%%%"), pushed(data=7), pushed(data="YQ"), pushed(attributes=["a"]), pushed(attributes="a"),
    ])  # fmt: skip
    def test_anything_else_is_refused(self, body: bytes) -> None:
        with pytest.raises(InputError) as caught:
            Push.parse(body)
        assert caught.value.code == "input.envelope"


class TestBucketNotification:
    def test_announces_an_object(self) -> None:
        assert uploaded_object(Push.parse(captured("bucket-notification"))) == OBJECT

    def test_other_events_announce_nothing(self) -> None:
        assert uploaded_object(Push.parse(captured("bucket-notification-delete"))) is None

    def test_the_checksum_may_be_the_other_one_or_missing(self) -> None:
        resource = {"bucket": "b", "name": "n", "generation": "1"}
        assert UploadedObject.from_resource({**resource, "crc32c": "9fMTxA=="}).checksum == "9fMTxA=="
        bare = UploadedObject.from_resource(resource)
        assert (bare.checksum, bare.size, bare.metadata) == (None, 0, {})

    @pytest.mark.parametrize("change", [
        {"bucket": None, "generation": None}, {"generation": "new"}, {"size": "big"}, {"metadata": 7},
    ])  # fmt: skip
    def test_numbers_have_to_be_numbers(self, change: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="does not describe an object"):
            UploadedObject.from_resource({"bucket": "b", "name": "n", "generation": "1", **change})

    @pytest.mark.parametrize("left_out", ["bucket", "name", "generation"])
    def test_an_object_needs_bucket_name_and_generation(self, left_out: str) -> None:
        resource = {"bucket": "b", "name": "n", "generation": "1"}
        del resource[left_out]
        with pytest.raises(InputError):
            UploadedObject.from_resource(resource)

    @pytest.mark.parametrize(("data", "reason"), [(b"", "not JSON"), (b"x", "not JSON"), (b"[]", "not a JSON object")])
    def test_data_has_to_be_a_json_object(self, data: bytes, reason: str) -> None:
        push = Push.parse(pushed(data=base64.b64encode(data).decode()))
        with pytest.raises(InputError, match=reason):
            uploaded_object(push)


class TestCloudEvent:
    @pytest.mark.parametrize("mode", ["binary", "structured"])
    def test_announces_an_object_in_either_mode(self, mode: str) -> None:
        event = json.loads(captured(f"cloudevent-{mode}"))
        assert is_cloud_event(event["headers"])
        assert cloud_event(event["headers"], json.dumps(event["body"]).encode()) == OBJECT

    def test_header_names_come_in_any_case(self) -> None:
        event = json.loads(captured("cloudevent-binary"))
        headers = {name.upper(): value for name, value in event["headers"].items()}
        assert is_cloud_event(headers)
        assert cloud_event(headers, json.dumps(event["body"]).encode()) == OBJECT

    def test_other_types_announce_nothing(self) -> None:
        event = json.loads(captured("cloudevent-binary"))
        headers = {**event["headers"], "ce-type": "google.cloud.storage.object.v1.deleted"}
        assert cloud_event(headers, json.dumps(event["body"]).encode()) is None

    def test_a_push_is_none(self) -> None:
        assert not is_cloud_event({"Content-Type": "application/json"})
        assert not is_cloud_event({})
        assert cloud_event({}, captured("push-items")) is None

    @pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"name": "n"}'])
    def test_a_broken_body_is_refused(self, body: bytes) -> None:
        with pytest.raises(InputError):
            cloud_event(json.loads(captured("cloudevent-binary"))["headers"], body)

    def test_structured_data_that_is_no_object_is_refused(self) -> None:
        event = json.loads(captured("cloudevent-structured"))
        with pytest.raises(InputError):
            cloud_event(event["headers"], json.dumps({**event["body"], "data": "aGVsbG8="}).encode())
