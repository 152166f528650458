"""What a file on somebody's disk shows of itself before it is uploaded: its name, and its beginning."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

from shared.copying import Maker
from shared.dialect import Limits, detect
from shared.errors import InputError
from shared.pipelines.base import Form, ValidRow
from shared.rows import read

HEAD = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A file, or a folder of files."""

    name: str
    folder: bool = False
    head: bytes = b""
    whole: bool = True  # whether the head is all of it

    @property
    def ending(self) -> str:
        """What its name ends with, in lower case: `.csv`."""
        return "" if self.folder else PurePath(self.name).suffix.lower()

    @property
    def header(self) -> Sequence[str]:
        """The cells of its first line, taken for a CSV's."""
        text = self.head.decode("utf-8-sig", "replace")
        return next(csv.reader([next((line for line in text.splitlines() if line.strip()), "")]), [])

    def names_columns_of(self, form: Form) -> bool:
        """Whether a header names the columns that every row of the form must have, with rows below it or not."""
        try:
            layout = detect(self.head, whole=self.whole, columns=form.columns, required=form.required, limits=Limits())
        except InputError:  # ingest says better what is wrong with it
            return set(form.required) <= {cell.strip().lower() for cell in self.header}
        return layout.header is not None

    def has_rows_of(self, form: Form) -> bool:
        """Whether, without a header, a row of its beginning is one of the form's."""
        limits = Limits()
        try:
            layout = detect(self.head, whole=self.whole, columns=form.columns, required=form.required, limits=limits)
            rows = read(BytesIO(self.head[layout.start.offset :]), layout=layout, cursor=layout.start, limits=limits)
            return any(isinstance(made.row, ValidRow) for chunk in rows for made in Maker(form, layout).make(chunk))
        except InputError:
            return False
