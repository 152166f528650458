"""Files and folders of Google Drive: by public link, or through Drive's API where there is a key for it.

What Drive says of a file it does not give is a page in the place of the file, or JSON with a reason
(`google_errors.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.docs import export, export_of
from shared.fetching.files import Desk
from shared.fetching.google_errors import json_of, judge_api, judge_page
from shared.fetching.pages import MOST, Page
from shared.fetching.plain import keep_file
from shared.fetching.transfer import File, check_status
from shared.fetching.wanted import Fetch, What
from shared.fetching.web import Ask
from shared.links import Kind, Link, Provider
from shared.text import clean

DOWNLOAD: Final = "https://drive.google.com/uc"
API: Final = "https://www.googleapis.com/drive/v3/files"
MOST_LISTED: Final = 10_000
_FOLDER: Final = "application/vnd.google-apps.folder"
_SHORTCUT: Final = "application/vnd.google-apps.shortcut"
_FIELDS: Final = "id,name,mimeType,size,md5Checksum,resourceKey,shortcutDetails"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII).fullmatch
_ASKED: Final = 5  # pages of confirmation in a row


class Drive:
    """Fetches from Drive; with a key through its API."""

    def __init__(self, desk: Desk, *, key: str = "") -> None:
        self._desk, self._key = desk, key

    def fetch(self, fetch: Fetch, *, until: float) -> dict[str, Any]:
        """The file of a link, or what a folder holds; raises FetchError."""
        if not _PLAIN(fetch.link.id or "") or not _PLAIN(fetch.link.resource_key or "-"):
            raise FetchError(Cause.REFUSED_LINK, "ids and keys of Drive are of letters, digits, _ and -")
        if fetch.what is What.LISTING:
            return self._listed(fetch.link, until=until)
        return self._through_api(fetch, until=until) if self._key else self._public(fetch, until=until)

    def _public(self, fetch: Fetch, *, until: float) -> dict[str, Any]:
        asked = {"export": "download", "id": fetch.link.id or ""}
        if fetch.link.resource_key:
            asked["resourcekey"] = fetch.link.resource_key
        url, cookies = f"{DOWNLOAD}?{urlencode(asked)}", ""
        for _ in range(_ASKED):
            ask = Ask(headers={"Cookie": cookies} if cookies else None)
            with self._desk.fetcher.open(url, ask, until=until, any_status=True) as file:
                if not file.is_page():
                    check_status(file)
                    return keep_file(self._desk, fetch, file)
                url = _confirmed(file)
                cookies = "; ".join(one.partition(";")[0] for one in file.set_cookies)
        raise FetchError(Cause.NO_FILE, "Drive asks again and again whether the file is really wanted")

    def _through_api(self, fetch: Fetch, *, until: float) -> dict[str, Any]:
        about = self._about(fetch.link, until=until)
        kind = str(about.get("mimeType", ""))
        if kind == _FOLDER:
            raise FetchError(Cause.UNSUPPORTED, "it is a folder; link it as drive.google.com/drive/folders/…")
        if export_of(kind):
            return export(self._desk, fetch, kind=export_of(kind) or Kind.DOCUMENT, until=until)
        url = f"{API}/{quote(fetch.link.id or '', safe='')}?alt=media&supportsAllDrives=true"
        with self._asked(url, fetch.link, until=until) as file:
            return self._desk.keep(
                fetch,
                file.pieces(),
                original=str(about.get("name") or "file"),
                content_type=kind or file.content_type,
                metadata={"md5": clean(str(about["md5Checksum"]))} if "md5Checksum" in about else {},
            )

    def _about(self, link: Link, *, until: float) -> dict[str, Any]:
        url = f"{API}/{quote(link.id or '', safe='')}?{urlencode({'fields': _FIELDS, 'supportsAllDrives': 'true'})}"
        with self._asked(url, link, until=until) as file:
            return _object(file)

    def _listed(self, link: Link, *, until: float) -> dict[str, Any]:
        if not self._key:
            raise FetchError(Cause.NEEDS_CREDENTIALS)
        found: list[Link] = []
        page = ""
        while len(found) < MOST_LISTED:
            asked = {
                "q": f"'{link.id}' in parents and trashed = false", "pageSize": "1000", "pageToken": page,
                "fields": f"nextPageToken,files({_FIELDS})", "supportsAllDrives": "true",
                "includeItemsFromAllDrives": "true", "orderBy": "name",
            }  # fmt: skip
            with self._asked(f"{API}?{urlencode({k: v for k, v in asked.items() if v})}", link, until=until) as file:
                body = _object(file)
            found += [one for entry in body.get("files", []) if (one := entry_link(entry)) is not None]
            page = str(body.get("nextPageToken") or "")
            if not page:
                break
        return {"links": found[:MOST_LISTED], "metadata": {"listed": len(found), "cut": bool(page)}}

    @contextmanager
    def _asked(self, url: str, link: Link, *, until: float) -> Iterator[File]:
        """Drive's good answer; raises FetchError with what another means."""
        headers = {"X-Goog-Api-Key": self._key}  # not in the address, which ends up in logs
        if link.resource_key:
            headers["X-Goog-Drive-Resource-Keys"] = f"{link.id}/{link.resource_key}"
        with self._desk.fetcher.open(url, Ask(headers=headers), until=until, any_status=True) as file:
            if file.status != 200:
                judge_api(file)
            yield file


def _confirmed(file: File) -> str:
    """The address behind `Download anyway` on the page that warns of no virus scan; raises FetchError for others."""
    page = Page(file.text(MOST))
    for form in page.forms:
        if form.method == "get" and ("confirm" in form.inputs or form.id == "download-form"):
            action = urljoin(file.address.url, form.action or file.address.url)
            return f"{action.partition('?')[0]}?{urlencode(form.inputs)}"
    error = judge_page(page, file.address.host)
    if error.cause == Cause.NO_FILE:
        check_status(file)
    raise error


def entry_link(entry: Any) -> Link | None:
    """What a folder's entry leads to."""
    if not isinstance(entry, dict) or not _PLAIN(str(entry.get("id", ""))):
        return None
    known, kind = str(entry["id"]), str(entry.get("mimeType", ""))
    if kind == _SHORTCUT and isinstance(details := entry.get("shortcutDetails"), dict):
        return entry_link({"id": details.get("targetId"), "mimeType": details.get("targetMimeType"),
                       "resourceKey": details.get("targetResourceKey")})  # fmt: skip
    key = str(entry["resourceKey"]) if entry.get("resourceKey") else None
    if kind == _FOLDER:
        url = f"https://drive.google.com/drive/folders/{known}"
        return Link(provider=Provider.DRIVE, kind=Kind.FOLDER, id=known, url=url, resource_key=key)
    if document := export_of(kind):
        name = {Kind.DOCUMENT: "document", Kind.SPREADSHEET: "spreadsheets"}.get(document, "presentation")
        url = f"https://docs.google.com/{name}/d/{known}/edit"
        return Link(provider=Provider.DOCS, kind=document, id=known, url=url, resource_key=key)
    url = f"https://drive.google.com/file/d/{known}/view"
    return Link(provider=Provider.DRIVE, kind=Kind.FILE, id=known, url=url, resource_key=key)


def _object(file: File) -> dict[str, Any]:
    body = json_of(file.text(4 * MOST))
    if not isinstance(body, dict):
        raise FetchError(Cause.SERVER, "Drive's answer is not what was asked for")
    return body
