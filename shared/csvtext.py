"""The text of a CSV file: bytes decoded without losing count of them, lines split exactly as csv counts them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _csv import Reader

# What a byte that is no character is decoded to: always a lone surrogate, which no valid text holds.
BROKEN = re.compile("[\ud800-\udfff]")

_CODECS = {"utf-8": codecs.utf_8_decode, "utf-16-le": codecs.utf_16_le_decode, "utf-16-be": codecs.utf_16_be_decode}
_LENIENT = {"utf-8": "surrogateescape", "utf-16-le": "surrogatepass", "utf-16-be": "surrogatepass"}
_SURROGATE = {"utf-8": re.compile("\udced[\udca0-\udcbf][\udc80-\udcbf]"), "utf-16-le": BROKEN, "utf-16-be": BROKEN}
_CUT_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]\Z")  # two of its three bytes
_HALF = "\udcff"  # stands for the single byte at the end of UTF-16 that is half a code unit
_WIDEST_FIELD = 2**31 - 1  # the largest csv takes on every platform


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """The characters of some bytes."""

    text: str  # bytes that are no characters appear as lone surrogates
    clean: bool  # whether there are none of those


def decode(data: bytes, encoding: str, *, last: bool) -> Decoded:
    """The characters in `data`; unless it is the `last` of the file, a character cut off at its end is left out."""
    try:
        return Decoded(text=_CODECS[encoding](data, "strict", last)[0], clean=True)
    except UnicodeDecodeError:
        half = last and encoding != "utf-8" and len(data) % 2 == 1
        if half or (encoding == "utf-8" and not last and _CUT_SURROGATE.search(data)):
            data = data[: -1 if half else -2]
        text = _CODECS[encoding](data, _LENIENT[encoding], last)[0]
        # A surrogate that stands alone is a character cut in two by some program, not a wrong encoding: it becomes the
        # mark for a lost character, which has as many bytes in either encoding.
        text = _SURROGATE[encoding].sub("\ufffd", text)
        return Decoded(text=text + _HALF if half else text, clean=not half and BROKEN.search(text) is None)


def byte_length(text: str, encoding: str) -> int:
    """How many bytes of the file the decoded text stands for; one too many if it ends in half a UTF-16 unit."""
    if encoding == "utf-8" and text.isascii():
        return len(text)
    return len(text.encode(encoding, _LENIENT[encoding]))


def line_ends(text: str) -> int:
    """How many line ends the text has: LF, CRLF and lone CR each count one."""
    count = text.count("\n")
    if "\r" in text:
        count += text.count("\r") - text.count("\r\n")
    return count


def lines_of(text: str) -> list[str]:
    """The lines of the text with their ends, split at LF, CRLF and lone CR only."""
    lines = text.splitlines(keepends=True)
    unfinished = not text.endswith(("\n", "\r")) and text != ""
    if len(lines) == line_ends(text) + unfinished:
        return lines
    # splitlines() also splits at form feeds, U+2028 and the like; it is a third quicker where there are none.
    return list(io.StringIO(text, newline=""))


def whole_lines(text: str) -> str:
    """The text up to its last line end; a CR at the very end may be half a CRLF and does not count."""
    return text[: max(text.rfind("\n"), text.rfind("\r", 0, max(len(text) - 1, 0))) + 1]


def csv_reader(lines: Iterable[str], delimiter: str) -> Reader:
    """A csv reader without a limit of its own on fields.

    csv's limit belongs to the whole process and stops the reading where it is passed, so it is lifted for good; the
    blocks handed in bound the memory, and Rowlift's own limits refuse single records.
    """
    if csv.field_size_limit() < _WIDEST_FIELD:
        csv.field_size_limit(_WIDEST_FIELD)
    return csv.reader(lines, delimiter=delimiter)


def is_blank(row: list[str], text: str) -> bool:
    """Whether a record, given as cells and as text, is a line of nothing but blanks, which is no record."""
    return len(row) < 2 and text.isspace()


def printable(text: str) -> str:
    """The text with what was undecodable, and NUL, replaced by the mark for a lost character."""
    return BROKEN.sub("\ufffd", text).replace("\x00", "\ufffd")
