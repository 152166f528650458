"""A plain script after the OpenAI cookbook's `api_request_parallel_processor.py`: aiohttp and a file, no database.

As there, each answer is appended to a file of JSON lines as it comes, with its request, and a request that fails goes
back into the queue up to five times. What limits it is aiohttp: 100 connections unless told otherwise. The cookbook's
own pace, a sleep of 1 ms before each request, and its counting of tokens are left out: they would only slow it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.peers.turns import REQUEST, turns

ATTEMPTS = 5
IN_FLIGHT = 100
URL = os.environ["OPENAI_BASE_URL"] + "/responses"
HEADERS = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}


async def ask(session: aiohttp.ClientSession, row: dict[str, Any], answers: Path) -> None:
    """Append the answer to a row, or what went wrong, to the file."""
    request = {**REQUEST, "input": row["input"]}
    errors: list[Any] = []
    for _ in range(ATTEMPTS):
        try:
            async with session.post(URL, json=request) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            errors.append(str(error))
            continue
        if not answer.get("error"):
            append([request, answer, row["id"]], answers)
            return
        errors.append(answer["error"])
    append([request, errors, row["id"]], answers)


def append(line: list[Any], path: Path) -> None:
    """One more line at the end of a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


async def work(session: aiohttp.ClientSession, rows: Iterator[dict[str, Any]], answers: Path) -> None:
    """Take rows from the others' iterator until there are none."""
    for row in rows:
        await ask(session, row, answers)


async def main() -> None:
    """Ask for every row, 100 at once."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT), headers=HEADERS) as session:
        for path in turns():
            with path.open(encoding="utf-8") as file:
                rows = map(json.loads, file)
                await asyncio.gather(*(work(session, rows, path.with_suffix(".answers")) for _ in range(IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(main())
