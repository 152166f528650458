"""A deployment from nothing, as `make deploy` does it: the real Terraform, a real PostgreSQL as ledger, no cloud."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.faults import Failed, WrongUsage
from cli.migrating import newest_revision
from cli.terminal import Terminal
from infra.deploy import deploying
from infra.deploy.archive import build
from infra.deploy.deploying import Deployment
from infra.deploy.grants import Rights
from infra.deploy.ledger import Ledger
from infra.deploy.terraform import Terraform
from infra.local.topology import Topology
from tests.conftest import ROOT, _administer
from tests.infra.conftest import PROJECT
from tests.infra.conftest import Terraform as Copy


@pytest.fixture
def empty(server: str) -> Iterator[str]:
    """The address of a database that nothing was migrated in, with the users that Terraform makes."""
    users = [f"rowlift-trial-{name}@{PROJECT}.iam" for name in Topology.load().functions]
    _administer(server, "CREATE DATABASE deployed TEMPLATE template0")
    for user in users:
        _administer(server, f'CREATE ROLE "{user}" LOGIN')
    yield server.replace("/template", "/deployed")
    _administer(server, "DROP DATABASE deployed WITH (FORCE)")
    for user in users:
        _administer(server, f'DROP ROLE "{user}"')


@pytest.fixture
def deployment(planner: Copy, tmp_path: Path, empty: str, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The trial environment filled in, its state in a file."""
    shutil.copytree(planner.folder, tmp_path / "infra", ignore=shutil.ignore_patterns(".terraform", "*.tfplan"))
    environments = tmp_path / "infra/environments"
    text = (environments / "trial.tfvars").read_text("utf-8").replace("MY-PROJECT", PROJECT)
    (environments / "trial.tfvars").write_text(text.replace("SOMEBODY@EXAMPLE.COM", "me@example.com"), "utf-8")
    (environments / "trial.gcs.tfbackend").write_text(f'path = "{tmp_path}/trial.tfstate"\n', "utf-8")
    for name, value in planner.env.items():
        monkeypatch.setenv(name, value)

    @contextmanager
    def ledger(outputs: Mapping[str, Any]) -> Iterator[Ledger]:
        assert outputs["database"]["owner"] == f"rowlift-trial-deploy@{PROJECT}.iam"
        assert Ledger.of(outputs).environment["DB_NAME"] == "rowlift_trial"
        yield Ledger(name="the ledger", environment={"DATABASE_URL": empty})

    secrets = {
        "GOOGLE_DRIVE_API_KEY": "very-secret-as-well",
        "OPENAI_API_KEY": "sk-very-secret",
        "TMDB_API_TOKEN": "very-secret-too",
    }
    return Deployment(
        terminal=Terminal(as_json=False),
        terraform=Terraform(environment="trial", secrets=secrets, folder=tmp_path / "infra", build=tmp_path / "build"),
        rights=Rights.load(Topology.load()),
        build=partial(build, ROOT, tmp_path / "build/source.zip"),
        ledger=ledger,
        smoke=None,
        agreed=lambda _: True,
    )


def test_it_is_made_once_changed_by_new_code_alone_and_refused_without_secrets(
    deployment: Deployment, empty: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = replace(deployment, terraform=replace(deployment.terraform, secrets={}))  # type: ignore[type-var]
    with pytest.raises(
        WrongUsage, match="writes GOOGLE_DRIVE_API_KEY and OPENAI_API_KEY and TMDB_API_TOKEN to Secret Manager"
    ):
        deploying.deploy(bare)

    outputs = deploying.deploy(deployment)
    assert outputs["api"].startswith("https://rowlift-trial-api")
    assert outputs["archive"].endswith(f"/source/{build(ROOT, tmp_path / 'again.zip').sha256}.zip")
    assert Ledger(name="x", environment={"DATABASE_URL": empty}).revision() == newest_revision()
    with Ledger(name="x", environment={"DATABASE_URL": empty})._cursor() as cursor:
        cursor.execute(f"SELECT has_table_privilege('rowlift-trial-api@{PROJECT}.iam', 'sessions', 'INSERT')")
        assert cursor.fetchone() == [True]
    capfd.readouterr()

    assert deploying.plan(bare) == {"made": 0, "changed": 0, "destroyed": 0}  # the same code again changes nothing

    (tmp_path / "other").mkdir()
    for name in ("functions", "shared", "requirements.txt"):
        (tmp_path / "other" / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "requirements.txt", tmp_path / "new.txt")
    (tmp_path / "other/requirements.txt").unlink()
    (tmp_path / "other/requirements.txt").write_text("# new\n", "utf-8")
    changed = replace(bare, build=partial(build, tmp_path / "other", tmp_path / "build/source.zip"))
    assert deploying.plan(changed) == {"made": 1, "changed": len(Topology.load().functions), "destroyed": 1}

    text = "".join(path.read_text("utf-8", "replace") for path in tmp_path.rglob("*.tfstate*"))
    assert "rowlift-trial-api" in text
    assert "very-secret" not in text + "".join(capfd.readouterr())
    assert not list((tmp_path / "build").glob("*.tfplan")) or all(
        b"very-secret" not in path.read_bytes() for path in (tmp_path / "build").glob("*.tfplan")
    )


def test_a_contradiction_is_refused_before_anything_is_made(deployment: Deployment, tmp_path: Path) -> None:
    with (tmp_path / "infra/environments/trial.tfvars").open("a", encoding="utf-8") as file:
        file.write("\ntopology = <<-E\n" + json.dumps(_contradictory()) + "\nE\n")
    with pytest.raises(
        Failed, match=r"Failed while planning.*`terraform plan` ended with status 1.*Nothing was changed"
    ):
        deploying.deploy(deployment)
    assert not (tmp_path / "trial.tfstate").exists()


def _contradictory() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
    for pipeline in found["pipelines"].values():
        pipeline["lease"] = 1
    return found
