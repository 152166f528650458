-- name: start_calls
-- Directly before the requests leave: for each item that still runs under its attempt, of a session that may run,
-- reserve the worst-case cost, record the call, renew the lease. Says of each whether it may go. Call ids are the
-- caller's, so a repeated statement finds its calls again.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(:batch::jsonb) AS g (
        item_no bigint, attempt integer, call_id uuid, try integer, reserve bigint, request_hash text)
), session AS MATERIALIZED (
    SELECT id, budget, spent, reserved,
           hold IS NULL AND cancelled_at IS NULL AND failed_at IS NULL AND approval <> 'awaited' AS runnable
      FROM sessions WHERE id = :session::uuid FOR NO KEY UPDATE
), target AS MATERIALIZED (
    SELECT items.item_no, items.attempt, items.round FROM items JOIN session ON items.session_id = session.id
     WHERE items.item_no = ANY (ARRAY (SELECT item_no FROM given)) AND items.state = 'running'
     ORDER BY items.item_no FOR UPDATE OF items
), known AS (
    SELECT calls.id FROM calls WHERE calls.id = ANY (ARRAY (SELECT call_id FROM given))
), current AS (
    SELECT given.*, target.round, session.runnable, known.id IS NOT NULL AS known,
           session.budget IS NULL OR session.spent + session.reserved
               + sum(given.reserve) OVER (ORDER BY given.item_no) <= session.budget AS fits
      FROM given JOIN target ON target.item_no = given.item_no AND target.attempt = given.attempt
      CROSS JOIN session LEFT JOIN known ON known.id = given.call_id
), recorded AS (
    INSERT INTO calls (id, session_id, item_no, attempt, round, try, upstream, request_hash, reserved)
    SELECT call_id, :session::uuid, item_no, attempt, round, try, :upstream, decode(request_hash, 'hex'), reserve
      FROM current WHERE runnable AND fits AND NOT known
    ON CONFLICT (id) DO NOTHING
    RETURNING item_no, reserved
), leased AS (
    UPDATE items SET lease_expires_at = now() + :lease * interval '1 second'
     WHERE items.session_id = :session::uuid AND items.item_no = ANY (ARRAY (SELECT item_no FROM recorded))
), booked AS (
    UPDATE sessions
       SET reserved = sessions.reserved + (SELECT coalesce(sum(reserved), 0)::bigint FROM recorded),
           worked_at = now(), updated_at = now()
     WHERE sessions.id = :session::uuid AND EXISTS (SELECT FROM recorded)
)
SELECT given.item_no,
       CASE WHEN current.item_no IS NULL THEN 'superseded'
            WHEN NOT current.runnable THEN 'held'
            WHEN current.known OR recorded.item_no IS NOT NULL THEN 'started'
            WHEN session.spent + given.reserve + (SELECT coalesce(sum(reserved), 0) FROM calls
                   WHERE session_id = :session::uuid AND state = 'unknown') > session.budget THEN 'budget_gone'
            ELSE 'budget_busy' END AS verdict
  FROM given CROSS JOIN session LEFT JOIN current ON current.item_no = given.item_no
  LEFT JOIN recorded ON recorded.item_no = given.item_no;

-- name: let_go
-- The same for requests that cost nothing: whether each item still runs under its attempt, of a session that may run.
-- It locks nothing: behind the session's row, which ingest holds for a chunk, such requests left late and all at once.
WITH session AS MATERIALIZED (
    SELECT id, hold IS NULL AND cancelled_at IS NULL AND failed_at IS NULL AND approval <> 'awaited' AS runnable
      FROM sessions WHERE id = :session::uuid
)
SELECT given.item_no, CASE WHEN items.item_no IS NULL THEN 'superseded' WHEN session.runnable THEN 'started' ELSE 'held' END AS verdict
  FROM jsonb_to_recordset(:batch::jsonb) AS given (item_no bigint, attempt integer) CROSS JOIN session
  LEFT JOIN items ON items.session_id = session.id AND items.item_no = given.item_no AND items.state = 'running'
   AND items.attempt = given.attempt;

-- name: keep_response_id
-- Keep the id by which a call's answer can be fetched, while the call is under way.
UPDATE calls SET response_id = :response_id WHERE id = :call::uuid AND state IN ('started', 'unknown');

-- name: call_totals
-- Calls of a session by state, with what they cost and what stays reserved for them.
SELECT state, count(*) AS calls, coalesce(sum(cost), 0)::bigint AS cost, coalesce(sum(reserved), 0)::bigint AS reserved
  FROM calls WHERE session_id = :session::uuid GROUP BY state;

-- name: payment
-- What was paid in a session, one row: its calls by state, what each model cost, and which items may have cost twice. An
-- item with a call after one whose end is unknown was perhaps paid for twice in that round; paid twice for certain must
-- never be.
WITH mine AS MATERIALIZED (
    SELECT item_no, round, state, started_at, model, tokens_in, tokens_out, cost FROM calls WHERE session_id = :session::uuid
), rounds AS (
    SELECT item_no, count(*) FILTER (WHERE state = 'succeeded' AND cost > 0) > 1 AS twice,
           coalesce(min(started_at) FILTER (WHERE state = 'unknown') < max(started_at), false) AS repeated
      FROM mine GROUP BY item_no, round
), models AS (
    SELECT model, count(*) AS calls, coalesce(sum(tokens_in), 0)::bigint AS tokens_in,
           coalesce(sum(tokens_out), 0)::bigint AS tokens_out, coalesce(sum(cost), 0)::bigint AS cost
      FROM mine GROUP BY model
)
SELECT (SELECT count(*) FROM mine WHERE state = 'started') AS started,
       (SELECT count(*) FROM mine WHERE state = 'succeeded') AS succeeded,
       (SELECT count(*) FROM mine WHERE state = 'failed') AS failed,
       (SELECT count(*) FROM mine WHERE state = 'unknown') AS unknown,
       absorbed AS duplicates_absorbed,
       (SELECT count(DISTINCT item_no) FROM rounds WHERE twice) AS items_paid_more_than_once,
       (SELECT count(DISTINCT item_no) FROM rounds WHERE repeated) AS repeated,
       (SELECT coalesce(jsonb_agg(to_jsonb(models) ORDER BY model), '[]') FROM models) AS by_model,
       spent, reserved, budget
  FROM sessions WHERE id = :session::uuid;

-- name: calls_page
-- Calls of a session behind a given one, by item and time; of one item or one state if that is asked for.
SELECT id, item_no, attempt, round, try, state, upstream, started_at, finished_at, model, tokens_in, tokens_out, reserved,
       cost, response_id, error_code
  FROM calls
 WHERE session_id = :session::uuid AND (:item_no::bigint IS NULL OR item_no = :item_no)
   AND (:state::text IS NULL OR state = :state)
   AND (:after::uuid IS NULL OR (item_no, started_at, id) > (
           SELECT a.item_no, a.started_at, a.id FROM calls a WHERE a.id = :after AND a.session_id = :session::uuid))
 ORDER BY item_no, started_at, id LIMIT :size::integer;

-- name: call_of_session
-- Whether a session has this call.
SELECT id FROM calls WHERE id = :call::uuid AND session_id = :session::uuid;
