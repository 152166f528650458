"""The source archive: what the functions run, as one ZIP whose bytes depend on nothing but what is in it."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.faults import WrongUsage

FOLDERS: Final = ("functions", "shared")
REQUIREMENTS: Final = "requirements.txt"
_BEGINNING_OF_ZIP: Final = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE: Final = 0o100644 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A source archive that was written."""

    path: Path
    sha256: str
    files: int


def build(root: Path, path: Path) -> Archive:
    """The archive of the project in `root`, written to `path`; raises WrongUsage for what could not be deployed.

    Same content, same bytes, wherever and whenever it is built: names are sorted, times and permissions fixed, and
    nothing is compressed, because two versions of zlib need not agree.
    """
    sources = dict(_sources(root))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, date_time=_BEGINNING_OF_ZIP)
            entry.create_system, entry.external_attr = 3, _PLAIN_FILE
            archive.writestr(entry, _checked(name, sources[name].read_bytes()))
    unfinished.replace(path)
    return Archive(path=path, sha256=hash_of(path), files=len(sources))


def hash_of(path: Path) -> str:
    """A file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    """What belongs into the archive, by its name there."""
    for folder in FOLDERS:
        for parent, folders, files in os.walk(root / folder):
            folders[:] = [name for name in folders if name not in ("__pycache__", "tests") and name[0] != "."]
            for path in (Path(parent, name) for name in files if name[0] != "." and not name.endswith(".pyc")):
                if path.is_symlink():
                    raise WrongUsage(f"{path.relative_to(root)} is a link; the archive holds files only. Remove it.")
                yield path.relative_to(root).as_posix(), path
    if not (root / REQUIREMENTS).is_file():
        raise WrongUsage(f"{root} has no {REQUIREMENTS}, which the build installs. Is this the project's folder?")
    yield REQUIREMENTS, root / REQUIREMENTS


def _checked(name: str, content: bytes) -> bytes:
    """The content; raises WrongUsage for Python that the build, which compiles every file, would stop at."""
    if name.endswith(".py"):
        try:
            compile(content, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise WrongUsage(f"{name} is no valid Python ({error}); the build of every function would fail.") from error
    return content
