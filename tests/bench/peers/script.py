"""A peer's script in a process of its own, in the environment where its packages are."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.topology import ROOT
from tests.bench.peers.peer import Peer

PYTHON = ROOT / ".venv-peers/bin/python"
PATIENCE = 120.0  # seconds for one turn; the longest takes 20


class ScriptError(Exception):
    """A script ended, or took too long."""


class Script:
    """A script that is ready for its next turn."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def do(self, rows: Path) -> None:
        """Have it do all rows of a file; raises ScriptError."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rows}\n")
        self._process.stdin.flush()
        self.heard("done")

    def heard(self, word: str) -> None:
        """Return when it says so; raises ScriptError."""
        assert self._process.stdout is not None
        late = threading.Timer(PATIENCE, self._process.kill)
        late.start()
        try:
            said = self._process.stdout.readline().strip()
        finally:
            late.cancel()
        if said != word:
            raise ScriptError(f"it ended, or took more than {PATIENCE:g} s; what it said stands above")


@contextmanager
def started(peer: Peer, *, database: str, openai: str, request: dict[str, Any]) -> Iterator[Script]:
    """The script of a peer, ready; it has ended after the block."""
    process = subprocess.Popen(
        [str(PYTHON), "-m", f"tests.bench.peers.{peer.script}", *peer.arguments],
        cwd=ROOT,
        env={
            "PATH": os.defpath,
            "DATABASE_URL": database,
            "OPENAI_BASE_URL": openai,
            "OPENAI_API_KEY": "sk-simulated",
            "REQUEST": json.dumps(request),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        script = Script(process)
        script.heard("ready")
        yield script
    finally:
        process.kill()
        process.communicate()
