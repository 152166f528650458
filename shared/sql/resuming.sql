-- name: begin_resumed_chunk
-- First statement of the transaction that loads a chunk of an earlier run's results: renew the lease of the file whose
-- reader does it, and wait for whoever loads too. Answers what is loaded; no row: another reads the file now.
WITH ours AS (
    UPDATE files SET lease_expires_at = now() + :lease * interval '1 second', updated_at = now()
     WHERE id = :file::bigint AND attempt = :attempt AND state = 'reading'
    RETURNING session_id
)
SELECT sessions.resumed FROM sessions JOIN ours ON ours.session_id = sessions.id
 WHERE sessions.cancelled_at IS NULL AND sessions.expired_at IS NULL FOR NO KEY UPDATE OF sessions;

-- name: resumed_keys
-- Which of some keys an earlier line names already, and that line.
SELECT key, line FROM resumed_rows
 WHERE session_id = :session::uuid AND key = ANY (ARRAY (SELECT jsonb_array_elements_text(:keys::jsonb)))
   AND finding IN ('confirmed', 'unknown', 'contradicted');

-- name: keep_resumed_rows
-- Keep what was found out about some lines.
INSERT INTO resumed_rows (session_id, line, key, finding, message)
SELECT :session::uuid, line, key, finding, message
  FROM jsonb_to_recordset(:rows::jsonb) AS given (line bigint, key text, finding text, message text);

-- name: keep_resumed
-- Last statement of such a transaction: how far it is, in numbers.
UPDATE sessions SET resumed = :resumed::jsonb, updated_at = now() WHERE id = :session::uuid;

-- name: skip_resumed
-- In a chunk's transaction: settle those of some keys' items that an earlier run's results hold, unless they ran already
-- (an item that was claimed once and is available has a higher attempt).
WITH held AS MATERIALIZED (
    SELECT key FROM resumed_rows
     WHERE session_id = :session::uuid AND key = ANY (ARRAY (SELECT jsonb_array_elements_text(:keys::jsonb)))
       AND finding IN ('confirmed', 'unknown')
), chosen AS MATERIALIZED (
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND key = ANY (ARRAY (SELECT key FROM held))
       AND key IS NOT NULL AND outcome IS DISTINCT FROM 'duplicate' AND outcome IS DISTINCT FROM 'merged'
       AND outcome IS DISTINCT FROM 'rejected' AND state = 'available' AND attempt <= 1 AND round = 1
     ORDER BY item_no FOR NO KEY UPDATE
)
UPDATE items
   SET state = 'completed', outcome = 'skipped', code = 'resumed', finalized_at = now(), dispatched_at = NULL, due_at = NULL
 WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen)) AND state = 'available';

-- name: resumed_lines
-- How many lines may have been kept of the results a session resumes.
SELECT coalesce(max(line), 0) AS last FROM resumed_rows WHERE session_id = :session::uuid;

-- name: not_in_upload
-- How many rows some of the lines hold that the session does not have. The limit has every key looked up by itself.
SELECT count(*) AS rows
  FROM resumed_rows LEFT JOIN LATERAL (
       SELECT true AS there FROM items
        WHERE items.session_id = :session::uuid AND items.key = resumed_rows.key AND items.outcome IS DISTINCT FROM 'duplicate'
          AND items.outcome IS DISTINCT FROM 'merged' AND items.outcome IS DISTINCT FROM 'rejected' LIMIT 1) item ON true
 WHERE resumed_rows.session_id = :session::uuid AND line > :after::bigint AND line <= :upto::bigint
   AND finding IN ('confirmed', 'unknown') AND item.there IS NULL;

-- name: note_not_in_upload
-- Keep that number with the others.
UPDATE sessions SET resumed = jsonb_set(resumed, '{not_in_upload}', to_jsonb(:rows::bigint)), updated_at = now()
 WHERE id = :session::uuid AND resumed IS NOT NULL;

-- name: resumed_findings
-- A page of the lines of which a person should know.
SELECT line, key, finding, message FROM resumed_rows
 WHERE session_id = :session::uuid AND line > :after::bigint AND finding NOT IN ('confirmed', 'failed')
 ORDER BY line LIMIT :size::integer;
