"""A multipart body as it comes in: what its fields say, and its files, spooled to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any, cast

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.formparser import FormDataParser
from werkzeug.wsgi import LimitedStream

PARTS = 100
HELD = 128 * 1024  # the longest field, and what the parser holds of the body at a time; it reads blocks of 64 KiB
FORM = "multipart/form-data"


@dataclass(frozen=True, kw_only=True, slots=True)
class SentFile:
    """A file of the form under the name its sender gave it."""

    name: str
    body: IO[bytes]
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The fields, each with the values it was given, and the files in their order, whatever fields they came in."""

    fields: Mapping[str, Sequence[str]]
    files: tuple[SentFile, ...]


@contextmanager
def form_of(request: Request, *, limit: int) -> Iterator[Form]:
    """The request's form for as long as the block lasts, no more than a block of its body in memory.

    The body is on disk, up to `limit` bytes of it; on Cloud Run the disk is memory too, but Cloud Run itself takes no
    more than 32 MiB over HTTP/1. Raises RequestEntityTooLarge, UnsupportedMediaType and BadRequest.
    """
    if request.mimetype != FORM:
        raise UnsupportedMediaType(f"Send the files as {FORM}, such as `curl -F file=@list.csv` does.")
    with ExitStack() as spooled:
        yield _parsed(request, limit, lambda **_: spooled.enter_context(TemporaryFile()))


def _parsed(request: Request, limit: int, spool: Callable[..., IO[bytes]]) -> Form:
    # Not by the request's own `form`: its limit would be met by the framework once more, outside of our answer.
    parser = FormDataParser(stream_factory=spool, max_form_memory_size=HELD, max_form_parts=PARTS, silent=False)
    body = cast(IO[bytes], LimitedStream(request.stream, limit + 1, is_max=True))  # refuses once it was read whole
    try:
        if (request.content_length or 0) > limit:
            raise RequestEntityTooLarge
        _, fields, files = parser.parse(body, FORM, request.content_length, request.mimetype_params)
    except RequestEntityTooLarge as error:
        sentence = f"An upload holds at most {limit} bytes in {PARTS} parts, with fields of up to {HELD // 1024} KB."
        raise RequestEntityTooLarge(sentence) from error
    except ValueError as error:
        raise BadRequest(f"The body cannot be read as {FORM} ({error}).") from error
    return Form(
        fields={str(name): values for name, values in fields.to_dict(flat=False).items()},
        files=tuple(_sent(file) for _, file in files.items(multi=True) if not _left_blank(file)),
    )


def _sent(file: Any) -> SentFile:
    size = file.stream.seek(0, 2)
    file.stream.seek(0)
    return SentFile(name=file.filename, body=file.stream, size=size)


def _left_blank(file: Any) -> bool:
    """Whether this is what a browser sends for a file input nobody used."""
    return not file.filename and not _sent(file).size
