"""Archives that were deployed before, which stay in the source bucket under their hash."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.faults import Failed, WrongUsage
from infra.deploy.archive import Archive, hash_of


def fetch(deployed: str, to: Path, *, wanted: str | None = None) -> Archive:
    """The archive deployed before `deployed` (gs://…), or the one whose hash begins with `wanted`, written to `to`.

    Raises WrongUsage where there is none, Failed where it cannot be fetched or is not what its name says.
    """
    folder, _, name = deployed.rpartition("/")
    found = _newest_first(folder)
    if wanted is not None:
        chosen = [one for one in found if _hash(one).startswith(wanted)]
    else:
        ours = next((number for number, one in enumerate(found) if one.endswith(f"/{name}")), -1)
        chosen = found[ours + 1 :][:1]
    if len(chosen) != 1:
        known = ", ".join(_hash(one)[:12] for one in found) or "none"
        what = f"begins with {wanted}" if wanted is not None else "was deployed before this one"
        raise WrongUsage(
            f"{len(chosen) or 'No'} archive {what}. There are, newest first: {known}. Choose with TO=hash."
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    _gcloud("storage", "cp", chosen[0], str(to))
    sha256 = hash_of(to)
    if sha256 != _hash(chosen[0]):
        raise Failed(f"{chosen[0]} is not what its name says (its hash is {sha256}). It will not be deployed.")
    return Archive(path=to, sha256=sha256, files=0)


def _newest_first(folder: str) -> list[str]:
    """The archives of a folder, the one that was put there last first: deploying one puts it there again."""
    listed: list[Mapping[str, Any]] = json.loads(_gcloud("storage", "ls", "--json", f"{folder}/*.zip") or "[]")
    ordered = sorted(listed, key=lambda one: str(one["metadata"]["timeCreated"]), reverse=True)
    return [str(one["url"]).partition("#")[0] for one in ordered]


def _hash(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".zip")


def _gcloud(*words: str) -> str:
    try:
        done = subprocess.run(["gcloud", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise WrongUsage(
            "There is no gcloud on this machine. Install it: https://cloud.google.com/sdk/docs/install"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise Failed(f"`gcloud {' '.join(words[:2])}` failed: {lines[-1] if lines else f'status {done.returncode}'}.")
    return done.stdout
