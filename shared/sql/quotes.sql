-- name: store_quote
-- Keep a session's quote for the epoch it was made of, once; one that need not be approved by a person goes on at once.
-- No row: something was added meanwhile, or the epoch has its quote. The end of the session is notified of anew.
UPDATE sessions
   SET quote = :quote::jsonb, quoted_epoch = :epoch, updated_at = now(),
       finalize_epoch = CASE WHEN approval = 'awaited' THEN NULL ELSE finalize_epoch END,
       approval = CASE WHEN :goes_on::boolean AND approval = 'awaited' THEN 'passed' ELSE approval END
 WHERE id = :session::uuid AND epoch = :epoch AND quoted_epoch IS DISTINCT FROM :epoch AND files_open = 0
   AND cancelled_at IS NULL AND expired_at IS NULL
RETURNING approval;

-- name: forget_notices
-- Take back the notices of a session that waits for approval: those of before it waited were acknowledged, work undone.
WITH locked AS MATERIALIZED (
    SELECT item_no FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL
     ORDER BY item_no FOR NO KEY UPDATE
)
UPDATE items SET dispatched_at = NULL
 WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM locked)) AND dispatched_at IS NOT NULL;

-- name: session_size
-- How many item numbers a session has used.
SELECT next_item_no - 1 AS items FROM sessions WHERE id = :session::uuid;

-- name: present_limits
-- What an upstream may be asked at present per period of its setting; null is unlimited.
SELECT present_limit(:requests::double precision, requests_said, requests_limit, recovers_at, clock_timestamp()) AS requests,
       present_limit(:tokens::double precision, tokens_said, tokens_limit, recovers_at, clock_timestamp()) AS tokens
  FROM upstreams WHERE name = :upstream;

-- name: calls_before
-- What the newest calls of a pipeline with this model and prompt took, up to 200 of each of the last 20 sessions that
-- spent anything; calls know no prompt, their items' results do. A snapshot of the model counts as the model.
WITH paid AS MATERIALIZED (
    SELECT id FROM sessions
     WHERE pipeline = :pipeline AND spent > 0 AND expired_at IS NULL AND created_at > now() - interval '90 days'
     ORDER BY created_at DESC LIMIT 20
)
SELECT count(*) AS calls, avg(call.tokens_out)::double precision AS tokens_out,
       percentile_cont(0.1) WITHIN GROUP (ORDER BY call.tokens_out) AS tokens_out_low,
       -- Not the mean: what was put aside or fetched after a crash ended minutes later.
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM call.finished_at - call.started_at)) AS seconds
  FROM paid CROSS JOIN LATERAL (
       SELECT calls.tokens_out, calls.started_at, calls.finished_at
         FROM calls JOIN items ON items.session_id = calls.session_id AND items.item_no = calls.item_no
        WHERE calls.session_id = paid.id AND calls.state = 'succeeded' AND calls.tokens_out > 0
          AND (calls.model = :model OR calls.model LIKE :model || '-20__-__-__')
          AND items.result->>'prompt' = :prompt
        LIMIT 200) call;

-- name: first_waiting
-- The first items of a session that wait, or would have run without the dry run.
SELECT item_no, key, input FROM items
 WHERE session_id = :session::uuid AND (outcome IS NULL OR outcome = 'skipped' AND code = 'dry_run')
 ORDER BY item_no LIMIT :size::integer;

-- name: compare_with
-- Choose the session that this one is compared with, once: the newest completed one made before it of the same object,
-- else the newest of the last 100 that shares a key (looked for with 1,000 keys from all over the session). One that has
-- nothing to be compared with names itself, so that a second look finds the same.
WITH mine AS MATERIALIZED (
    SELECT id, pipeline, source, created_at, next_item_no FROM sessions WHERE id = :session::uuid AND compared_with IS NULL
), earlier AS MATERIALIZED (
    SELECT other.id, other.source = mine.source AS same_object, other.created_at
      FROM mine JOIN sessions other ON other.pipeline = mine.pipeline
     WHERE other.created_at < mine.created_at AND other.id <> mine.id AND other.status = 'completed'
       AND other.expired_at IS NULL AND other.options->>'dry_run' IS DISTINCT FROM 'true'
     ORDER BY other.source = mine.source DESC, other.created_at DESC LIMIT 100
), sample AS MATERIALIZED (
    SELECT array_agg(items.key) AS keys
      FROM mine JOIN items ON items.session_id = mine.id
     WHERE items.item_no = ANY (ARRAY (
           SELECT generate_series(1, next_item_no - 1, greatest(1, (next_item_no - 1) / 1000)) FROM mine))
       AND items.key IS NOT NULL
), chosen AS MATERIALIZED (
    SELECT earlier.id FROM earlier CROSS JOIN sample
     WHERE earlier.same_object OR EXISTS (
           SELECT FROM items
            WHERE items.session_id = earlier.id AND items.key = ANY (sample.keys) AND items.outcome IS DISTINCT FROM 'duplicate'
              AND items.outcome IS DISTINCT FROM 'merged' AND items.outcome IS DISTINCT FROM 'rejected')
     ORDER BY earlier.same_object DESC, earlier.created_at DESC LIMIT 1
)
UPDATE sessions SET compared_with = coalesce((SELECT id FROM chosen), sessions.id)
  FROM mine WHERE sessions.id = mine.id AND sessions.compared_with IS NULL;

-- name: compared_with
-- The session that this one is compared with; no row: there is none, or its 30 days are over.
SELECT earlier.id FROM sessions mine JOIN sessions earlier ON earlier.id = mine.compared_with
 WHERE mine.id = :session::uuid AND earlier.id <> mine.id AND earlier.expired_at IS NULL;

-- name: changes
-- How many keys among some numbers of a session are new, other and the same since an earlier one, by key and input. The
-- limit has every key looked up by itself: joined, each page would read the whole other session.
SELECT count(*) FILTER (WHERE earlier.there IS NULL) AS added,
       count(*) FILTER (WHERE earlier.there AND earlier.input_hash IS DISTINCT FROM items.input_hash) AS changed,
       count(*) FILTER (WHERE earlier.there AND earlier.input_hash IS NOT DISTINCT FROM items.input_hash) AS unchanged
  FROM items LEFT JOIN LATERAL (
       SELECT true AS there, other.input_hash FROM items other
        WHERE other.session_id = :earlier::uuid AND other.key = items.key AND other.outcome IS DISTINCT FROM 'duplicate'
          AND other.outcome IS DISTINCT FROM 'merged' AND other.outcome IS DISTINCT FROM 'rejected' LIMIT 1) earlier ON true
 WHERE items.session_id = :session::uuid AND items.item_no > :after::bigint AND items.item_no <= :upto::bigint
   AND items.key IS NOT NULL AND items.outcome IS DISTINCT FROM 'duplicate' AND items.outcome IS DISTINCT FROM 'merged'
   AND items.outcome IS DISTINCT FROM 'rejected';

-- name: gone
-- How many keys among some numbers of a session a later one has no more, and the first 100 of them.
WITH missing AS MATERIALIZED (
    SELECT items.item_no, items.key FROM items LEFT JOIN LATERAL (
           SELECT true AS there FROM items other
            WHERE other.session_id = :later::uuid AND other.key = items.key AND other.outcome IS DISTINCT FROM 'duplicate'
              AND other.outcome IS DISTINCT FROM 'merged' AND other.outcome IS DISTINCT FROM 'rejected' LIMIT 1) later ON true
     WHERE items.session_id = :session::uuid AND items.item_no > :after::bigint AND items.item_no <= :upto::bigint
       AND items.key IS NOT NULL AND items.outcome IS DISTINCT FROM 'duplicate' AND items.outcome IS DISTINCT FROM 'merged'
       AND items.outcome IS DISTINCT FROM 'rejected' AND later.there IS NULL
)
SELECT count(*) AS gone,
       (SELECT coalesce(jsonb_agg(key ORDER BY item_no), '[]')
          FROM (SELECT item_no, key FROM missing ORDER BY item_no LIMIT 100) listed) AS keys
  FROM missing;
