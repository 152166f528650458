"""One measured figure, with the bar it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured, as text; where there is a bar, also as the value that is held against it."""

    what: str
    text: str
    value: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != (self.at_least is None and self.at_most is None):
            raise ValueError(f"{self.what!r}: a value goes with a bar, and a bar with a value.")

    @property
    def bar(self) -> str:
        """The bar, as text; empty where there is none."""
        if self.at_least is not None:
            return f">= {self.at_least:,g}"
        return f"<= {self.at_most:,g}" if self.at_most is not None else ""

    @property
    def ratio(self) -> float | None:
        """How far it is beyond its bar: 1 just reaches it, 2 is twice as good; None where there is none."""
        if self.value is None:
            return None
        if self.at_least is not None:
            return self.value / self.at_least
        assert self.at_most is not None, "a value goes with a bar"
        return self.at_most / self.value if self.value else 1.0  # nothing at all reaches every bar

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        return None if self.ratio is None else self.ratio >= 1

    def to_dict(self) -> dict[str, Any]:
        """The figure as history.jsonl keeps it."""
        ratio = None if self.ratio is None else round(self.ratio, 3)
        found = {"what": self.what.strip(), "text": self.text, "value": self.value, "bar": self.bar, "ratio": ratio}
        return {name: value for name, value in found.items() if value not in (None, "")}
