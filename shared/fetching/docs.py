"""Documents of Google's: they have no bytes of their own and are exported, by their public addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from shared.errors import FetchError
from shared.fetching import names
from shared.fetching.causes import Cause
from shared.fetching.files import Desk
from shared.fetching.google_errors import judge_page
from shared.fetching.pages import MOST, Page
from shared.fetching.wanted import Fetch, What
from shared.links import Kind

HOST: Final = "https://docs.google.com"
_KINDS: Final[Mapping[str, Kind]] = {
    "application/vnd.google-apps.document": Kind.DOCUMENT,
    "application/vnd.google-apps.spreadsheet": Kind.SPREADSHEET,
    "application/vnd.google-apps.presentation": Kind.PRESENTATION,
}
# Path and parameters of what is exported, by kind and whether as text.
_EXPORTS: Final[Mapping[tuple[Kind, bool], tuple[str, dict[str, str], str]]] = {
    (Kind.DOCUMENT, False): ("document/d/{id}/export", {"format": "pdf"}, "application/pdf"),
    (Kind.DOCUMENT, True): ("document/d/{id}/export", {"format": "txt"}, "text/plain"),
    (Kind.SPREADSHEET, False): ("spreadsheets/d/{id}/export", {"format": "pdf"}, "application/pdf"),
    (Kind.SPREADSHEET, True): ("spreadsheets/d/{id}/export", {"format": "csv"}, "text/csv"),
    (Kind.PRESENTATION, False): ("presentation/d/{id}/export/pdf", {}, "application/pdf"),
    (Kind.PRESENTATION, True): ("presentation/d/{id}/export/txt", {}, "text/plain"),
}


def export_of(mime_type: str) -> Kind | None:
    """The kind of document a type of Google's stands for."""
    return _KINDS.get(mime_type)


def export(desk: Desk, fetch: Fetch, *, until: float, kind: Kind | None = None) -> dict[str, Any]:
    """A document as PDF or text, or what is published of it; raises FetchError."""
    kind = kind or fetch.link.kind
    as_text = fetch.what is What.DOCUMENT_TEXT
    if kind is Kind.PUBLISHED:
        return _published(desk, fetch, as_text=as_text, until=until)
    if (kind, as_text) not in _EXPORTS:
        raise FetchError(Cause.UNSUPPORTED, f"a {kind} is not exported")
    path, asked, expected = _EXPORTS[(kind, as_text)]
    if fetch.link.resource_key:
        asked = {**asked, "resourcekey": fetch.link.resource_key}
    return _kept(desk, fetch, _url(path.format(id=quote(fetch.link.id or "", safe="")), asked), expected, until=until)


def _published(desk: Desk, fetch: Fetch, *, as_text: bool, until: float) -> dict[str, Any]:
    """What is published to the web: sheets are given as PDF and CSV, of anything else the text of its page."""
    address = desk.fetcher.web.hosts.read(fetch.link.url)
    folders = address.target.partition("?")[0].split("/")
    published = "/".join(folders[1:5])  # <kind>/d/e/<id>
    if folders[1] == "spreadsheets":
        output, expected = ("csv", "text/csv") if as_text else ("pdf", "application/pdf")
        return _kept(desk, fetch, _url(f"{published}/pub", {"output": output}), expected, until=until)
    if not as_text:
        raise FetchError(Cause.UNSUPPORTED, "what is published to the web has no PDF; link the document itself")
    with desk.fetcher.open(_url(f"{published}/pub", {}), until=until) as file:
        page = Page(file.text(4 * MOST))
    name = f"{names.safe_name(page.title) if page.title.strip() else fetch.link.id}.txt"
    return desk.keep(
        fetch, [page.text.encode()], original=name, content_type="text/plain", metadata={"published": True}
    )


def _kept(desk: Desk, fetch: Fetch, url: str, expected: str, *, until: float) -> dict[str, Any]:
    with desk.fetcher.open(url, until=until) as file:
        if file.is_page():
            raise judge_page(Page(file.text(MOST)), file.address.host)
        original = names.from_disposition(file.headers.get("content-disposition", ""))
        original = original or f"{fetch.link.id}.{names.ending(expected)}"
        return desk.keep(fetch, file.pieces(), original=original, content_type=file.content_type or expected)


def _url(path: str, asked: Mapping[str, str]) -> str:
    return f"{HOST}/{path}?{urlencode(asked)}" if asked else f"{HOST}/{path}"
