"""A stand-in for the web: YouTube, Drive, Docs and plain files, asked by their whole addresses as a proxy is.

`python -m infra.local.upstreams.web --port N` answers requests such as `GET https://drive.google.com/uc?id=…` with
files made of their ids (`web_files.py`), and has beside that what `simulation.py` has for every stand-in. Only
functions that are given FETCH_STAND_IN ask it. It is simulated, says so in every answer, and knows nothing of the real
hosts.
"""

from __future__ import annotations

import asyncio
import re
from hashlib import sha256
from typing import Any, ClassVar, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

import orjson

from infra.local.upstreams import simulation
from infra.local.upstreams.http_server import Answer, Reply, Request
from infra.local.upstreams.web_files import (
    api_error,
    captions,
    confirm_page,
    content,
    mark,
    pdf,
    player,
    playlist_page,
    refusal_page,
)

# Every misbehaviour there is, and what the client sees.
FAULTS: Final = {
    "429": "too many requests, with Retry-After unless `retry_after` is null",
    "500": "internal error",
    "503": "unavailable",
    "cut": "the connection closes in the middle of the body",
    "hang": "no answer at all",
    "page": "a web page in place of the file",
    "loop": "a redirect to itself",
    "inside": "a redirect to an address of the network inside",
    "slow": "a good answer, late",
}

_HTML: Final = b"text/html; charset=utf-8"
_RANGE: Final = re.compile(rb"bytes=(\d+)-(\d*)").fullmatch
_DOCS: Final = re.compile(r"/(document|spreadsheets|presentation)/d/(e/)?([^/]+)/(export|pub)(?:/(pdf|txt))?").fullmatch
_API_FILE: Final = re.compile(r"/drive/v3/files/([^/?]+)").fullmatch
_PLAIN_SIZE: Final = re.compile(r"(\d{1,9})(k|m)?b\b", re.IGNORECASE).search


class Behaviour(simulation.Behaviour):
    """How the stand-in behaves now; names are whole addresses."""

    known_faults: ClassVar = FAULTS

    retry_after: int | None = 1  # seconds in the Retry-After header of a 429; null leaves it out
    ranges: bool = True  # whether a part of a file may be asked for


class SimulatedWeb(simulation.Simulated[Behaviour]):
    """Answers for every host."""

    def respond(self, request: Request) -> Answer:
        """The reply to a request, good or bad."""
        address = urlsplit(request.path)
        call = simulation.Call(key=request.path[:2_000])
        tries = self.log.start(call)
        call.fault = self.behaviour.fault(request.path, tries)
        reply = self._failed(call.fault, request) or self._told(request, address)
        wait = self.behaviour.seconds(call.key, tries, call.fault)
        return self.log.finished(call, self._part(request, reply), wait)

    def _failed(self, fault: str | None, request: Request) -> Reply | None:
        match fault:
            case "429":
                after = self.behaviour.retry_after
                return Reply(429, b"", b"" if after is None else b"retry-after: %d\r\n" % after, b"text/plain")
            case "500" | "503":
                return Reply(int(fault), b"", b"", b"text/plain")
            case "page":
                return _page("<html><title>Sign in</title><p>Not the file.</p></html>")
            case "loop":
                return _moved(request.path)
            case "inside":
                return _moved("https://169.254.169.254/computeMetadata/v1/")
        return None

    def _told(self, request: Request, address: SplitResult) -> Reply:
        host, asked = address.hostname or "", dict(parse_qsl(address.query))
        if host in ("drive.google.com", "drive.usercontent.google.com"):
            return self._drive(host, asked)
        if host == "docs.google.com":
            return _docs(address.path, asked)
        if host == "www.googleapis.com":
            return _api(request, address.path, asked)
        if host.endswith("youtube.com") or host == "youtubei.googleapis.com":
            return _youtube(request, address.path, asked)
        if host.endswith(".googlevideo.com"):
            return _file(content(asked.get("id", ""), b"\x00\x00\x00\x18ftypmp42"), b"video/mp4", "")
        return _plain(address.path)

    def _drive(self, host: str, asked: dict[str, str]) -> Reply:
        known = asked.get("id", "")
        if host == "drive.google.com":
            return _moved(f"https://drive.usercontent.google.com/download?id={known}&export=download")
        if refused := refusal_page(mark(known)):
            return _page(refused[1], refused[0])
        if mark(known) == "LARGE" and "confirm" not in asked:
            return _page(confirm_page(known))
        return _file(content(known), b"application/octet-stream", f"drive {known[:8]}.bin")

    def _part(self, request: Request, reply: Reply) -> Reply:
        """The part of a file that was asked for, where ranges are known and it is still the same file."""
        if reply.status != 200 or b"etag" not in reply.headers:
            return reply
        found = _RANGE(request.headers.get(b"range", b"")) if self.behaviour.ranges else None
        same = request.headers.get(b"if-range", b"") in reply.headers
        if found is None or not same:
            return reply
        first, last = int(found[1]), min(int(found[2] or len(reply.body)), len(reply.body) - 1)
        if first > last:
            return Reply(416, b"", b"content-range: bytes */%d\r\n" % len(reply.body))
        told = b"content-range: bytes %d-%d/%d\r\n" % (first, last, len(reply.body))
        return Reply(206, reply.body[first : last + 1], reply.headers + told, reply.content_type)


def _file(body: bytes, content_type: bytes, name: str) -> Reply:
    tag = sha256(body).hexdigest()[:16]
    headers = b'accept-ranges: bytes\r\netag: "%s"\r\n' % tag.encode()
    if name:
        headers += b'content-disposition: attachment; filename="%s"\r\n' % name.encode()
    return Reply(200, body, headers, content_type)


def _page(source: str, status: int = 200) -> Reply:
    return Reply(status, source.encode(), b"", _HTML)


def _moved(target: str) -> Reply:
    return Reply(303, b"", b"location: %s\r\n" % target.encode())


def _json(status: int, body: Any) -> Reply:
    return Reply(status, orjson.dumps(body), b"")


def _docs(path: str, asked: dict[str, str]) -> Reply:
    found = _DOCS(path)
    if found is None:
        return _page("<html><title>Page Not Found</title></html>", 404)
    known, published = found[3], bool(found[2])
    if mark(known) == "PRIVATE":
        return _moved("https://accounts.google.com/ServiceLogin")
    if refused := refusal_page(mark(known)):
        return _page(refused[1], refused[0])
    form = found[5] or asked.get("format") or asked.get("output") or ("html" if published else "pdf")
    if form == "html":
        return _page(f"<html><head><title>Published {known}</title></head><body><p>Words of {known}</p></body></html>")
    if form == "pdf":
        return _file(pdf(known), b"application/pdf", f"Document {known[:8]}.pdf")
    return _file(f"\ufeffWords of {known}\r\n".encode(), b"text/plain; charset=utf-8", f"Document {known[:8]}.{form}")


def _api(request: Request, path: str, asked: dict[str, str]) -> Reply:
    if b"wrong" in request.headers.get(b"x-goog-api-key", b"wrong"):
        return _json(*api_error(400, "keyInvalid", "API key not valid. Please pass a valid API key."))
    if path == "/drive/v3/files":
        folder = asked.get("q", "").partition("'")[2].partition("'")[0]
        files = [{"id": f"1{folder[:20]}FILE{i}", "name": f"{i}.bin", "mimeType": "application/pdf"} for i in range(2)]
        last = {"id": f"1{folder[:20]}DOC", "name": "words", "mimeType": "application/vnd.google-apps.document"}
        return _json(200, {"files": [last]} if asked.get("pageToken") else {"files": files, "nextPageToken": "2"})
    found = _API_FILE(path)
    if found is None or mark(found[1]) == "DELETED":
        return _json(*api_error(404, "notFound", "File not found."))
    if mark(found[1]) == "PRIVATE":
        return _json(*api_error(403, "insufficientFilePermissions", "The user does not have sufficient permissions."))
    if mark(found[1]) == "QUOTA":
        return _json(*api_error(403, "downloadQuotaExceeded", "The download quota for this file has been exceeded."))
    if asked.get("alt") == "media":
        return _file(content(found[1]), b"application/pdf", "")
    return _json(200, {"id": found[1], "name": f"named {found[1][:8]}.pdf", "mimeType": "application/pdf"})


def _youtube(request: Request, path: str, asked: dict[str, str]) -> Reply:
    if path == "/youtubei/v1/player":
        wanted = orjson.loads(request.body or b"{}")
        return _json(200, player(str(wanted.get("videoId", ""))))
    if path == "/api/timedtext":
        return _json(200, captions(asked.get("v", "")))
    if path == "/playlist":
        return _page(playlist_page(asked.get("list", "")))
    if path.startswith("/youtubei/"):
        return _json(200, {})
    return _page("<html><title>YouTube</title></html>")


def _plain(path: str) -> Reply:
    """A file of any host: as large as its name says, `1mb.bin`."""
    if mark(path) in ("PRIVATE", "DELETED"):
        return Reply(403 if mark(path) == "PRIVATE" else 404, b"", b"", b"text/plain")
    if mark(path) == "PAGE" or path.endswith((".html", "/")):
        return _page("<html><title>A page</title><p>Words.</p></html>")
    sized = _PLAIN_SIZE(path)
    factor = {"k": 1_000, "m": 1_000_000}.get((sized[2] or "").lower(), 1) if sized else 1
    size = min(int(sized[1]) * factor, 50_000_000) if sized else 20_000
    return _file(content(path, size=size), b"application/octet-stream", "")


def main(arguments: list[str] | None = None) -> None:
    """Read the options, then serve."""
    parser = simulation.parser("web", "A simulated web.")
    chosen = parser.parse_args(arguments)
    try:
        behaviour = Behaviour(latency=chosen.latency, faults=chosen.faults, seed=chosen.seed)
    except ValueError as wrong:
        parser.error(str(wrong))
    asyncio.run(simulation.serve(chosen.port, SimulatedWeb(behaviour, simulation.Log(chosen.log))))


if __name__ == "__main__":
    main()
