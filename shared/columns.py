"""The types of what a result line holds, for formats that have to know before the first line: CSV and Parquet.

A list stands for any number of what is in it, a mapping for an object with these fields. Each pipeline says which
columns its lines have; `<slug>_lines` in shared/sql makes the lines, and a test holds both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Union


class Scalar(StrEnum):
    """A value that is no list and no object; any may be null."""

    TEXT = "text"  # dates and times too, as ISO 8601 writes them
    WHOLE = "whole"  # 64 bits
    NUMBER = "number"
    TRUTH = "truth"


Type = Union[Scalar, list["Type"], Mapping[str, "Type"]]  # noqa: UP007  # a string on the right of | is none
