"""A link to a Google Sheet in place of a file: read, saved beside where one stands, and used as any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cli.faults import WrongUsage
from cli.saving import replacing, unused
from cli.terminal import Terminal
from shared.fetching.addresses import Hosts
from shared.fetching.web import Web
from shared.google_sheets import HOSTS, read_sheet, sheet_of

MOST = 1 << 30  # bytes
_LINK = re.compile(r"https?:/").match
_SLASHES = re.compile(r"^(https?):/+")


def saved_sheets(files: Sequence[Path], pipeline: str | None, terminal: Terminal) -> list[Path]:
    """The files, those that are links read and saved in this folder; raises WrongUsage, or what reading raises."""
    return [_saved(file, pipeline, terminal) if _LINK(str(file)) else file for file in files]


def web() -> Web:
    """What sheets are asked of."""
    return Web(Hosts.parse(HOSTS))


def _saved(link: Path, pipeline: str | None, terminal: Terminal) -> Path:
    url = _SLASHES.sub(r"\1://", str(link))  # a path has lost one
    sheet = sheet_of(url)
    if sheet is None:
        raise WrongUsage(f"{url} is no Google Sheet; name a file, or the link of a sheet.")
    if pipeline not in (None, "assets"):
        raise WrongUsage(f"Only pipeline assets takes a sheet by its link; save it as CSV for {pipeline}.")
    output = unused(Path(sheet.name))
    with terminal.busy(f"reading {url}"), replacing(output) as file:
        size = read_sheet(sheet, file, most=MOST, web=web())
    terminal.note(f"{'sheet':<11}saved as {output}, {size:,} bytes")
    return output
