"""Who may ask: requests of foreign pages are refused, names that are not this machine's too; and who it was."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Final
from urllib.parse import urlsplit

import orjson
from flask import Request
from werkzeug.exceptions import Forbidden

READING: Final = ("GET", "HEAD", "OPTIONS")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
LOCAL: Final = "local"
UNKNOWN: Final = "unknown"
# Google's own caller, where Identity-Aware Proxy stands in front: the person is in a header then.
_PROXY = "@gcp-sa-iap.iam.gserviceaccount.com"
_PERSON = "X-Goog-Authenticated-User-Email"
ALWAYS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def on_cloud_run() -> bool:
    """Whether this process runs on Cloud Run, which lets nobody in whom it does not know.

    Not by K_SERVICE: the local stack sets it too, because the framework takes its log name from it.
    """
    return bool(os.environ.get("K_REVISION"))


def check(request: Request) -> None:
    """Raise Forbidden for a request another site's page makes, and off Cloud Run for one that is not to this machine.

    A page may send a form anywhere, but its browser says from where; and it may have its own name point at this machine
    (DNS rebinding), but that name then stands in Host.
    """
    if not on_cloud_run() and _name(request.headers.get("Host", "")) not in LOOPBACK:
        raise Forbidden("This API answers on this machine only: ask 127.0.0.1 or localhost.")
    if request.method not in READING and not _same_origin(request):
        raise Forbidden("A page of another site may not change anything here. Use the dashboard of this API, or curl.")


def _same_origin(request: Request) -> bool:
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is None or site == "same-origin":  # the browser's own word, also where a proxy has changed Host
        return True
    return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower() != ""


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def who(request: Request) -> str:
    """The e-mail address Google knows the caller by; `local` off Cloud Run, where anybody could claim to be anyone.

    Cloud Run has checked the token it was let in by, X-Serverless-Authorization before Authorization, and the person's
    header counts only where that token is the proxy's own or there is none: others could write it themselves.
    """
    if not on_cloud_run():
        return LOCAL
    bearer = request.headers.get("X-Serverless-Authorization") or request.headers.get("Authorization", "")
    caller = _email(bearer)
    if caller is None or caller.endswith(_PROXY):
        person = request.headers.get(_PERSON, "").rpartition(":")[2]  # accounts.google.com:someone@example.com
        return person[:320] or caller or UNKNOWN
    return caller[:320]


def _email(bearer: str) -> str | None:
    """The address in the payload of a token that was checked before."""
    scheme, _, token = bearer.partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return None
    try:
        payload = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, orjson.JSONDecodeError, ValueError):
        return None
    found = payload.get("email") or payload.get("sub") if isinstance(payload, dict) else None
    return found if isinstance(found, str) and found else None
