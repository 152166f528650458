-- name: one_item
-- One item as people see it.
SELECT item_no, file, line, key, input, state, outcome, code, attempt, failures, round, due_at, finalized_at, result,
       error_code, error_message, parent
  FROM items WHERE session_id = :session::uuid AND item_no = :item_no::bigint;

-- name: history_of_item
-- How an item ended in the rounds before this one.
SELECT round, attempt, outcome, code, result, error_code, error_message, finalized_at
  FROM item_history WHERE session_id = :session::uuid AND item_no = :item_no::bigint ORDER BY round;

-- name: rejects_page
-- Refused rows in item order: as many as one page may hold, counted in rows and in bytes as stored, but one at least.
SELECT item_no, file, line, input, error_code, error_message FROM (
    SELECT *, sum(pg_column_size(input)) OVER (ORDER BY item_no) - pg_column_size(input) AS before FROM (
        SELECT item_no, file, line, input, error_code, error_message FROM items
         WHERE session_id = :session::uuid AND item_no > :after::bigint AND outcome = 'rejected'
         ORDER BY item_no LIMIT :size::integer
    ) page
) measured
 WHERE before < :bytes::bigint ORDER BY item_no;
