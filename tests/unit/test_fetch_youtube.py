"""What is taken of a video: which captions, which words of them, and only what is one whole file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.youtube import about_video, captions, chosen_url, spoken


def track(name: str) -> list[dict[str, str]]:
    return [{"ext": "vtt", "url": f"{name}.vtt"}, {"ext": "json3", "url": name}]


@pytest.mark.parametrize(
    ("info", "found"),
    [
        ({"subtitles": {"en": track("en"), "de": track("de")}}, ("en", False)),
        ({"subtitles": {"en-GB": track("en-GB")}}, ("en-GB", False)),
        ({"subtitles": {"de": track("de")}, "automatic_captions": {"en": track("en")}}, ("en", True)),
        ({"automatic_captions": {"fr": track("fr"), "fr-orig": track("fr-orig")}}, ("fr-orig", True)),
        ({"automatic_captions": {"pt": track("pt")}, "language": "pt"}, ("pt", True)),
        ({"subtitles": {"live_chat": track("chat"), "ja": track("ja")}}, ("ja", False)),
    ],
)
def test_the_best_captions(info: dict[str, Any], found: tuple[str, bool]) -> None:
    best = captions(info, ("en",))
    assert (best.url, best.automatic) == found


@pytest.mark.parametrize("subtitles", [{}, {"live_chat": track("x")}, {"en": [{"ext": "vtt"}]}])
def test_no_captions(subtitles: dict[str, Any]) -> None:
    with pytest.raises(FetchError) as raised:
        captions({"subtitles": subtitles}, ("en",))
    assert raised.value.cause == Cause.NO_CAPTIONS


def test_languages_are_wanted_in_their_order() -> None:
    both = {"subtitles": {"en": track("en"), "de": track("de")}}
    assert captions(both, ("de", "en")).url == "de"


def test_the_words_of_captions() -> None:
    events = [
        {"segs": [{"utf8": "so "}, {"utf8": "this"}]}, {"segs": [{"utf8": "\n"}]}, {"segs": [{"utf8": "so this"}]}, {},
        {"segs": None}, None, {"segs": [None, {"utf8": "is\x00 it"}]},
    ]  # fmt: skip
    assert spoken(json.dumps({"events": events})) == "so this\nis it"
    assert spoken("{}") == ""


@pytest.mark.parametrize("source", ["", "<html>", "[]", "WEBVTT"])
def test_captions_in_another_form(source: str) -> None:
    with pytest.raises(FetchError) as raised:
        spoken(source)
    assert raised.value.cause == Cause.SITE_CHANGED


@pytest.mark.parametrize(
    "info",
    [{}, {"url": None}, {"url": "https://x/y.m3u8", "protocol": "m3u8_native"}, {"url": "x", "requested_formats": [1]},
     {"url": "rtmp://x", "protocol": "rtmp"}],
)  # fmt: skip
def test_only_one_whole_file_is_taken(info: dict[str, Any]) -> None:
    with pytest.raises(FetchError) as raised:
        chosen_url(info)
    assert raised.value.cause == Cause.NO_FORMAT
    assert chosen_url({"url": "https://x/y", "protocol": "https"}) == "https://x/y"


def test_facts_are_kept_in_bounds() -> None:
    facts = about_video({"title": "a\x1b[2J" + "b" * 900, "duration": 3, "channel": ["x"], "formats": [1]})
    assert facts == {"title": ("a [2J" + "b" * 900)[:500], "duration": 3}
