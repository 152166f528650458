"""The artists table, or the one that is already there with its rows kept. Safe before the code that uses it."""

from alembic import op

revision = "0002"
down_revision = "0001"

ADOPT = [
    "CREATE TABLE IF NOT EXISTS artists (id uuid NOT NULL, name text, bio text, CONSTRAINT artists_pkey PRIMARY KEY (id))",
    # A table of the user's own may keep its ids as text, or name no primary key.
    """
    DO $$
    BEGIN
        IF (SELECT atttypid FROM pg_attribute WHERE attrelid = 'artists'::regclass AND attname = 'id')
           NOT IN ('uuid'::regtype, 'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN
            RAISE EXCEPTION 'artists.id must hold UUIDs, as uuid or text; rename your table artists, or its column id, and migrate again';
        END IF;
        IF (SELECT atttypid FROM pg_attribute WHERE attrelid = 'artists'::regclass AND attname = 'id') <> 'uuid'::regtype THEN
            ALTER TABLE artists ALTER COLUMN id TYPE uuid USING id::text::uuid;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'artists'::regclass AND contype = 'p') THEN
            ALTER TABLE artists ADD CONSTRAINT artists_pkey PRIMARY KEY (id);
        END IF;
    END
    $$
    """,
    """
    ALTER TABLE artists
        ADD COLUMN IF NOT EXISTS name text,
        ADD COLUMN IF NOT EXISTS bio text,
        ADD COLUMN IF NOT EXISTS response_id text,
        ADD COLUMN IF NOT EXISTS model text,
        ADD COLUMN IF NOT EXISTS prompt text,
        ADD COLUMN IF NOT EXISTS session_id uuid,
        ADD COLUMN IF NOT EXISTS item_no bigint,
        ADD COLUMN IF NOT EXISTS attempt integer,
        ADD COLUMN IF NOT EXISTS updated_at timestamptz
    """,
]


def upgrade() -> None:
    for statement in ADOPT:
        op.execute(statement)


def downgrade() -> None:
    # The rows are the user's: what was added goes, the table stays.
    op.execute(
        "ALTER TABLE artists DROP COLUMN response_id, DROP COLUMN model, DROP COLUMN prompt, "
        "DROP COLUMN session_id, DROP COLUMN item_no, DROP COLUMN attempt, DROP COLUMN updated_at"
    )
