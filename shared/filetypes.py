"""What a file that is not CSV text seems to be, with the way to make a CSV of it."""

from __future__ import annotations

from shared.csvtext import BROKEN

_AS_CSV = "export it as CSV UTF-8 and upload that"

# First bytes, what they say the file is, what to do. None of them begins a text that people write.
_MAGIC = (
    (b"\x89PNG\r\n", "a PNG picture", "upload a CSV file instead"),
    (b"\xff\xd8\xff", "a JPEG picture", "upload a CSV file instead"),
    (b"GIF8", "a GIF picture", "upload a CSV file instead"),
    (b"%PDF-", "a PDF document", "open the table it was made from and " + _AS_CSV),
    (b"\x1f\x8b", "a gzip file", "unpack it and upload the CSV inside"),
    (b"BZh91AY&SY", "a bzip2 file", "unpack it and upload the CSV inside"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it and upload the CSV inside"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it and upload the CSV inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and upload the CSV inside"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it and upload the CSV inside"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "open it and " + _AS_CSV),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV UTF-8 and upload that"),
    (b"PAR1\x15", "a Parquet file", "convert it to CSV UTF-8 and upload that"),
    (b"{\\rtf", "a rich text document", "save it as plain CSV UTF-8 and upload that"),
    (b"\xff\xfe\x00\x00", "text in UTF-32", "save it as CSV UTF-8 and upload that"),
    (b"\x00\x00\xfe\xff", "text in UTF-32", "save it as CSV UTF-8 and upload that"),
)
_ZIPPED = (
    (b"xl/", "an Excel workbook", "open it and " + _AS_CSV),
    (b"opendocument.spreadsheet", "an OpenDocument spreadsheet", "open it and " + _AS_CSV),
    (b"[Content_Types].xml", "an Office document", "open it and " + _AS_CSV),
    (b"", "a ZIP archive", "unpack it and upload the CSV inside"),
)
_CONTROLS = "".join(map(chr, (*range(9), *range(14, 27), *range(28, 32), 127)))
_SAMPLE = 65_536


def known_binary(head: bytes) -> str | None:
    """A sentence saying which known kind of file this is and what to do; None if its first bytes tell of none."""
    kinds = ((b"PK\x03\x04", *kind[1:]) for kind in _ZIPPED if kind[0] in head) if head[:2] == b"PK" else iter(_MAGIC)
    for magic, what, remedy in kinds:
        if head.startswith(magic):
            return f"This is {what}, not a CSV file: {remedy}."
    return None


def unlike_text(text: str) -> str | None:
    """A sentence saying why these characters are no text and what to do; None if they may well be text.

    A few NUL or control characters among text are the business of their rows. A fifth of the whole is no text (UTF-16
    read as UTF-8 has a half); compressed data has a tenth, and next to nothing of it is valid UTF-8.
    """
    sample = text[:_SAMPLE]
    controls = sum(map(sample.count, _CONTROLS)) / len(sample)
    if controls <= 0.2 and (controls <= 0.04 or len(BROKEN.findall(sample)) / len(sample) <= 0.1):
        return None
    nuls, other_nuls = sorted((sample[::2].count("\x00"), sample[1::2].count("\x00")))
    if nuls == 0 and other_nuls / len(sample) > 0.02:
        return "This looks like UTF-16 text without its byte order mark: save it as CSV UTF-8 and upload that."
    return "This is not text but binary data: upload a CSV file, saved as UTF-8."
