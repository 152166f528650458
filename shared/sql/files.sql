-- name: claim_file
-- Take a file for reading: one nobody reads, or whose reader's lease is over. No row: it is read, or another reads it.
-- A claim repeated with the same token finds its file again, at a further attempt.
UPDATE files
   SET state = 'reading', attempt = files.attempt + 1, claim = :claim::uuid, lease_expires_at = now() + :lease * interval '1 second', updated_at = now()
  FROM sessions
 WHERE files.id = :file::bigint AND sessions.id = files.session_id
   AND sessions.cancelled_at IS NULL AND sessions.expired_at IS NULL
   AND (files.state = 'waiting' OR (files.state = 'reading' AND (files.lease_expires_at < now() OR files.claim = :claim::uuid)))
RETURNING files.id, files.session_id, files.attempt, files.bucket, files.object_name, files.generation, files.member,
          files.part, files.size, (SELECT a.size FROM files a WHERE a.bucket = files.bucket AND a.object_name = files.object_name
              AND a.generation = files.generation AND a.member = '') AS object_size, files.layout, files.cursor, files.next_record, files.next_line, files.records_read, files.ignored,
          sessions.pipeline, sessions.options, sessions.trace_id;

-- name: session_of_object
-- The session an object is a file of already.
SELECT session_id FROM files WHERE bucket = :bucket AND object_name = :object_name AND generation = :generation::bigint AND member = '';

-- name: repeated_file
-- Give up a file whose content the session already has as the same part of its export; a row: it was one. One that is
-- still being read may yet fail, and an archive says no more than that its members are known: neither counts.
WITH repeated AS (
    UPDATE files SET state = 'repeated', lease_expires_at = NULL, updated_at = now()
     WHERE id = :file::bigint AND attempt = :attempt AND state = 'reading' AND records_read = 0 AND checksum IS NOT NULL
       AND EXISTS (SELECT FROM files earlier WHERE earlier.session_id = files.session_id
                      AND earlier.checksum = files.checksum AND earlier.part = files.part AND earlier.id < files.id
                      AND earlier.state = 'read' AND earlier.part <> 'archive')
    RETURNING session_id
)
UPDATE sessions SET files_open = files_open - 1, updated_at = now() FROM repeated WHERE id = repeated.session_id
RETURNING id;

-- name: remember_layout
-- Keep what the first read found about a file, so that a continuation reads it the same way.
UPDATE files SET layout = :layout::jsonb, cursor = :cursor, next_line = :next_line
 WHERE id = :file::bigint AND attempt = :attempt AND state = 'reading' AND layout IS NULL
RETURNING id;

-- name: move_cursor
-- First statement of a chunk's transaction: move the cursor under this attempt from where it is expected, renew the
-- lease, take the chunk's item numbers. No row: another reads the file now; write nothing.
WITH moved AS (
    UPDATE files
       SET cursor = :cursor_after, next_record = :next_record, next_line = :next_line,
           records_read = records_read + :records, ignored = ignored + :ignored,
           lease_expires_at = now() + :lease * interval '1 second', updated_at = now()
     WHERE id = :file::bigint AND attempt = :attempt AND state = 'reading' AND cursor = :cursor_before
    RETURNING session_id
)
UPDATE sessions
   SET next_item_no = next_item_no + :items, epoch = epoch + 1, updated_at = now()
  FROM moved
 WHERE sessions.id = moved.session_id AND sessions.cancelled_at IS NULL AND sessions.expired_at IS NULL
RETURNING next_item_no - :items AS first_item_no;

-- name: parts_with_rejects
-- What the files of a session that were registered before this one are to its export, as far as rows of them were refused.
SELECT DISTINCT coalesce(nullif(layout->>'returned', ''), part) AS part FROM files
 WHERE session_id = :session::uuid AND id < :before::bigint
   AND id = ANY (ARRAY (SELECT DISTINCT file FROM items WHERE session_id = :session::uuid AND outcome = 'rejected'))
 ORDER BY 1;

-- name: owners_of_keys
-- Which of these keys the session already has, and the item that owns each. The keys come as JSON: encoding 5,000 of
-- them as an array took pg8000 longer than everything else ingest does with the rows.
SELECT key, item_no FROM items
 WHERE session_id = :session::uuid AND key = ANY (ARRAY (SELECT jsonb_array_elements_text(:keys::jsonb)))
   AND key IS NOT NULL AND outcome IS DISTINCT FROM 'duplicate' AND outcome IS DISTINCT FROM 'merged'
   AND outcome IS DISTINCT FROM 'rejected';

-- name: copy_items
COPY items (session_id, item_no, file, line, key, input, input_hash, state, outcome, code, error_code, error_message,
            finalized_at, parent) FROM STDIN;

-- name: release_file
-- Put a file back for its continuation, its cursor kept.
UPDATE files SET state = 'waiting', lease_expires_at = NULL, updated_at = now()
 WHERE id = :file::bigint AND attempt = :attempt AND state = 'reading'
RETURNING id;

-- name: end_file
-- Close a file as read or failed under this attempt, and count it off its session. A session whose only file failed
-- before it gave one item has failed.
WITH ended AS (
    UPDATE files SET state = :state, error_code = :code, error = :message, lease_expires_at = NULL, updated_at = now()
     WHERE id = :file::bigint AND attempt = :attempt AND state = 'reading'
    RETURNING session_id, records_read, state
)
UPDATE sessions
   SET files_open = files_open - 1, updated_at = now(),
       failed_at = CASE WHEN ended.state = 'failed' AND ended.records_read = 0 AND files_known = 1 THEN now() ELSE failed_at END,
       error_code = CASE WHEN ended.state = 'failed' THEN :code ELSE sessions.error_code END,
       error_message = CASE WHEN ended.state = 'failed' THEN :message ELSE sessions.error_message END
  FROM ended
 WHERE sessions.id = ended.session_id
RETURNING sessions.id;

-- name: stalled_files
-- Files nobody reads although their session wants them: the reader died, or the notice of the file was lost.
SELECT files.id, files.session_id, sessions.pipeline, sessions.trace_id
  FROM files JOIN sessions ON sessions.id = files.session_id
 WHERE sessions.completed_epoch IS DISTINCT FROM sessions.epoch AND sessions.files_open > 0
   AND sessions.cancelled_at IS NULL AND sessions.expired_at IS NULL
   AND ((files.state = 'reading' AND files.lease_expires_at < now() - :grace * interval '1 second')
        OR (files.state = 'waiting' AND files.updated_at < now() - :lost_after * interval '1 second'));

-- name: abandon_files
-- Close the unread files of a cancelled session.
WITH ended AS (
    UPDATE files SET state = 'failed', error_code = 'input.cancelled', error = 'The session was cancelled before this file was read.',
                     lease_expires_at = NULL, updated_at = now()
     WHERE session_id = :session::uuid AND state IN ('waiting', 'reading')
       AND EXISTS (SELECT FROM sessions WHERE id = :session::uuid AND cancelled_at IS NOT NULL)
    RETURNING 1
)
UPDATE sessions SET files_open = files_open - (SELECT count(*) FROM ended)
 WHERE id = :session::uuid AND EXISTS (SELECT FROM ended)
RETURNING id;
