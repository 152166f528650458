-- name: results
-- A page of result lines of settled items in item order, one text for the page; the pipeline's `<slug>_lines` makes the
-- rows of `lines` of those of `page`. (With an upper bound: a planner that took the session for small read and sorted all
-- that follows for each page.)
WITH page AS MATERIALIZED (
    SELECT item_no, settled_in, key, input, outcome, code, parent, result, error_message, error_code, attempt, line
      FROM items
     WHERE session_id = :session::uuid AND item_no > :after::bigint AND item_no <= :upto::bigint AND finalized_at IS NOT NULL
     ORDER BY item_no LIMIT :size::integer
){lines}
SELECT string_agg(text, E'\n' ORDER BY item_no) AS lines, count(*) AS n, max(item_no) AS last FROM lines;

-- name: settled_results
-- A page of result lines in the order their items were settled, of transactions below the horizon: none of an older
-- transaction can come after them.
WITH page AS MATERIALIZED (
    SELECT item_no, settled_in, key, input, outcome, code, parent, result, error_message, error_code, attempt, line
      FROM items
     WHERE session_id = :session::uuid AND finalized_at IS NOT NULL AND settled_in < :horizon::xid8
       AND (settled_in, item_no) > (:xid::xid8, :after::bigint)
     ORDER BY settled_in, item_no LIMIT :size::integer
){lines}
SELECT string_agg(text, E'\n' ORDER BY settled_in, item_no) AS lines, count(*) AS n,
       (array_agg(settled_in::text ORDER BY settled_in DESC, item_no DESC))[1] AS last_xid,
       (array_agg(item_no ORDER BY settled_in DESC, item_no DESC))[1] AS last_item
  FROM lines;

-- name: plan_without_values
-- Have the transaction's statements planned without looking at their values: the first five pages of a connection in
-- settle order sorted the whole session otherwise (300,000 lines: 250 to 360 ms a page, 37 ms so).
SET LOCAL plan_cache_mode = 'force_generic_plan';

-- name: results_horizon
-- Below which transaction all have ended; whether it lies beyond everything the session has settled and the session has
-- ended; and whether a cursor names a transaction that this database has not come to (it was made anew, or restored).
SELECT horizon::text AS horizon, :xid::xid8 > newest AS ahead,
       completed_epoch IS NOT DISTINCT FROM epoch AND NOT EXISTS (
           SELECT FROM items WHERE session_id = sessions.id AND finalized_at IS NOT NULL AND settled_in >= horizon) AS final
  FROM sessions, (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon, pg_snapshot_xmax(pg_current_snapshot()) AS newest) now
 WHERE id = :session::uuid;
