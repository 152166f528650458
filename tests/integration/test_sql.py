"""Every statement of shared/sql is understood by a real PostgreSQL."""

import pytest
from pg8000.native import PreparedStatement

from shared.db import Database
from shared.pipelines import PIPELINES
from shared.sql import names, statement

# Templates are prepared whole; their fragments are no statements; COPY cannot be prepared, ingest's tests run it.
# What plain pipelines share is of their tables: tests/integration/test_new_pipeline.py runs it.
TEMPLATES = ("settle", "results", "settled_results")
WHOLE = {
    **{template: [f"{template}/{slug}" for slug in PIPELINES] for template in TEMPLATES},
    **{f"{slug}_{part}": [] for slug in (*PIPELINES, "plain", "none") for part in ("domain", "lines")},
    **{f"plain_{part}": [] for part in ("known", "held", "forecast", "verify")}, "copy_items": [],
}  # fmt: skip
WHOLE["settle"].append("settle/none")
SORTS = ("created_at", "title", "artist", "year")
WHOLE |= {f"tracks_{way}": [f"tracks_{way}/{sort}" for sort in SORTS] for way in ("up", "down")}
WHOLE |= {name: [f"{name}/tracks"] for name in ("search_tracks", "search_shortest_tracks")}
WHOLE |= {"tracks_ranked": [], **{f"{sort}_sort_{part}": [] for sort in SORTS for part in ("key", "type")}}


@pytest.mark.parametrize("name", [full for name in names() for full in WHOLE.get(name, [name])])
def test_statement_can_be_prepared(db: Database, name: str) -> None:
    with db._checked_out() as connection:
        PreparedStatement(connection, statement(name))


def test_what_is_left_out_is_no_statement() -> None:
    assert {name for name in WHOLE if name in names() and not WHOLE[name]} <= {
        name
        for name in names()
        if name == "copy_items"
        or name.endswith(("_domain", "_lines", "_ranked", "_sort_key", "_sort_type"))
        or "plain_" in name
    }


def test_a_name_nobody_wrote_is_an_error_that_says_it() -> None:
    for name in ("tracks_domain", "verify", "_verify", "plain_domain", "tracks_nothing"):
        with pytest.raises(KeyError, match=name):
            statement(name)
