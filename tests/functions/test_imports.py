"""What each function loads when it starts: every library more is paid for at each cold start."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

from infra.local.topology import ROOT, Topology

# Beside the framework, Flask and gunicorn: settings and rows are checked by pydantic, log lines are orjson's.
ALLOWED = frozenset(
    {"annotated_types", "orjson", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
)
KEYS = {"OPENAI_API_KEY": "sk-test", "TMDB_API_TOKEN": "token"}
_TELL = """
import sys, functions_framework, flask, gunicorn.app.base, gunicorn.workers.gthread
before = set(sys.modules)
import {module}
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(name for name in new - set(sys.stdlib_module_names) if not name.startswith("_sysconfigdata")))
"""


@cache
def topology() -> Topology:
    return Topology.load()


@pytest.mark.parametrize("name", sorted(topology().functions))
def test_what_a_function_loads_at_its_start(name: str) -> None:
    function = topology().functions[name]
    offered = {key: value for key, value in KEYS.items() if key in function.secrets}
    environment = {
        **topology().function_env(name, project="test", offered=offered),
        "DATABASE_URL": "postgresql://rowlift@127.0.0.1:1/rowlift",
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
    }
    code = _TELL.format(module=function.source.removesuffix(".py").replace("/", "."))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) - {"functions", "shared"} <= ALLOWED
