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
     WHERE items.item_no IN (SELECT item_no FROM given) AND items.state = 'running'
     ORDER BY items.item_no FOR UPDATE OF items
), known AS (
    SELECT calls.id FROM calls JOIN given ON given.call_id = calls.id
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
      FROM recorded WHERE items.session_id = :session::uuid AND items.item_no = recorded.item_no
), booked AS (
    UPDATE sessions
       SET reserved = sessions.reserved + (SELECT coalesce(sum(reserved), 0)::bigint FROM recorded),
           worked_at = now(), updated_at = now()
     WHERE sessions.id = :session::uuid AND EXISTS (SELECT FROM recorded)
)
SELECT given.item_no,
       CASE WHEN current.item_no IS NULL THEN 'superseded'
            WHEN current.known OR recorded.item_no IS NOT NULL THEN 'started'
            WHEN NOT current.runnable THEN 'held'
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

-- name: call_totals
-- Calls of a session by state, with what they cost and what stays reserved for them.
SELECT state, count(*) AS calls, coalesce(sum(cost), 0)::bigint AS cost, coalesce(sum(reserved), 0)::bigint AS reserved
  FROM calls WHERE session_id = :session::uuid GROUP BY state;
