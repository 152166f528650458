"""Web pages that come in place of files: their forms, their text, and what they say. Pure.

Read by patterns that look at each letter a bounded number of times. The standard library's parser takes 27 s for 60 KB
of `<a `, and pages are somebody else's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Final

MOST: Final = 2 * 1024 * 1024  # of a page that is read
_UNSEEN: Final = (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>"), ("<noscript", "</noscript>"))
# None goes past the next bracket, so none is tried twice over the same letters.
_TITLE: Final = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_FORM_PART: Final = re.compile(r"<(/?form|input)\b([^<>]*)>", re.IGNORECASE)
_BREAK: Final = re.compile(r"</?(?:p|br|div|li|tr|h[1-6]|title|body)\b[^<>]*>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
_ATTRIBUTE: Final = re.compile(r"(?<![a-z-])([a-z-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>]+))", re.IGNORECASE)
_MOST_OF_A_TAG: Final = 4_000


@dataclass(slots=True)
class Form:
    """A form of a page."""

    id: str
    action: str
    method: str
    inputs: dict[str, str] = field(default_factory=dict)


class Page:
    """A page's title, text and forms."""

    def __init__(self, source: str) -> None:
        seen = _seen(source)
        title = _TITLE.search(seen)
        self.title = " ".join(unescape(title[1]).split()) if title else ""
        self.forms = _forms(seen)
        self._source = seen if title is None else seen[: title.start()] + seen[title.end() :]

    @property
    def text(self) -> str:
        """What a reader sees, one line for each block."""
        lines = unescape(_TAG.sub("", _BREAK.sub("\n", self._source))).split("\n")
        return "\n".join(line for line in (" ".join(line.split()) for line in lines) if line)


def _seen(source: str) -> str:
    """The source without what no reader sees; what is never closed ends it."""
    for begin, end in _UNSEEN:
        kept, at, lower = [], 0, source.lower()
        while (found := lower.find(begin, at)) >= 0:
            kept.append(source[at:found])
            at = lower.find(end, found)
            if at < 0:
                at = len(source)
            at += len(end)
        source = "".join([*kept, source[at:]])
    return source


def _forms(source: str) -> list[Form]:
    forms: list[Form] = []
    for found in _FORM_PART.finditer(source):
        told = _attributes(found[2])
        if found[1].lower() == "form":
            forms.append(Form(told.get("id", ""), told.get("action", ""), told.get("method", "get").lower()))
        elif found[1].lower() == "input" and forms and told.get("name"):
            forms[-1].inputs[told["name"]] = told.get("value", "")
    return forms


def _attributes(tag: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(tag[:_MOST_OF_A_TAG])
    return {name.lower(): unescape(double or single or bare) for name, double, single, bare in found}
