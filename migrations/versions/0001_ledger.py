"""The ledger: sessions, files, items, calls, upstreams. Safe before the code that uses it."""

from alembic import op

revision = "0001"
down_revision = None

LEDGER = """
-- What users see of a session, computed from stored facts and never set directly (design §3).
CREATE FUNCTION session_status(
    files_known integer, files_open integer, approval text, hold text, cancelled_at timestamptz,
    failed_at timestamptz, epoch bigint, completed_epoch bigint
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN cancelled_at IS NOT NULL THEN 'cancelled'
    WHEN failed_at IS NOT NULL THEN 'failed'
    WHEN completed_epoch = epoch THEN 'completed'
    WHEN hold IS NOT NULL THEN 'paused'
    WHEN files_known = 0 THEN 'uploading'
    WHEN files_open > 0 THEN 'processing'
    WHEN approval = 'awaited' THEN 'quoted'
    ELSE 'enriching'
END;

CREATE TABLE sessions (
    id              uuid PRIMARY KEY,
    pipeline        text NOT NULL,
    options         jsonb NOT NULL DEFAULT '{}',
    source          text NOT NULL,
    files_known     integer NOT NULL DEFAULT 0,
    files_open      integer NOT NULL DEFAULT 0,     -- registered and not read to their end
    approval        text NOT NULL DEFAULT 'none',
    hold            text,
    pause_reason    text,
    resumed_at      timestamptz,
    cancelled_at    timestamptz,
    failed_at       timestamptz,
    error_code      text,
    error_message   text,
    epoch           bigint NOT NULL DEFAULT 0,      -- raised by whatever adds or opens items
    completed_epoch bigint,                         -- the epoch whose results are written
    finalize_epoch  bigint,                         -- the epoch whose finalize notice was published last, and when
    finalize_asked_at timestamptz,
    next_item_no    bigint NOT NULL DEFAULT 1,
    trace_id        text,
    budget          bigint,
    spent           bigint NOT NULL DEFAULT 0,
    reserved        bigint NOT NULL DEFAULT 0,
    worked_at       timestamptz,                    -- the last call started or item settled
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    completed_at    timestamptz,
    expires_at      timestamptz NOT NULL DEFAULT now() + interval '30 days',
    expired_at      timestamptz,
    status          text GENERATED ALWAYS AS (session_status(
                        files_known, files_open, approval, hold, cancelled_at, failed_at, epoch, completed_epoch)) STORED,
    CONSTRAINT sessions_approval_is_known CHECK (approval IN ('none', 'awaited', 'given')),
    CONSTRAINT sessions_hold_is_known CHECK (hold IN ('person', 'budget', 'systemic')),
    CONSTRAINT sessions_money_is_not_negative CHECK (spent >= 0 AND reserved >= 0 AND budget >= 0)
) WITH (fillfactor = 50);

CREATE INDEX sessions_unfinished ON sessions (created_at) WHERE completed_epoch IS DISTINCT FROM epoch AND expired_at IS NULL;
CREATE INDEX sessions_newest ON sessions (created_at DESC, id);
CREATE INDEX sessions_expiring ON sessions (expires_at) WHERE expired_at IS NULL;

CREATE TABLE files (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id       uuid NOT NULL,
    bucket           text NOT NULL,
    object_name      text NOT NULL,
    generation       bigint NOT NULL,
    member           text NOT NULL DEFAULT '',
    checksum         text,
    size             bigint,
    layout           jsonb,                         -- encoding, delimiter, header: what the first read found
    cursor           bigint NOT NULL DEFAULT 0,     -- byte offset at a record boundary
    next_record      bigint NOT NULL DEFAULT 1,
    next_line        bigint NOT NULL DEFAULT 1,
    records_read     bigint NOT NULL DEFAULT 0,
    ignored          bigint NOT NULL DEFAULT 0,
    state            text NOT NULL DEFAULT 'waiting',
    attempt          integer NOT NULL DEFAULT 0,
    claim            uuid,                          -- the reader's token: a repeated claim recognises itself
    lease_expires_at timestamptz,
    error_code       text,
    error            text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT files_generation_is_read_once UNIQUE (bucket, object_name, generation, member),
    CONSTRAINT files_belong_to_a_session FOREIGN KEY (session_id) REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT files_state_is_known CHECK (state IN ('waiting', 'reading', 'read', 'failed', 'repeated')),
    CONSTRAINT files_reading_has_lease CHECK ((state = 'reading') = (lease_expires_at IS NOT NULL))
);

CREATE INDEX files_of_session ON files (session_id, id);

-- No foreign keys: the chunk transaction that inserts items holds its session and file rows, and a check per row
-- would cost more than the row.
CREATE TABLE items (
    session_id       uuid NOT NULL,
    item_no          bigint NOT NULL,
    file             bigint NOT NULL,
    line             bigint NOT NULL,
    key              text COLLATE "C",
    input            jsonb NOT NULL,
    input_hash       bytea,
    state            text COLLATE "C" NOT NULL DEFAULT 'available',
    outcome          text COLLATE "C",
    code             text,
    attempt          integer NOT NULL DEFAULT 0,
    failures         integer NOT NULL DEFAULT 0,
    snoozes          integer NOT NULL DEFAULT 0,    -- how often it waited out a rate limit
    lost_leases      integer NOT NULL DEFAULT 0,
    round            integer NOT NULL DEFAULT 1,
    claim            uuid,                          -- token of the last dispatch or claim: a repeated one knows itself
    lease_expires_at timestamptz,
    due_at           timestamptz,
    dispatched_at    timestamptz,                   -- a notice is out and nobody has taken it
    dispatches       integer NOT NULL DEFAULT 0,
    dead_lettered    integer NOT NULL DEFAULT 0,
    dead_letter      text,                          -- message id of the last one: delivered twice it counts once
    dead_lettered_at timestamptz,
    finalized_at     timestamptz,
    result           jsonb,
    error_code       text,
    error_message    text,
    parent           bigint,
    CONSTRAINT items_pkey PRIMARY KEY (session_id, item_no),
    CONSTRAINT items_state_is_known CHECK (
        state IN ('available', 'running', 'retryable', 'completed', 'discarded', 'cancelled', 'rejected')),
    CONSTRAINT items_outcome_exactly_when_settled CHECK ((outcome IS NULL) = (finalized_at IS NULL)),
    CONSTRAINT items_outcome_agrees_with_state CHECK (CASE state
        WHEN 'completed' THEN outcome IN ('enriched', 'unchanged', 'skipped', 'duplicate', 'merged', 'not_found', 'needs_review')
        WHEN 'discarded' THEN outcome = 'failed'
        WHEN 'cancelled' THEN outcome = 'cancelled'
        WHEN 'rejected' THEN outcome = 'rejected'
        ELSE outcome IS NULL END),
    CONSTRAINT items_running_has_lease CHECK ((state = 'running') = (lease_expires_at IS NOT NULL)),
    CONSTRAINT items_only_waiting_ones_are_dispatched CHECK (dispatched_at IS NULL OR state IN ('available', 'retryable'))
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX items_one_owner_per_key ON items (session_id, key)
    WHERE key IS NOT NULL AND outcome IS DISTINCT FROM 'duplicate' AND outcome IS DISTINCT FROM 'merged'
      AND outcome IS DISTINCT FROM 'rejected';
CREATE INDEX items_dispatchable ON items (session_id, item_no)
    WHERE dispatched_at IS NULL AND state IN ('available', 'retryable');
CREATE INDEX items_out ON items (session_id, item_no) WHERE dispatched_at IS NOT NULL;
CREATE INDEX items_running ON items (session_id, item_no) WHERE state = 'running';

-- One row per request that costs money.
CREATE TABLE calls (
    id           uuid PRIMARY KEY,
    session_id   uuid NOT NULL,
    item_no      bigint NOT NULL,
    attempt      integer NOT NULL,
    round        integer NOT NULL,
    try          integer NOT NULL,
    upstream     text NOT NULL,
    request_hash bytea,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    state        text COLLATE "C" NOT NULL DEFAULT 'started',
    response_id  text,
    model        text,
    tokens_in    bigint,
    tokens_out   bigint,
    reserved     bigint NOT NULL,
    cost         bigint,
    error_code   text,
    CONSTRAINT calls_state_is_known CHECK (state IN ('started', 'succeeded', 'failed', 'unknown')),
    CONSTRAINT calls_finished_when_not_started CHECK ((state = 'started') = (finished_at IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX calls_of_item ON calls (session_id, item_no);
CREATE INDEX calls_still_reserved ON calls (session_id, item_no) WHERE state IN ('started', 'unknown');
-- I5: in one round no item has two succeeded calls that cost money.
CREATE UNIQUE INDEX calls_paid_once_per_round ON calls (session_id, item_no, round) WHERE state = 'succeeded' AND cost > 0;

-- The shared limiter (GCRA, requests and tokens) and breaker of one upstream account.
CREATE TABLE upstreams (
    name           text PRIMARY KEY,
    requests_limit bigint,                          -- below the setting, when the upstream said so; else null
    tokens_limit   bigint,
    requests_tat   timestamptz NOT NULL DEFAULT now(), -- theoretical arrival time of the next request
    tokens_tat     timestamptz NOT NULL DEFAULT now(),
    breaker        text NOT NULL DEFAULT 'closed',
    reason         text,
    next_probe_at  timestamptz,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT upstreams_breaker_is_known CHECK (breaker IN ('closed', 'open', 'half_open')),
    CONSTRAINT upstreams_limits_are_positive CHECK (requests_limit > 0 AND tokens_limit > 0)
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    for statement in LEDGER.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE calls, items, files, sessions, upstreams")
    op.execute("DROP FUNCTION session_status")
