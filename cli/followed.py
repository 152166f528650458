"""A file that grows by whole lines as they settle, and stands whatever becomes of the process that writes it.

Beside it lies FILE.follow, which says how far it is good: written after those bytes are on the disk, and replaced as
one. Who goes on with the file cuts it back to there first. A lock on the file itself keeps a second writer out.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO
from uuid import UUID

from cli.faults import Failed, Unreachable, WrongUsage
from cli.saving import BLOCK, full, write
from shared.results import Cursor

SYNC_EVERY = 1.0  # seconds at least between two waits for the disk
SPOOLED = 64 << 20  # bytes of one answer that are held in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """How far a file is good, and who writes it."""

    session: str
    cursor: str  # behind its last line
    bytes: int | None  # None: all of it, however long; the final lines may just be taking its place
    lines: int
    pid: int


class Followed:
    """One such file, open and locked. `foreign`: it has content, and nothing says that `--follow` wrote it."""

    def __init__(self, file: BinaryIO, path: Path, session: UUID, *, clock: Callable[[], float]) -> None:
        self.path, self._file, self._clock = path, file, clock
        self._session = str(session)
        self._synced, self._dirty, self._done = float("-inf"), False, False
        mark = _mark(path)
        self._size = self._good = self._checked(mark)  # bytes of whole lines; those up to the cursor
        self.foreign = mark is None and self._size > 0
        self.cursor = mark.cursor if mark else str(Cursor())
        counted = mark is not None and mark.bytes is not None
        self.lines = mark.lines if mark and counted else sum(piece.count(b"\n") for piece in self.content())
        if not self.foreign:
            self._cut()
            self.sync()
            self._synced = float("-inf")  # the first lines are worth another wait

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._size

    def take(self, pieces: Iterable[bytes], cursor: str) -> int:
        """Append the lines of one answer and stand behind them; how many there were.

        Nothing is written before the answer is whole, and every write ends with a line. Raises Failed, Unreachable.
        """
        with SpooledTemporaryFile(max_size=SPOOLED, dir=str(self.path.parent)) as spool:
            last = b"\n"
            for piece in pieces:
                self._spool(spool, piece)
                last = piece[-1:] or last
            if last != b"\n":
                raise Unreachable("An answer ended within a line.")
            lines = self._append(spool)
        self._dirty = self._dirty or cursor != self.cursor or lines > 0
        self.cursor, self.lines, self._good = cursor, self.lines + lines, self._size
        self.sync_if_due()
        return lines

    def sync(self, *, whole: bool = False) -> None:
        """Wait until all of it is on the disk, then say so beside it; `whole`: that it is good at any length."""
        good = None if whole else self._good
        mark = Mark(session=self._session, cursor=self.cursor, bytes=good, lines=self.lines, pid=os.getpid())
        try:
            os.fsync(self._file.fileno())
            _put(self.path, json.dumps(asdict(mark)).encode() + b"\n")
        except OSError as error:
            raise self._full(error) from error
        self._synced, self._dirty = self._clock(), False

    def sync_if_due(self) -> None:
        """Do so if there is something new to say, and the last time is a while ago."""
        if self._dirty and self._clock() - self._synced >= SYNC_EVERY:
            self.sync()

    def content(self) -> Iterator[bytes]:
        """Its bytes in pieces."""
        at = 0
        while block := os.pread(self._file.fileno(), BLOCK, at):
            yield block
            at += len(block)

    def rewrite(self, pieces: Iterable[bytes]) -> None:
        """Put other lines in the place of all of its own, at once or not at all. Raises Failed, or what they raise."""
        self.sync(whole=True)
        new = _beside(self.path, ".new")
        try:
            file, lines = self._written(new, pieces)
        except OSError as error:
            raise self._full(error) from error
        finally:
            new.unlink(missing_ok=True)
        self._file.close()
        self._file, self.lines = file, lines
        self._size = self._good = os.fstat(file.fileno()).st_size
        self.sync()

    def finish(self) -> None:
        """Take away what stands beside it: it is done."""
        with contextlib.suppress(OSError):
            _sync_folder(self.path.parent)
        for more in ("", ".new", ".tmp"):
            _beside(self.path, more).unlink(missing_ok=True)
        self._done = True

    def close(self) -> None:
        """Leave it with whole lines, and unlock it."""
        if not self.foreign and not self._done:
            with contextlib.suppress(OSError, Failed):  # of a full disk; what stands beside it is true all the same
                self._cut()
                self.sync()
        self._file.close()

    def _spool(self, spool: IO[bytes], piece: bytes) -> None:
        try:
            spool.write(piece)
        except OSError as error:
            raise self._full(error) from error

    def _append(self, spool: IO[bytes]) -> int:
        lines, rest = 0, b""
        spool.seek(0)
        while block := spool.read(BLOCK):
            whole, end, behind = (rest + block).rpartition(b"\n")
            self._write(whole + end)
            lines, rest = lines + whole.count(b"\n") + len(end), behind
        return lines

    def _write(self, data: bytes) -> None:
        try:
            write(self._file, data, self.path)
        except Failed as error:
            written = os.fstat(self._file.fileno()).st_size - self._size
            self._size += data.rfind(b"\n", 0, written) + 1
            self._cut()
            raise self._holds(error) from error
        self._size += len(data)

    def _written(self, new: Path, pieces: Iterable[bytes]) -> tuple[BinaryIO, int]:
        """The lines in a file that has taken this one's place and is locked as well, and how many they are."""
        file = new.open("wb+", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # before others find it under the name
            os.fchmod(file.fileno(), os.fstat(self._file.fileno()).st_mode & 0o7777)
            lines = 0
            for piece in pieces:
                write(file, piece, self.path)
                lines += piece.count(b"\n")
            os.fsync(file.fileno())
            new.replace(self.path)
        except Failed as error:
            file.close()
            raise self._holds(error) from error
        except BaseException:
            file.close()
            raise
        return file, lines

    def _cut(self) -> None:
        """Cut off what lies behind the last whole line."""
        if os.fstat(self._file.fileno()).st_size > self._size:
            os.ftruncate(self._file.fileno(), self._size)

    def _full(self, error: OSError) -> Failed:
        return self._holds(full(error, self.path))

    def _holds(self, error: Failed) -> Failed:
        return Failed(f"{error} The file has whole lines only. Free some space; the same command then goes on with it.")

    def _checked(self, mark: Mark | None) -> int:
        """How many bytes of the file are good; raises WrongUsage if that cannot be."""
        size = os.fstat(self._file.fileno()).st_size
        if mark is None:
            return size
        if mark.session != self._session:
            raise WrongUsage(f"{self.path} follows session {mark.session}; name another file for {self._session}.")
        if mark.bytes is not None and mark.bytes > size:
            raise WrongUsage(
                f"{self.path} is shorter than --follow left it: something else has changed it. Remove it and "
                f"{_beside(self.path).name}; all lines are then fetched again."
            )
        return size if mark.bytes is None else mark.bytes


@contextmanager
def followed(output: Path, session: UUID, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Followed]:
    """The file at `output`, locked, its lines whole, ready to go on. Raises WrongUsage, Failed."""
    path = Path(os.path.realpath(output))
    if path.exists() and not path.is_file():
        raise WrongUsage(f"{output} is no file; --follow needs one that it can cut back and go on with.")
    try:
        file = _locked(path)
    except OSError as error:
        raise WrongUsage(f"Cannot write {output}: {error.strerror}.") from error
    try:
        one = Followed(file, path, session, clock=clock)
    except BaseException:
        file.close()
        raise
    try:
        yield one
    finally:
        one.close()


def _locked(path: Path) -> BinaryIO:
    """The file, open and locked; raises WrongUsage if another process has it, or OSError."""
    while True:
        file = path.open("ab+", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError as error:
            file.close()
            mark = _mark(path)
            who = f"Process {mark.pid}" if mark else "Another process"
            raise WrongUsage(f"{who} follows into {path}; leave it to that one, or name another file.") from error
        except FileNotFoundError:
            pass
        file.close()  # another one took its place before it was locked


def _beside(path: Path, more: str = "") -> Path:
    return path.with_name(f"{path.name}.follow{more}")


def _mark(path: Path) -> Mark | None:
    """What stands beside a file, None for nothing. Raises WrongUsage if it is not ours."""
    beside = _beside(path)
    try:
        return Mark(**json.loads(beside.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        message = f"{beside} does not read as what --follow writes. Remove it and {path}, or name another file."
        raise WrongUsage(message) from error


def _put(path: Path, data: bytes) -> None:
    """Replace what stands beside a file, once it is on the disk."""
    new = _beside(path, ".tmp")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(_beside(path))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
