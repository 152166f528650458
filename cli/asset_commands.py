"""The commands for people and their files: export and import of the sheet that names them."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli import local
from cli.batches import Batch, watch_uploads
from cli.client import Api, Document
from cli.completing import one_of
from cli.faults import WrongUsage
from cli.naming import session_named
from cli.parameters import DEFAULT_STATE_DIR, ApiUrl, AsJson, OutputFile, StateDir
from cli.result_commands import KeepFormulas, written
from cli.stack_commands import reach
from cli.terminal import Terminal
from cli.uploading import Uploader
from cli.verdict import show_ends, verdict
from shared.copying import Maker
from shared.dialect import Limits, detect
from shared.ingest import HEAD
from shared.media import object_name
from shared.pipelines.assets.rows import AssetsForm
from shared.pipelines.base import ValidRow
from shared.rows import read

ASSETS = "assets"
SHOWN = 10  # missing files, by name
What = Annotated[
    str, typer.Argument(metavar="assets", help="What of; there is one choice.", autocompletion=one_of(ASSETS))
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A file that a row of a sheet lists."""

    row_id: str
    name: str


def export(
    what: What,
    output: OutputFile = None,
    session: Annotated[
        str | None,
        typer.Option("--session", metavar="SESSION", help="The sheet of this session; default: of everybody."),
    ] = None,
    keep_formulas: KeepFormulas = False,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Rebuild the enhanced sheet from the database: every row as it was read, with what was fetched since."""
    _check(what)
    service = reach(api, state_dir)
    which = {} if session is None else {"session": str(session_named(session, service))}
    with service.assets_csv(**which, **({"formulas": "keep"} if keep_formulas else {})) as pieces:
        saved = written(pieces, None if output == Path("-") else output)
    terminal = Terminal(as_json=as_json)
    if saved.output:
        terminal.say(f"{saved.output}, {max(0, saved.lines - 1):,} lines")
    terminal.answer(saved.document())
    return 0


def import_(
    what: What,
    sheet: Annotated[Path, typer.Argument(metavar="SHEET", help="The enhanced sheet.")],
    files: Annotated[
        Path | None,
        typer.Option("--files", metavar="DIR", help="Upload the files the sheet lists, from this folder and below."),
    ] = None,
    api: ApiUrl = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> int:
    """Bring in what an enhanced sheet knows, and the files it lists; nothing is fetched."""
    _check(what)
    if files is not None and not files.is_dir():
        raise WrongUsage(f"--files {files} is no folder; name the one that holds the sheet's files.")
    terminal = Terminal(as_json=as_json)
    batch = Batch.checked([sheet], ASSETS, mode="basic")
    service = reach(api, state_dir)
    storage = None if api else str(local.require(state_dir)["storage"])
    uploads = list(batch.upload(service, storage, terminal))
    found = watch_uploads(uploads, service, terminal)
    show_ends(found, terminal)
    code = verdict(found, terminal)
    brought = _bring(sheet, files, service, storage, terminal) if files is not None and not code else {}
    terminal.answer({**found[0], **brought})
    return code


def _check(what: str) -> None:
    if what != ASSETS:
        raise WrongUsage(f"There is no {what[:30]!r} to choose; say `assets`.")


def _bring(sheet: Path, folder: Path, service: Api, storage: str | None, terminal: Terminal) -> Document:
    """What became of the files that a sheet lists."""
    paths: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            paths.setdefault(path.name, []).append(path)
    uploader = Uploader(str(service.health()["media_bucket"]), storage=storage)
    missing: list[Listed] = []
    several: list[Listed] = []
    brought = 0
    for one in listed(sheet):
        found = [folder / one.name] if (folder / one.name).is_file() else paths.get(Path(one.name).name, [])
        if len(found) == 1:
            _upload(one, found[0], uploader, service)
            brought += 1
        else:
            (several if found else missing).append(one)
    terminal.say(f"{'files':<11}{brought:,} uploaded, {len(missing):,} missing, {len(several):,} ambiguous")
    for words, names in (("missing", missing), ("there more than once", several)):
        for one in names[:SHOWN]:
            terminal.say(f"{'':<11}{words}: {one.name} of row {one.row_id}")
        if len(names) > SHOWN:
            terminal.say(f"{'':<11}{words}: {len(names) - SHOWN:,} more")
    told = [{"row_id": one.row_id, "name": one.name} for one in missing]
    return {"files_uploaded": brought, "files_missing": told, "files_ambiguous": len(several)}


def listed(sheet: Path) -> Iterator[Listed]:
    """The files that the rows of a sheet list; raises WrongUsage if it cannot be read."""
    form = AssetsForm()
    with sheet.open("rb") as file:
        head = file.read(HEAD)
        layout = detect(
            head, whole=len(head) < HEAD, columns=form.columns, required=form.required, limits=Limits(),
            headerless=False, may_be_empty=False,
        )  # fmt: skip
        file.seek(layout.start.offset)
        seen: set[tuple[str, str]] = set()
        for chunk in read(file, layout=layout, cursor=layout.start, limits=Limits()):
            for made in Maker(form, layout).make(chunk):
                if isinstance(made.row, ValidRow):
                    yield from _of_row(made.row.input, seen)


def _of_row(row: dict[str, Any], seen: set[tuple[str, str]]) -> Iterator[Listed]:
    for group in row.get("tracked", ()):
        for name in group["files"] if group["status"] != "failed" else ():
            if (row["row_id"], name) not in seen:
                seen.add((row["row_id"], name))
                yield Listed(row_id=row["row_id"], name=name)


def _upload(one: Listed, path: Path, uploader: Uploader, service: Api) -> None:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    uploader.keep(path, object_name(digest), kind)
    service.bring(
        quote(one.row_id, safe=""),
        {"name": one.name, "sha256": digest, "size": path.stat().st_size, "content_type": kind},
    )
