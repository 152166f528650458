"""Every shape a link was found in yields what it leads to, and nothing else passes for one."""

from __future__ import annotations

import csv
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.links import Kind, Link, Provider, parse_link, parse_links

DATA = Path(__file__).parents[3] / "shared" / "data" / "assets" / "link-shapes.csv"
needs_data = pytest.mark.skipif(not DATA.is_file(), reason="the data folder beside the project is not there")
VIDEO, FILE = "dQw4w9WgXcQ", "1AbCdEfGhIjKlMnOpQrStUvWxYz012345"


def read(links: list[Link]) -> dict[str, str]:
    """Links in the words of the collection: several of one cell are `multiple`, of several providers `mixed`."""
    if not links:
        return {"provider": "", "kind": "none", "id": "", "playlist_id": "", "start_seconds": "", "resource_key": ""}
    providers = {link.provider.value for link in links}
    told = {
        "provider": providers.pop() if len(providers) == 1 else "mixed",
        "kind": links[0].kind.value if len(links) == 1 else "multiple",
        "id": ",".join(link.id or "" for link in links),
    }
    one = links[0] if len(links) == 1 else None
    for name in ("playlist_id", "start_seconds", "resource_key"):
        value = getattr(one, name) if one else None
        told[name] = "" if value is None else str(value)
    return told


@needs_data
def test_every_shape_of_the_collection_yields_what_it_says() -> None:
    """All 126."""
    with DATA.open(encoding="utf-8", newline="") as file:
        shapes = list(csv.DictReader(file))
    wrong = [
        (shape["url"], told, expected)
        for shape in shapes
        if (told := read(parse_links(shape["url"]))) != (expected := {name: shape[name] or "" for name in told})
    ]
    assert len(shapes) == 126
    assert wrong == []


@pytest.mark.parametrize(
    "url",
    [
        f"https://youtube.com.evil.example/watch?v={VIDEO}",
        f"https://evil.example/youtube.com/watch?v={VIDEO}",
        f"https://youtube.com@evil.example/watch?v={VIDEO}",
        f"https://user:secret@www.youtube.com/watch?v={VIDEO}",
        f"https://уoutube.com/watch?v={VIDEO}",
        f"https://drive.google.com.evil.example/file/d/{FILE}/view",
        f"https://notdrive.google.com/file/d/{FILE}/view",
        f"ftp://www.youtube.com/watch?v={VIDEO}",
        "file:///etc/passwd",
        "gs://bucket/object",
        "http://[::1",
        "http://169.254.169.254/computeMetadata/v1/",
    ],
)
def test_a_look_alike_is_nobodys_link(url: str) -> None:
    """It is a URL of somebody else, for the fetcher to refuse."""
    [link] = parse_links(url)
    assert (link.provider, link.kind, link.id) == (Provider.OTHER, Kind.URL, None)


@pytest.mark.parametrize(
    "cell", ["", " ", "nan", "NaN", "N/A", "none", "-", "see email", "mailto:a@example.org", "#", "a.b", "1.5/2", None]
)
def test_a_cell_without_a_link_has_none(cell: str | None) -> None:
    """Words are none."""
    assert parse_links(cell) == []


@pytest.mark.parametrize(
    ("cell", "ids"),
    [
        (f"https://youtu.be/{VIDEO}|https://youtu.be/a-b_C1d2E3f", [VIDEO, "a-b_C1d2E3f"]),
        (f"https://youtu.be/{VIDEO},https://youtu.be/a-b_C1d2E3f", [VIDEO, "a-b_C1d2E3f"]),
        (f"https://youtu.be/{VIDEO}; youtu.be/a-b_C1d2E3f", [VIDEO, "a-b_C1d2E3f"]),
        (f"https://youtu.be/{VIDEO}\r\nhttps://youtu.be/a-b_C1d2E3f\n", [VIDEO, "a-b_C1d2E3f"]),
        (f"Talk: https://youtu.be/{VIDEO} (part 1).", [VIDEO]),
        (f"Talk (https://youtu.be/{VIDEO}).", [VIDEO]),
        (f'<a href="https://youtu.be/{VIDEO}">talk</a>', [VIDEO]),
        (f"https://youtu.be/{VIDEO} | | nan", [VIDEO]),
        (f"https://youtu.be/{VIDEO}|https://www.youtube.com/watch?v={VIDEO}&t=9", [VIDEO]),
        (f"https%3A%2F%2Fyoutu.be%2F{VIDEO}", [VIDEO]),
    ],
)
def test_a_cell_may_hold_several_links(cell: str, ids: list[str]) -> None:
    """However they are joined; the same thing counts once."""
    assert [link.id for link in parse_links(cell)] == ids


@pytest.mark.parametrize(
    ("url", "provider", "kind", "id_"),
    [
        (f"https://www.youtube.com/redirect?event=x&q=https%3A%2F%2Fyoutu.be%2F{VIDEO}", "youtube", "video", VIDEO),
        ("https://www.youtube.com/embed/videoseries?list=PL0123456789AB", "youtube", "playlist", "PL0123456789AB"),
        ("https://www.youtube.com/c/Some/videos", "youtube", "channel", "Some"),
        (f"https://docs.google.com/uc?export=download&id={FILE}", "drive", "file", FILE),
        (f"https://docs.google.com/file/d/{FILE}/edit", "drive", "file", FILE),
        (f"https://drive.google.com/folderview?id={FILE}&usp=sharing", "drive", "folder", FILE),
        ("https://drive.google.com/drive/my-drive", "drive", "none", None),
        ("https://drive.google.com/file/d/", "drive", "none", None),
        (f"https://docs.google.com/spreadsheets/d/e/{FILE}/pubhtml", "docs", "published", FILE),
        (f"https://docs.google.com/forms/d/{FILE}/edit", "docs", "form", FILE),
        (f"https://docs.google.com/a/example.org/document/d/{FILE}/edit", "docs", "document", FILE),
        ("https://docs.google.com/document/u/0/", "docs", "none", None),
        (f"HTTPS://DRIVE.GOOGLE.COM/file/d/{FILE}/view", "drive", "file", FILE),
        (f"https://www.youtube.com:443/watch?v={VIDEO}", "youtube", "video", VIDEO),
        (f"https://www.youtube.com./watch?v={VIDEO}", "youtube", "video", VIDEO),
        ("https://www.youtube.com/results?search_query=x", "youtube", "none", None),
    ],
)
def test_other_shapes(url: str, provider: str, kind: str, id_: str | None) -> None:
    """Shapes beside the collection's."""
    link = parse_link(url)
    assert (link.provider, link.kind, link.id) == (provider, kind, id_)


def test_wrappers_within_wrappers_come_to_an_end() -> None:
    """A few are taken off; one that goes on is left to be refused."""
    url = f"https://youtu.be/{VIDEO}"
    for _ in range(3):
        url = f"https://www.google.com/url?q={quote(url, safe='')}"
    assert parse_link(url).id == VIDEO
    for _ in range(5):
        url = f"https://www.google.com/url?q={quote(url, safe='')}"
    assert parse_link(url).kind is Kind.URL


def test_the_whole_url_of_others_is_kept() -> None:
    """Commas, pairs and fragments of a URL belong to it."""
    url = "https://example.org/a,b;c(1)/talk.mp4?x=1&y=%20#t=(3)"
    assert parse_links(url) == [Link(provider=Provider.OTHER, kind=Kind.URL, url=url)]


@given(st.text(alphabet=st.sampled_from("htps:/.youtbe?=&#@%[]|,; \n\x00\ud800d-"), max_size=80) | st.text(max_size=80))
def test_no_cell_is_too_much(cell: str) -> None:
    """Whatever stands in a cell, there are links or there are none, and reading one again yields the same."""
    for link in parse_links(f"https://www.youtube.com/{cell}") + parse_links(cell):
        assert parse_link(link.url).identity == link.identity or link.kind in (Kind.URL, Kind.NONE)
