"""A stand-in for a deployment, and the `rowlift` command run on it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli import local, main, uploading, watching
from tests.fake_api import LOCAL, SESSION, FakeApi, FakeBucket, status_of

ID = str(SESSION)
LEFT_OUT = (
    "DATABASE_URL", "ROWLIFT_STATE_DIR", "ROWLIFT_DEBUG", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "PROMPT",
    "TMDB_API_TOKEN", "TMDB_BASE_URL", "CLOUD_SQL_INSTANCE", "APPROVE_ABOVE_USD", "NO_COLOR", "FORCE_COLOR",
)  # fmt: skip
CSV = b"artist_id,artist_name,artist_data\n5b11f4ce-a62d-471e-81fc-a69a8278c7da,Nirvana,\n"


class Ran:
    """What a command said and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON object on the last line."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The `rowlift` command, in an empty folder and without variables of ours."""
    monkeypatch.chdir(tmp_path)
    for name in LEFT_OUT:
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Ran:
        capfd.readouterr()
        code = main.main(words)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A deployment every HTTP client reaches, which knows one completed session; watching takes no time."""
    fake, real = FakeApi({SESSION: [status_of()]}), httpx.Client
    transport = httpx.MockTransport(fake)
    monkeypatch.setattr("cli.client.httpx.Client", lambda **details: real(**{**details, "transport": transport}))
    monkeypatch.setattr(watching, "LOCAL_INTERVAL", 0.001)
    return fake


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, api: FakeApi) -> FakeBucket:
    """The upload bucket."""
    monkeypatch.setattr(uploading, "_client", lambda storage: api.bucket)
    return api.bucket


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A local stack that seems to run on every state directory."""
    info = {
        "api": LOCAL, "pid": 4711, "state_dir": "/s", "log": "/s/log", "broker": "embedded", "storage": LOCAL,
        "database_url": "postgresql://me:secret@127.0.0.1:5/rowlift", "openai": f"{LOCAL}/v1", "tmdb": f"{LOCAL}/3",
        "processes": {"api": {"state": "running"}},
    }  # fmt: skip
    monkeypatch.setattr(local, "find", lambda state_dir: info)
    return info


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A person who presses Ctrl-C while the command waits between two looks."""

    def press(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(5)
        pytest.fail("nothing interrupts here")

    return lambda: monkeypatch.setattr("cli.watching.Watcher._is_over", press)


@pytest.fixture
def files(run: Run) -> list[str]:
    """Two files of artists in the folder where the command runs."""
    for name in ("a.csv", "b.csv"):
        Path(name).write_bytes(CSV)
    return ["a.csv", "b.csv"]
