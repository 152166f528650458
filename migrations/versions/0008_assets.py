"""Items that expand, people, their files, and the sheets that name them. Safe before the code that uses it."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(
        """
CREATE FUNCTION expand_items(of_session uuid, wanted jsonb) RETURNS TABLE (item_no bigint, made bigint)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH new AS MATERIALIZED (
        SELECT DISTINCT ON (child.value->>'key') owner.item_no AS parent, owner.file, owner.line, child.place,
               child.value->>'key' AS key, child.value->'input' AS input, decode(child.value->>'input_hash', 'hex') AS input_hash
          FROM jsonb_array_elements(wanted) AS of_one
          JOIN items owner ON owner.session_id = of_session AND owner.item_no = (of_one.value->>'parent')::bigint
         CROSS JOIN LATERAL jsonb_array_elements(of_one.value->'children') WITH ORDINALITY AS child (value, place)
         ORDER BY child.value->>'key', owner.item_no, child.place
    ), stands AS MATERIALIZED (
        SELECT new.*, CASE WHEN cancelled_at IS NOT NULL THEN 'cancelled' WHEN resumed.line IS NOT NULL THEN 'skipped' END AS outcome,
               next_item_no - 1 + row_number() OVER (ORDER BY new.parent, new.place) AS number
          FROM sessions CROSS JOIN new
          LEFT JOIN resumed_rows resumed ON resumed.session_id = of_session AND resumed.key = new.key
           AND resumed.finding IN ('confirmed', 'unknown')
         WHERE sessions.id = of_session
           AND NOT EXISTS (
               SELECT FROM items known
                WHERE known.session_id = of_session AND known.key = new.key AND known.outcome IS DISTINCT FROM 'duplicate'
                  AND known.outcome IS DISTINCT FROM 'merged' AND known.outcome IS DISTINCT FROM 'rejected')
    ), stored AS (
        INSERT INTO items (session_id, item_no, file, line, key, input, input_hash, parent, state, outcome, code, finalized_at)
        SELECT of_session, number, file, line, key, input, input_hash, parent,
               CASE outcome WHEN 'cancelled' THEN 'cancelled' WHEN 'skipped' THEN 'completed' ELSE 'available' END,
               outcome, CASE outcome WHEN 'skipped' THEN 'resumed' END, CASE WHEN outcome IS NOT NULL THEN now() END
          FROM stands
        RETURNING items.parent
    )
    SELECT parent, count(*) FROM stored GROUP BY parent;
END
$$
"""
    )
    op.execute(
        """
        CREATE TABLE people (
            row_id           text COLLATE "C" NOT NULL,
            name             text NOT NULL,
            email            text,
            personality_type text,
            source_link      text,
            sheet            uuid NOT NULL,
            sheet_at         timestamptz NOT NULL,
            session_id       uuid NOT NULL,
            item_no          bigint NOT NULL,
            attempt          integer NOT NULL,
            created_at       timestamptz NOT NULL DEFAULT now(),
            updated_at       timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT people_pkey PRIMARY KEY (row_id)
        )
        """
    )
    op.execute("CREATE INDEX people_of_sheet ON people (sheet_at, sheet)")
    op.execute(
        """
        CREATE TABLE assets (
            asset_id          uuid NOT NULL,
            person_row_id     text COLLATE "C" NOT NULL,
            asset_type        text NOT NULL,
            what              text NOT NULL,
            source            text COLLATE "C" NOT NULL,
            original_url      text,
            media_id          text,
            local_file_path   text,
            cloud_storage_url text,
            filename          text,
            content_type      text,
            file_size_bytes   bigint,
            sha256            text,
            download_status   text NOT NULL,
            origin            text NOT NULL,
            metadata          jsonb NOT NULL DEFAULT '{}',
            error_code        text,
            error_message     text,
            try_again         boolean,
            attempted_at      timestamptz,
            session_id        uuid NOT NULL,
            item_no           bigint NOT NULL,
            attempt           integer NOT NULL,
            created_at        timestamptz NOT NULL DEFAULT now(),
            updated_at        timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT assets_pkey PRIMARY KEY (asset_id),
            CONSTRAINT assets_belong_to_a_person FOREIGN KEY (person_row_id) REFERENCES people (row_id) ON DELETE CASCADE,
            CONSTRAINT assets_type_is_known CHECK (
                asset_type IN ('youtube_video', 'youtube_transcript', 'drive_file', 'document', 'file')),
            CONSTRAINT assets_status_is_known CHECK (download_status IN ('pending', 'downloaded', 'uploaded', 'failed')),
            CONSTRAINT assets_origin_is_known CHECK (origin IN ('sheet', 'fetch')),
            CONSTRAINT assets_uploaded_have_an_object CHECK (
                download_status <> 'uploaded' OR cloud_storage_url LIKE 'gs://%')
        )
        """
    )
    op.execute("CREATE INDEX assets_of_person ON assets (person_row_id, asset_id)")
    op.execute("CREATE INDEX assets_of_session ON assets (session_id, item_no)")
    op.execute("ALTER TABLE assets ALTER COLUMN session_id SET STATISTICS 0")
    op.execute(
        """
        CREATE TABLE sheet_rows (
            session_id uuid NOT NULL,
            item_no    bigint NOT NULL,
            file       bigint NOT NULL,
            row_id     text COLLATE "C" NOT NULL,
            sources    text[] COLLATE "C" NOT NULL,
            cells      jsonb NOT NULL,
            findings   text[] NOT NULL DEFAULT '{}',
            CONSTRAINT sheet_rows_pkey PRIMARY KEY (session_id, item_no)
        )
        """
    )
    op.execute("CREATE INDEX sheet_rows_of_person ON sheet_rows (row_id, session_id)")
    op.execute("CREATE INDEX sheet_rows_that_disagree ON sheet_rows (session_id) WHERE findings <> '{}'")
    op.execute("ALTER TABLE sheet_rows ALTER COLUMN session_id SET STATISTICS 0")
    op.execute(
        """
        CREATE TABLE sheet_copies (
            session_id uuid NOT NULL,
            epoch      bigint NOT NULL,
            worked_at  timestamptz,
            due_at     timestamptz NOT NULL,
            CONSTRAINT sheet_copies_pkey PRIMARY KEY (session_id)
        )
        """
    )
    op.execute(
        """
        CREATE VIEW download_sessions AS
        SELECT sessions.id AS session_id, coalesce(sessions.options->>'mode', 'full') AS session_type,
               coalesce(counted.assets, 0) AS total_assets, coalesce(counted.completed, 0) AS completed_assets,
               coalesce(counted.failed, 0) AS failed_assets, sessions.status, sessions.created_at, sessions.completed_at
          FROM sessions CROSS JOIN LATERAL (
               SELECT count(*) AS assets, count(*) FILTER (WHERE download_status IN ('downloaded', 'uploaded')) AS completed,
                      count(*) FILTER (WHERE download_status = 'failed') AS failed
                 FROM assets WHERE assets.session_id = sessions.id AND what <> 'listing') counted
         WHERE sessions.pipeline = 'assets'
        """
    )


def downgrade() -> None:
    op.execute("DROP VIEW download_sessions")
    op.execute("DROP TABLE sheet_copies")
    op.execute("DROP TABLE sheet_rows")
    op.execute("DROP TABLE assets")
    op.execute("DROP TABLE people")
    op.execute("DROP FUNCTION expand_items")
