"""Every command the papers show is run in their order: one local stack for all, a scratch folder for each paper."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests import papers
from tests.conftest import ROOT, _administer
from tests.e2e.conftest import OWN
from tests.papers import Command

# Papers whose scripts (after ```sh) another test runs, on sessions that suit them better.
RUN_BY = {"docs/api.md": "tests/functions/test_openapi.py"}
# Commands that are not run here, with the reason. Each must still stand in a paper.
DRAWN = "the recorded picture is in the tree, and tests/unit/test_papers.py looks at it"
CLOUD = "there is no deployment to reach"
PROJECT = "it needs a project in Google Cloud; tests/unit/test_deploy_*.py and tests/infra run what is behind it"
DIRECT = """\
curl -H 'Content-Type: application/json' $API/api/upload/direct \\
    -d '{"pipeline": "artists", "options": {"budget": "2.50"}, "files": [{"name": "list.csv", "size": 734003200}]}'"""
ELSEWHERE = {
    "make demo": "the last test below runs what it runs",
    "make test": "it would run this test",
    "export OPENAI_API_KEY=sk-...": "a key nobody has",
    "OPENAI_API_KEY=sk-... rowlift run artists.csv --budget 2.50": "a key nobody has",
    "TMDB_API_TOKEN=... rowlift run letterboxd-me.zip": "a token nobody has",
    "API=https://rowlift-api-….a.run.app": CLOUD,
    'curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" $API/api/sessions': CLOUD,
    DIRECT: CLOUD,
    "gcloud auth login": PROJECT,
    "gcloud auth application-default login": PROJECT,
    "gcloud config set project MY-PROJECT": PROJECT,
    "gcloud services enable cloudresourcemanager.googleapis.com serviceusage.googleapis.com "
    "storage.googleapis.com": PROJECT,
    "gcloud storage buckets create gs://MY-PROJECT-terraform --location=europe-west1 --uniform-bucket-level-access "
    "--public-access-prevention": PROJECT,
    "gcloud storage buckets update gs://MY-PROJECT-terraform --versioning": PROJECT,
    "export TMDB_API_TOKEN=...": "a token nobody has",
    "export GOOGLE_DRIVE_API_KEY=...": "a key nobody has",
    "rowlift run examples/artists-25.csv --api $API": CLOUD,
    "make plan ENV=trial": PROJECT,
    "make deploy ENV=trial": PROJECT,
    "make rollback ENV=trial": PROJECT,
    "make destroy ENV=trial": PROJECT,
    "gcloud storage cp artists.csv gs://rowlift-trial-MY-PROJECT-uploads/artists/artists.csv": PROJECT,
    "gcloud run services proxy rowlift-trial-api --region=europe-west1 --port=8081": PROJECT,
    "curl -X PUT -H 'Content-Type: text/csv' --upload-file list.csv \"$URL\"": CLOUD,
    "python3 -m venv /tmp/recording": DRAWN,
    "/tmp/recording/bin/pip install --quiet -r docs/recording/requirements.txt": DRAWN,
    '/tmp/recording/bin/python docs/recording/record.py "make demo" docs/recording/demo.svg': DRAWN,
}
# Commands that go on until a person stops them: stopped after some seconds.
UNENDING = {"rowlift logs SESSION --follow            # and what comes; Ctrl-C ends it"}
# Commands that end with another status than 0, because the paper shows just that.
STATUS: dict[str, int] = {}
BY_PERSON = 124  # what `timeout` answers for a command it stopped
_DOWN = re.compile(r"(make|rowlift) down( .*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the papers are followed: one stack, and a first session for papers that begin with one."""

    folder: Path
    session: str
    database_url: str

    @property
    def api(self) -> str:
        """Where the stack's API listens; empty until it runs."""
        facts = self.folder / ".rowlift/stack.json"
        return str(json.loads(facts.read_bytes())["api"]) if facts.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        """What a newcomer's shell has, with rowlift on its path."""
        kept = {name: value for name, value in os.environ.items() if name not in OWN}
        path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        state = str(self.folder / ".rowlift")
        return {**kept, "PATH": path, "HOME": str(self.folder), "ROWLIFT_STATE_DIR": state, "NO_PROXY": "*",
                "FETCH_SIMULATED": "1"}  # fmt: skip  # no paper follows links of the real web


class Reader:
    """Somebody who follows one paper in a folder that looks like a checkout."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._place, self._folder, self._session = place, folder, place.session
        self._memory = folder / ".shell"  # variables and folder of the reader's shell, from command to command
        self._memory.write_text("", "utf-8")
        for entry in ROOT.iterdir():
            if entry.name not in (".git", "examples") and not entry.name.startswith(".rowlift"):
                (folder / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "examples", folder / "examples")  # results are written beside what they are of
        shutil.copy(ROOT / "examples/artists-25.csv", folder / "artists.csv")

    def follow(self, command: Command) -> str:
        """What a command prints; fails if it ends or prints otherwise than the paper says."""
        text = re.sub(r"(?<![\w$])SESSION(?!\w|=)", self._session, command.text)
        text = re.sub(r"postgresql://user:\S+", self._place.database_url, text)
        env = {**self._place.environment, "SESSION": self._session, "API": self._place.api}
        if "--db-url" in text:  # a stack of its own beside everybody's
            env["ROWLIFT_STATE_DIR"] += "-own"
        printed, status = self._typed(text, env, unending=command.text in UNENDING)
        assert status == STATUS.get(command.text, BY_PERSON if command.text in UNENDING else 0), f"{text}\n{printed}"
        if command.prints is not None:
            assert papers.as_shown(printed, command.prints), f"{text}\nprints\n{printed}\nand not\n{command.prints}"
        if "up --detach --db-url" in text:
            self._typed("rowlift down", env)
        if re.search(r"rowlift (upload|run) |/api/upload", text):
            self._session = made_last(printed, env) or self._session
        return printed

    def _typed(self, text: str, env: dict[str, str], *, unending: bool = False) -> tuple[str, int]:
        """What a line prints that is typed into the reader's shell, and its exit status."""
        line = f"timeout --signal=INT 4 {text}" if unending else text
        ours = "\n".join(f"{name}={env[name]}" for name in ("SESSION", "API", "ROWLIFT_STATE_DIR"))
        remember = f"{{ export -p; echo cd \"'$PWD'\"; }} > {self._memory}"
        script = f"set -a\n. {self._memory}\n{ours}\n{line}\nended=$?\n{remember}\nexit $ended\n"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout, done.returncode


def made_last(printed: str, env: dict[str, str]) -> str | None:
    """The session a command names as the one it made, else the newest of the stack."""
    if told := re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", printed):
        return told[-1]
    done = subprocess.run(
        ["rowlift", "status", "--json"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    sessions = json.loads(done.stdout.splitlines()[-1]).get("sessions") if done.stdout else None
    return sessions[0]["session_id"] if sessions else None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, server: str) -> Iterator[Place]:
    """A stack that `make up` started, with a session that ended; `make down` stops it, and has to do it well."""
    folder, name = tmp_path_factory.mktemp("papers"), f"papers_{os.getpid()}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE template")
    found = Place(folder=folder, session="", database_url=server.replace("/template", f"/{name}"))
    reader = Reader(found, tmp_path_factory.mktemp("first"))
    try:
        reader.follow(typed("make up"))
        printed = reader.follow(typed("rowlift run examples/artists-rejections.csv"))
        yield replace(found, session=made_last(printed, found.environment) or "")
    finally:
        reader.follow(typed("make down"))
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def typed(text: str) -> Command:
    """A command of no paper."""
    return Command(paper="", text=text, prints=None)


def to_run(paper: str) -> list[Command]:
    """The commands of a paper that are run here."""
    kinds = ("console",) if paper in RUN_BY else ("sh", "console")
    return [one for one in papers.commands(paper, kinds=kinds) if one.text not in ELSEWHERE]


@pytest.mark.slow
@pytest.mark.parametrize("paper", [paper for paper in papers.PAPERS if to_run(paper)])
def test_every_command_of(paper: str, place: Place, tmp_path: Path) -> None:
    reader = Reader(place, tmp_path)
    for command in to_run(paper):
        if not _DOWN.fullmatch(command.text):  # the stack is everybody's; it goes down at the end
            reader.follow(command)


def test_what_is_not_run_here_still_stands_in_a_paper() -> None:
    shown = {one.text for paper in papers.PAPERS for one in papers.commands(paper)}
    assert set(ELSEWHERE) | UNENDING | set(STATUS) <= shown
    for paper, test in RUN_BY.items():
        assert papers.commands(paper)
        assert Path(paper).name in (ROOT / test).read_text("utf-8")


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
