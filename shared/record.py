"""One record of a CSV file that needs a closer look: followed piece by piece, kept only within the limits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.csvtext import BROKEN, byte_length, csv_reader, line_ends, lines_of, printable
from shared.dialect import Layout, Limits

_EXCERPT_CHARS = 2_000  # of a refused record; enough for the cells people look for it by
_EXCERPT_CELLS = 20
_EXCERPT_CELL_CHARS = 200

_LINE_END = re.compile(r"\r\n|[\r\n]")
_QUOTED = re.compile(r'[^"]*+(?:""[^"]*+)*+')  # up to the quote that ends it, which is not doubled

# Where in a record a piece ends, in the words of csv's own parser.
_AT_FIELD, _IN_FIELD, _IN_QUOTES, _AFTER_QUOTE = range(4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """Why the reader refuses a record."""

    column: str | None  # the name of the column it is about, if it is about one
    code: str
    reason: str


class Record:
    """A record measured while its text is fed in pieces, with its cells or its defect when it has ended.

    A piece may end anywhere but between CR and LF.
    """

    def __init__(self, layout: Layout, limits: Limits) -> None:
        self.ended = False  # whether its line end was seen; it may also end with the file
        self.blank = True  # whether it is a line of blanks only, and so no record
        self.lines = 0  # physical lines it takes
        self._layout = layout
        self._limits = limits
        self._delimiter = layout.delimiter
        self._stop = re.compile(rf'{_LINE_END.pattern}|{re.escape(layout.delimiter)}(?=")')
        self._in_line = False  # whether the piece before ended within a line
        self._state = _AT_FIELD
        self._columns = 1
        self._length = 0  # characters of the current field so far
        self._long_column: int | None = None  # index of the first field that is too long
        self._bytes = 0
        self._quote_line = 0  # lines before the quote that was opened last
        self._excerpt = ""
        self._kept: list[str] | None = []

    def feed(self, text: str) -> int:
        """Take in the next piece; how many of its characters belong to the record."""
        end, quote_at = self._follow(text)
        part = text[:end]
        if quote_at is not None:
            self._quote_line = self.lines + line_ends(part[:quote_at])
        self.lines += line_ends(part)
        self._in_line = not part.endswith(("\n", "\r")) if part else self._in_line
        self._bytes += byte_length(part, self._layout.encoding)
        self.blank = self.blank and self._columns == 1 and (part.isspace() or not part)
        self._excerpt += part[: _EXCERPT_CHARS - len(self._excerpt)]
        if self._kept is not None:
            self._kept.append(part)
        if self._passes_limit():
            self._kept = None
        return end

    def finish(self, line: int) -> tuple[list[str], Defect | None]:
        """The cells, or of a refused record what can be shown, and the defect; `line` is where it begins."""
        if self._in_line:
            self.lines += 1
        text = "".join(self._kept or ())
        defect = self._unclosed(line) or self._beyond_limits(line) or self._undecodable(text, line)
        if defect and defect.code == "input.encoding":
            return list(map(printable, self._cells(text))), defect
        return (self._shown() if defect else self._cells(text)), defect

    def _follow(self, text: str) -> tuple[int, int | None]:
        """Where the record ends in the piece, or the piece does; and where the last quotes were opened in it."""
        at, quote_at = 0, None
        while at < len(text) and not self.ended:
            if self._state == _IN_QUOTES:
                at = self._quoted(text, at)
            elif self._state == _AFTER_QUOTE:
                at = self._after_quote(text, at)
            elif self._state == _AT_FIELD and text[at] == '"':
                quote_at = at
                self._state = _IN_QUOTES
                at += 1
            else:
                at = self._unquoted(text, at)
        return at, quote_at

    def _unquoted(self, text: str, at: int) -> int:
        """Take unquoted cells up to the line end or to a delimiter with a quote behind it."""
        stop = self._stop.search(text, at)
        self.ended = stop is not None and stop[0] != self._delimiter
        end = len(text) if stop is None else stop.start() if self.ended else stop.end()
        first, *others = text[at:end].split(self._delimiter)
        self._grow(len(first))
        if others:
            self._long_column = self._long_column if self._long_column is not None else self._first_long(others)
            self._columns += len(others)
            self._length = len(others[-1])
        self._state = _AT_FIELD if others and not others[-1] else _IN_FIELD
        return stop.end() if stop else end

    def _first_long(self, fields: list[str]) -> int | None:
        limit = self._limits.max_field_chars
        if max(map(len, fields)) <= limit:
            return None
        return next(self._columns + index for index, field in enumerate(fields) if len(field) > limit)

    def _quoted(self, text: str, at: int) -> int:
        found = _QUOTED.match(text, at)
        end = found.end() if found else at
        self._grow(end - at - text.count('""', at, end))
        if end < len(text):
            self._state = _AFTER_QUOTE
            end += 1
        return end

    def _after_quote(self, text: str, at: int) -> int:
        if text[at] == '"':
            self._grow(1)
            self._state = _IN_QUOTES
        elif text[at] == self._delimiter:
            self._columns += 1
            self._length = 0
            self._state = _AT_FIELD
        else:
            self._state = _IN_FIELD
            return at  # text behind closing quotes belongs to the field, a line end is a line end
        return at + 1

    def _grow(self, length: int) -> None:
        self._length += length
        if self._length > self._limits.max_field_chars and self._long_column is None:
            self._long_column = self._columns - 1

    def _passes_limit(self) -> bool:
        return (
            self._columns > self._limits.max_columns
            or self._long_column is not None
            or self._bytes > self._limits.max_record_bytes
        )

    def _unclosed(self, line: int) -> Defect | None:
        if self._state != _IN_QUOTES:
            return None
        opened, last = line + self._quote_line, line + self.lines - 1
        return Defect(
            column=self._layout.name(self._columns - 1),
            code="input.unclosed_quote",
            reason=f"The quote opened in line {opened:,} is never closed and swallowed the {last - opened:,} lines "
            f"below it: close it, or double it if it is part of the text, and upload the file again.",
        )

    def _beyond_limits(self, line: int) -> Defect | None:
        limits = self._limits
        if self._columns > limits.max_columns:
            return Defect(
                column=None,
                code="input.too_many_columns",
                reason=f"The record in line {line:,} has {self._columns:,} columns of {limits.max_columns:,} at most: "
                f"remove stray delimiters, or put quotes around the text they are in.",
            )
        if self._long_column is not None:
            return Defect(
                column=self._layout.name(self._long_column),
                code="input.field_too_long",
                reason=f"In the record of line {line:,} a field is longer than {limits.max_field_chars:,} characters: "
                f"shorten it, or look for a quote that is not closed.",
            )
        if self._bytes > limits.max_record_bytes:
            return Defect(
                column=None,
                code="input.record_too_long",
                reason=f"The record in line {line:,} takes {self._bytes:,} bytes of {limits.max_record_bytes:,} at "
                f"most: shorten its fields, or look for a quote that is not closed.",
            )
        return None

    def _undecodable(self, text: str, line: int) -> Defect | None:
        broken = BROKEN.search(text)
        if broken is None:
            return None
        column = next(index for index, cell in enumerate(self._cells(text)) if BROKEN.search(cell))
        return Defect(
            column=self._layout.name(column),
            code="input.encoding",
            reason=f"Line {line + line_ends(text[: broken.start()]):,} holds bytes that are not "
            f"{self._layout.encoding.upper()} text: save the file as CSV UTF-8 and upload it again.",
        )

    def _cells(self, text: str) -> list[str]:
        return next(csv_reader(lines_of(text), self._delimiter), [])

    def _shown(self) -> list[str]:
        cells = self._cells(self._excerpt)[:_EXCERPT_CELLS]
        return [printable(cell[:_EXCERPT_CELL_CHARS]) for cell in cells]
