"""The API in this process, on a real ledger and on none."""

from __future__ import annotations

import pytest
from werkzeug.test import Client

from shared.api.routing import Api
from shared.config import parse_database_url
from shared.db import Database, connector
from tests.functions.asking import client_of
from tests.workbench import Workbench


@pytest.fixture
def http(bench: Workbench) -> Client:
    return client_of(Api(bench.db, bench.sessions, bench.store, bench.settings))


@pytest.fixture
def away() -> Client:
    """The API while nothing listens where the ledger should be: what it still answers it answers without asking."""
    url = "postgresql://u:secret@127.0.0.1:1/rowlift"
    nowhere = Database(connector(parse_database_url(url)), size=1)
    bench = Workbench(db=nowhere, url=url)
    return client_of(Api(nowhere, bench.sessions, bench.store, bench.settings))
