"""What `make bench-peers` names exists, and its table says what was measured; nothing is measured or installed here."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.peers.figures import COLUMNS, Measured, Turn, table
from tests.bench.peers.peer import ALL, Peer
from tests.bench.peers.work import request, rows
from tests.conftest import ROOT

FOLDER = ROOT / "tests/bench/peers"
SCRIPTS = sorted({peer.script for peer in ALL if peer.script})


def test_the_target_runs_what_exists_in_an_environment_that_is_ignored_and_cleaned() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipe = makefile.partition("\nbench-peers:")[2].partition("\n\n")[0]
    (module,) = re.findall(r"python -m ([\w.]+)", recipe)
    assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()
    (requirements,) = re.findall(r"^\$\(PEERS\): (\S+)$", makefile, re.MULTILINE)
    assert (ROOT / requirements).is_file()
    assert ".venv-peers/\n" in (ROOT / ".gitignore").read_text("utf-8")
    assert ".venv-peers " in makefile.partition("\nclean:")[2]


def test_everyone_has_a_name_of_its_own_and_only_rowlift_no_script() -> None:
    assert len({(peer.name, peer.at_once) for peer in ALL}) == len(ALL)
    assert [peer.name for peer in ALL if not peer.script] == ["Rowlift"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_what_its_requirements_name(script: str) -> None:
    path = FOLDER / f"{script}.py"
    ours = {"tests.bench.peers.turns"}
    needed = {name for name in _imports(path) if name.partition(".")[0] not in sys.stdlib_module_names} - ours
    assert {name.partition(".")[0] for name in needed} <= set(_pins()), f"{path.name}: {needed}"


def test_what_all_share_imports_nothing_a_peer_lacks() -> None:
    assert {name.partition(".")[0] for name in _imports(FOLDER / "turns.py")} <= sys.stdlib_module_names


def test_the_openai_library_is_the_one_rowlift_runs_with() -> None:
    ours = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE))
    pins = _pins()
    assert {name: pins[name] for name in ("openai", "httpx2", "pydantic")} == {
        name: ours[name] for name in ("openai", "httpx2", "pydantic")
    }


def test_rows_carry_the_whole_prompt() -> None:
    found = rows(3, 7)
    assert [row.id[-2:] for row in found] == ["07", "08", "09"]
    assert '"artist_name": "Sigur Rós 7"' in found[0].input
    assert request()["model"]
    assert request()["instructions"]


def test_the_table_has_a_line_for_each_with_its_figures() -> None:
    at_0 = Turn(rows=2_000, seconds=4.0, around=0.1, cpu=2.0, cpu_postgres=1.0)
    at_200 = Turn(rows=4_000, seconds=12.0, around=0.5, cpu=8.0, cpu_postgres=2.0)
    found = [Measured(peer=peer, at_0=at_0, at_200=at_200) for peer in ALL]
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(table(found))
    lines = captured.get().rstrip().splitlines()
    assert len(lines) == 2 + len(ALL)
    assert lines[-1].split() == ["Rowlift", "80", "500", "333", "1.20", "0.5", "1.50", "(0.50)", "2.50", "(0.50)"]
    assert len(COLUMNS) == 7


def test_a_share_of_the_rows_has_the_same_ideal() -> None:
    peer = Peer(name="four", script="x", at_once=4, share=0.1, kept="")
    turn = Turn(rows=400, seconds=22.0, around=0.0, cpu=1.0, cpu_postgres=0.0)
    assert turn.of_ideal(peer.at_once) == pytest.approx(1.1)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _pins() -> dict[str, str]:
    """Versions by the name a package is imported under; every line pins one."""
    text = (FOLDER / "requirements.txt").read_text("utf-8")
    lines = [line.partition("#")[0].strip() for line in text.splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([\w-]+)(?:\[\w+\])?==([\w.]+)", line) for line in lines]
    assert all(found)
    return {one[1].replace("-", "_"): one[2] for one in found if one}
