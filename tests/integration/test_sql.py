"""Every statement of shared/sql is understood by a real PostgreSQL."""

import pytest
from pg8000.native import PreparedStatement

from shared.db import Database
from shared.sql import names, statement

# Templates are prepared whole; their fragments are no statements; COPY cannot be prepared, ingest's tests run it.
WHOLE = {
    "settle": ["settle/artists", "settle/movies", "settle/none"], "artists_domain": [], "movies_domain": [],
    "none_domain": [], "copy_items": [], "results": ["results/artists", "results/movies"],
    "settled_results": ["settled_results/artists", "settled_results/movies"], "artists_lines": [], "movies_lines": [],
}  # fmt: skip


@pytest.mark.parametrize("name", [full for name in names() for full in WHOLE.get(name, [name])])
def test_statement_can_be_prepared(db: Database, name: str) -> None:
    with db._checked_out() as connection:
        PreparedStatement(connection, statement(name))


def test_what_is_left_out_is_there() -> None:
    assert set(WHOLE) <= set(names())
