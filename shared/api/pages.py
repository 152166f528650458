"""The dashboard's files as they lie in `shared/dashboard`: no build step, no path but their names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from flask import Response
from werkzeug.exceptions import NotFound

from shared.api.asking import Ask

FOLDER: Final = Path(__file__).parents[1] / "dashboard"
INDEX: Final = "index.html"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
# Cloud Storage only where files go there straight from the page.
BUCKETS: Final = "https://storage.googleapis.com"


def policy(*, direct_uploads: bool) -> str:
    """The dashboard's Content-Security-Policy: nothing from elsewhere, no script or style in the page itself."""
    # Of the bucket itself a page gets what it hears, too; where that cannot be reached the API streams it.
    reached = f"'self' {BUCKETS}" if direct_uploads else "'self'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
        f"media-src {reached}; "
        f"connect-src {reached}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


class Pages:
    """Serves the dashboard."""

    def __init__(self, *, direct_uploads: bool, folder: Path = FOLDER) -> None:
        self._folder, self._policy = folder, policy(direct_uploads=direct_uploads)

    def index(self, ask: Ask) -> Response:
        """The page itself."""
        return self.file(ask, INDEX)

    def file(self, ask: Ask, name: str) -> Response:
        """One of its files; a browser that has it is told so."""
        path = self._named().get(name)
        if path is None:
            raise NotFound(f"The dashboard has no file {name[:200]!r}.")
        body = path.read_bytes()
        answer = Response(body, content_type=TYPES[path.suffix])
        answer.headers["Cache-Control"] = "no-cache"  # kept, but asked for each time whether it is still the one
        answer.headers["Content-Security-Policy"] = self._policy
        answer.set_etag(hashlib.sha256(body).hexdigest()[:32])
        answer.make_conditional(ask.request)
        return answer

    def _named(self) -> dict[str, Path]:
        """The folder's files by name: what is not listed here is not served, whatever its path spells."""
        if not self._folder.is_dir():
            return {}
        return {path.name: path for path in self._folder.iterdir() if path.suffix in TYPES and path.is_file()}
