"""A sheet of people through a whole stack as deployed, their files fetched from a simulated web that misbehaves."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import httpx

from tests.assets import DOCUMENT, PLAYLIST, VIDEO, basic
from tests.e2e.stacks import Deck

LINKS = (
    VIDEO,
    PLAYLIST,
    DOCUMENT,
    "https://drive.google.com/file/d/1LARGEfGhIjKlMnOpQrStUvWxYz012345/view",
    "https://drive.google.com/file/d/1PRIVATEIjKlMnOpQrStUvWxYz012345/view",
    "https://drive.google.com/drive/folders/1FoLdErIdExAmPlE0123456789abcdefg",
    "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token",
    "https://youtube.com.example.net/watch?v=dQw4w9WgXcQ",
)


def test_every_file_comes_or_says_why_not(deck: Deck) -> None:
    deck.web.misbehave(named={"usercontent": "cut:1", "timedtext": "503:1"})
    session = deck.drop(basic(*LINKS), "assets/every.csv")
    status = deck.wait(session)
    assert status["status"] == "completed", status
    assert deck.verify(session) == []
    assert status["enriched"] == 12, status  # three videos of the playlist and one alone, twice; and the four others
    ends = {line["original_url"]: line["error_code"] for line in deck.results(session) if line["outcome"] == "failed"}
    assert [ends[link] for link in LINKS[4:]] == [
        "upstream.private", "upstream.needs_credentials", "upstream.refused_host", "upstream.refused_host"
    ]  # fmt: skip
    for line in deck.results(session):
        if line.get("sha256"):
            assert hashlib.sha256(_object(deck, line["sha256"])).hexdigest() == line["sha256"]
    asked = deck.web.calls()["keys"]
    assert not any("169.254" in address or "example.net" in address for address in asked)


def _object(deck: Deck, digest: str) -> bytes:
    place = f"{deck.stack.info['buckets']['media']}/o/{quote(f'sha256/{digest}', safe='')}"
    answer = httpx.get(f"{deck.stack.info['storage']}/download/storage/v1/b/{place}", params={"alt": "media"})
    return answer.raise_for_status().content
