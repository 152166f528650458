"""A sheet of Google's as input: its link read as the CSV that Google exports of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import IO, Final
from urllib.parse import parse_qs, urlsplit

from shared.errors import FetchError, InputError, StorageDown
from shared.fetching.addresses import Hosts
from shared.fetching.causes import Cause
from shared.fetching.web import Reply, Web
from shared.links import Kind, Provider, parse_links

SECONDS: Final = 120.0
HOSTS: Final = ("docs.google.com", "*.googleusercontent.com")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A sheet that can be read: what its CSV is called, and where that is."""

    name: str
    url: str


def sheet_of(text: str) -> Sheet | None:
    """The sheet a link leads to; None for a link to anything else, and for what is no link."""
    links = parse_links(text)
    if len(links) != 1 or links[0].provider is not Provider.DOCS or links[0].id is None:
        return None
    link = links[0]
    parts = urlsplit(link.url)
    asked = {**parse_qs(parts.query), **parse_qs(parts.fragment)}
    tab = f"&gid={asked['gid'][0]}" if asked.get("gid", [""])[0].isdigit() else ""
    name = f"sheet-{str(link.id)[:12]}.csv"
    if link.kind is Kind.SPREADSHEET:
        return Sheet(name=name, url=f"https://docs.google.com/spreadsheets/d/{link.id}/export?format=csv{tab}")
    if link.kind is Kind.PUBLISHED and "/spreadsheets/" in parts.path:
        return Sheet(name=name, url=f"https://docs.google.com/spreadsheets/d/e/{link.id}/pub?output=csv{tab}")
    return None


def read_sheet(sheet: Sheet, into: IO[bytes], *, most: int, web: Web | None = None) -> int:
    """Write the sheet's CSV into a file; how many bytes it has.

    Only Google's own hosts are asked, whatever they redirect to. Raises InputError where the sheet cannot be had,
    StorageDown where Google cannot be reached.
    """
    web = web or Web(Hosts.parse(HOSTS))
    try:
        with web.ask(sheet.url, until=time.monotonic() + SECONDS) as reply:
            _check(reply)
            return _copy(reply, into, most=most)
    except FetchError as error:
        if error.cause in (Cause.PRIVATE, Cause.REFUSED_HOST, Cause.REFUSED_LINK):
            raise _refused("is not shared by link: Google asks for a sign-in") from error
        raise StorageDown(f"Google Sheets cannot be reached ({error}); try again.") from error


def _check(reply: Reply) -> None:
    """Raise unless the answer is the sheet."""
    if reply.status in (401, 403):
        raise _refused("is not shared by link")
    if reply.status in (404, 410):
        raise _refused("is not there any more, or its link is wrong")
    if reply.status != 200:
        raise StorageDown(f"Google Sheets answers {reply.status}; try again.")
    if reply.content_type != "text/csv":
        raise _refused(f"comes as {reply.content_type or 'nothing'} instead of CSV; is it shared by link?")


def _copy(reply: Reply, into: IO[bytes], *, most: int) -> int:
    size = 0
    for block in reply.pieces():
        size += len(block)
        if size > most:
            raise _refused(f"has more than {most:,} bytes; save it as CSV and drop that")
        into.write(block)
    return size


def _refused(why: str) -> InputError:
    return InputError(
        f"The Google Sheet {why}. Share it with everybody who has the link, or save it as CSV.", code="input.sheet"
    )
