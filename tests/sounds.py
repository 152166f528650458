"""Small sound files made here, as encoders write them, tags and cover included; and some that are meant to do harm."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 2, height: int = 2) -> bytes:
    """A picture whose header says this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x80\x40\xc0" * min(width, 64) for _ in range(min(height, 64)))
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
              for kind, data in chunks)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def id3(*, cover: bytes | None = None, encoding: int = 3, **tags: str) -> bytes:
    """An ID3v2.4 tag with frames by their names, such as TIT2."""
    codec = {0: "latin-1", 1: "utf-16", 3: "utf-8"}[encoding]
    frames = [(name, bytes([encoding]) + text.encode(codec)) for name, text in tags.items()]
    if cover is not None:
        frames.append(("APIC", b"\0image/png\0\x03\0" + cover))
    body = b"".join(name.encode() + _synchsafe(len(data)) + b"\0\0" + data for name, data in frames)
    return b"ID3\x04\0\0" + _synchsafe(len(body)) + body


def mp3(seconds: float = 2.0, *, cover: bytes | None = None, encoding: int = 3, **tags: str) -> bytes:
    """Silence in frames of MPEG 1 layer 3, 128 kbit/s, 44,100 Hz, stereo."""
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    return id3(cover=cover, encoding=encoding, **tags) + frame * round(seconds * 44_100 / 1_152)


def wav(seconds: float = 1.0, *, channels: int = 1, rate: int = 8_000) -> bytes:
    """Silence as 16-bit PCM."""
    data = bytes(2 * channels * int(seconds * rate))
    head = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def flac(*, seconds: int = 3, **comments: str) -> bytes:
    """A FLAC file's header and comments, without a frame: what it says of itself is all there."""
    rate = 44_100
    info = struct.pack(">HH", 4096, 4096) + bytes(6)
    info += ((rate << 44) | (1 << 41) | (15 << 36) | (rate * seconds)).to_bytes(8, "big") + bytes(16)
    listed = [f"{name}={text}".encode() for name, text in comments.items()]
    said = struct.pack("<I", 4) + b"test" + struct.pack("<I", len(listed))
    said += b"".join(struct.pack("<I", len(one)) + one for one in listed)
    return b"fLaC" + b"\0" + len(info).to_bytes(3, "big") + info + b"\x84" + len(said).to_bytes(3, "big") + said


def ogg(seconds: int = 60, *, pages: int = 10, page: int = 60_000, **comments: str) -> bytes:
    """A Vorbis stream as far as it says things of itself, its sound all zeros."""
    rate = 44_100
    head = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 2, rate, 0, 128_000, 0, 0xB8, 1)
    listed = [f"{name}={text}".encode() for name, text in comments.items()]
    said = b"\x03vorbis" + struct.pack("<I", 4) + b"test" + struct.pack("<I", len(listed))
    said += b"".join(struct.pack("<I", len(one)) + one for one in listed) + b"\x01"
    sound = [_page(bytes(page), rate * seconds * (n + 1) // pages, 4 if n == pages - 1 else 0) for n in range(pages)]
    return _page(head, 0, 2) + _page(said, 0, 0) + b"".join(sound)


def greedy_mp3() -> bytes:
    """A tag that says it holds 200 MB, in a file of as much."""
    return (
        b"ID3\x04\0\0" + _synchsafe(200_000_000) + b"TIT2" + _synchsafe(199_999_000) + b"\0\0\x03" + bytes(200_000_000)
    )


def _page(data: bytes, granule: int, flags: int) -> bytes:
    sizes = b"\xff" * (len(data) // 255) + bytes([len(data) % 255])
    if len(sizes) > 255:
        sizes, data = b"\xff" * 254 + b"\x10", data[: 254 * 255 + 16]
    return b"OggS\0" + bytes([flags]) + struct.pack("<qIII", granule, 7, 0, 0) + bytes([len(sizes)]) + sizes + data


def _synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def examples() -> dict[str, bytes]:
    """The files of examples/audio, by name: `python -m tests.sounds` writes them."""
    return {
        "first-light.mp3": mp3(2, TIT2="First Light", TPE1="Søren Ångström", TALB="Dawn", TCON="Ambient",
                               TDRC="2019-03-01", TRCK="1/3", cover=png(32, 32)),
        "second-hand.flac": flac(seconds=4, TITLE="Second Hand", ARTIST="The Examples", ALBUM="Clocks", GENRE="Jazz",
                                 DATE="11.10.2010", TRACKNUMBER="2"),
        "third-rail.ogg": ogg(30, pages=3, page=400, TITLE="Третий рельс", ARTIST="Примеры", DATE="1987"),
        "no tags at all.wav": wav(0.5),
        "broken.mp3": b"ID3\x04 this is no sound",
        "not-sound.flac": b"%PDF-1.4 a document that calls itself sound",
    }  # fmt: skip


if __name__ == "__main__":
    from pathlib import Path

    for name, data in examples().items():
        (Path(__file__).parent.parent / "examples" / "audio" / name).write_bytes(data)
