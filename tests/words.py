"""A pipeline that nothing in the repository names: the four pieces of tests/fixtures/new_pipeline in their places."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import shared.pipelines
import shared.sql
from infra.local.topology import DEFAULT_TOPOLOGY, Topology

ROOT = Path(__file__).parents[1]
PIECES = ROOT / "tests" / "fixtures" / "new_pipeline"


def known(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have this process find the class and its SQL in a folder, as if they lay beside the others."""
    folder.mkdir()
    for name in ("words.py", "words.sql"):
        shutil.copy(PIECES / name, folder)
    for package in (shared.pipelines, shared.sql):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])


@contextmanager
def read_anew() -> Iterator[None]:
    """Statements are read from the files before and after the block."""
    shared.sql._statements.cache_clear()
    yield
    shared.sql._statements.cache_clear()


def topology() -> dict[str, Any]:
    """The whole topology with the block of the new pipeline."""
    found, block = (yaml.safe_load(path.read_text("utf-8")) for path in (DEFAULT_TOPOLOGY, PIECES / "topology.yaml"))
    return {**found, **{part: {**found[part], **more} for part, more in block.items()}}


def described() -> Topology:
    """It as the local stack reads it."""
    return Topology.model_validate(topology())


def migrations(into: Path) -> Path:
    """A folder of all migrations and the new one behind them; its alembic.ini."""
    shutil.copytree(ROOT / "migrations", into, ignore=shutil.ignore_patterns("__pycache__"))
    text = (PIECES / "migration.py").read_text("utf-8").replace('"HEAD"', repr(_newest(into / "versions")))
    (into / "versions" / "9999_words.py").write_text(text, "utf-8")
    return into / "alembic.ini"


def _newest(versions: Path) -> str:
    """The revision that no other comes behind."""
    facts = [_facts(path) for path in versions.glob("*.py")]
    (newest,) = {one["revision"] for one in facts} - {one["down_revision"] for one in facts}
    return str(newest)


def _facts(path: Path) -> dict[str, Any]:
    body = ast.parse(path.read_text("utf-8")).body
    return {
        target.id: ast.literal_eval(line.value)
        for line in body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name) and target.id in ("revision", "down_revision")
    }
