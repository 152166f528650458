"""The rights a deployment gives: each function can do its work with its own, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.db import Database
from tests.roles import as_functions
from tests.workbench import Workbench, artists_csv


@pytest.fixture
def users(database_url: str) -> Iterator[dict[str, Database]]:
    with as_functions(database_url) as opened:
        yield opened


def test_x(db: Database, database_url: str, users) -> None:
    bench = Workbench(db=db, url=database_url, users={**users, "process": users["process-artists"]})
    s = bench.drop(artists_csv(5))
    assert bench.run(s)["status"] == "completed"
