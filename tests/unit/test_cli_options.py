"""docs/options.md against shared/options.py, what options have an effect for, and the command's own help."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from cli.parameters import checked_options
from shared.api.choices import has_effect, kind_of
from shared.options import Options
from shared.pipelines import PIPELINES
from tests.fake_api import FakeApi, FakeBucket, status_of
from tests.unit.conftest import CSV, ID, Run

TEXT = (Path(__file__).parents[2] / "docs" / "options.md").read_text("utf-8")
COLUMNS = re.search(r"^\| option \| (.+) \| default \|$", TEXT, re.MULTILINE)[1].split(" | ")  # type: ignore[index]
TABLE = {
    name: rest.split(" | ")
    for name, rest in re.findall(r"^\| \[`([a-z-]+)`\]\(#[a-z-]+\) \| (.+) \|$", TEXT, re.MULTILINE)
}
SECTIONS = dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
NAMES = [name.replace("_", "-") for name in Options.model_fields]


def shown(default: Any) -> str:
    match default:
        case StrEnum():
            return f"`{default.value}`"
        case False:
            return "off"
        case None:
            return "none"
        case _:
            return f"`{default}`"


def test_every_option_has_its_line_and_its_section() -> None:
    assert sorted(TABLE) == sorted(SECTIONS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_option_is_told_as_it_is(name: str) -> None:
    *told_of, default = TABLE[name]
    assert len(told_of) == len(COLUMNS)
    field = Options.model_fields[name.replace("-", "_")]
    assert default == shown(field.default)
    for slug, told in zip(COLUMNS, told_of, strict=True):
        assert told in ("yes", "no")
        assert (told == "yes") == has_effect(name.replace("-", "_"), slug)
        line = next(line for line in SECTIONS[name].splitlines() if re.match(rf"- (\w+, )*{slug}\b", line))
        assert (told == "no") == bool(re.search("no effect|refused", line))
    _, choices = kind_of(name.replace("-", "_"), field)
    for choice in choices or ():
        assert f"`{choice}`" in SECTIONS[name]
    assert set(COLUMNS) <= set(PIPELINES)


@pytest.mark.parametrize("command", ["run", "upload"])
def test_the_commands_help_knows_every_option_and_the_paper_every_one_of_the_help(run: Run, command: str) -> None:
    helped = set(re.findall(r"--([a-z-]+)", run(command, "--help").out))
    assert set(NAMES) <= helped
    told = set(NAMES) | set(re.findall(r"^\| `--([a-z-]+)", TEXT, re.MULTILINE))
    assert helped - {"help", "detach"} <= told


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_taken_as_it_stands(
    run: Run, api: FakeApi, stack: dict[str, Any], bucket: FakeBucket, name: str
) -> None:
    (example,) = re.findall(r"^- example: `rowlift (.+)`$", SECTIONS[name], re.MULTILINE)
    Path("artists.csv").write_bytes(CSV)
    Path("artists.csv.results.jsonl").write_bytes(api.results)
    Path("examples/letterboxd-demo").mkdir(parents=True)
    for sheet in ("basic", "enhanced"):
        Path(f"examples/assets-{sheet}.csv").write_bytes(b"row_id,name,link\n1,A,\n")
    Path("examples/letterboxd-demo/watched.csv").write_bytes(b"Date,Name,Year,Letterboxd URI\n")
    api.default = [status_of()]
    api.options = {"watchlist": True}
    api.answers[f"GET /api/session/{ID}/resumed"] = {"summary": None, "findings": [], "next": None}
    words = shlex.split(example)
    assert f"--{name}" in words
    if name == "resume":  # its lines are compared with real results elsewhere
        return
    assert run(*words).code == 0
    assert name in bucket.uploaded[0]["metadata"]


def test_a_value_nobody_knows_is_refused_with_the_choices() -> None:
    for name in NAMES:
        _, choices = kind_of(name.replace("-", "_"), Options.model_fields[name.replace("-", "_")])
        if choices:
            with pytest.raises(Exception, match=choices[0]):
                checked_options(**{name.replace("-", "_"): "nonsense"})
