"""Names of files as people see them: by template, and safe on every system. Pure."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

MOST_BYTES: Final = 200  # systems allow 255; what tools put in front or behind has room
FIELDS: Final = frozenset({"video_id", "row_id", "id", "ext", "original name", "title"})
VIDEO: Final = "{video_id}.{ext}"
TRANSCRIPT: Final = "{video_id}_transcript.{ext}"
FILE: Final = "row_{row_id}_{original name}"

_FIELD: Final = re.compile(r"\{([a-z_ ]*)\}")
_FORBIDDEN: Final = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f]')
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*", re.IGNORECASE)
_ENDING: Final = re.compile(r"\.([A-Za-z0-9]{1,10})$")
_PARAMETER: Final = re.compile(r';\s*([A-Za-z0-9!#$&+.^_`|~*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
# Python's table differs with the machine's /etc/mime.types.
_ENDINGS: Final = {
    "application/pdf": "pdf", "text/plain": "txt", "text/html": "html", "text/csv": "csv", "text/vtt": "vtt",
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "video/mp4": "mp4",
    "video/webm": "webm", "video/quicktime": "mov", "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/ogg": "ogg",
    "audio/flac": "flac", "audio/x-wav": "wav", "audio/wav": "wav", "application/zip": "zip",
    "application/json": "json", "application/octet-stream": "bin",
}  # fmt: skip


def checked_template(template: str) -> str:
    """The template itself; raises ValueError where it names a field there is none of, or could name all files alike."""
    unknown = [name for name in _FIELD.findall(template) if name not in FIELDS]
    if unknown:
        raise ValueError(
            f"there is no {{{unknown[0]}}}; there are {', '.join(f'{{{name}}}' for name in sorted(FIELDS))}"
        )
    if not set(_FIELD.findall(template)) & {"video_id", "id", "row_id", "original name"}:
        raise ValueError("it names every file alike; put {video_id}, {id}, {row_id} or {original name} into it")
    return template


def named(template: str, fields: Mapping[str, str]) -> str:
    """The safe name a template makes; fields that are not known are empty."""
    return safe_name(_FIELD.sub(lambda found: fields.get(found[1], ""), template))


def safe_name(name: str, most: int = MOST_BYTES) -> str:
    """The name as it can be stored on Windows, macOS and Linux, with no path and nothing invisible in it.

    Its ending stays when it is cut to `most` bytes. Never empty.
    """
    plain = unicodedata.normalize("NFC", name)
    plain = "".join(
        letter for letter in plain if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    )
    plain = _FORBIDDEN.sub("_", plain)
    plain = " ".join(plain.split()).strip(" .")  # a leading dot hides a file, a trailing one is lost on Windows
    stem, _, _ = plain.partition(".")
    if _RESERVED.fullmatch(stem):
        plain = f"_{plain}"
    if plain.startswith(("-", "~")):  # tools take those for options and homes
        plain = f"_{plain}"
    return _cut(plain, most) or "file"


def ending(content_type: str, name: str = "") -> str:
    """What a file's name should end with: as its name says, else as its type does."""
    if found := _ENDING.search(name):
        return found[1].lower()
    guessed = _ENDINGS.get(content_type) or (mimetypes.guess_extension(content_type) or "").lstrip(".")
    return guessed or "bin"


def original_name(disposition: str, path: str, content_type: str) -> str:
    """What its host calls a file: by Content-Disposition (RFC 6266), else by the path of its address."""
    name = from_disposition(disposition) or unquote(path.partition("?")[0].rpartition("/")[2])
    name = name.replace("\\", "/").rpartition("/")[2]
    if not name.strip(" ."):
        name = "file"
    return name if _ENDING.search(name) else f"{name}.{ending(content_type)}"


def from_disposition(header: str) -> str | None:
    """The file name of a Content-Disposition header: `filename*` before `filename`, whatever their order."""
    found: dict[str, str] = {}
    for key, value in _PARAMETER.findall(f";{header.partition(';')[2]}"):
        found.setdefault(key.lower(), value.strip())
    extended = _extended(found["filename*"]) if "filename*" in found else None
    plain = _unquoted(found["filename"]) if "filename" in found else None
    return extended or plain or None


def _extended(value: str) -> str | None:
    """The text of an extended value (RFC 8187), `UTF-8''na%C3%AFve.txt`."""
    charset, _, rest = value.strip('"').partition("'")
    _, quote, escaped = rest.partition("'")
    if not quote or charset.lower() not in ("utf-8", "iso-8859-1"):
        return None
    return unquote_to_bytes(escaped).decode(charset, "replace")


def _unquoted(value: str) -> str:
    """A token or quoted string; servers put UTF-8 and percent signs there, which headers do not know of."""
    text = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') and value.endswith('"') else value
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return text


def _cut(name: str, most: int) -> str:
    raw = name.encode()
    if len(raw) <= most:
        return name
    found = _ENDING.search(name)
    tail = found[0].encode() if found else b""
    kept = raw[: most - len(tail)].decode("utf-8", "ignore").rstrip(" .")
    return kept + tail.decode()
