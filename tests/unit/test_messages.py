"""What travels on Pub/Sub comes back as it was sent; what is not ours is refused."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.messages import (
    ItemsNotice,
    continuation,
    decode_continuation,
    decode_finalize,
    finalize_notice,
    items_notices,
)

SESSION = UUID("6f1d1c62-2a0c-5c55-9c1b-0f5e6f1f8a11")
NO_OBJECTS = [b"", b"{", b"null", b"7", b'"x"', b"[]", b"\xff"]


class TestItems:
    @given(numbers=st.lists(st.integers(1, 2**63 - 1), unique=True, max_size=50), per_message=st.integers(1, 9))
    def test_are_cut_into_messages_that_together_name_all_of_them(self, numbers: list[int], per_message: int) -> None:
        made = list(items_notices(SESSION, numbers, per_message=per_message, pipeline="artists", traceparent=None))
        notices = [ItemsNotice.decode(message.data) for message in made]
        assert [number for notice in notices for number in notice.items] == numbers
        assert all(notice.session == SESSION and len(notice.items) <= per_message for notice in notices)
        assert len(made) == -(-len(numbers) // per_message)

    def test_are_spelled_as_the_contract_says(self) -> None:
        (message,) = items_notices(SESSION, [12, 13], per_message=8, pipeline="artists", traceparent="00-a-b-01")
        assert json.loads(message.data) == {"session_id": str(SESSION), "items": [12, 13]}
        assert message.attributes == {"pipeline": "artists", "traceparent": "00-a-b-01"}

    def test_named_twice_are_meant_once(self) -> None:
        data = json.dumps({"session_id": str(SESSION), "items": [3, 1, 3]}).encode()
        assert ItemsNotice.decode(data).items == (3, 1)

    @pytest.mark.parametrize("items", [None, [], {}, "12", [None], ["12"], [1.0], [True], [0], [-1], [2**63], [1, "2"]])
    def test_have_to_be_numbers(self, items: Any) -> None:
        with pytest.raises(InputError, match="names no items") as caught:
            ItemsNotice.decode(json.dumps({"session_id": str(SESSION), "items": items}).encode())
        assert caught.value.code == "input.message"

    @pytest.mark.parametrize("session", [None, 7, "", "yesterday", [], {"a": 1}])
    def test_need_a_session(self, session: Any) -> None:
        with pytest.raises(InputError, match="names no session"):
            ItemsNotice.decode(json.dumps({"session_id": session, "items": [1]}).encode())

    @pytest.mark.parametrize("data", NO_OBJECTS)
    def test_are_a_json_object(self, data: bytes) -> None:
        with pytest.raises(InputError, match=r"not (a JSON object|JSON)"):
            ItemsNotice.decode(data)


class TestFinalize:
    def test_comes_back(self) -> None:
        message = finalize_notice(SESSION, pipeline="artists", traceparent=None)
        assert decode_finalize(message.data) == SESSION
        assert message.attributes == {"pipeline": "artists"}  # no traceparent rather than an empty one

    @pytest.mark.parametrize("data", [*NO_OBJECTS, b"{}", b'{"session_id": "x"}'])
    def test_needs_a_session(self, data: bytes) -> None:
        with pytest.raises(InputError):
            decode_finalize(data)


class TestContinuation:
    def test_comes_back(self) -> None:
        message = continuation(SESSION, 41, pipeline="artists", traceparent=None)
        assert decode_continuation(message.data) == 41
        assert decode_finalize(message.data) == SESSION

    @pytest.mark.parametrize("data", [
        *NO_OBJECTS, b"{}", b'{"file": "41"}', b'{"file": true}', b'{"file": 0}', b'{"file": 1.5}',
        b'{"file": 9223372036854775808}', b'{"bucket": "b", "name": "artists/x.csv"}',
    ])  # fmt: skip
    def test_anything_else_is_none(self, data: bytes) -> None:
        assert decode_continuation(data) is None


def test_notices_of_other_kinds_are_not_taken_for_items() -> None:
    for message in (finalize_notice(SESSION, pipeline="a", traceparent=None),
                    continuation(SESSION, 1, pipeline="a", traceparent=None)):  # fmt: skip
        with pytest.raises(InputError):
            ItemsNotice.decode(message.data)
