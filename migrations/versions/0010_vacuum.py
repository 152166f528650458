"""When autovacuum comes: after so many rows, not a fifth of a table; and calls packed full. Safe before the code that uses it.

Takes a moment: settings change, no row is read. The fillfactor holds for pages written from then on. What was chosen is
measured by `python -m tests.bench.bloat` (tests/bench/README.md).
"""

from alembic import op

revision = "0010"
down_revision = "0009"

# By default two million dead rows of a table of ten million are waited for, those of some 600,000 lives. Each life leaves
# an entry at the front of the indexes that every nudge begins to read at: about 3 ms by then
# (0.8 after 120,000 lives, counted up), and 0.2 with these.
EAGER = "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000"
# By default a table is analysed at 50 rows. It fits a page then, the plans made of that read all of it, and connections keep
# them until it is analysed again: a message read 81,000 rows among 10,000 answers. Of a table that was never analysed the
# planner thinks ten pages, and goes by index.
LATE = "autovacuum_analyze_threshold = 1000"
SETTINGS = {
    "items": f"{EAGER}, {LATE}",
    "calls": f"{EAGER}, {LATE}",
    "answers": LATE,
    "tallies": "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000",
    "sessions": "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500",
}
RESET = "autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold", "autovacuum_analyze_threshold"


def upgrade() -> None:
    for table, settings in SETTINGS.items():
        for part in _parts(table):
            op.execute(f"ALTER TABLE {part} SET ({settings})")
    # A call's one update changes its state, which indexes hold: it goes to other index entries wherever the row lies.
    op.execute("ALTER TABLE calls SET (fillfactor = 100)")


def downgrade() -> None:
    op.execute("ALTER TABLE calls SET (fillfactor = 80)")
    for table in SETTINGS:
        for part in _parts(table):
            op.execute(f"ALTER TABLE {part} RESET ({', '.join(RESET)})")


def _parts(table: str) -> list[str]:
    """The table, or its partitions where somebody made some (docs/scale.md): those hold the settings then."""
    found = op.get_bind().exec_driver_sql(
        f"SELECT relid::regclass::text FROM pg_partition_tree('{table}') WHERE isleaf"  # noqa: S608
    )
    return [name for (name,) in found] or [table]
