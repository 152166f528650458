-- The whole database: the sum of all migrations, for reading, for building one quickly, and for the agreement test.
-- Money is in whole micro-dollars, times are timestamptz.

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

-- What an upstream may be asked now (null: anything): the setting, or less where its own headers said so, or what a 429
-- left of it, risen by 2 % a second since.
CREATE FUNCTION present_limit(
    setting double precision, said double precision, lowered double precision, recovers_at timestamptz, at timestamptz
) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN least(setting, said, lowered + greatest(0, extract(epoch FROM at - recovers_at))::double precision * 0.02
                                      * coalesce(least(setting, said), lowered));

CREATE TABLE sessions (
    id              uuid PRIMARY KEY,
    pipeline        text NOT NULL,
    options         jsonb NOT NULL DEFAULT '{}',
    source          text NOT NULL,
    files_known     integer NOT NULL DEFAULT 0,
    files_open      integer NOT NULL DEFAULT 0,     -- registered and not read to their end
    approval        text NOT NULL DEFAULT 'none',   -- passed: cheap enough to go on unasked; given: by a person
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
    quote           jsonb,                          -- what it will cost and take, as of an epoch
    quoted_epoch    bigint,
    compared_with   uuid,                           -- the earlier session the manifest says what changed since
    absorbed        bigint NOT NULL DEFAULT 0,      -- deliveries of items that had been taken already
    resumed         jsonb,                          -- what an earlier results file held, in numbers, once it is loaded
    CONSTRAINT sessions_approval_is_known CHECK (approval IN ('none', 'awaited', 'passed', 'given')),
    CONSTRAINT sessions_hold_is_known CHECK (hold IN ('person', 'budget', 'systemic')),
    CONSTRAINT sessions_money_is_not_negative CHECK (spent >= 0 AND reserved >= 0 AND budget >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

CREATE INDEX sessions_unfinished ON sessions (created_at) WHERE completed_epoch IS DISTINCT FROM epoch AND expired_at IS NULL;
CREATE INDEX sessions_newest ON sessions (created_at DESC, id);
CREATE INDEX sessions_expiring ON sessions (expires_at) WHERE expired_at IS NULL;

CREATE TABLE files (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id       uuid NOT NULL,
    bucket           text NOT NULL,
    object_name      text NOT NULL,
    generation       bigint NOT NULL,
    member           text NOT NULL DEFAULT '',      -- of an archive
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
    part             text NOT NULL DEFAULT '',      -- what it is to its export
    CONSTRAINT files_generation_is_read_once UNIQUE (bucket, object_name, generation, member),
    CONSTRAINT files_belong_to_a_session FOREIGN KEY (session_id) REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT files_state_is_known CHECK (state IN ('waiting', 'reading', 'read', 'failed', 'repeated', 'ignored')),
    CONSTRAINT files_reading_has_lease CHECK ((state = 'reading') = (lease_expires_at IS NOT NULL))
);

CREATE INDEX files_of_session ON files (session_id, id);

-- Autovacuum comes after so many rows and a hundredth of the table, here and for calls, tallies and sessions: migration 0010
-- says why. No foreign keys: the chunk transaction that inserts items holds its session and file rows, and a check per row
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
    settled_in       xid8 NOT NULL DEFAULT pg_current_xact_id(), -- of a settled item: the transaction that settled it last
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
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_threshold = 1000);

CREATE UNIQUE INDEX items_one_owner_per_key ON items (session_id, key)
    WHERE key IS NOT NULL AND outcome IS DISTINCT FROM 'duplicate' AND outcome IS DISTINCT FROM 'merged'
      AND outcome IS DISTINCT FROM 'rejected';
CREATE INDEX items_dispatchable ON items (session_id, item_no)
    WHERE dispatched_at IS NULL AND state IN ('available', 'retryable');
CREATE INDEX items_out ON items (session_id, item_no) WHERE dispatched_at IS NOT NULL;
CREATE INDEX items_running ON items (session_id, item_no) WHERE state = 'running';
CREATE INDEX items_retryable ON items (session_id, item_no) WHERE state = 'retryable';
CREATE INDEX items_in_settle_order ON items (session_id, settled_in, item_no) WHERE finalized_at IS NOT NULL;
CREATE INDEX items_by_outcome ON items (session_id, outcome, item_no)
    WHERE outcome <> 'enriched';

CREATE FUNCTION stamp_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.settled_in := pg_current_xact_id();
    RETURN NEW;
END
$$;

CREATE TRIGGER items_stamp_settled BEFORE UPDATE ON items FOR EACH ROW
    WHEN (NEW.finalized_at IS NOT NULL AND NEW.finalized_at IS DISTINCT FROM OLD.finalized_at)
    EXECUTE FUNCTION stamp_settled();

-- Settled items counted by outcome and five seconds, kept by triggers so that no statement can forget it. Rows are only
-- added (a count that is updated would be a row that every settlement waits for); rescue folds those of the same five
-- seconds. They stay when items expire.
CREATE TABLE tallies (
    session_id uuid NOT NULL,
    at         timestamptz NOT NULL,
    outcome    text COLLATE "C" NOT NULL,
    items      bigint NOT NULL                      -- negative: opened again
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000);

CREATE INDEX tallies_of_session ON tallies (session_id, at);

CREATE FUNCTION tally_made_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (session_id, at, outcome, items)
    SELECT session_id, date_bin('5 seconds', now(), timestamptz '2000-01-01 00:00Z'), outcome, count(*)
      FROM made WHERE outcome IS NOT NULL GROUP BY session_id, outcome;
    RETURN NULL;
END
$$;

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
$$;

CREATE TRIGGER items_tally_made AFTER INSERT ON items REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION tally_made_items();
CREATE TRIGGER items_tally_changed AFTER UPDATE ON items REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tally_changed_items();

-- Make the items that settled ones expand into, of file and line of their parents, each key once in a session; answers
-- how many each made. Those of a cancelled session are cancelled, those that a resumed one holds are skipped. Asked by the
-- statement that settles, which holds the session's row and takes that many of its numbers: a function sees what others
-- committed while its caller waited, so that no key is made twice and no number is left over.
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
$$;

-- How items ended in earlier rounds; a row is written when a deliberate new round replaces a result.
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
);

-- Who did what to a session.
CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    session_id uuid NOT NULL,
    action     text NOT NULL,
    actor      text NOT NULL,
    details    jsonb NOT NULL DEFAULT '{}',
    trace_id   text
);

CREATE INDEX audit_log_of_session ON audit_log (session_id, id);

-- The lines of an earlier results file that a session resumes, each compared with what the database knows. Rows of
-- confirmed and unknown ones are held: they are not run.
CREATE TABLE resumed_rows (
    session_id uuid NOT NULL,
    line       bigint NOT NULL,
    key        text COLLATE "C",
    finding    text COLLATE "C" NOT NULL,
    message    text,
    CONSTRAINT resumed_rows_pkey PRIMARY KEY (session_id, line),
    CONSTRAINT resumed_rows_finding_is_known CHECK (
        finding IN ('confirmed', 'unknown', 'contradicted', 'failed', 'repeated', 'unreadable', 'torn'))
);

CREATE UNIQUE INDEX resumed_rows_one_line_per_key ON resumed_rows (session_id, key)
    WHERE finding IN ('confirmed', 'unknown', 'contradicted', 'failed');
CREATE INDEX resumed_rows_of_note ON resumed_rows (session_id, line) WHERE finding NOT IN ('confirmed', 'failed');

-- Answers that were paid for, to be used again for the same input under the same configuration (prompt and model).
-- They outlive their session.
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
) WITH (autovacuum_analyze_threshold = 1000);

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
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_threshold = 1000, fillfactor = 100);

CREATE INDEX calls_of_item ON calls (session_id, item_no);
CREATE INDEX calls_still_reserved ON calls (session_id, item_no) WHERE state IN ('started', 'unknown');
-- I5: in one round no item has two succeeded calls that cost money.
CREATE UNIQUE INDEX calls_paid_once_per_round ON calls (session_id, item_no, round) WHERE state = 'succeeded' AND cost > 0;

-- The shared limiter (GCRA, requests and tokens) and breaker of one upstream account.
CREATE TABLE upstreams (
    name           text PRIMARY KEY,
    requests_limit double precision,                -- below the setting, when the upstream said so; else null
    tokens_limit   double precision,
    requests_tat   timestamptz NOT NULL DEFAULT now(), -- theoretical arrival time of the next request
    tokens_tat     timestamptz NOT NULL DEFAULT now(),
    breaker        text NOT NULL DEFAULT 'closed',
    reason         text,
    next_probe_at  timestamptz,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    recovers_at    timestamptz NOT NULL DEFAULT now(), -- from when on the lowered limits rise again
    requests_said  double precision,                -- what its answers say the account may, per period of the setting
    tokens_said    double precision,
    signature      text,                            -- how the failures counted in `failing` look alike
    failing        integer NOT NULL DEFAULT 0,      -- rises with each such failure, falls by four with each answer
    opened_at      timestamptz,                     -- when the breaker opened last
    reset_at       timestamptz,                     -- failures of what began earlier count for nothing
    probe_wait     double precision NOT NULL DEFAULT 0, -- seconds between probes, doubled by each that fails
    CONSTRAINT upstreams_breaker_is_known CHECK (breaker IN ('closed', 'open', 'half_open')),
    CONSTRAINT upstreams_limits_are_positive CHECK (requests_limit > 0 AND tokens_limit > 0),
    CONSTRAINT upstreams_said_limits_are_positive CHECK (requests_said > 0 AND tokens_said > 0),
    CONSTRAINT upstreams_probed_unless_closed CHECK (breaker = 'closed' OR next_probe_at IS NOT NULL)
) WITH (fillfactor = 50);

-- The artists pipeline writes here. A table artists(id, name, bio) that was there before is adopted by migration 0002.
CREATE TABLE artists (
    id          uuid NOT NULL,
    name        text,
    bio         text,
    response_id text,
    model       text,
    prompt      text,
    session_id  uuid,                               -- last writer: session, item, attempt (I4)
    item_no     bigint,
    attempt     integer,
    updated_at  timestamptz,
    CONSTRAINT artists_pkey PRIMARY KEY (id)
);

-- Which film each record of an export belongs to. `film` is the film's key: its URI, or 'title:' and its name and year
-- where no URI is known. Records that say the same word for word are kept once; the others are duplicates. No foreign key:
-- its check of every record, which locks the record's item, took a third of the time it took to write one.
CREATE TABLE film_records (
    session_id uuid NOT NULL,
    item_no    bigint NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    uri        text COLLATE "C",                    -- the film a record names itself; entries of the diary name none
    alias      text COLLATE "C" NOT NULL,           -- name and year, by which entries find their film
    link       text COLLATE "C",                    -- the film's or the entry's own page
    superseded boolean NOT NULL DEFAULT false,      -- of an entry: a newer one of its kind and link says how it is now
    maker      boolean NOT NULL,                    -- whether it makes a film known
    digest     bytea NOT NULL,
    film       text COLLATE "C",                    -- null: no film of the export, or more than one
    asked      text,                                -- of the film's owner: what TMDB is asked, or that a person decided
    CONSTRAINT film_records_pkey PRIMARY KEY (session_id, item_no),
    CONSTRAINT film_records_are_kept_once UNIQUE (session_id, digest),
    CONSTRAINT film_records_kind_is_known CHECK (kind IN ('watched', 'rating', 'like', 'watchlist', 'diary', 'review'))
);

CREATE INDEX film_records_of_alias ON film_records (session_id, alias);
CREATE INDEX film_records_wanted ON film_records (session_id, uri) WHERE NOT maker AND uri IS NOT NULL;
CREATE INDEX film_records_of_entry ON film_records (session_id, link)
    WHERE link IS NOT NULL AND NOT superseded AND kind IN ('diary', 'review');
CREATE INDEX film_records_of_film ON film_records (session_id, film) WHERE film IS NOT NULL;

-- Records go with their items, whoever removes those.
CREATE FUNCTION film_records_of_removed_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    of_session uuid;
BEGIN
    FOR of_session IN SELECT DISTINCT session_id FROM removed LOOP
        DELETE FROM film_records
         WHERE session_id = of_session AND item_no = ANY (ARRAY (SELECT item_no FROM removed WHERE session_id = of_session));
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER items_film_records_removed AFTER DELETE ON items REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION film_records_of_removed_items();

-- Every record of a film with the item that owns the film: the one that does already, else the first that may.
CREATE VIEW film_members AS
SELECT *, first_value(item_no) OVER (
              PARTITION BY session_id, film ORDER BY maker DESC, owns DESC, uri IS NULL, item_no) AS owner
  FROM (SELECT r.session_id, r.item_no, r.kind, r.uri, r.alias, r.maker, r.film, r.superseded,
               i.key IS NOT NULL AND i.outcome IS DISTINCT FROM 'merged' AS owns
          FROM film_records r JOIN items i ON i.session_id = r.session_id AND i.item_no = r.item_no
         WHERE r.film IS NOT NULL) members;

-- Which record of a film says what it is called: ascending, the first one.
CREATE FUNCTION film_record_rank(record film_records) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[(record.uri IS NULL)::integer, array_position(ARRAY['watched', 'rating', 'like', 'watchlist', 'diary', 'review'], record.kind),
             -record.item_no];

-- What the records of a film say together, a row per film; item_no is the owner's.
CREATE VIEW film_facts AS
SELECT r.session_id, r.film,
       min(r.item_no) FILTER (WHERE i.key IS NOT NULL AND i.outcome IS DISTINCT FROM 'merged') AS item_no,
       CASE WHEN r.film NOT LIKE 'title:%' THEN r.film END AS letterboxd_uri,
       (array_agg(i.input->>'name' ORDER BY film_record_rank(r)))[1] AS title,
       (array_agg((i.input->>'year')::integer ORDER BY film_record_rank(r)))[1] AS year,
       (array_agg((i.input->>'rating')::numeric ORDER BY r.item_no DESC) FILTER (WHERE r.kind = 'rating'))[1] AS rating,
       coalesce(max((i.input->>'watched_date')::date) FILTER (WHERE r.kind = 'diary' AND NOT r.superseded),
                (array_agg((i.input->>'date')::date ORDER BY r.item_no DESC) FILTER (WHERE r.kind = 'watched'))[1]) AS watched_date,
       (array_agg((i.input->>'date')::date ORDER BY r.item_no DESC) FILTER (WHERE r.kind = 'watched'))[1] AS logged_date,
       coalesce(bool_or(r.kind = 'like'), false) AS liked,
       coalesce(bool_or(r.kind = 'watchlist'), false) AS in_watchlist,
       count(*) FILTER (WHERE r.kind = 'diary' AND NOT r.superseded) AS diary_count,
       count(*) FILTER (WHERE r.kind = 'review' AND NOT r.superseded) AS review_count,
       coalesce((SELECT jsonb_agg(DISTINCT tag ORDER BY tag) FROM unnest(array_agg(i.input->'tags') FILTER (WHERE r.kind = 'diary' AND NOT r.superseded)) tags,
                        jsonb_array_elements_text(tags) tag), '[]') AS tags
  FROM film_records r JOIN items i ON i.session_id = r.session_id AND i.item_no = r.item_no
 WHERE r.film IS NOT NULL
 GROUP BY r.session_id, r.film;

-- The films of every session, with what TMDB knows of each.
CREATE TABLE movies (
    session_id        uuid NOT NULL,
    item_no           bigint NOT NULL,
    letterboxd_uri    text COLLATE "C",
    title             text NOT NULL,
    year              integer,
    rating            numeric(2, 1),
    watched_date      date,                         -- the last time by the diary; without one the day it was logged
    logged_date       date,
    liked             boolean NOT NULL DEFAULT false,
    in_watchlist      boolean NOT NULL DEFAULT false,
    diary_count       integer NOT NULL DEFAULT 0,
    review_count      integer NOT NULL DEFAULT 0,
    tags              jsonb NOT NULL DEFAULT '[]',
    tmdb_enriched     boolean NOT NULL DEFAULT false,
    tmdb_id           bigint,
    imdb_id           text,
    imdb_rating       numeric(3, 1),                -- TMDB does not have it: null unless another source is added
    tmdb_rating       numeric(5, 3),
    tmdb_votes        integer,
    genres            jsonb,
    directors         jsonb,
    "cast"            jsonb,
    runtime           integer,                      -- minutes
    original_title    text,
    original_language text,
    release_date      date,
    overview          text,
    poster_path       text,
    match_score       real,
    match_method      text,
    attempt           integer,                      -- of the item, the last writer (I4)
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT movies_pkey PRIMARY KEY (session_id, item_no),
    CONSTRAINT movies_uri_is_unique_in_its_session UNIQUE (session_id, letterboxd_uri),
    CONSTRAINT movies_rating_is_in_half_stars CHECK (rating BETWEEN 0.5 AND 5 AND rating * 2 = trunc(rating * 2))
) WITH (fillfactor = 80);

-- Every viewing a diary tells of; film_no is the film's item.
CREATE TABLE diary_entries (
    session_id   uuid NOT NULL,
    item_no      bigint NOT NULL,
    film_no      bigint NOT NULL,
    entry_uri    text COLLATE "C",
    watched_date date,
    logged_date  date,
    rating       numeric(2, 1),                     -- on that day
    rewatch      boolean NOT NULL DEFAULT false,
    tags         jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT diary_entries_pkey PRIMARY KEY (session_id, item_no)
);

CREATE INDEX diary_entries_of_film ON diary_entries (session_id, film_no);

CREATE TABLE reviews (
    session_id   uuid NOT NULL,
    item_no      bigint NOT NULL,
    film_no      bigint NOT NULL,
    entry_uri    text COLLATE "C",                  -- that of the diary entry it belongs to, if there is one
    watched_date date,
    logged_date  date,
    rating       numeric(2, 1),
    rewatch      boolean NOT NULL DEFAULT false,
    tags         jsonb NOT NULL DEFAULT '[]',
    review       text NOT NULL,
    CONSTRAINT reviews_pkey PRIMARY KEY (session_id, item_no)
);

CREATE INDEX reviews_of_film ON reviews (session_id, film_no);

-- What people decided about a film, for every later session; a null id: none of TMDB's films is it.
CREATE TABLE match_overrides (
    film       text COLLATE "C" NOT NULL,           -- as film_records.film
    tmdb_id    bigint,
    session_id uuid,
    item_no    bigint,
    decided_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT match_overrides_pkey PRIMARY KEY (film)
);

-- TMDB's answers, trimmed to what is used, for all sessions until they are too old.
CREATE TABLE tmdb_answers (
    request    text COLLATE "C" NOT NULL,
    body       jsonb NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT tmdb_answers_pkey PRIMARY KEY (request)
);

CREATE INDEX tmdb_answers_expiring ON tmdb_answers (expires_at);

-- People by the row they have in a sheet, as the newest sheet that names them has them.
CREATE TABLE people (
    row_id           text COLLATE "C" NOT NULL,
    name             text NOT NULL,
    email            text,
    personality_type text,                          -- to the letter
    source_link      text,                          -- the cell, as it stands
    sheet            uuid NOT NULL,                  -- the session of that sheet, and when it came
    sheet_at         timestamptz NOT NULL,
    session_id       uuid NOT NULL,                  -- last writer: session, item, attempt (I4)
    item_no          bigint NOT NULL,
    attempt          integer NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT people_pkey PRIMARY KEY (row_id)
);

CREATE INDEX people_of_sheet ON people (sheet_at, sheet);

-- The files of people: those a sheet says somebody has, those fetched, and those still to be. The id is made of person,
-- link and what is fetched of it, so the same file has one row whenever it comes.
CREATE TABLE assets (
    asset_id          uuid NOT NULL,
    person_row_id     text COLLATE "C" NOT NULL,
    asset_type        text NOT NULL,
    what              text NOT NULL,                -- video, transcript, file, document_pdf, document_text, listing
    source            text COLLATE "C" NOT NULL,    -- the link of the sheet it comes from, as sheet_rows names it
    original_url      text,
    media_id          text,
    local_file_path   text,                         -- as a sheet lists it
    cloud_storage_url text,
    filename          text,
    content_type      text,
    file_size_bytes   bigint,
    sha256            text,
    download_status   text NOT NULL,
    origin            text NOT NULL,                -- sheet: nothing but a sheet says so; fetch: an item does
    metadata          jsonb NOT NULL DEFAULT '{}',
    error_code        text,
    error_message     text,
    try_again         boolean,                      -- of a failed one: whether that makes sense
    attempted_at      timestamptz,
    session_id        uuid NOT NULL,                -- last writer: session, item, attempt (I4)
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
);

CREATE INDEX assets_of_person ON assets (person_row_id, asset_id);
CREATE INDEX assets_of_session ON assets (session_id, item_no);

-- The rows of sheets as they were read, to the letter: an export is made of them. They stay when items expire.
CREATE TABLE sheet_rows (
    session_id uuid NOT NULL,
    item_no    bigint NOT NULL,
    file       bigint NOT NULL,
    row_id     text COLLATE "C" NOT NULL,
    sources    text[] COLLATE "C" NOT NULL,         -- the row's links
    cells      jsonb NOT NULL,                      -- by column
    findings   text[] NOT NULL DEFAULT '{}',        -- where they disagree
    CONSTRAINT sheet_rows_pkey PRIMARY KEY (session_id, item_no)
);

CREATE INDEX sheet_rows_of_person ON sheet_rows (row_id, session_id);
CREATE INDEX sheet_rows_that_disagree ON sheet_rows (session_id) WHERE findings <> '{}';

-- How far the sheet in the results bucket is, of sessions that keep one there (option dual-write).
CREATE TABLE sheet_copies (
    session_id uuid NOT NULL,
    epoch      bigint NOT NULL,
    worked_at  timestamptz,                         -- of the session, when it was written
    due_at     timestamptz NOT NULL,                -- when it may be written next
    CONSTRAINT sheet_copies_pkey PRIMARY KEY (session_id)
);

-- What each session of the assets pipeline came to. Assets that a later session fetched again count there.
CREATE VIEW download_sessions AS
SELECT sessions.id AS session_id, coalesce(sessions.options->>'mode', 'full') AS session_type,
       coalesce(counted.assets, 0) AS total_assets, coalesce(counted.completed, 0) AS completed_assets,
       coalesce(counted.failed, 0) AS failed_assets, sessions.status, sessions.created_at, sessions.completed_at
  FROM sessions CROSS JOIN LATERAL (
       SELECT count(*) AS assets, count(*) FILTER (WHERE download_status IN ('downloaded', 'uploaded')) AS completed,
              count(*) FILTER (WHERE download_status = 'failed') AS failed
         FROM assets WHERE assets.session_id = sessions.id AND what <> 'listing') counted
 WHERE sessions.pipeline = 'assets';

-- No statistics on session_id: those of other sessions say that a new one has a row or none, and the planner then takes
-- any index that begins with it (a chunk of 2,000 records took 25 s instead of 0.2 s).
ALTER TABLE items ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE calls ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE film_records ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE movies ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE diary_entries ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE reviews ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE item_history ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE tallies ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE resumed_rows ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE audit_log ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE assets ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE sheet_rows ALTER COLUMN session_id SET STATISTICS 0;

-- Text as it is looked for: without accents, case, punctuation and the forms of letters that only look different, so that
-- Björk and bjork meet, as do ß and ss, ё and е, full and half width, dotless and dotted i. What is stored and what is
-- asked both go through it. Each Chinese or Japanese letter becomes a word, for nothing there tells where words end.
-- Quotation marks and a minus before a word stay: they mean something in a question. The case of Greek and Cyrillic is
-- spelled out, and so are letters without a decomposition: lower() in a database of locale C knows none of them.
CREATE FUNCTION fold_text(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(normalize(
    replace(replace(replace(replace(translate(lower(
        regexp_replace(translate(normalize(value, NFKD), '“”„«»', repeat('"', 5)),
                       '[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\u200b-\u200f\u00ad\u2060\ufeff''`\u2018\u2019\u201b\u02bb\u02bc\u2032]', '', 'g')),
        'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩςАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐҒҖҚҢҮҰҲҺӘӨØøŁłĐđÐðĦħıŊŋŦŧÆŒÞẞ',
        'αβγδεζηθικλμνξοπρστυφχψωσабвгдежзиклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґғҗқңүұҳһәөoollddddhhinnttæœþß'),
        'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), NFKC),
    '([\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])', ' \1 ', 'g'),
    '(?<![^\s.])([^\s.])\.(?=[^\s.](\.|\s|$))', '\1', 'g'),
    '[!#-,./:-@\[-`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u055a-\u055f\u0589\u058a\u05be\u05f3\u05f4\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u1361-\u1368\u2000-\u2bff\u2e00-\u2e7f\u3000-\u303f\u30a0\u30fb\ufe10-\ufe6f\uffe0-\uffef]+', ' ', 'g'),
    '(?<=\S)-|-(?=\s|$)', ' ', 'g'),
    '\s+', ' ', 'g'));

-- The words of a text that is stored; nothing in it is an operator of a question.
CREATE FUNCTION words_of(value text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple'::regconfig, translate(fold_text(coalesce(value, '')), '"-', '  '));

-- What a person asks, whatever they type: "…" for words that follow each other, - for what must not be there, or. With
-- `prefix` the last word may go on. Empty if nothing in it can be looked for.
CREATE FUNCTION words_asked(value text, prefix boolean) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN prefix AND asked::text LIKE '%''' AND value !~ '["“”„«»\s]$' THEN (asked::text || ':*')::tsquery ELSE asked END
          FROM (SELECT websearch_to_tsquery('simple'::regconfig, fold_text(value)) AS asked) folded);

-- About how many tracks a question matches, by the planner's statistics; asked before the way to find them is chosen.
CREATE FUNCTION expected_tracks(question tsquery) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM audio_tracks WHERE search_vector @@ %L::tsquery', question) INTO plan;
    RETURN (plan->0->'Plan'->>'Plan Rows')::bigint;
END
$$;

-- Every sound file that was given, and what it says of itself. The id is made of the path: a file that is read again is
-- the same track.
CREATE TABLE audio_tracks (
    id             uuid NOT NULL,
    status         text COLLATE "C" NOT NULL DEFAULT 'PENDING',
    title          text,
    artist         text,
    album          text,
    genre          text,
    year           integer,
    track          integer,
    duration       double precision,                -- seconds
    channels       integer,
    sample_rate    integer,                         -- in a second
    bitrate        double precision,                -- kbit/s
    format         text COLLATE "C",
    audio_path     text COLLATE "C" NOT NULL,       -- gs://bucket/name, or the link it was given by
    thumbnail_path text COLLATE "C",
    error_code     text,
    error_message  text,
    retry_count    integer NOT NULL DEFAULT 0,
    session_id     uuid,                            -- the last writer (I4); null: a program, not an item
    item_no        bigint,
    attempt        integer,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    search_vector  tsvector GENERATED ALWAYS AS (
                       setweight(words_of(title), 'A') || setweight(words_of(artist), 'A') || setweight(words_of(album), 'B')
                       || setweight(words_of(genre), 'C')) STORED,
    CONSTRAINT audio_tracks_pkey PRIMARY KEY (id),
    CONSTRAINT audio_tracks_one_for_each_path UNIQUE (audio_path),
    CONSTRAINT audio_tracks_status_is_known CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED')),
    CONSTRAINT audio_tracks_failed_ones_say_why CHECK ((status = 'FAILED') = (error_code IS NOT NULL)),
    CONSTRAINT audio_tracks_year_is_of_our_time CHECK (year BETWEEN 1800 AND 2100),
    CONSTRAINT audio_tracks_channels_are_few CHECK (channels BETWEEN 1 AND 16),
    CONSTRAINT audio_tracks_figures_are_positive CHECK (track > 0 AND duration > 0 AND sample_rate > 0 AND bitrate > 0),
    CONSTRAINT audio_tracks_retries_are_counted CHECK (retry_count >= 0),
    CONSTRAINT audio_tracks_path_is_an_address CHECK (
        audio_path ~ '^(gs://[a-z0-9][a-z0-9._-]+/|https?://[^/])[^\u0001-\u001f\u007f]+$' AND octet_length(audio_path) <= 2100),
    CONSTRAINT audio_tracks_thumbnail_is_an_object CHECK (
        thumbnail_path ~ '^gs://[a-z0-9][a-z0-9._-]+/[^\u0001-\u001f\u007f]+$' AND octet_length(thumbnail_path) <= 2100),
    CONSTRAINT audio_tracks_texts_are_short CHECK (
        greatest(length(title), length(artist), length(album), length(genre)) <= 1000)
) WITH (fillfactor = 80);

-- Without fastupdate: its list of pending words would be read through by every search.
CREATE INDEX audio_tracks_words ON audio_tracks USING gin (search_vector) WITH (fastupdate = off);
-- The tracks with the fewest words first, for words that so many tracks have that not all can be ranked.
CREATE INDEX audio_tracks_shortest ON audio_tracks (length(search_vector), id) WHERE length(search_vector) > 0;
CREATE INDEX audio_tracks_newest ON audio_tracks (created_at, id);
CREATE INDEX audio_tracks_by_title ON audio_tracks ("left"(fold_text(coalesce(title, '')), 100) COLLATE "C", id);
CREATE INDEX audio_tracks_by_artist ON audio_tracks ("left"(fold_text(coalesce(artist, '')), 100) COLLATE "C", id);
CREATE INDEX audio_tracks_by_year ON audio_tracks (coalesce(year, 0), id);
CREATE INDEX audio_tracks_unfinished ON audio_tracks (status, created_at, id) WHERE status <> 'COMPLETED';
CREATE INDEX audio_tracks_of_session ON audio_tracks (session_id, item_no) WHERE session_id IS NOT NULL;

-- What programs changed about the status of tracks; what items do to theirs stands in the ledger.
CREATE TABLE audio_track_changes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    track_id    uuid NOT NULL,
    actor       text NOT NULL,
    from_status text COLLATE "C" NOT NULL,
    to_status   text COLLATE "C" NOT NULL,
    error_code  text
);

CREATE INDEX audio_track_changes_of_track ON audio_track_changes (track_id, id);

-- Tracks follow their items, by triggers so that no statement can forget it: made with the item, taken up with its
-- claim, failed with it however that came about. What a settled item enriches its own statement writes. They act as their
-- owner: whoever may change items, such as ingest, has no other business with tracks.
CREATE FUNCTION session_writes_tracks(session uuid) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM sessions
                WHERE id = session AND pipeline = 'audio' AND options->>'write_mode' IS DISTINCT FROM 'file'
                  AND options->>'dry_run' IS DISTINCT FROM 'true');

CREATE FUNCTION tracks_of_made_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT session_writes_tracks((SELECT session_id FROM made LIMIT 1)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO audio_tracks (id, audio_path, session_id, item_no, attempt)
    SELECT (input->>'track_id')::uuid, input->>'audio_path', session_id, item_no, 0
      FROM made WHERE outcome IS NULL ORDER BY 1
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION tracks_of_changed_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT session_writes_tracks((SELECT session_id FROM after LIMIT 1)) THEN
        RETURN NULL;
    END IF;
    WITH moved AS MATERIALIZED (
        SELECT after.session_id, after.item_no, after.attempt, after.state, after.outcome,
               coalesce(after.error_code, after.outcome, '') AS error_code, after.error_message,
               (after.input->>'track_id')::uuid AS track_id
          FROM after JOIN before ON before.session_id = after.session_id AND before.item_no = after.item_no
         WHERE after.state <> before.state AND (after.state = 'running' OR after.outcome IN ('failed', 'cancelled', 'skipped'))
    ), locked AS MATERIALIZED (
        SELECT id FROM audio_tracks WHERE id IN (SELECT track_id FROM moved) ORDER BY id FOR UPDATE
    ), removed AS (  -- an item that was skipped leaves no track behind that nobody will read
        DELETE FROM audio_tracks track USING moved, locked
         WHERE moved.outcome = 'skipped' AND track.id = moved.track_id AND track.id = locked.id AND track.status = 'PENDING'
           AND track.session_id = moved.session_id AND track.item_no = moved.item_no
    )
    UPDATE audio_tracks track
       SET status = CASE WHEN moved.state = 'running' THEN 'PROCESSING' ELSE 'FAILED' END,
           error_code = CASE WHEN moved.state <> 'running' THEN moved.error_code END,
           error_message = CASE WHEN moved.state <> 'running' THEN coalesce(moved.error_message, 'The session was cancelled.') END,
           retry_count = track.retry_count + (moved.state = 'running' AND track.status = 'FAILED')::integer,
           session_id = moved.session_id, item_no = moved.item_no, attempt = moved.attempt, updated_at = now()
      FROM moved, locked
     WHERE track.id = moved.track_id AND track.id = locked.id
       AND CASE WHEN moved.state = 'running' THEN track.status IN ('PENDING', 'PROCESSING', 'FAILED')
                WHEN moved.outcome = 'failed' THEN true
                WHEN moved.outcome = 'cancelled' THEN track.status <> 'COMPLETED' AND track.session_id = moved.session_id
                                                      AND track.item_no = moved.item_no
                ELSE false END;
    RETURN NULL;
END
$$;

CREATE TRIGGER items_tracks_made AFTER INSERT ON items REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION tracks_of_made_items();
CREATE TRIGGER items_tracks_changed AFTER UPDATE ON items REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tracks_of_changed_items();
