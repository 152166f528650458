"""What Terraform itself can tell: format, validity, and its own tests (infra/tests), with mocked providers."""

from __future__ import annotations

import json

from tests.conftest import ROOT
from tests.infra.conftest import Terraform


def test_it_is_formatted(terraform: Terraform) -> None:
    done = terraform.run("fmt", "-check", "-recursive", "-diff", check=False)
    assert done.returncode == 0, f"run `terraform fmt -recursive infra`:\n{done.stdout}"


def test_it_is_valid(terraform: Terraform) -> None:
    found = json.loads(terraform.run("validate", "-json").stdout)
    assert found["valid"]
    assert found["diagnostics"] == []


def test_its_own_tests_pass(terraform: Terraform) -> None:
    done = terraform.run("test", "-json", check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    told = [
        "{} {}: {summary} {detail}".format(line.get("@testfile"), line.get("@testrun"), **line["diagnostic"])
        for line in lines
        if line["type"] == "diagnostic" and line["diagnostic"]["severity"] == "error"
    ]
    assert done.returncode == 0, "\n".join(told) or done.stdout + done.stderr
    runs = [
        line
        for line in lines
        if line["type"] == "test_run" and line["test_run"].get("progress", "complete") == "complete"
    ]
    assert len({(line["@testfile"], line["@testrun"]) for line in runs}) > 30
    assert {line["@testfile"].rpartition("/")[2] for line in runs} == {
        path.name for path in (ROOT / "infra/tests").glob("*.tftest.hcl")
    }


def test_no_configuration_names_a_pipeline() -> None:
    from infra.local.topology import Topology

    slugs = Topology.load().pipelines
    for path in (ROOT / "infra").rglob("*.tf"):
        if ".terraform" not in path.parts:
            assert not [slug for slug in slugs if f'"{slug}"' in path.read_text("utf-8")], path
