"""A simulated OpenAI as a process of its own, what to ask it, and the service's own document to hold it to."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.prompts import load

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "openai"
needs_recordings = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded traffic is not at {DATA}")
PROMPT = load("artist-bio/1")


class Server:
    """A running simulated OpenAI."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "infra.local.upstreams.openai", "--port", "0", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        assert ready["ready"] is True
        self.port = ready["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx2.Client(base_url=self.url, trust_env=False)

    def control(self, **wanted: Any) -> dict[str, Any]:
        answer = self.http.post("/control", json=wanted)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log(self) -> dict[str, Any]:
        return self.http.get("/control/log").json()

    def post(self, key: str = "sk-simulated", **wanted: Any) -> httpx2.Response:
        return self.http.post("/v1/responses", json=wanted, headers={"authorization": f"Bearer {key}"})

    def stop(self) -> int:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        threading.Event().wait(0.01)


class Document:
    """OpenAI's own description, and whether a value is what it says."""

    def __init__(self) -> None:
        self.schemas = json.loads(gzip.decompress((DATA / "openapi" / "openai-excerpt.json.gz").read_bytes()))[
            "components"
        ]["schemas"]

    def faults(self, value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
        if at == ".user" and value is None:  # the document wants a string, every recorded answer has null
            return []
        if "$ref" in schema:
            return self.faults(value, self.schemas[schema["$ref"].rpartition("/")[2]], at)
        found = [fault for part in schema.get("allOf", []) for fault in self.faults(value, part, at)]
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            each = [self.faults(value, choice, at) for choice in choices]
            if all(each):
                found += min(each, key=len)
        kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
        kind = schema.get("type")
        if kind == "null" and value is not None:
            return [*found, f"{at}: not null"]
        if kind in kinds and not isinstance(value, kinds[kind]):
            return [*found, f"{at}: {value!r} is not {kind}"]
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{at}: {value!r} is none of {schema['enum']}")
        if isinstance(value, dict):
            found += [f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value]
            for name, below in schema.get("properties", {}).items():
                if name in value:
                    found += self.faults(value[name], below, f"{at}.{name}")
        if isinstance(value, list) and "items" in schema:
            for place, item in enumerate(value):
                found += self.faults(item, schema["items"], f"{at}[{place}]")
        return found


def wanted(name: str) -> dict[str, Any]:
    rendered = PROMPT.render(artist_name=name, artist_data="")
    return {
        "model": "gpt-5-mini",
        "input": rendered.input,
        "instructions": rendered.instructions,
        "max_output_tokens": 300,
    }
