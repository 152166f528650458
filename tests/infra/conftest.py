"""Terraform on a copy of infra/, without a cloud: with the offline providers where they are, else the real ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.deploy.archive import build
from tests.conftest import ROOT

OFFLINE = ROOT.parent / "shared/terraform-offline/install.sh"
PROJECT = "my-project"
# Chosen so that everything optional is chosen, too: what is compared must not agree because it is absent.
USERS, DEPLOYERS = ["user:somebody@example.com"], ["user:deployer@example.com"]


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """The binary, on a copy of the configuration."""

    folder: Path
    env: Mapping[str, str] = field(repr=False)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What a command says; without `check` however it ends."""
        done = subprocess.run(
            ["terraform", f"-chdir={self.folder}", *words],
            env=dict(self.env), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def planned(self, **variables: Any) -> dict[str, Any]:
        """The plan for these variables, as `terraform show -json` has it."""
        given = {"project_id": PROJECT, "users": USERS, "deployers": DEPLOYERS, **variables}
        words = [f"-var={name}={_spelled(value)}" for name, value in given.items()]
        plan = str(self.folder / "test.tfplan")
        self.run("plan", "-input=false", "-no-color", f"-out={plan}", *words)
        found: dict[str, Any] = json.loads(self.run("show", "-json", plan).stdout)
        return found


@pytest.fixture(scope="session")
def offline() -> Mapping[str, str]:
    """The variable under which Terraform finds the offline providers; none where they are not."""
    if not OFFLINE.is_file():
        return {}
    told = subprocess.run(["sh", str(OFFLINE)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"export (\w+)='(.*)'", told)
    assert found is not None, told
    return {found[1]: found[2]}


@pytest.fixture(scope="session")
def terraform(offline: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform with its providers in place; the tests that need it are skipped where it or they cannot be had."""
    if shutil.which("terraform") is None:
        pytest.skip("there is no terraform on this machine")
    home = tmp_path_factory.mktemp("terraform")
    ignored = shutil.ignore_patterns(".terraform*", "local", "deploy", "__pycache__", "*.tfstate*", "*_override.tf")
    shutil.copytree(ROOT / "infra", home / "infra", ignore=ignored)
    (home / "infra/offline_override.tf").write_text('terraform {\n  backend "local" {\n  }\n}\n', "utf-8")
    build(ROOT, home / "build/source.zip")
    # On terraform's path no credentials are found: nothing here may reach a cloud.
    env = {**os.environ, **offline, "TF_IN_AUTOMATION": "1", "GOOGLE_APPLICATION_CREDENTIALS": os.devnull}
    made = Terraform(folder=home / "infra", env=env)
    done = made.run("init", "-input=false", "-no-color", check=False)
    if done.returncode != 0 and not offline and "Failed to query available provider packages" in done.stderr:
        pytest.skip("Terraform's providers cannot be fetched here")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="session")
def planner(terraform: Terraform, offline: Mapping[str, str]) -> Terraform:
    """Terraform that can plan: the real providers would want a project and credentials for that."""
    if not offline:
        pytest.skip("the offline providers are not here, and a plan with the real ones needs a project")
    return terraform


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
