"""The rows of tables people and assets: what a settled item says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.fetching.wanted import What
from shared.options import Mode
from shared.people_sheet import group_of
from shared.pipelines.assets.plan import Want, listed_files, wants_of
from shared.pipelines.assets.rows import link_from
from shared.pipelines.base import Input, Settled
from shared.upstreams.base import ErrorClass, Failure

_OF_THE_ANSWER = ("cloud_storage_url", "filename", "content_type", "file_size_bytes", "sha256", "metadata")


def file_of(
    row: Input, want: Want, body: Mapping[str, Any] | None, *, failure: Failure | None = None
) -> dict[str, Any]:
    """The row of what came of a want: of the answer's body, or of why there is none."""
    found = {**_open(row["row_id"], want), **{name: body[name] for name in _OF_THE_ANSWER if body and name in body}}
    if failure is not None:
        found |= {
            "download_status": "failed",
            "error_code": failure.code,
            "error_message": failure.message,
            "try_again": failure.kind is ErrorClass.TRANSIENT,
        }
    elif want.what is What.LISTING:
        found["download_status"] = "downloaded"
    elif want.what is What.NOTHING:
        found |= {"download_status": "failed", "error_code": "input.not_a_file", "try_again": False}
    else:
        found["download_status"] = "uploaded"
    return found


def domain_of(row: Input, settled: Settled) -> dict[str, Any] | None:
    """What an item writes: a row's the person and every file known of it by now, any other its own file."""
    own = (settled.result or {}).get("asset")
    if "want" in row:
        return {"person": None, "assets": [own]} if own else None
    files = {file["asset_id"]: file for file in _known(row)}
    if own:
        files[own["asset_id"]] = own
    return {
        "person": {
            "row_id": row["row_id"],
            "name": row["name"],
            "email": row["email"],
            "personality_type": row["type"],
            "source_link": row["cells"].get("link", ""),
        },
        "assets": list(files.values()),
    }


def _known(row: Input) -> Iterator[dict[str, Any]]:
    """The files a row tells of: those its sheet lists, those it says are lost, and those still to be fetched."""
    groups = {one["group"]: one for one in row.get("tracked", ())}
    for link in map(link_from, row["links"]):
        tracked = groups.get(group_of(link.provider) or "")
        for want in wants_of(link, Mode.FULL):
            if want.what in (What.LISTING, What.NOTHING) or (tracked and tracked["status"] == "completed"):
                continue
            found = _open(row["row_id"], want)
            if tracked and tracked["permanent"]:
                said = row["cells"].get("download_errors", "").rpartition("; ")[2]
                found |= {"download_status": "failed", "error_code": "sheet.failed", "error_message": said or None,
                          "try_again": False, "origin": "sheet"}  # fmt: skip
            yield found
    for listed in listed_files(row):
        yield {
            **_open(row["row_id"], listed.want),
            "asset_id": str(listed.id),
            "local_file_path": listed.name,
            "filename": listed.name,
            "download_status": "downloaded",
            "origin": "sheet",
        }


def _open(row_id: str, want: Want) -> dict[str, Any]:
    """The row of a file that is still to be fetched."""
    return {
        "asset_id": str(want.asset_id(row_id)),
        "person_row_id": row_id,
        "asset_type": want.asset_type(),
        "what": want.what.value,
        "source": want.source,
        "original_url": want.link.url or None,
        "media_id": want.link.id,
        "download_status": "pending",
        "origin": "fetch",
    }
