"""Every command the papers show is run, in the order they show it, on a stack of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAPERS = (
    "README.md",
    "docs/movies.md",
    "docs/redo.md",
    "examples/README.md",
    "migrations/README.md",
    "tests/bench/README.md",
)
# Lines that are not run as they stand, with the reason.
INSTEAD = {
    "make demo": "its own test below",
    "make test": "it would run this test",
    "make bench": "minutes long; tests/bench is imported by a test",
    "export OPENAI_API_KEY=sk-...": "a key nobody has",
}


def commands(paper: str) -> list[str]:
    """The lines of a paper's shell blocks."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", (ROOT / paper).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(\.venv/bin/)?(rowlift|make|export|alembic) ?", line)]


@pytest.fixture(scope="module")
def workplace() -> Iterator[Path]:
    """A folder that looks like a checkout in which somebody follows the README."""
    with tempfile.TemporaryDirectory(prefix="rowlift-readme-") as name:
        folder = Path(name)
        for entry in ROOT.iterdir():
            if entry.name not in (".git", ".rowlift", ".rowlift-demo", "examples"):
                (folder / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "examples", folder / "examples")  # results are written beside what they are of
        shutil.copy(ROOT / "examples/artists-25.csv", folder / "artists.csv")
        yield folder
        run("make down", folder, check=False)


def run(line: str, folder: Path, *, check: bool = True) -> str:
    """What a command of the papers prints."""
    env = {**os.environ, "ROWLIFT_STATE_DIR": str(folder / ".rowlift")}
    for key in ("OPENAI_API_KEY", "TMDB_API_TOKEN"):
        env.pop(key, None)
    done = subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_command_of_the_papers(workplace: Path, database_url: str) -> None:
    ran = []
    session = ""
    for paper in PAPERS:
        if paper != "README.md" and "make up" in ran:
            run("make up", workplace)
        for line in commands(paper):
            if line in INSTEAD:
                continue
            ready = re.sub(r"postgresql://\S+", database_url, line).replace("SESSION", session)
            ready = re.sub(r"^rowlift", ".venv/bin/rowlift", ready)
            out = run(ready, workplace)
            ran.append(line)
            if " up --detach --db-url" in line:
                run("make down", workplace)
            if " upload " in line or " run " in line:
                newest = json.loads(run(".venv/bin/rowlift status --json", workplace, check=False).splitlines()[-1])
                session = newest["sessions"][0]["session_id"] if newest.get("sessions") else session
            if " watch " in line:
                assert "completed" in out
    assert len(ran) >= 12, ran
    assert len((workplace / "bios.jsonl").read_text("utf-8").splitlines()) == 25
    assert list(workplace.glob("letterboxd-demo-*.results.jsonl"))


def test_what_cannot_be_run_is_at_least_a_target() -> None:
    for line in INSTEAD:
        if line.startswith("make "):
            assert f"\n{line.removeprefix('make ')}:" in (ROOT / "Makefile").read_text("utf-8")


def test_the_demo_ends_with_bios_and_films_and_leaves_nothing_running() -> None:
    with tempfile.TemporaryDirectory(prefix="rowlift-demo-") as folder:
        out = subprocess.run(
            [ROOT / ".venv/bin/rowlift", "demo", "--state-dir", folder, "--json"],
            capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "TMDB_API_TOKEN": "not-asked"},
        ).stdout  # fmt: skip
        found = json.loads(out.splitlines()[-1])
        assert (found["status"], found["enriched"]) == ("completed", 25)
        films = found["movies"]
        assert (films["status"], films["total_movies"], films["needs_review"]) == ("completed", 12, 1)
        assert not (Path(folder) / "stack.json").exists()
