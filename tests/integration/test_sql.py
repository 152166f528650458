"""Every statement of shared/sql is understood by a real PostgreSQL."""

import pytest
from pg8000.native import PreparedStatement

from shared.db import Database
from shared.sql import names, statement

TEMPLATES = {"settle": ["settle/artists", "settle/none"], "artists_domain": [], "none_domain": []}


@pytest.mark.parametrize("name", [full for name in names() for full in TEMPLATES.get(name, [name])])
def test_statement_can_be_prepared(db: Database, name: str) -> None:
    if statement(name).startswith("COPY"):
        pytest.skip("COPY cannot be prepared; ingest tests run it")
    with db._checked_out() as connection:
        PreparedStatement(connection, statement(name))
