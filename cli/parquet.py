"""Result lines as Parquet: a row group for some megabytes of them, so that memory does not grow with their number.

Its schema is `shared.columns`, whatever the lines hold: the files of two sessions of one pipeline can be read as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cli.faults import Failed, WrongUsage
from cli.saving import Saved, replacing, write
from shared.columns import Scalar, Type

if TYPE_CHECKING:
    import pyarrow

GROUP = 16 << 20  # bytes of JSON that become a row group


def save_parquet(pieces: Iterable[bytes], columns: Mapping[str, Type], output: Path) -> Saved:
    """Write lines to a Parquet file that replaces `output` once it is whole. Raises WrongUsage, Failed, or theirs."""
    pq, schema = _pyarrow("pyarrow.parquet"), schema_of(columns)
    if output.exists() and not output.is_file():
        raise WrongUsage(f"{output} is no file, and Parquet is written to files only.")
    output, lines = output.resolve(), 0
    with replacing(output) as file:
        try:
            with pq.ParquetWriter(_Sink(file, output), schema, compression="zstd") as writer:
                for group in _groups(pieces):
                    table = _read(group, schema)
                    writer.write_table(table)
                    lines += table.num_rows
        except Failed as error:
            raise Failed(f"{error} {output.name} is as it was; free some space and try again.") from error
        size = file.tell()
    return Saved(output=output, lines=lines, bytes=size)


class _Sink(RawIOBase):
    """A file as pyarrow writes to it: it takes every write for a whole one."""

    def __init__(self, file: BinaryIO, output: Path) -> None:
        self._file, self._output = file, output

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        write(self._file, data, self._output)
        return len(data)


def schema_of(columns: Mapping[str, Type]) -> pyarrow.Schema:
    """The columns as Arrow has them."""
    pa = _pyarrow("pyarrow")
    return pa.schema([pa.field(name, _arrow(pa, kind)) for name, kind in columns.items()])


def _arrow(pa: Any, kind: Type) -> Any:
    if isinstance(kind, Scalar):
        return {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}[kind]
    if isinstance(kind, list):
        return pa.list_(_arrow(pa, kind[0]))
    return pa.struct([pa.field(name, _arrow(pa, inner)) for name, inner in kind.items()])


def _groups(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The stream cut at line ends, in parts of about GROUP bytes."""
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= GROUP and b"\n" in piece:
            whole, end, rest = b"".join(kept).rpartition(b"\n")
            yield whole + end
            kept, size = [rest], len(rest)
    if size:
        yield b"".join(kept)


def _read(lines: bytes, schema: pyarrow.Schema) -> pyarrow.Table:
    """Whole lines as a table; raises WrongUsage for lines of another shape."""
    pa, reader = _pyarrow("pyarrow"), _pyarrow("pyarrow.json")
    try:
        table = reader.read_json(
            BytesIO(lines),
            read_options=reader.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=reader.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid as error:
        raise WrongUsage(
            f"The lines are not those this version of rowlift knows ({str(error)[:200]}). Update it, or take jsonl."
        ) from error
    return table


def _pyarrow(module: str) -> Any:
    """A module of pyarrow, which takes a moment to import and is not installed with the functions."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WrongUsage("Parquet needs pyarrow, which is not installed here: `pip install pyarrow`.") from error
