"""Why a file could not be fetched: one closed set, with what to do about each and whether another try makes sense."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.errors import FetchError
from shared.text import shortened, visible
from shared.upstreams.base import ErrorClass, Failure


class Cause(StrEnum):
    """The class a failed download carries; its error code is `upstream.` and this."""

    REFUSED_HOST = "refused_host"
    REFUSED_LINK = "refused_link"
    PRIVATE = "private"
    DELETED = "deleted"
    UNAVAILABLE = "unavailable"
    AGE_RESTRICTED = "age_restricted"
    NETWORK_RESTRICTED = "network_restricted"
    QUOTA = "quota"
    BUSY = "busy"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    NO_FILE = "no_file"
    NO_CAPTIONS = "no_captions"
    NO_FORMAT = "no_format"
    NOT_YET = "not_yet"
    NEEDS_CREDENTIALS = "needs_credentials"
    EXPORT_INSTEAD = "export_instead"
    NOT_EXPORTABLE = "not_exportable"
    UNSUPPORTED = "unsupported"
    SITE_CHANGED = "site_changed"
    NETWORK = "network"
    OFFLINE = "unreachable"
    SERVER = "server"
    REJECTED = "rejected"
    BAD_CREDENTIALS = "bad_key"
    FAULT = "fault"
    STORE_DOWN = "storage"
    STORE_REFUSES = "media_bucket"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One line of the table: whether trying again makes sense, what happened and what to do, and the least wait."""

    kind: ErrorClass
    advice: str
    wait: float | None = None  # seconds before another try, where the source names none

    @property
    def again(self) -> bool:
        """Whether another try may go well without anybody doing anything."""
        return self.kind is ErrorClass.TRANSIENT


_T, _P, _S = ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.SYSTEMIC
_HOURS: Final = 6 * 3600.0  # Drive says that it may take up to 24 hours

MEANINGS: Final[dict[Cause, Meaning]] = {
    Cause.REFUSED_HOST: Meaning(_P, "The link's host may not be asked; the setting FETCH_HOSTS names those that may"),
    Cause.REFUSED_LINK: Meaning(_P, "The link is none that may be followed; mend it in the sheet"),
    Cause.PRIVATE: Meaning(_P, "Only people it was shared with may see it; ask its owner to share it by link"),
    Cause.DELETED: Meaning(_P, "It is there no more, or the link is wrong; ask its owner for another"),
    # Seen for deleted videos and, for a while, where too much was asked from one address: tried again as often as any.
    Cause.UNAVAILABLE: Meaning(_T, "YouTube says it is unavailable: gone, or too much was asked of it", 600.0),
    Cause.AGE_RESTRICTED: Meaning(_P, "YouTube shows it only to signed-in adults; download it by hand"),
    Cause.NETWORK_RESTRICTED: Meaning(_P, "It cannot be seen from this network or country; fetch it from another"),
    Cause.QUOTA: Meaning(_T, "It was downloaded too often today; it is tried again in some hours", _HOURS),
    Cause.BUSY: Meaning(_T, "The host asks for fewer requests; it is tried again later", 60.0),
    Cause.TOO_LARGE: Meaning(_P, "It is larger than FETCH_MAX_BYTES allows; raise that, or fetch it by hand"),
    Cause.TOO_SLOW: Meaning(_T, "It did not come in time; it is tried again"),
    Cause.NO_FILE: Meaning(_P, "The host answers with a web page in place of the file; open the link in a browser"),
    Cause.NO_CAPTIONS: Meaning(_P, "The video has no captions, not even automatic ones"),
    Cause.NO_FORMAT: Meaning(_P, "The video has no format that FETCH_VIDEO_FORMAT takes and that is one whole file"),
    Cause.NOT_YET: Meaning(_T, "The video is still to come or being broadcast; it is tried again later", 3600.0),
    Cause.NEEDS_CREDENTIALS: Meaning(_P, "Only Drive's API lists folders; set GOOGLE_DRIVE_API_KEY and try again"),
    Cause.EXPORT_INSTEAD: Meaning(_P, "It is a document of Google's and has no bytes of its own; link it as document"),
    Cause.NOT_EXPORTABLE: Meaning(_P, "Only documents of Google's can be exported, and this is a file"),
    Cause.UNSUPPORTED: Meaning(_P, "Nothing can be fetched from such a link"),
    Cause.SITE_CHANGED: Meaning(_P, "YouTube's answer is not understood; a newer yt-dlp in requirements.txt may help"),
    Cause.NETWORK: Meaning(_T, "The host could not be reached, or the connection broke; it is tried again"),
    Cause.OFFLINE: Meaning(_T, "Google's hosts cannot be reached; check this machine's network if it lasts"),
    Cause.SERVER: Meaning(_T, "The host had an error of its own; it is tried again"),
    Cause.REJECTED: Meaning(_P, "The host refuses the request"),
    Cause.BAD_CREDENTIALS: Meaning(_S, "Google does not accept GOOGLE_DRIVE_API_KEY for Drive; mend it, then resume"),
    Cause.FAULT: Meaning(_T, "Fetching it broke Rowlift itself; the log has the traceback, report it"),
    Cause.STORE_DOWN: Meaning(_T, "The media bucket cannot be reached; it is tried again"),
    Cause.STORE_REFUSES: Meaning(
        _S, "The media bucket takes no objects; check MEDIA_BUCKET and its grants, then resume"
    ),
}


def code_of(cause: Cause) -> str:
    """The error code items carry."""
    return f"upstream.{cause}"


def cause_of(code: str | None) -> Cause | None:
    """The class behind an error code; None if it is none of a download's."""
    name = (code or "").removeprefix("upstream.")
    return Cause(name) if code and name != code and name in set(Cause) else None


def meaning_of(code: str | None) -> Meaning | None:
    """What an error code means for people and for another try; None if it is none of a download's."""
    cause = cause_of(code)
    return MEANINGS[cause] if cause else None


def failure_of(error: FetchError) -> Failure:
    """The failure an error is told as."""
    meaning = MEANINGS[Cause(error.cause)]
    wait = (error.retry_after or meaning.wait) if meaning.again else None
    said = visible(str(error))
    message = f"{meaning.advice}. {said}" if said else meaning.advice
    return Failure(kind=meaning.kind, code=code_of(Cause(error.cause)), message=shortened(message), retry_after=wait)
