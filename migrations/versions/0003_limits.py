"""Limits that a 429 lowers in fractions and that rise again by themselves. Safe before the code that uses it."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE upstreams ALTER COLUMN requests_limit TYPE double precision, "
        "ALTER COLUMN tokens_limit TYPE double precision, ADD COLUMN recovers_at timestamptz NOT NULL DEFAULT now()"
    )


def downgrade() -> None:
    op.execute(
        "ALTER TABLE upstreams ALTER COLUMN requests_limit TYPE bigint USING CASE WHEN requests_limit IS NOT NULL THEN greatest(1, requests_limit)::bigint END, "
        "ALTER COLUMN tokens_limit TYPE bigint USING CASE WHEN tokens_limit IS NOT NULL THEN greatest(1, tokens_limit)::bigint END, DROP COLUMN recovers_at"
    )
