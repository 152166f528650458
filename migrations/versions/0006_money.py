"""Quotes, answers to use again, what an upstream's health is, and what items were before. Safe before the code that uses it."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE sessions
            ADD COLUMN quote jsonb,
            ADD COLUMN quoted_epoch bigint,
            ADD COLUMN compared_with uuid,
            ADD COLUMN absorbed bigint NOT NULL DEFAULT 0,
            DROP CONSTRAINT sessions_approval_is_known,
            ADD CONSTRAINT sessions_approval_is_known CHECK (approval IN ('none', 'awaited', 'passed', 'given'))
        """
    )
    op.execute(
        """
        ALTER TABLE upstreams
            ADD COLUMN requests_said double precision,
            ADD COLUMN tokens_said double precision,
            ADD COLUMN signature text,
            ADD COLUMN failing integer NOT NULL DEFAULT 0,
            ADD COLUMN opened_at timestamptz,
            ADD COLUMN reset_at timestamptz,
            ADD COLUMN probe_wait double precision NOT NULL DEFAULT 0,
            ADD CONSTRAINT upstreams_said_limits_are_positive CHECK (requests_said > 0 AND tokens_said > 0),
            ADD CONSTRAINT upstreams_probed_unless_closed CHECK (breaker = 'closed' OR next_probe_at IS NOT NULL)
        """
    )
    op.execute(
        """
        CREATE FUNCTION present_limit(
            setting double precision, said double precision, lowered double precision, recovers_at timestamptz, at timestamptz
        ) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN least(setting, said, lowered + greatest(0, extract(epoch FROM at - recovers_at))::double precision * 0.02
                                              * coalesce(least(setting, said), lowered))
        """
    )
    op.execute("CREATE INDEX items_retryable ON items (session_id, item_no) WHERE state = 'retryable'")
    op.execute("CREATE INDEX items_failed ON items (session_id, item_no) WHERE outcome = 'failed'")
    op.execute(
        """
        CREATE TABLE item_history (
            session_id    uuid NOT NULL,
            item_no       bigint NOT NULL,
            round         integer NOT NULL,
            attempt       integer NOT NULL,
            outcome       text COLLATE "C" NOT NULL,
            code          text,
            result        jsonb,
            error_code    text,
            error_message text,
            finalized_at  timestamptz NOT NULL,
            CONSTRAINT item_history_pkey PRIMARY KEY (session_id, item_no, round)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE answers (
            pipeline      text COLLATE "C" NOT NULL,
            key           text COLLATE "C" NOT NULL,
            input_hash    bytea NOT NULL,
            configuration text COLLATE "C" NOT NULL,
            result        jsonb NOT NULL,
            session_id    uuid NOT NULL,
            item_no       bigint NOT NULL,
            answered_at   timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT answers_pkey PRIMARY KEY (pipeline, key, input_hash, configuration)
        )
        """
    )
    # As for items and calls: statistics of other sessions make a new one look empty.
    op.execute("ALTER TABLE item_history ALTER COLUMN session_id SET STATISTICS 0")


def downgrade() -> None:
    op.execute("DROP TABLE answers")
    op.execute("DROP FUNCTION present_limit")
    op.execute("DROP TABLE item_history")
    op.execute("DROP INDEX items_failed")
    op.execute("DROP INDEX items_retryable")
    op.execute("UPDATE upstreams SET breaker = 'closed', reason = NULL, next_probe_at = NULL")
    op.execute(
        "ALTER TABLE upstreams DROP CONSTRAINT upstreams_said_limits_are_positive, "
        "DROP CONSTRAINT upstreams_probed_unless_closed, DROP COLUMN requests_said, DROP COLUMN tokens_said, "
        "DROP COLUMN signature, DROP COLUMN failing, DROP COLUMN opened_at, DROP COLUMN reset_at, DROP COLUMN probe_wait"
    )
    op.execute("UPDATE sessions SET approval = 'given' WHERE approval = 'passed'")
    op.execute(
        """
        ALTER TABLE sessions
            DROP COLUMN quote,
            DROP COLUMN quoted_epoch,
            DROP COLUMN compared_with,
            DROP COLUMN absorbed,
            DROP CONSTRAINT sessions_approval_is_known,
            ADD CONSTRAINT sessions_approval_is_known CHECK (approval IN ('none', 'awaited', 'given'))
        """
    )
