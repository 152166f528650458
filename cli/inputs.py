"""What the files of a command line become: objects in the upload bucket, the sessions they join, and their results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path

from cli.faults import WrongUsage
from shared.pipelines import PIPELINES
from shared.pipelines.base import Grouping, Pipeline
from shared.text import clean

# A file in one of these is of the export whose folder is the next one up.
INNER_FOLDERS = ("likes", "deleted", "orphaned", "lists")
NAMED = 4  # files that are left out, told by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A file to upload."""

    file: Path
    object: str  # its name in the bucket
    title: str  # what people call its session
    results: Path  # where its session's results go, unless somebody says otherwise
    export: str | None = None  # whose session it joins; None: it is a session of its own
    single: bool = False  # whether it is a row by itself; several of them are one session


def inputs_of(files: Sequence[Path], pipeline: str, *, export: str | None = None) -> tuple[list[Input], str]:
    """The files as inputs of a pipeline, and a sentence on those it would not read, empty if it reads them all.

    Where the pipeline knows exports a folder stands for the CSV files in it. Raises WrongUsage.
    """
    if missing := [file for file in files if not file.is_file() and not file.is_dir()]:
        raise WrongUsage(f"{missing[0]} does not exist; name the files to upload.")
    grouping = PIPELINES[pipeline].grouping
    if grouping is None:
        found = _singles(files, pipeline)
    else:
        found = [one for file in files for one in _members(file, pipeline, grouping, export)]
    resolved = [one.file.resolve() for one in found]
    if twice := [one.file for one in found if resolved.count(one.file.resolve()) > 1]:
        raise WrongUsage(f"{twice[0]} is named twice; leave one out.")
    return (found, "") if grouping is None else _readable(found, grouping)


def _singles(files: Sequence[Path], pipeline: str) -> list[Input]:
    """Each file a session, all objects' names different: two generations of one name would be told apart too late.

    Files that are rows by themselves are rows of one session.
    """
    line, found = PIPELINES[pipeline], list[Input]()
    for file in (one for each in files for one in _files_of(each, line)):
        if line.is_single(file.name):
            one = _single(file, pipeline)
            if one.object not in {other.object for other in found}:  # a copy of another would replace its object
                found.append(one)
            continue
        name, number = f"{pipeline}/{file.name}", 1
        while name in [one.object for one in found]:
            number += 1
            name = f"{pipeline}/{number}/{file.name}"
        found.append(Input(file=file, object=name, title=file.name, results=Path(f"{file}.results.jsonl")))
    singles = [one for one in found if one.single]
    if len(singles) < 2:
        return found
    title, results = f"{len(singles)} files", singles[0].file.parent / f"{pipeline}.results.jsonl"
    return [replace(one, title=title, results=results) if one.single else one for one in found]


def _files_of(path: Path, line: type[Pipeline]) -> list[Path]:
    """The files that a word of the command line stands for: of a folder those that are rows by themselves."""
    if not path.is_dir():
        return [path]
    inside = [one for one in sorted(path.rglob("*")) if one.is_file() and line.is_single(one.name)]
    if inside:
        return inside
    raise WrongUsage(f"{path} is a folder{', without a file that is read' if line.is_single('x.mp3') else ''}; "
                     "name the files to upload.")  # fmt: skip


def _single(file: Path, pipeline: str) -> Input:
    """A file that is a row by itself, its object's folder named by what it holds.

    The same file is the same object again, and two albums' `01.mp3` are two.
    """
    try:
        with file.open("rb") as opened:
            folder = file_digest(opened, "sha256").hexdigest()[:16]
    except OSError as error:
        raise WrongUsage(f"Cannot read {file}: {error.strerror or error}.") from error
    name = f"{pipeline}/{folder}/{clean(file.name)}"
    return Input(file=file, object=name, title=file.name, results=Path(f"{file}.results.jsonl"), single=True)


def _members(path: Path, pipeline: str, grouping: Grouping, export: str | None) -> Iterator[Input]:
    """The inputs one word of the command line stands for."""
    if path.suffix.lower() == ".zip" and path.is_file():
        title = export or clean(path.stem)
        results = path.with_name(f"{title}.results.jsonl")
        inside = {path: f"{title}.zip"}
    else:
        base = path if path.is_dir() else path.parent
        folder = base.resolve()
        within = f"{folder.name}/" if folder.name.lower() in INNER_FOLDERS else ""
        title = export or _title(folder.parent if within else folder)
        results = Path(f"{title if path.is_dir() else path}.results.jsonl")
        files = _csv_files(path) if path.is_dir() else [path]
        inside = {file: f"{title}/{within}{file.relative_to(base).as_posix()}" for file in files}
    for file, place in inside.items():
        name = clean(f"{pipeline}/{place}")
        yield Input(file=file, object=name, title=title, results=results, export=grouping.export(name))


def _title(folder: Path) -> str:
    """What an export in this folder is called: two people's folders of one name are two exports."""
    return f"{clean(folder.name) or 'export'}-{sha256(os.fsencode(folder)).hexdigest()[:8]}"


def _csv_files(folder: Path) -> list[Path]:
    """The CSV files below a folder, hidden ones left out; raises WrongUsage if there are none."""
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() == ".csv"
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not files:
        raise WrongUsage(f"{folder} holds no CSV files.")
    return files


def _readable(members: Sequence[Input], grouping: Grouping) -> tuple[list[Input], str]:
    """Those of the inputs that are read, in the order they are best read in, and a sentence on the others."""
    parts = [(one, grouping.part(one.object, alone=True)) for one in members]
    read = [(one, part) for one, part in parts if part is not None and part.ignored is None]
    if not read:
        reasons = [part.ignored for _, part in parts if part is not None and part.ignored is not None]
        raise WrongUsage(" ".join([f"{members[0].file} is not read.", *reasons[:1]]))
    seen: dict[tuple[str | None, str, str], Path] = {}
    for one, part in read:
        # Two people's exports below one folder, or two archives of one name, would become one export.
        other = seen.setdefault((one.export, part.name, one.file.name.lower() if part.name else one.object), one.file)
        if other != one.file:
            raise WrongUsage(f"{other} and {one.file} would be one file of one export; give one export at a time.")
    read.sort(key=lambda each: grouping.reading_order(each[1]))
    exports = [one.export for one, _ in read]
    found = [
        one if exports.count(one.export) == 1 else replace(one, results=Path(f"{one.title}.results.jsonl"))
        for one, _ in read
    ]
    names = [one.object.split("/", 2)[-1] for one, part in parts if part is not None and part.ignored is not None]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return found, f"Left out, for this pipeline does not read them: {', '.join(names[:NAMED])}{more}." if names else ""
