"""Web pages that come in place of files: their forms, their text, and what they say. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

MOST: Final = 2 * 1024 * 1024  # of a page that is read
_UNSEEN: Final = frozenset({"script", "style", "head", "noscript", "template"})
_BREAKS: Final = frozenset({"p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "title"})


@dataclass(slots=True)
class Form:
    """A form of a page."""

    id: str
    action: str
    method: str
    inputs: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """A page's forms and text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.title = ""
        self._words: list[str] = []
        self._unseen = 0
        self._in_title = False
        self.feed(source)
        self.close()

    @property
    def text(self) -> str:
        """What a reader sees, one line for each block."""
        lines = (" ".join(line.split()) for line in "".join(self._words).split("\n"))
        return "\n".join(line for line in lines if line)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(found.get("id", ""), found.get("action", ""), found.get("method", "get").lower()))
        elif tag == "input" and self.forms and found.get("name"):
            self.forms[-1].inputs[found["name"]] = found.get("value", "")
        self._unseen += tag in _UNSEEN
        self._in_title = self._in_title or tag == "title"
        if tag in _BREAKS:
            self._words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        self._in_title = self._in_title and tag != "title"
        if tag in _BREAKS:
            self._words.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._unseen:
            self._words.append(data)
