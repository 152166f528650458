"""Text that PostgreSQL can hold."""

from __future__ import annotations


def clean(text: str) -> str:
    """The text without NUL and with lone surrogates replaced by `?`: PostgreSQL takes neither."""
    if text.isascii():
        return text.replace("\x00", "") if "\x00" in text else text
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def visible(text: str) -> str:
    """The text in one line, without what cannot be seen or would move a terminal's cursor; for words of strangers."""
    return " ".join(clean("".join(letter if letter.isprintable() else " " for letter in text)).split())


def shortened(text: str, limit: int = 500) -> str:
    """The text cleaned and cut to `limit` characters, for messages people read."""
    text = clean(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
