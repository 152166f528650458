"""What a file is to its export, files that are ignored, and no statistics that mislead. Safe before the code that uses it."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE files ADD COLUMN part text NOT NULL DEFAULT ''")
    # Those of other sessions say that a new one has a row or none: any index that begins with it looks as good.
    op.execute("ALTER TABLE items ALTER COLUMN session_id SET STATISTICS 0")
    op.execute("ALTER TABLE calls ALTER COLUMN session_id SET STATISTICS 0")
    op.execute("ALTER TABLE files DROP CONSTRAINT files_state_is_known")
    op.execute(
        "ALTER TABLE files ADD CONSTRAINT files_state_is_known "
        "CHECK (state IN ('waiting', 'reading', 'read', 'failed', 'repeated', 'ignored'))"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE calls ALTER COLUMN session_id SET STATISTICS -1")
    op.execute("ALTER TABLE items ALTER COLUMN session_id SET STATISTICS -1")
    op.execute("UPDATE files SET state = 'repeated' WHERE state = 'ignored'")
    op.execute("ALTER TABLE files DROP CONSTRAINT files_state_is_known")
    op.execute(
        "ALTER TABLE files ADD CONSTRAINT files_state_is_known "
        "CHECK (state IN ('waiting', 'reading', 'read', 'failed', 'repeated'))"
    )
    op.execute("ALTER TABLE files DROP COLUMN part")
