"""Terraform, run for one environment: its variables, its state, and what a plan is about to do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cli.faults import Failed, WrongUsage
from cli.local import ROOT

INFRA: Final = ROOT / "infra"
BUILD: Final = ROOT / "build"
INSTALL: Final = "Install it from https://developer.hashicorp.com/terraform/install (1.11 or later)."


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """Commands for one environment. `secrets` are the values that may be written to Secret Manager."""

    environment: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path = INFRA
    build: Path = BUILD

    @property
    def _plan_file(self) -> Path:
        return self.build / f"{self.environment}.tfplan"

    def prepare(self) -> None:
        """Fetch providers and find the state; raises WrongUsage where the environment is not described, Failed."""
        for name in (f"{self.environment}.tfvars", f"{self.environment}.gcs.tfbackend"):
            path = self.folder / "environments" / name
            if not path.is_file():
                raise WrongUsage(
                    f"There is no {path}; copy one beside it, or choose another with ENV=name. See docs/deploy.md."
                )
            if (placeholder := "MY-PROJECT") in path.read_text("utf-8"):
                raise WrongUsage(f"{path} still says {placeholder}: fill in what is in capitals. See docs/deploy.md.")
        self._run("init", "-reconfigure", f"-backend-config=environments/{self.environment}.gcs.tfbackend", quiet=True)

    def plan(self, archive: Path) -> dict[str, Any]:
        """What would be done, as Terraform shows it in JSON; kept for `apply`. Raises Failed."""
        relative = os.path.relpath(archive, self.folder)
        self._run(
            "plan",
            f"-var-file=environments/{self.environment}.tfvars",
            f"-var=archive={relative}",
            f"-out={self._plan_file}",
        )
        shown = self._run("show", "-json", str(self._plan_file), quiet=True)
        found: dict[str, Any] = json.loads(shown)
        return found

    def apply(self) -> None:
        """Do what was planned last. Raises Failed."""
        try:
            self._run("apply", str(self._plan_file))
        finally:
            self._plan_file.unlink(missing_ok=True)  # it is good for once, and holds every setting

    def destroy(self, archive: Path) -> None:
        """Destroy everything, after Terraform has asked. Raises Failed."""
        relative = os.path.relpath(archive, self.folder)
        self._run("destroy", f"-var-file=environments/{self.environment}.tfvars", f"-var=archive={relative}", ask=True)

    def outputs(self) -> dict[str, Any]:
        """The deployment's outputs by name; none where nothing was ever applied. Raises Failed."""
        found = json.loads(self._run("output", "-json", quiet=True).strip() or "{}")
        return {name: one["value"] for name, one in found.items()}

    def _run(self, command: str, *words: str, quiet: bool = False, ask: bool = False) -> str:
        """What a command writes to standard output, where `quiet` keeps it from the screen."""
        argv = [
            "terraform",
            f"-chdir={self.folder}",
            command,
            *(() if ask or command in _SILENT else ("-input=false",)),
            *words,
        ]
        env = {
            **os.environ,
            "TF_DATA_DIR": str(self.build / "terraform" / self.environment),
            "TF_IN_AUTOMATION": "1",
            "TF_VAR_secrets": json.dumps(dict(self.secrets)),
        }
        self.build.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(argv, env=env, stdout=subprocess.PIPE if quiet else None, text=True, check=False)
        except FileNotFoundError as error:
            raise WrongUsage(f"There is no terraform on this machine. {INSTALL}") from error
        if done.returncode != 0:
            raise Failed(f"`terraform {command}` ended with status {done.returncode}; what it says stands above.")
        return done.stdout or ""


_SILENT: Final = ("show", "output")  # commands that never ask, and know no -input


def offered(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Values of these secrets that the environment holds."""
    return {name: environ[name] for name in names if environ.get(name)}


def missing_secrets(plan: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
    """Secrets that the plan writes a version of and nobody has given a value for."""
    return sorted(
        str(change["index"])
        for change in plan.get("resource_changes", [])
        if change["type"] == "google_secret_manager_secret_version"
        and "create" in change["change"]["actions"]
        and change["index"] not in secrets
    )


def counted(plan: Mapping[str, Any]) -> dict[str, int]:
    """How many resources a plan makes, changes and destroys."""
    actions: Sequence[Sequence[str]] = [change["change"]["actions"] for change in plan.get("resource_changes", [])]
    return {
        "made": sum("create" in one for one in actions),
        "changed": sum("update" in one for one in actions),
        "destroyed": sum("delete" in one for one in actions),
    }
