"""Files at plain http and https links."""

from __future__ import annotations

import re
from typing import Any, Final

from shared.errors import FetchError
from shared.fetching import names
from shared.fetching.causes import Cause
from shared.fetching.files import Desk
from shared.fetching.transfer import File
from shared.fetching.wanted import Fetch

# Endings that promise something else than a page.
_PAGE: Final = re.compile(r"\.(?:html?|xhtml|php\d?|aspx?|jsp|cgi)$|/[^./]*$", re.IGNORECASE).search


def fetch_file(desk: Desk, fetch: Fetch, *, until: float) -> dict[str, Any]:
    """The file a link leads to; raises FetchError, also for a page in place of the file the link names."""
    with desk.fetcher.open(fetch.link.url, until=until) as file:
        asked = desk.fetcher.web.hosts.read(fetch.link.url).target.partition("?")[0]
        if file.is_page() and not _PAGE(asked):
            raise FetchError(Cause.NO_FILE, f"{file.address.host} sent a page for {names.safe_name(asked)}")
        return keep_file(desk, fetch, file)


def keep_file(desk: Desk, fetch: Fetch, file: File, **metadata: Any) -> dict[str, Any]:
    """The answer for an opened file, named as its host calls it."""
    kind = file.content_type
    original = names.original_name(file.headers.get("content-disposition", ""), file.address.target, kind)
    return desk.keep(fetch, file.pieces(), original=original, content_type=kind, metadata=metadata)
