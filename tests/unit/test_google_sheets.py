"""A link to a Google Sheet as input: only Google's hosts are asked, and only CSV is taken."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shared.errors import InputError, StorageDown
from shared.fetching.addresses import Hosts
from shared.fetching.web import Web
from shared.google_sheets import HOSTS, read_sheet, sheet_of

ID = "1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVwXyZ_-abcdEf"
LINK = f"https://docs.google.com/spreadsheets/d/{ID}/edit"
EXPORT = f"https://docs.google.com/spreadsheets/d/{ID}/export?format=csv"


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (LINK, EXPORT),
        (f"{LINK}#gid=12", f"{EXPORT}&gid=12"),
        (f"{LINK}?gid=3#gid=4", f"{EXPORT}&gid=4"),
        (f"{LINK}#gid=4;rm", EXPORT),
        (f"https://docs.google.com/spreadsheets/u/0/d/{ID}/edit", EXPORT),
        (f"https://docs.google.com/spreadsheets/d/e/2PACX-{ID}/pubhtml?gid=0",
         f"https://docs.google.com/spreadsheets/d/e/2PACX-{ID}/pub?output=csv&gid=0"),
        (f"https://docs.google.com/document/d/{ID}/edit", None),
        ("https://docs.google.com.evil.example/spreadsheets/d/x/edit", None),
        ("people.csv", None),
        ("", None),
    ],
)  # fmt: skip
def test_where_a_sheet_is(link: str, url: str | None) -> None:
    found = sheet_of(link)
    assert (found and found.url) == url


Answer = tuple[int, str, bytes]  # status, content type or where it leads, body
CSV: Answer = (200, "text/csv; charset=utf-8", b"row_id,name,link\r\n")


@dataclass
class Google:
    """Google's hosts on one port of this machine: what each answers, by its name."""

    answers: dict[str, Answer]
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def google() -> Iterator[tuple[Google, Web]]:
    """Google as a server on this machine, and a web that asks it instead."""
    here = Google({})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers["Host"]
            here.asked.append(host)
            status, said, body = here.answers[host]
            self.send_response(status)
            self.send_header("Location" if 300 <= status < 400 else "Content-Type", said)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    web = Web(Hosts.parse(HOSTS), stand_in=("127.0.0.1", server.server_address[1]))
    try:
        yield here, web
    finally:
        web.close()
        server.shutdown()
        server.server_close()


def got(google: tuple[Google, Web], answers: dict[str, Answer], *, most: int = 1_000) -> bytes:
    """What is read where these hosts answer so."""
    google[0].answers = answers
    into = io.BytesIO()
    sheet = sheet_of(LINK)
    assert sheet is not None
    size = read_sheet(sheet, into, most=most, web=google[1])
    assert size == len(into.getvalue())
    return into.getvalue()


def sent_to(url: str) -> Answer:
    return 307, url, b""


def test_a_sheet_is_read_where_google_keeps_it(google: tuple[Google, Web]) -> None:
    where = "doc-0s-sheets.googleusercontent.com"
    answers = {"docs.google.com": sent_to(f"https://{where}/export/x"), where: CSV}
    assert got(google, answers) == CSV[2]
    assert google[0].asked == ["docs.google.com", where]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (sent_to("https://accounts.google.com/login"), "sign-in"),
        (sent_to("http://169.254.169.254/"), "sign-in"),
        (sent_to("https://evil.example/googleusercontent.com"), "sign-in"),
        ((403, "text/html", b""), "not shared"),
        ((404, "text/html", b""), "not there"),
        ((200, "text/html; charset=utf-8", b"<p>"), "text/html"),
    ],
)
def test_what_is_no_sheet_is_refused(google: tuple[Google, Web], answer: Answer, said: str) -> None:
    with pytest.raises(InputError, match=said):
        got(google, {"docs.google.com": answer})
    assert google[0].asked == ["docs.google.com"]


def test_a_sheet_that_is_too_large_is_refused(google: tuple[Google, Web]) -> None:
    with pytest.raises(InputError, match="more than 5 bytes"):
        got(google, {"docs.google.com": CSV}, most=5)


@pytest.mark.parametrize("answer", [(500, "text/plain", b""), sent_to(EXPORT)])
def test_google_may_be_away(google: tuple[Google, Web], answer: Answer) -> None:
    with pytest.raises(StorageDown):
        got(google, {"docs.google.com": answer})
