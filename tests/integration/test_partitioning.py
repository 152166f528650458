"""The recipe that partitions `items` (docs/scale.md) fits the newest schema, and Rowlift runs on what it makes."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.conftest import ROOT
from tests.integration.test_migrations import alembic
from tests.movies import drop_files, movies_bench, watched
from tests.workbench import Workbench, artists_csv

RECIPE = (ROOT / "infra/scale/partition_items.sql").read_text("utf-8")
# What a table is, apart from how it is stored.
DESCRIBED = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE conrelid = 'items'::regclass AND contype IN ('p', 'c')
UNION ALL
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE conrelid = 'film_records'::regclass AND contype = 'f' AND conparentid = 0
UNION ALL
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'items'::regclass AND NOT tgisinternal
UNION ALL
SELECT indexrelid::regclass::text, replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index
 WHERE indrelid = 'items'::regclass
UNION ALL
SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL
SELECT attname, format_type(atttypid, atttypmod) || attnotnull || coalesce(pg_get_expr(adbin, adrelid), '')
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY 1, 2
"""
KEPT = "SELECT md5(string_agg(items::text, '' ORDER BY session_id, item_no)), count(*) FROM items"


def ran(bench: Workbench, name: str) -> UUID:
    """A session of forty artists that ended."""
    session = bench.drop(artists_csv(40), name, reuse="never")
    assert bench.run(session)["status"] == "completed"
    return session


def test_what_is_there_stays_and_new_sessions_run_beside_it(bench: Workbench) -> None:
    before = ran(bench, "artists/before.csv")
    described, kept = bench.execute(DESCRIBED), bench.execute(KEPT)
    bench.execute(RECIPE)
    assert bench.execute(DESCRIBED) == described
    assert bench.execute(KEPT) == kept
    assert bench.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'items'::regclass") == 16
    after = [ran(bench, f"artists/after-{n}.csv") for n in range(4)]
    for session in (before, *after):
        bench.assert_sound(session)
    assert bench.value("SELECT count(DISTINCT tableoid) FROM items") > 1


def test_films_run_on_it_too_and_go_with_their_items(bench: Workbench) -> None:
    films = movies_bench(bench)
    films.execute(RECIPE)
    session = drop_files(films, {"watched.csv": watched(*range(12))})
    assert films.run(session)["status"] == "completed"
    films.assert_sound(session)
    films.execute(f"DELETE FROM items WHERE session_id = '{session}'")
    assert films.value("SELECT count(*) FROM film_records") == 0


def test_grants_are_given_again(bench: Workbench) -> None:
    bench.execute("DROP ROLE IF EXISTS reader_of_items; CREATE ROLE reader_of_items")
    bench.execute("GRANT SELECT, UPDATE ON items TO reader_of_items; GRANT SELECT ON film_facts TO reader_of_items")
    bench.execute(RECIPE)
    asked = "SELECT has_table_privilege('reader_of_items', '{}', '{}')"
    assert bench.value(asked.format("items", "UPDATE"))
    assert bench.value(asked.format("film_facts", "SELECT"))
    assert not bench.value(asked.format("items", "DELETE"))
    bench.execute("DROP OWNED BY reader_of_items; DROP ROLE reader_of_items")


def test_partitions_are_stored_as_the_table_was_and_migrations_find_them(bench: Workbench) -> None:
    stored = bench.execute("SELECT reloptions::text FROM pg_class WHERE oid = 'items'::regclass")
    bench.execute(RECIPE)
    asked = (
        "SELECT DISTINCT reloptions::text FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid "
        "WHERE inhparent = 'items'::regclass"
    )
    assert bench.execute(asked) == stored
    alembic(bench.url, "downgrade", "0009")
    assert bench.execute(asked) == [["{fillfactor=80}"]]
    alembic(bench.url, "upgrade", "head")
    assert bench.execute(asked) == stored


def test_twice_is_refused_and_changes_nothing(bench: Workbench) -> None:
    bench.execute(RECIPE)
    with pytest.raises(Exception, match="partitioned already"):
        bench.execute(RECIPE)
