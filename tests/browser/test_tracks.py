"""The library of tracks as people use it: found as one types, heard, by keyboard too."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests import sounds
from tests.browser.visitor import Visitor
from tests.e2e.stacks import Deck

MARKUP = "<img src=x onerror=alert(1)>"
SONGS = (("Army of Me", "Björk"), ("Hyperballad", "Björk"), ("So What", "Miles Davis"), (MARKUP, "Nobody"))


@pytest.fixture(scope="module")
def library(deck: Deck) -> None:
    """Some tracks, two with a cover, and a file that is no sound."""
    for title, artist in SONGS:
        cover = sounds.png(40, 40) if artist == "Björk" else None
        data = sounds.mp3(3, TIT2=title, TPE1=artist, TALB="An Album", TDRC="1995", cover=cover)
        session = deck.drop(data, f"audio/{abs(hash(title))}.mp3")
        assert deck.wait(session)["enriched"] == 1


def opened(visitor: Visitor) -> None:
    visitor.page.goto(f"{visitor.deck.stack.info['api']}/#/tracks")
    expect(visitor.page.locator("#tracks tbody tr")).to_have_count(len(SONGS))


def test_tracks_are_found_as_one_types_and_heard(visitor: Visitor, library: None) -> None:
    page = visitor.page
    opened(visitor)
    expect(page.locator("#tracks")).to_contain_text(MARKUP)
    page.get_by_role("searchbox", name="Find by title").press_sequentially("bjo")
    expect(page.locator("#tracks tbody tr")).to_have_count(2)
    expect(page.locator("#spoken")).to_have_text("2 tracks found")
    covers = page.locator("#tracks img")
    expect(covers).to_have_count(2)
    for n in range(2):  # until each is there: the page's policy lets nobody wait by evaluating a text
        expect(covers.nth(n)).to_have_js_property("naturalWidth", 40)
    page.get_by_role("searchbox").press_sequentially("rk hyper")
    expect(page.locator("#tracks tbody tr")).to_have_count(1)
    with page.expect_response(lambda answer: answer.url.endswith("/sound")) as heard:
        visitor.presses("Play Hyperballad")
    assert heard.value.status == 206
    expect(page.get_by_role("region", name="Player")).to_contain_text("Björk")
    page.get_by_role("searchbox").fill("nothing like it")
    expect(page.locator("#tracks")).to_contain_text("No track has all of these words.")
    expect(page.get_by_role("region", name="Player")).to_be_visible()


def test_a_track_is_found_and_heard_by_keyboard(visitor: Visitor, library: None) -> None:
    opened(visitor)
    visitor.tabs_to("Tracks", "Find by title, artist, album or genre")
    visitor.page.keyboard.type("so what")
    expect(visitor.page.locator("#tracks tbody tr")).to_have_count(1)
    visitor.tabs_to("Play So What")
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.get_by_role("button", name="Play So What")).to_have_attribute("aria-pressed", "true")
    visitor.tabs_to("Sound of So What")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(chromium: Browser, deck: Deck, library: None, theme: str) -> None:
    with Visitor.of(chromium, deck, theme=theme, width=380 if theme == "dark" else 1200) as visitor:
        opened(visitor)
        visitor.presses("Play So What")
        visitor.checks(f"tracks-{theme}", full_page=True)
        assert not visitor.scrolls_sideways()
