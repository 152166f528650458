"""Counters, settle order, who did what, and rows held by an earlier file. Safe before the code that uses it.

Builds an index over table items and counts its rows while nobody may write: stop the functions where it holds many
millions.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("ALTER TABLE items ADD COLUMN settled_in xid8 NOT NULL DEFAULT pg_current_xact_id()")
    op.execute(
        """
CREATE FUNCTION stamp_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.settled_in := pg_current_xact_id();
    RETURN NEW;
END
$$
"""
    )
    op.execute(
        """
        CREATE TRIGGER items_stamp_settled BEFORE UPDATE ON items FOR EACH ROW
          WHEN (NEW.finalized_at IS NOT NULL AND NEW.finalized_at IS DISTINCT FROM OLD.finalized_at)
          EXECUTE FUNCTION stamp_settled()
        """
    )
    op.execute(
        """
        CREATE INDEX items_in_settle_order ON items (session_id, settled_in, item_no) WHERE finalized_at IS NOT NULL
        """
    )
    op.execute("DROP INDEX items_failed")
    op.execute(
        """
        CREATE INDEX items_by_outcome ON items (session_id, outcome, item_no)
         WHERE outcome <> 'enriched'
        """
    )
    op.execute(
        """
        CREATE TABLE tallies (
            session_id uuid NOT NULL,
            at         timestamptz NOT NULL,
            outcome    text COLLATE "C" NOT NULL,
            items      bigint NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX tallies_of_session ON tallies (session_id, at)")
    op.execute("ALTER TABLE tallies ALTER COLUMN session_id SET STATISTICS 0")
    op.execute(
        """
        INSERT INTO tallies (session_id, at, outcome, items)
        SELECT session_id, date_bin('5 seconds', finalized_at, timestamptz '2000-01-01 00:00Z'), outcome, count(*)
          FROM items WHERE outcome IS NOT NULL GROUP BY 1, 2, 3
        """
    )
    op.execute(
        """
CREATE FUNCTION tally_made_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (session_id, at, outcome, items)
    SELECT session_id, date_bin('5 seconds', now(), timestamptz '2000-01-01 00:00Z'), outcome, count(*)
      FROM made WHERE outcome IS NOT NULL GROUP BY session_id, outcome;
    RETURN NULL;
END
$$
"""
    )
    op.execute(
        """
CREATE FUNCTION tally_changed_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (session_id, at, outcome, items)
    SELECT session_id, date_bin('5 seconds', now(), timestamptz '2000-01-01 00:00Z'), outcome, sum(n)
      FROM (SELECT session_id, outcome, 1 AS n FROM after WHERE outcome IS NOT NULL
            UNION ALL
            SELECT session_id, outcome, -1 FROM before WHERE outcome IS NOT NULL) moved
     GROUP BY session_id, outcome HAVING sum(n) <> 0;
    RETURN NULL;
END
$$
"""
    )
    op.execute(
        """
        CREATE TRIGGER items_tally_made AFTER INSERT ON items REFERENCING NEW TABLE AS made
          FOR EACH STATEMENT EXECUTE FUNCTION tally_made_items()
        """
    )
    op.execute(
        """
        CREATE TRIGGER items_tally_changed AFTER UPDATE ON items REFERENCING OLD TABLE AS before NEW TABLE AS after
          FOR EACH STATEMENT EXECUTE FUNCTION tally_changed_items()
        """
    )
    op.execute(
        """
        CREATE TABLE audit_log (
            id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at         timestamptz NOT NULL DEFAULT now(),
            session_id uuid NOT NULL,
            action     text NOT NULL,
            actor      text NOT NULL,
            details    jsonb NOT NULL DEFAULT '{}',
            trace_id   text
        )
        """
    )
    op.execute("CREATE INDEX audit_log_of_session ON audit_log (session_id, id)")
    op.execute("ALTER TABLE audit_log ALTER COLUMN session_id SET STATISTICS 0")
    op.execute("ALTER TABLE sessions ADD COLUMN resumed jsonb")
    op.execute(
        """
        CREATE TABLE resumed_rows (
            session_id uuid NOT NULL,
            line       bigint NOT NULL,
            key        text COLLATE "C",
            finding    text COLLATE "C" NOT NULL,
            message    text,
            CONSTRAINT resumed_rows_pkey PRIMARY KEY (session_id, line),
            CONSTRAINT resumed_rows_finding_is_known CHECK (
                finding IN ('confirmed', 'unknown', 'contradicted', 'failed', 'repeated', 'unreadable', 'torn'))
        )
        """
    )
    op.execute(
        """
        CREATE UNIQUE INDEX resumed_rows_one_line_per_key ON resumed_rows (session_id, key)
         WHERE finding IN ('confirmed', 'unknown', 'contradicted', 'failed')
        """
    )
    op.execute(
        """
        CREATE INDEX resumed_rows_of_note ON resumed_rows (session_id, line) WHERE finding NOT IN ('confirmed', 'failed')
        """
    )
    op.execute("ALTER TABLE resumed_rows ALTER COLUMN session_id SET STATISTICS 0")


def downgrade() -> None:
    op.execute("DROP TABLE resumed_rows")
    op.execute("ALTER TABLE sessions DROP COLUMN resumed")
    op.execute("DROP TABLE audit_log")
    op.execute("DROP TRIGGER items_tally_changed ON items")
    op.execute("DROP TRIGGER items_tally_made ON items")
    op.execute("DROP FUNCTION tally_changed_items")
    op.execute("DROP FUNCTION tally_made_items")
    op.execute("DROP TABLE tallies")
    op.execute("DROP INDEX items_by_outcome")
    op.execute("CREATE INDEX items_failed ON items (session_id, item_no) WHERE outcome = 'failed'")
    op.execute("DROP INDEX items_in_settle_order")
    op.execute("DROP TRIGGER items_stamp_settled ON items")
    op.execute("DROP FUNCTION stamp_settled")
    op.execute("ALTER TABLE items DROP COLUMN settled_in")
