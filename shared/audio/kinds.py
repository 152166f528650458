"""The kinds of sound file that are read, told by their first bytes; a name decides only where those tell nothing."""

from __future__ import annotations

from types import MappingProxyType

from shared.filetypes import known_binary

# Endings of names, and what such a file is if its first bytes do not say it.
ENDINGS = MappingProxyType(
    {
        "mp3": "mp3", "mp2": "mp3", "flac": "flac", "ogg": "ogg", "oga": "ogg", "spx": "ogg", "opus": "opus",
        "m4a": "m4a", "m4b": "m4a", "mp4": "m4a", "wav": "wav", "aif": "aiff", "aiff": "aiff", "aifc": "aiff",
        "wma": "wma", "aac": "aac",
    }
)  # fmt: skip
CONTENT_TYPES = MappingProxyType(
    {
        "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "opus": "audio/ogg", "m4a": "audio/mp4",
        "wav": "audio/wav", "aiff": "audio/aiff", "wma": "audio/x-ms-wma", "aac": "audio/aac",
    }
)  # fmt: skip
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
# Sound that is not read, so that its reason can say what it is.
_UNREAD = (
    (b"MAC ", "Monkey's Audio (APE)"),
    (b"wvpk", "WavPack"),
    (b"ADIF", "AAC without frames (ADIF)"),
    (b"RF64", "a WAV file in its form for more than 4 GB (RF64)"),
    (b"MThd", "MIDI, which is notes and not sound"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (b"<?xml", "XML"),
    (b"<!DOC", "a web page"),
    (b"<html", "a web page"),
    (b"MZ", "a program for Windows"),
    (b"\x7fELF", "a program for Linux"),
    (b"#!", "a script"),
)


def ending(name: str) -> str:
    """What stands behind the last point of a name, in small letters; empty if there is none."""
    last = name.rsplit("/", 1)[-1]
    return last.rpartition(".")[2].lower() if "." in last else ""


def kind_of(head: bytes, name: str) -> str | None:
    """The kind a file is by its first 64 bytes, else by its name; None if neither tells one that is read."""
    if head[:4] in (b"RIFF", b"FORM"):
        return {b"WAVE": "wav", b"AIFF": "aiff", b"AIFC": "aiff"}.get(head[8:12])
    if head.startswith(b"OggS"):
        return "opus" if b"OpusHead" in head else "ogg"
    if head[4:8] == b"ftyp":
        return "m4a"
    for magic, kind in ((b"fLaC", "flac"), (_ASF, "wma")):
        if head.startswith(magic):
            return kind
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06:
        return "mp3"
    if foreign(head) is not None:
        return None
    named = ENDINGS.get(ending(name))
    return "mp3" if head.startswith(b"ID3") and named not in ("flac", "aac") else named


def foreign(head: bytes) -> str | None:
    """What a file is that is not read, for people, if its first bytes tell."""
    for magic, what in _UNREAD:
        if head.startswith(magic):
            return f"This is {what}, which is not read: convert it to FLAC, MP3, Ogg, Opus, M4A, WAV, AIFF or WMA."
    found = known_binary(head)
    return found and f"{found.partition(', not a CSV file')[0]} and no sound file."
