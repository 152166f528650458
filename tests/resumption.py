"""Earlier results for sessions to go on with, and what is found of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

from tests.fakes import FakeUpstream, answer
from tests.movies import diary, ratings, watched
from tests.workbench import Workbench

OBJECT = "resume/1f3a9c/results.jsonl"
SUMMARY = ("lines", "confirmed", "unknown", "contradicted", "failed", "repeated", "unreadable", "torn", "held")
BIO = {"outcome": "enriched", "db_status": "updated", "error": None}


def keep(bench: Workbench, data: bytes, name: str = OBJECT) -> str:
    """The name of an object that holds earlier results."""
    with bench.store.write("up", name, "application/x-ndjson") as writer:
        writer.write(data)
    return name


def results(bench: Workbench, session: UUID) -> bytes:
    return bytes(bench.store.objects["out", f"{session}/results.jsonl"][1])


def jsonl(*lines: Any) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def summary(bench: Workbench, session: UUID) -> dict[str, int]:
    """What was found of the lines, findings of which there are none left out."""
    found = bench.sessions.status(session)["resumed"]
    assert set(found) == {*SUMMARY, "not_in_upload"}
    assert found["lines"] == sum(found[name] for name in SUMMARY[1:-1])
    assert found["held"] == found["confirmed"] + found["unknown"]
    return {name: n for name, n in found.items() if n}


def resumed(bench: Workbench, session: UUID) -> list[int]:
    """The items that are not run because earlier results hold them."""
    found = bench.execute(
        f"SELECT item_no FROM items WHERE session_id = '{session}' AND code = 'resumed' AND outcome = 'skipped'"
    )
    return sorted(number for (number,) in found)


def same_for_each(n: int, request: Any) -> Any:
    """An answer that depends on the artist alone."""
    digest = hashlib.md5(request.text.encode()).hexdigest()
    return answer(f"The bio {digest}.", response_id=f"resp_{digest}")


EXPORT = {"watched.csv": watched(1, 2, 3), "ratings.csv": ratings(1, 2), "diary.csv": diary(1, 7)}


def artists_bench(bench: Workbench) -> Workbench:
    """The artists pipeline; each artist has one bio, however often it is asked for."""
    return Workbench(db=bench.db, url=bench.url, upstream=FakeUpstream(same_for_each))
