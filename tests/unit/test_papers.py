"""What the papers name exists: links, options, paths of the API, targets; and troubleshooting knows every error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock
from xml.etree import ElementTree

import pytest
import typer
import yaml

from cli.main import app
from infra.local.topology import Topology
from shared import sql
from shared.api.operations import operations
from shared.fetching.causes import MEANINGS, Cause, code_of
from shared.pipelines.base import Pipeline
from shared.upstreams import openai, openai_errors, tmdb, tmdb_errors
from shared.upstreams.prices import price_of, read_on
from shared.upstreams.verdicts import Verdict
from tests import papers
from tests.conftest import ROOT

TROUBLES = "docs/troubleshooting.md"
# Options of other programs than rowlift.
FOREIGN = {
    "--write": "infra/scale", "--analyzed": "tests/bench",
    "--quick": "tests/bench", "--crash": "tests/faults", "--pace": "tests/faults", "--seeds": "tests/faults",
    "--first-seed": "tests/faults", "--fail-with-body": "curl", "--upload-file": "curl", "--quiet": "pip",
    "--location": "gcloud", "--uniform-bucket-level-access": "gcloud", "--public-access-prevention": "gcloud",
    "--gil": "py-spy", "--nonblocking": "py-spy",
    "--versioning": "gcloud", "--region": "gcloud", "--port": "gcloud", "--no-smoke": "infra/deploy",
}  # fmt: skip
OTHERS_LINKS = ("http://", "https://", "mailto:")


@pytest.mark.parametrize("paper", papers.PAPERS)
def test_its_links_lead_somewhere(paper: str) -> None:
    for link in papers.links(paper):
        if link.startswith(OTHERS_LINKS):
            continue
        path, place = papers.target(paper, link)
        assert path.exists(), f"{paper}: {link}"
        if place:
            assert place in papers.anchors(str(path.resolve().relative_to(ROOT.resolve()))), f"{paper}: {link}"


@pytest.mark.parametrize("paper", papers.PAPERS)
def test_commands_stand_in_blocks_that_are_run(paper: str) -> None:
    for block in papers.blocks(paper):
        assert block.kind in {"sh", "console"} | papers.SHOWS_ONLY, f"{paper}: ```{block.kind}: sh or console"
        if block.kind not in ("sh", "console"):
            assert not papers.holds_commands(block), f"{paper}: commands are never run here:\n{block.text}"


def test_every_paper_of_docs_is_listed_in_their_index() -> None:
    listed = {link.partition("#")[0] for link in papers.links("docs/README.md")}
    here = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert here <= listed


def test_options_they_name_exist() -> None:
    known = set(_options()) | set(FOREIGN)
    for paper in papers.PAPERS:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", papers.read(paper)))
        assert named <= known, f"{paper}: {named - known}"


def test_commands_they_name_exist() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for paper in papers.PAPERS:
        text = "\n".join([*re.findall(r"`([^`\n]+)`", papers.prose(paper)), *(b.text for b in papers.blocks(paper))])
        named = set(re.findall(r"(?:^|\$ |[/`])rowlift ([a-z][a-z-]*)\b", text, re.MULTILINE))
        assert named <= known, f"{paper}: {named - known}"
        targets = set(re.findall(r"(?:^|`)make ([a-z]+)\b", text, re.MULTILINE))
        assert all(f"\n{one}:" in (ROOT / "Makefile").read_text("utf-8") for one in targets), f"{paper}: {targets}"


def test_paths_of_the_api_they_name_exist() -> None:
    nobody = MagicMock()
    known = {_way(one.path) for one in operations(nobody, nobody, nobody, nobody, nobody, nobody)}
    for paper in papers.PAPERS:
        for named in re.findall(r"(?<![\w.])/api/[\w/{}$.\-]+", papers.read(paper)):
            way = _way(named.rstrip("/."))
            assert way in known or way == ("api",), f"{paper}: {named}"


def test_troubleshooting_knows_every_error_code() -> None:
    told = papers.read(TROUBLES)
    missing = sorted(code for code in _codes() if not re.search(rf"`{re.escape(code)}`", told))
    assert not missing
    assert len(set(_codes())) > 70


def test_troubleshooting_names_no_error_code_that_is_gone() -> None:
    named = set(re.findall(r"`((?:input|upstream)\.[a-z_]+)`", papers.read(TROUBLES)))
    assert named <= set(_codes())


@pytest.mark.parametrize("table", [openai, openai_errors, tmdb, tmdb_errors], ids=lambda one: one.__name__)
def test_troubleshooting_quotes_what_an_upstreams_table_says(table: ModuleType) -> None:
    told = " ".join(papers.read(TROUBLES).split())
    for verdict in _verdicts(table):
        said = re.split(r"[;,]", verdict.advice)[0]
        assert said in told, f"{verdict.code}: {verdict.advice}"


def test_papers_say_of_a_failed_download_what_its_message_says() -> None:
    troubles, told = (" ".join(papers.read(one).split()) for one in (TROUBLES, "docs/fetching.md"))
    for cause, meaning in MEANINGS.items():
        assert re.split(r"[;,]", meaning.advice)[0] in troubles, cause
        assert f"| `{cause}` | {'yes' if meaning.again else 'no'}" in told, cause
        assert meaning.advice in told, cause


def test_the_recording_is_a_small_picture_that_needs_no_script() -> None:
    drawn = (ROOT / "docs/recording/demo.svg").read_bytes()
    assert len(drawn) < 150_000
    picture = ElementTree.fromstring(drawn)
    tags = {one.tag.rpartition("}")[2] for one in picture.iter()}
    assert tags <= {"svg", "title", "style", "defs", "g", "text", "use", "rect", "circle"}
    assert "prefers-reduced-motion" in drawn.decode()
    said = " ".join(one.text or "" for one in picture.iter() if one.tag.endswith("text"))
    assert "make demo" in said
    assert "25 enriched" in said


def test_adding_a_pipeline_tells_of_everything_a_class_may_say() -> None:
    told = papers.read("docs/pipelines.md")
    named = [name for name in {**vars(Pipeline), **Pipeline.__annotations__} if not name.startswith("_")]
    assert len(named) > 25
    assert [name for name in named if not re.search(rf"\b{name}\b", told)] == []
    plain = [name.partition("_")[2] for name in sql.names() if name.startswith("plain_")]
    assert [part for part in plain if f"`<slug>_{part}`" not in told] == []


def test_the_topology_of_the_new_pipeline_is_sound(tmp_path: Path) -> None:
    (block,) = (one.text for one in papers.blocks("docs/pipelines.md") if one.kind == "yaml")
    whole = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))
    for part, added in yaml.safe_load(block).items():
        whole[part] |= added
    (tmp_path / "topology.yaml").write_text(yaml.safe_dump(whole), "utf-8")
    assert "tracks" in Topology.load(tmp_path / "topology.yaml").pipelines


def test_files_they_name_exist() -> None:
    top = "cli|docs|examples|functions|infra|migrations|shared|tests"
    for paper in papers.PAPERS:
        for named in re.findall(rf"`((?:{top})/[\w./-]+)`", papers.prose(paper)):
            if "NNNN" not in named:
                assert (ROOT / named).exists(), f"{paper}: {named}"


def test_lines_of_the_log_are_quoted_as_they_are_written() -> None:
    table = papers.read("docs/operate.md").partition("## What lines say")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "shared").rglob("*.py"))
    assert len(quoted) > 10
    assert [line for line in quoted if f'"{line}"' not in sources] == []


def test_performance_counts_the_connections_of_the_topology() -> None:
    functions = yaml.safe_load((ROOT / "infra/topology.yaml").read_text("utf-8"))["functions"].values()
    most = sum(one["max_instances"] * one["pool_size"] for one in functions)
    assert f"that is {most} in the worst case" in " ".join(papers.read("docs/performance.md").split())


def test_cost_quotes_the_price_file() -> None:
    told = " ".join(papers.read("docs/cost.md").split())
    price = price_of(openai.DEFAULT_MODEL)
    dollars = f"${price.input / 1e6:.2f} for a million tokens in and ${price.output / 1e6:.2f} for a million out"
    assert f"`{openai.DEFAULT_MODEL}`, at {dollars} as read on {read_on()}" in told
    assert f"`OPENAI_MAX_OUTPUT_TOKENS` ({openai.DEFAULT_MAX_OUTPUT_TOKENS:,})" in told


def _verdicts(table: ModuleType) -> list[Verdict]:
    return [value for value in vars(table).values() if isinstance(value, Verdict)]


def _options() -> Iterator[str]:
    command = typer.main.get_command(app)
    for one in (command, *command.commands.values()):  # type: ignore[attr-defined]
        for parameter in one.params:
            yield from chain(parameter.opts, parameter.secondary_opts)
    yield "--help"


def _codes() -> Iterator[str]:
    """Every code an item, a session or a line of the log may carry, from the code and the SQL."""
    for path in (ROOT / "shared").rglob("*"):
        if path.suffix not in (".py", ".sql"):
            continue
        text = path.read_text("utf-8")
        yield from re.findall(r"[\"']((?:input|upstream|db)\.[a-z_]+)[\"']", text)
        if path.name.startswith("archive"):
            yield from (f"input.archive_{code}" for code in re.findall(r"refused\(\s*\"([a-z_]+)\"", text))
            yield "input.archive_damaged"
        if path.parts[-2:] == ("movies", "forms.py"):
            yield from (f"input.{code}" for code in re.findall(r"_Refused\(\s*\w+,\s*\"([a-z_]+)\"", text))
        if path.name == "health.py":
            away = re.search(r"AWAY: Final = frozenset\((.*?)\)\n\)", text, re.DOTALL)
            assert away is not None
            yield from (f"upstream.{code}" for code in re.findall(r"\"([a-z_]+)\"", away[1].partition(" in ")[2]))

    yield from map(code_of, Cause)


def _way(path: str) -> tuple[str, ...]:
    """A path's words, whatever stands for an id in it."""
    return tuple(
        "*" if re.search(r"[{$A-Z…]|^\d+$|^[0-9a-f]{8}", word) else word for word in path.strip("/").split("/")
    )
