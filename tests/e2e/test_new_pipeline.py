"""Rowlift with the four pieces of a new pipeline laid into its tree, and nothing else: the command, a stack, a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import words

pytestmark = pytest.mark.slow

TREE = ("cli", "functions", "infra", "migrations", "shared")
COMMAND = "import sys; from cli.main import main; sys.exit(main())"


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A copy of what is deployed and of the command, with the pieces in their places."""
    for name in TREE:
        if name != "migrations":
            shutil.copytree(words.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    words.migrations(tmp_path / "migrations")
    shutil.copy(words.PIECES / "words.py", tmp_path / "shared" / "pipelines")
    shutil.copy(words.PIECES / "words.sql", tmp_path / "shared" / "sql")
    (tmp_path / "infra" / "topology.yaml").write_text(yaml.safe_dump(words.topology(), sort_keys=False), "utf-8")
    yield tmp_path
    ran(tmp_path, "down")


def ran(tree: Path, *given: str, code: int = 0) -> Any:
    """The JSON answer of a command of this tree."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "ROWLIFT_"))}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *given, "--json"], cwd=tree, env={**own, "PYTHONPATH": str(tree)},
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == code, f"{given}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def test_a_new_pipeline_is_a_class_its_sql_a_migration_and_a_block_of_the_topology(tree: Path) -> None:
    ran(tree, "up", "--detach")
    (tree / "list.csv").write_text("word,note\nhello big world,greeting\n,nothing\nide?,asked\n", "utf-8")
    status = ran(tree, "run", "list.csv")
    assert (status["pipeline"], status["status"], status["total"]) == ("words", "completed", 6)
    assert (status["enriched"], status["failed"], status["rejected"]) == (4, 1, 1)
    lines = [json.loads(line) for line in (tree / "list.csv.results.jsonl").read_text("utf-8").splitlines()]
    assert [(line["word"], line["letters"]) for line in lines if line["outcome"] == "enriched"] == [
        ("hello big world", 13), ("hello", 5), ("big", 3), ("world", 5),
    ]  # fmt: skip
    session = status["session_id"]
    assert ran(tree, "verify", session)["sound"]
    assert ran(tree, "reprocess", session)["opened"] == 1
    ran(tree, "watch", session)
    brief = ran(tree, "run", "list.csv", "--write-mode", "db", "--skip-existing", "--output", "brief.jsonl")
    assert brief["skipped"] == 1
    first = json.loads((tree / "brief.jsonl").read_text("utf-8").splitlines()[0])
    assert first == {"item_no": 1, "key": "hello big world", "db_status": "skipped", "error": None}
