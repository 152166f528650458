"""What Drive and Docs say of files they do not give: tables of reasons and of the words of their pages, as recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from shared.errors import FetchError
from shared.fetching.causes import Cause
from shared.fetching.pages import MOST, Page
from shared.fetching.transfer import File, check_status
from shared.text import shortened

_WORDS: Final = 4_000  # letters of a page that are looked at
# Words of Drive's pages, in the order they are looked for.
_PAGES: Final = (
    (re.compile(r"too many users have viewed or downloaded|quota exceeded", re.I), Cause.QUOTA),
    (re.compile(r"you need (?:access|permission)|request access|sign in to|access denied", re.I), Cause.PRIVATE),
    (re.compile(r"does not exist|not found|in the owner's trash|has been deleted", re.I), Cause.DELETED),
    (re.compile(r"automated queries|unusual traffic", re.I), Cause.BUSY),
    (re.compile(r"violat\w+ (?:of )?(?:our )?terms|malware|is infected", re.I), Cause.REJECTED),
)  # fmt: skip

# Reasons of Drive's API; any other is judged by its status.
_REASONS: Final[Mapping[str, Cause]] = {
    "fileNotDownloadable": Cause.EXPORT_INSTEAD,
    "exportSizeLimitExceeded": Cause.TOO_LARGE,
    "fileNotExportable": Cause.NOT_EXPORTABLE,
    "notFound": Cause.DELETED,
    "insufficientFilePermissions": Cause.PRIVATE,
    "insufficientPermissions": Cause.PRIVATE,
    "appNotAuthorizedToFile": Cause.PRIVATE,
    "cannotDownloadFile": Cause.PRIVATE,
    "cannotDownloadAbusiveFile": Cause.REJECTED,
    "downloadQuotaExceeded": Cause.QUOTA,
    "dailyLimitExceeded": Cause.QUOTA,
    "quotaExceeded": Cause.QUOTA,
    "sharingRateLimitExceeded": Cause.BUSY,
    "userRateLimitExceeded": Cause.BUSY,
    "rateLimitExceeded": Cause.BUSY,
    "backendError": Cause.SERVER,
    "internalError": Cause.SERVER,
    "keyInvalid": Cause.BAD_CREDENTIALS,
    "keyExpired": Cause.BAD_CREDENTIALS,
    "accessNotConfigured": Cause.BAD_CREDENTIALS,
    "ipRefererBlocked": Cause.BAD_CREDENTIALS,
    "authError": Cause.BAD_CREDENTIALS,
}


def judge_api(file: File) -> None:
    """Raises FetchError with what an error of Drive's API means."""
    body = json_of(file.text(MOST))
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    said = shortened(str(error.get("message", "")), 200)
    reasons = _reasons(error.get("errors"))
    if "API_KEY_INVALID" in _reasons(error.get("details")):
        raise FetchError(Cause.BAD_CREDENTIALS, said)
    cause = next((_REASONS[one] for one in reasons if one in _REASONS), None)
    if cause is not None:
        raise FetchError(cause, f"Drive: {said}")
    check_status(file)


def judge_page(page: Page, host: str) -> FetchError:
    """The error that a page in place of a file stands for."""
    words = f"{page.title}\n{page.text}"[:_WORDS]
    cause = next((cause for pattern, cause in _PAGES if pattern.search(words)), Cause.NO_FILE)
    said = shortened(page.title.strip() or page.text.partition("\n")[0], 120)
    return FetchError(cause, f"{host} says: {said}" if said else f"{host} sent an empty page")


def _reasons(entries: object) -> list[str]:
    found = entries if isinstance(entries, list) else []
    return [str(one.get("reason")) for one in found if isinstance(one, dict)]


def json_of(text: str) -> Any:
    """The JSON value; None if there is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
