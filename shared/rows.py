"""The bytes of an uploaded CSV file as records: streamed, in constant memory, resumable at a byte offset.

`detect` finds out how the file is written, `read` turns it into chunks of records. Both are pure: the caller brings
the bytes and keeps the cursor. A record that cannot be read gets a Defect and never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Protocol

from shared.csvtext import (
    BROKEN,
    byte_length,
    csv_reader,
    decode,
    is_blank,
    lines_of,
    whole_lines,
)
from shared.dialect import Cursor, Layout, Limits, Unreadable, detect
from shared.record import Defect, Record

__all__ = ["Chunk", "Cursor", "Defect", "Layout", "Limits", "Unreadable", "detect", "read"]


class Stream(Protocol):
    """An object's bytes, from the cursor on."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none only at the end."""


@dataclass
class Chunk:
    """Some records that stand together in the file; none if there were only blank lines."""

    numbers: list[int]  # of each record in the file, from 1
    lines: list[int]  # the physical line where it begins, from 1; CRLF counts once, the header counts
    rows: list[list[str]]  # its cells as read
    defects: dict[int, Defect]  # by index in `rows`: why the record is refused; its row is then only an excerpt
    before: Cursor
    after: Cursor  # reading on from here gives the records that follow


def read(
    stream: Stream,
    *,
    layout: Layout,
    cursor: Cursor,
    limits: Limits,
    chunk_rows: int = 5000,
    chunk_bytes: int = 1 << 20,
) -> Iterator[Chunk]:
    """The records from the cursor on, where the stream already stands; the last chunk ends at the end of the file.

    Memory is bounded by a few times `chunk_bytes`, and for records longer than that by `limits`.
    """
    tape = _Tape(stream, layout.encoding, cursor.offset, chunk_bytes)
    while tape.more():
        block = _block(tape, layout)
        if block is None:
            chunks: Iterator[Chunk] = iter((_long_record(tape, layout, limits, cursor),))
        else:
            chunks = _chunks(block, _screened(block, layout, limits, cursor.line), cursor, tape.drop, chunk_rows)
        for chunk in chunks:
            yield chunk
            cursor = chunk.after


class _Tape:
    """The bytes from the first unread record on, as far as they were taken from the stream."""

    def __init__(self, stream: Stream, encoding: str, offset: int, size: int) -> None:
        self.encoding = encoding
        self.offset = offset  # of `data` in the file
        self.data = b""
        self.ended = False  # whether `data` is all that is left of the file
        self._stream = stream
        self._size = size

    def more(self) -> bool:
        """Take a block from the stream; False if nothing at all is left."""
        blocks, wanted = [self.data], self._size
        while wanted > 0 and not self.ended:
            block = self._stream.read(wanted)
            self.ended = not block
            blocks.append(block)
            wanted -= len(block)
        self.data = b"".join(blocks)
        return bool(self.data)

    def drop(self, size: int) -> int:
        """Be done with the first bytes; the offset of what follows."""
        size = min(size, len(self.data))  # half a UTF-16 unit at the end of the file counts as a whole one in its text
        self.data = self.data[size:]
        self.offset += size
        return self.offset


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """Whole records as csv reads them, blank lines still among them."""

    encoding: str
    lines: list[str]
    rows: list[list[str]]
    starts: Sequence[int]  # per record the index of its first line, and at the end the number of lines
    clean: bool  # whether all bytes were characters
    unclosed: bool  # whether the file ends within the quotes of the last record

    def text(self, first: int, beyond: int) -> str:
        return self.lines[first] if beyond - first == 1 else "".join(self.lines[first:beyond])


def _block(tape: _Tape, layout: Layout) -> _Block | None:
    """The records that end in what is on the tape; None if not even the first one does."""
    decoded = decode(tape.data, tape.encoding, last=tape.ended)
    lines = lines_of(decoded.text if tape.ended else whole_lines(decoded.text))
    rows, starts, unclosed = _parsed(lines, layout.delimiter)
    if unclosed and not tape.ended:
        rows.pop()
        starts = starts[:-1]
        lines = lines[: starts[-1]]
        unclosed = False
    if not rows:
        return None
    return _Block(encoding=tape.encoding, lines=lines, rows=rows, starts=starts, clean=decoded.clean, unclosed=unclosed)


def _parsed(lines: list[str], delimiter: str) -> tuple[list[list[str]], Sequence[int], bool]:
    """The records in the lines, where each starts, and whether the last one's quotes are still open.

    An empty line more than there is tells: outside of quotes it is a record of no cells, within them it is swallowed.
    """
    rows = list(csv_reader(chain(lines, ("\n",)), delimiter))
    unclosed = bool(rows[-1])
    if not unclosed:
        rows.pop()
    if len(rows) == len(lines):  # each record takes a line at least, so here each takes exactly one
        return rows, range(len(lines) + 1), unclosed
    starts, reader = [0], csv_reader(lines, delimiter)
    for _ in reader:
        starts.append(reader.line_num)
    return rows, starts, unclosed


@dataclass(frozen=True, kw_only=True, slots=True)
class _Screened:
    """The records of a block without blank lines, the refused ones marked."""

    rows: list[list[str]]
    starts: Sequence[int]  # as in the block
    defects: dict[int, Defect]


def _screened(block: _Block, layout: Layout, limits: Limits, lines_before: int) -> _Screened:
    """The block's records; where none can be blank or beyond a limit, without a look at each."""
    harmless = _harmless(limits)
    if block.clean and not block.unclosed and _longest(block) <= harmless:
        widths = set(map(len, block.rows))
        if min(widths) > 1 and max(widths) <= limits.max_columns:
            return _Screened(rows=block.rows, starts=block.starts, defects={})
    rows: list[list[str]] = []
    starts: list[int] = []
    defects: dict[int, Defect] = {}
    for index, row in enumerate(block.rows):
        first, beyond = block.starts[index], block.starts[index + 1]
        text = block.text(first, beyond)
        if is_blank(row, text):
            continue
        unclosed = block.unclosed and beyond == len(block.lines)
        broken = not block.clean and BROKEN.search(text)
        if unclosed or broken or len(text) > harmless or len(row) > limits.max_columns:
            record = Record(layout, limits)
            record.feed(text)
            row, defect = record.finish(lines_before + first + 1)
            if defect:
                defects[len(rows)] = defect
        rows.append(row)
        starts.append(first)
    return _Screened(rows=rows, starts=[*starts, len(block.lines)], defects=defects)


def _harmless(limits: Limits) -> int:
    """How many characters a record may have without passing a limit, whatever they are; none takes over four bytes."""
    return min(limits.max_field_chars, limits.max_record_bytes // 4)


def _longest(block: _Block) -> int:
    """No record of the block has more characters than this."""
    longest_line = max(map(len, block.lines))
    most_lines = (
        1 if isinstance(block.starts, range) else max(beyond - first for first, beyond in pairwise(block.starts))
    )
    return longest_line * most_lines


def _chunks(
    block: _Block, kept: _Screened, cursor: Cursor, drop: Callable[[int], int], chunk_rows: int
) -> Iterator[Chunk]:
    """The block's records in chunks of about equal size, their bytes dropped from the tape one after the other."""
    total = len(kept.rows)
    step = -(-total // -(-total // chunk_rows)) if total else 1
    line, base = 0, cursor
    for low in range(0, total or 1, step):
        high = min(low + step, total)
        beyond = kept.starts[high]
        after = Cursor(
            offset=drop(byte_length("".join(block.lines[line:beyond]), block.encoding)),
            record=base.record + high,
            line=base.line + beyond,
        )
        yield Chunk(
            numbers=list(range(base.record + low + 1, base.record + high + 1)),
            lines=[base.line + 1 + start for start in kept.starts[low:high]],
            rows=kept.rows[low:high],
            defects={index - low: defect for index, defect in kept.defects.items() if low <= index < high},
            before=cursor,
            after=after,
        )
        line, cursor = beyond, after


def _long_record(tape: _Tape, layout: Layout, limits: Limits, cursor: Cursor) -> Chunk:
    """The record the tape begins with, which is longer than a block, taken piece by piece."""
    record = Record(layout, limits)
    while True:
        text = decode(tape.data, tape.encoding, last=tape.ended).text
        if text.endswith("\r") and not tape.ended:
            text = text[:-1]  # it may be half of a CRLF
        tape.drop(byte_length(text[: record.feed(text)], tape.encoding))
        if record.ended or tape.ended:
            break
        tape.more()
    row, defect = record.finish(cursor.line + 1)
    rows = [] if record.blank else [row]
    return Chunk(
        numbers=[cursor.record + 1] * len(rows),
        lines=[cursor.line + 1] * len(rows),
        rows=rows,
        defects={0: defect} if defect and rows else {},
        before=cursor,
        after=Cursor(offset=tape.offset, record=cursor.record + len(rows), line=cursor.line + record.lines),
    )
