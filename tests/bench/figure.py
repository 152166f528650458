"""One measured figure, with the bar it is held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured; `met` is None where there is no bar."""

    what: str
    text: str
    bar: str = ""
    met: bool | None = None
