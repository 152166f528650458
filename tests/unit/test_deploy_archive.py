"""The source archive: the same bytes for the same content, and what functions need and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cli.faults import WrongUsage
from infra.deploy.archive import build
from infra.local.topology import Topology
from tests.conftest import ROOT

TOPOLOGY = Topology.load()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project, with much beside it that nobody wants deployed."""
    root = tmp_path / "project"
    for name, text in {
        "requirements.txt": "flask\n", "functions/x/main.py": "x = 1\n", "functions/x/tests/test_x.py": "broken(\n",
        "shared/sql/a.sql": "SELECT 1;\n", "shared/__pycache__/a.pyc": "", "shared/.env": "KEY=secret\n",
        "shared/old.pyc": "", "shared/.hidden/a.py": "", "tests/test_y.py": "", "infra/main.tf": "",
        ".env": "KEY=secret",
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_it_holds_functions_shared_and_requirements_alone(project: Path) -> None:
    made = build(project, project / "build/source.zip")
    assert names(made.path) == ["functions/x/main.py", "requirements.txt", "shared/sql/a.sql"]
    assert made.files == 3


def test_the_same_content_gives_the_same_bytes_anywhere_and_at_any_time(project: Path, tmp_path: Path) -> None:
    first = build(project, tmp_path / "one.zip")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project, elsewhere)
    for path in elsewhere.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    second = build(elsewhere, tmp_path / "deep/er/two.zip")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("name", ["shared/sql/a.sql", "requirements.txt"])
def test_other_content_gives_another_hash(project: Path, tmp_path: Path, name: str) -> None:
    before = build(project, tmp_path / "one.zip").sha256
    (project / name).write_text("-- changed\n", "utf-8")
    assert build(project, tmp_path / "one.zip").sha256 != before


def test_python_that_would_break_every_build_is_refused_by_name(project: Path, tmp_path: Path) -> None:
    (project / "shared/new.py").write_text("def f(:\n", "utf-8")
    with pytest.raises(WrongUsage, match=r"shared/new\.py is no valid Python .*line 1"):
        build(project, tmp_path / "one.zip")
    assert not (tmp_path / "one.zip").exists()


def test_links_are_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not yours")
    (project / "shared/secret.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(WrongUsage, match="is a link"):
        build(project, tmp_path / "one.zip")


def test_a_folder_that_is_no_project_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"has no requirements\.txt"):
        build(tmp_path, tmp_path / "one.zip")


def test_the_real_one_holds_every_file_of_ours(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "functions", "shared", "requirements.txt"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    there = [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    assert names(build(ROOT, tmp_path / "source.zip").path) == sorted(there)


@pytest.mark.parametrize("name", ["api", "process"])
def test_what_it_holds_is_enough_to_start_a_function(tmp_path: Path, name: str) -> None:
    archive = build(ROOT, tmp_path / "source.zip")
    with zipfile.ZipFile(archive.path) as file:
        file.extractall(tmp_path / "workspace")
    code = (
        "import pathlib, runpy, sys; import shared; from shared.sql import statement, names\n"
        f"runpy.run_path('functions/{name}/main.py')\n"
        "assert pathlib.Path(shared.__file__).is_relative_to(pathlib.Path.cwd()), shared.__file__\n"
        "assert 'cli' not in sys.modules and len(names()) > 50\n"
        "assert pathlib.Path('shared/dashboard/index.html').exists() and pathlib.Path('shared/prompts').is_dir()\n"
    )
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "workspace"), "DATABASE_URL": "postgresql://u@h/d",
        "PIPELINES": json.dumps(TOPOLOGY.pipelines), "UPSTREAMS": json.dumps(TOPOLOGY.upstreams),
        "GOOGLE_CLOUD_PROJECT": "p", "UPLOAD_BUCKET": "u", "RESULTS_BUCKET": "r", "PIPELINE": "artists",
        "OPENAI_API_KEY": "k",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "workspace", env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
