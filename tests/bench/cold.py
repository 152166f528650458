"""Cold start: process start to the first answer, for each function."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from infra.local.client import Stack
from tests.bench.figure import Figure


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Kill each function of a running stack and time its successor, from its start to its first 200."""
    figures = []
    with Stack.start(folder / "cold") as stack:
        for name, url in stack.info["functions"].items():
            times = []
            for _ in range(1 if quick else 3):
                before = stack.pid_of(name)
                stack.send(name)
                stack.wait_until(lambda b=before, n=name: stack.pid_of(n) not in (None, b), f"{name} is back", 30)  # type: ignore[misc]
                began = stack.info["processes"][name]["since"]
                while True:
                    try:
                        if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                            break
                    except httpx.HTTPError:
                        time.sleep(0.005)
                times.append(time.time() - began)
            figures.append(Figure(what=f"cold start of {name}", text=f"{sorted(times)[len(times) // 2]:.2f} s"))
    return figures
