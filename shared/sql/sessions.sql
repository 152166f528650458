-- name: announce_session
-- Record a session whose object is not there yet; saying it twice changes nothing.
INSERT INTO sessions (id, pipeline, options, source, budget, approval, trace_id)
VALUES (:session::uuid, :pipeline, :options::jsonb, :source, :budget, :approval, :trace_id)
ON CONFLICT (id) DO NOTHING;

-- name: register_file
-- Record a file and its session, once per generation; a known file changes nothing and answers its id. One that is
-- refused is recorded as failed at once: were that a second statement, a death in between would leave it to run with
-- the default options. A session that stopped early, for too many failed rows, stays so until a person resumes it: what
-- waits in it is not run because a file joins. The update that changes nothing answers the id also to those who lost the race for the insert.
WITH file AS (
    INSERT INTO files (session_id, bucket, object_name, generation, member, part, checksum, size, state, error_code, error)
    VALUES (:session::uuid, :bucket, :object_name, :generation, :member, :part, :checksum, :size,
            CASE WHEN :fault_code::text IS NOT NULL THEN 'failed' WHEN :ignored::text IS NOT NULL THEN 'ignored' ELSE 'waiting' END,
            :fault_code::text, coalesce(:fault, :ignored::text))
    ON CONFLICT (bucket, object_name, generation, member) DO UPDATE SET bucket = excluded.bucket
    RETURNING id, xmax = 0 AS is_new
), counted AS (
    SELECT is_new::integer AS n, (is_new AND :fault_code::text IS NULL AND :ignored::text IS NULL)::integer AS opened,
           (is_new AND :fault_code::text IS NOT NULL)::integer AS refused FROM file
), stopped AS MATERIALIZED (
    SELECT EXISTS (
        SELECT FROM sessions
         WHERE id = :session::uuid AND failed_at IS NOT NULL AND error_code = 'input.too_many_failed'
           AND (EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL)
                OR EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NULL
                              AND state IN ('available', 'retryable')))) AS early
), recorded AS (
    INSERT INTO sessions (id, pipeline, options, source, budget, approval, trace_id, files_known, files_open, epoch,
                          failed_at, error_code, error_message)
    SELECT :session::uuid, :pipeline, :options::jsonb, :source, :budget, :approval, :trace_id, n, opened, n,
           CASE WHEN refused > 0 THEN now() END, :fault_code::text, :fault
      FROM counted WHERE n > 0
    ON CONFLICT (id) DO UPDATE
       SET files_known = sessions.files_known + excluded.files_known,
           files_open = sessions.files_open + excluded.files_open,
           epoch = sessions.epoch + excluded.epoch,
           approval = CASE WHEN excluded.files_open > 0 AND (sessions.approval = 'passed'  -- nobody looked at what joins
                                OR sessions.approval = 'given' AND sessions.completed_epoch = sessions.epoch)  -- it was given for what has ended
                           THEN 'awaited' ELSE sessions.approval END,
           failed_at = CASE WHEN excluded.epoch > 0 AND NOT (SELECT early FROM stopped) THEN NULL ELSE sessions.failed_at END,
           completed_at = CASE WHEN excluded.epoch > 0 AND NOT (SELECT early FROM stopped) THEN NULL ELSE sessions.completed_at END,
           error_code = CASE WHEN excluded.epoch > 0 AND NOT (SELECT early FROM stopped) THEN NULL ELSE sessions.error_code END,
           error_message = CASE WHEN excluded.epoch > 0 AND NOT (SELECT early FROM stopped) THEN NULL ELSE sessions.error_message END,
           updated_at = now()
    RETURNING trace_id
)
SELECT file.id AS file_id, file.is_new,
       coalesce((SELECT trace_id FROM recorded), (SELECT trace_id FROM sessions WHERE id = :session::uuid)) AS trace_id
  FROM file;

-- name: session
-- One session's own facts.
SELECT id, pipeline, options, source, status, files_known, files_open, approval, hold,
       coalesce(pause_reason, CASE WHEN status = 'quoted' THEN quote->>'waits_because' END) AS pause_reason, cancelled_at,
       failed_at, error_code, error_message, epoch, completed_epoch, trace_id, budget, spent, reserved, worked_at, quote, quoted_epoch, resumed,
       created_at, updated_at, completed_at, expires_at, expired_at
  FROM sessions WHERE id = :session::uuid;

-- name: sessions_newest
-- The newest sessions, those created before a given one when paging, each with how many items it has and how many ended.
SELECT id, pipeline, source, status,
       coalesce(pause_reason, CASE WHEN status = 'quoted' THEN quote->>'waits_because' END) AS pause_reason, error_code,
       error_message, spent, budget, created_at, completed_at, next_item_no - 1 AS total,
       (SELECT coalesce(sum(items), 0)::bigint FROM tallies WHERE tallies.session_id = sessions.id) AS settled
  FROM sessions
 WHERE (:before::uuid IS NULL OR (created_at, id) < (SELECT s.created_at, s.id FROM sessions s WHERE s.id = :before::uuid))
 ORDER BY created_at DESC, id DESC
 LIMIT :size::integer;

-- name: session_counts
-- Items by outcome, counted one by one: what finalize proves the sums with. Open items have no outcome.
SELECT coalesce(outcome, 'open') AS outcome, count(*) AS items FROM items WHERE session_id = :session::uuid GROUP BY outcome;

-- name: session_stands
-- How a session stands, at the same cost for ten items and ten million: items by outcome (from the counters), how many
-- there are and run, how many were settled in the last ten seconds and a little more, and calls nobody knows the end of.
WITH tally AS (
    SELECT outcome, sum(items)::bigint AS items,
           coalesce(sum(items) FILTER (WHERE at >= now() - interval '15 seconds'), 0)::bigint AS recent
      FROM tallies WHERE session_id = :session::uuid GROUP BY outcome
), uncertain AS (
    SELECT state, count(*) AS n FROM calls
     WHERE session_id = :session::uuid AND state IN ('started', 'unknown') GROUP BY state
)
SELECT sessions.next_item_no - 1 AS total,
       (SELECT coalesce(jsonb_object_agg(outcome, items), '{}') FROM tally WHERE items <> 0) AS outcomes,
       (SELECT greatest(0, coalesce(sum(recent), 0))::bigint FROM tally WHERE outcome NOT IN ('duplicate', 'merged', 'rejected')) AS recent,
       extract(epoch FROM now() - greatest(sessions.created_at, date_bin('5 seconds', now() - interval '10 seconds', timestamptz '2000-01-01 00:00Z')))::double precision AS seconds,
       (SELECT count(*) FROM items WHERE session_id = :session::uuid AND state = 'running') AS running,
       (SELECT coalesce(jsonb_object_agg(state, n), '{}') FROM uncertain) AS calls
  FROM sessions WHERE id = :session::uuid;

-- name: session_progress
-- Items settled over time, at most :points sums of equal spans, oldest first: whole multiples of five seconds, or of the
-- minutes that old counters are folded to. Records that are no work of their own are left out. A span in which more was
-- opened again than settled counts as none.
WITH ends AS (
    SELECT min(at) AS since, max(at) AS until, CASE WHEN min(at) < now() - interval '1 hour' THEN 60 ELSE 5 END AS step
      FROM tallies WHERE session_id = :session::uuid AND outcome NOT IN ('duplicate', 'merged', 'rejected')
), span AS (
    SELECT since, greatest(step, ceil(extract(epoch FROM until - since) / step / :points::integer) * step) AS seconds FROM ends
)
SELECT seconds::double precision AS seconds, date_bin(seconds * interval '1 second', at, since) AS at,
       greatest(0, sum(items))::bigint AS settled, greatest(0, coalesce(sum(items) FILTER (WHERE outcome = 'failed'), 0))::bigint AS failed
  FROM tallies, span
 WHERE session_id = :session::uuid AND outcome NOT IN ('duplicate', 'merged', 'rejected')
 GROUP BY 1, 2 ORDER BY 2;

-- name: fold_tallies
-- Make one row of the counters of each outcome and five seconds, or minute where they are older than an hour. Those of
-- the last :quiet seconds are left: others are added to them.
WITH several AS MATERIALIZED (
    SELECT array_agg(DISTINCT at) AS moments, folded, outcome
      FROM (SELECT at, outcome, CASE WHEN at < now() - interval '1 hour'
                                     THEN date_bin('1 minute', at, timestamptz '2000-01-01 00:00Z') ELSE at END AS folded
              FROM tallies WHERE session_id = :session::uuid AND at < now() - :quiet * interval '1 second') old
     GROUP BY folded, outcome HAVING count(*) > 1 LIMIT 1000
), gone AS (
    DELETE FROM tallies USING several
     WHERE tallies.session_id = :session::uuid AND tallies.at = ANY (several.moments) AND tallies.outcome = several.outcome
    RETURNING several.folded, tallies.outcome, tallies.items
)
INSERT INTO tallies (session_id, at, outcome, items)
SELECT :session::uuid, folded, outcome, sum(items) FROM gone GROUP BY folded, outcome;

-- name: error_groups
-- The errors of a session's items in groups, the largest first, each with its first item. At most :most items of each
-- outcome are looked at.
WITH looked_at AS MATERIALIZED (
    SELECT item_no, outcome, coalesce(error_code, code) AS error_code
      FROM unnest(ARRAY['failed', 'rejected', 'needs_review', 'not_found']) chosen
     CROSS JOIN LATERAL (SELECT item_no, outcome, error_code, code FROM items
                          WHERE session_id = :session::uuid AND items.outcome = chosen
                            AND items.outcome <> 'enriched'
                          ORDER BY item_no LIMIT :most::integer) found
), grouped AS (
    SELECT outcome, error_code, count(*) AS items, min(item_no) AS first FROM looked_at GROUP BY outcome, error_code
)
SELECT grouped.outcome, grouped.error_code, grouped.items, items.item_no, items.line, items.key, items.error_message
  FROM grouped JOIN items ON items.session_id = :session::uuid AND items.item_no = grouped.first
 ORDER BY grouped.items DESC, grouped.outcome, grouped.error_code LIMIT :groups::integer;

-- name: session_files
-- The files of a session with how far each was read.
SELECT id, bucket, object_name, generation, member, part, checksum, size, layout, cursor, records_read, ignored, state, error_code, error
  FROM files WHERE session_id = :session::uuid ORDER BY id;

-- name: hold_session
-- Stop handing out a session's items. A failure of work begun (`age` seconds ago) before the last resume holds nothing, nor does a
-- call that fits into a budget raised meanwhile (`needed` is what it would reserve).
UPDATE sessions
   SET hold = :hold, pause_reason = :reason, updated_at = now()
 WHERE id = :session::uuid AND cancelled_at IS NULL AND failed_at IS NULL AND completed_epoch IS DISTINCT FROM epoch
   AND (hold IS NULL OR :hold::text = 'person')
   AND (:needed::bigint IS NULL OR spent + reserved + :needed::bigint > budget)
   AND (:age::double precision IS NULL OR resumed_at IS NULL
        OR clock_timestamp() - :age::double precision * interval '1 second' > resumed_at)
RETURNING id;

-- name: resume_session
-- Lift the hold, and the failure of a session that stopped with items never run; a new budget may come along.
WITH waiting AS (
    SELECT EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL)
        OR EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NULL
                      AND state IN ('available', 'retryable')) AS any
), locked AS MATERIALIZED (
    SELECT item_no FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL
     ORDER BY item_no FOR NO KEY UPDATE
), returned AS (  -- notices that came during the hold were acknowledged: none of them is out any more
    UPDATE items SET dispatched_at = NULL
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM locked))
       AND dispatched_at IS NOT NULL
)
UPDATE sessions
   SET hold = NULL, pause_reason = NULL, resumed_at = clock_timestamp(), updated_at = now(),
       epoch = epoch + (failed_at IS NOT NULL AND waiting.any)::integer,
       failed_at = CASE WHEN waiting.any THEN NULL ELSE failed_at END,
       completed_at = CASE WHEN waiting.any AND failed_at IS NOT NULL THEN NULL ELSE completed_at END,
       error_code = CASE WHEN waiting.any AND failed_at IS NOT NULL THEN NULL ELSE error_code END,
       error_message = CASE WHEN waiting.any AND failed_at IS NOT NULL THEN NULL ELSE error_message END,
       budget = coalesce(:budget::bigint, budget)
  FROM waiting
 WHERE id = :session::uuid AND cancelled_at IS NULL AND expired_at IS NULL
RETURNING id;

-- name: make_due
-- Have up to 5,000 items of a session wait no longer for a time of their own; answers how many.
WITH chosen AS MATERIALIZED (
    SELECT item_no FROM items WHERE session_id = :session::uuid AND state = 'retryable' AND due_at > now()
     ORDER BY item_no LIMIT 5000 FOR NO KEY UPDATE
), made AS (
    UPDATE items SET due_at = NULL
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen)) AND state = 'retryable'
    RETURNING 1
)
SELECT count(*) AS items FROM made;

-- name: stop_too_many_failed
-- Stop a session whose failed items are more than it tolerates, while others wait to run; a row: it was stopped. A share
-- is one of all rows, so it is asked for when every file is read. Only failures since the last resume count, and of a
-- tolerance above :most none are counted.
WITH session AS MATERIALIZED (
    SELECT id, resumed_at, options->>'max_failed' AS allowed,
           CASE WHEN options->>'max_failed' NOT LIKE '%!%' ESCAPE '!' THEN (options->>'max_failed')::bigint
                WHEN files_open = 0 THEN rtrim(options->>'max_failed', '%')::bigint * (next_item_no - 1) / 100 END AS tolerated
      FROM sessions
     WHERE id = :session::uuid AND failed_at IS NULL AND cancelled_at IS NULL AND completed_epoch IS DISTINCT FROM epoch
       AND options ? 'max_failed'
), failed AS MATERIALIZED (
    SELECT count(*) AS n FROM (
        SELECT FROM items, session
         WHERE items.session_id = session.id AND items.outcome = 'failed' AND session.tolerated < :most::bigint
           AND (session.resumed_at IS NULL OR items.finalized_at > session.resumed_at)
         LIMIT (SELECT tolerated + 1 FROM session)
    ) counted
)
UPDATE sessions
   SET failed_at = now(), error_code = 'input.too_many_failed', updated_at = now(),
       error_message = format('Stopped early: more than max-failed=%s items failed; results say why each did. The others wait: '
                              'resume runs them, and reprocess runs the failed ones again.', session.allowed)
  FROM session, failed
 WHERE sessions.id = session.id AND failed.n > session.tolerated
   AND sessions.failed_at IS NULL AND sessions.cancelled_at IS NULL  -- as they are by now, a resume included
   AND sessions.resumed_at IS NOT DISTINCT FROM session.resumed_at AND sessions.completed_epoch IS DISTINCT FROM sessions.epoch
   AND (EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL)
        OR EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NULL AND state IN ('available', 'retryable')))
RETURNING sessions.error_message;

-- name: approve_session
-- Let a session start that was seen to wait for approval; saying it twice, or after it went on by itself, is no fault.
UPDATE sessions SET approval = 'given', finalize_epoch = NULL, updated_at = now()
 WHERE id = :session::uuid AND approval <> 'none' AND cancelled_at IS NULL
RETURNING id;

-- name: cancel_session
-- Record that a person stopped the session for good; from this moment nothing is claimed or called.
UPDATE sessions SET cancelled_at = coalesce(cancelled_at, now()), hold = NULL, pause_reason = NULL, finalize_epoch = NULL, updated_at = now()
 WHERE id = :session::uuid AND completed_epoch IS DISTINCT FROM epoch
RETURNING id;

-- name: settle_cancelled
-- End up to 5,000 waiting items of a cancelled session; running ones end with their attempt. Answers how many.
WITH chosen AS MATERIALIZED (
    SELECT item_no FROM (
        (SELECT item_no FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL
          ORDER BY item_no LIMIT 5000)
        UNION ALL
        (SELECT item_no FROM items WHERE session_id = :session::uuid AND dispatched_at IS NULL
            AND state IN ('available', 'retryable') ORDER BY item_no LIMIT (SELECT 5000))
    ) waiting
     WHERE EXISTS (SELECT FROM sessions WHERE id = :session::uuid AND cancelled_at IS NOT NULL)
     LIMIT 5000
), locked AS MATERIALIZED (
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen))
       AND state IN ('available', 'retryable')
     ORDER BY item_no FOR NO KEY UPDATE
), ended AS (
    UPDATE items
       SET state = 'cancelled', outcome = 'cancelled', finalized_at = now(), dispatched_at = NULL, due_at = NULL
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM locked))
       AND state IN ('available', 'retryable')
    RETURNING item_no
)
SELECT count(*) AS ended FROM ended;

-- name: ask_finalize
-- Note that a session's finalize notice goes out now; no row: that of this epoch went out less than a minute ago, and
-- another would only have a second writer write the same results beside the first.
UPDATE sessions SET finalize_epoch = epoch, finalize_asked_at = now()
 WHERE id = :session::uuid AND completed_epoch IS DISTINCT FROM epoch
   AND (finalize_epoch IS DISTINCT FROM epoch OR finalize_asked_at < now() - interval '1 minute')
RETURNING id;

-- name: unask_finalize
-- The notice could not be published.
UPDATE sessions SET finalize_epoch = NULL WHERE id = :session::uuid;

-- name: complete_session
-- End the epoch whose results were written, if nothing was added or opened meanwhile; no row: look again.
UPDATE sessions
   SET completed_epoch = :epoch, completed_at = now(), updated_at = now(),
       failed_at = CASE WHEN :failed::boolean THEN coalesce(failed_at, now()) ELSE failed_at END,
       error_code = CASE WHEN :failed::boolean OR failed_at IS NOT NULL OR cancelled_at IS NOT NULL THEN coalesce(:code, error_code) END,
       error_message = CASE WHEN :failed::boolean OR failed_at IS NOT NULL OR cancelled_at IS NOT NULL THEN coalesce(:message, error_message) END,
       hold = NULL, pause_reason = NULL
 WHERE id = :session::uuid AND epoch = :epoch AND files_open = 0
   AND (failed_at IS NOT NULL OR NOT EXISTS (
            SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL)
        AND NOT EXISTS (
            SELECT FROM items WHERE session_id = :session::uuid AND dispatched_at IS NULL
               AND state IN ('available', 'retryable')))
   AND NOT EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND state = 'running')
RETURNING status;

-- name: unfinished_sessions
-- Every session that still has something to be done for it, oldest first.
SELECT id, pipeline, trace_id, cancelled_at IS NOT NULL AS cancelled,
       cancelled_at IS NULL AND (hold IS NOT NULL OR status IN ('uploading', 'failed') OR status = 'quoted' AND quoted_epoch = epoch) AS waits_for_a_person
  FROM sessions
 WHERE completed_epoch IS DISTINCT FROM epoch AND expired_at IS NULL AND (files_known > 0 OR cancelled_at IS NOT NULL)
 ORDER BY created_at;

-- name: expired_sessions
-- Sessions whose 30 days are over and whose items are still there.
SELECT id FROM sessions WHERE expires_at < now() AND expired_at IS NULL ORDER BY expires_at LIMIT 100;

-- name: remove_expired_items
-- Remove up to 5,000 items of an expired session with what they were before; answers how many.
WITH chosen AS MATERIALIZED (
    SELECT item_no FROM items WHERE session_id = :session::uuid ORDER BY item_no LIMIT 5000
), earlier AS (
    DELETE FROM item_history WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen))
), gone AS (
    DELETE FROM items WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen))
    RETURNING 1
)
SELECT count(*) AS removed FROM gone;

-- name: remove_resumed_rows
-- Remove up to 5,000 lines that an expired session resumed; answers how many.
WITH chosen AS MATERIALIZED (
    SELECT line FROM resumed_rows WHERE session_id = :session::uuid ORDER BY line LIMIT 5000
), gone AS (
    DELETE FROM resumed_rows WHERE session_id = :session::uuid AND line = ANY (ARRAY (SELECT line FROM chosen)) RETURNING 1
)
SELECT count(*) AS removed FROM gone;

-- name: abandon_uploads
-- Cancel sessions that were announced long ago and whose files never came: an address to upload to lasts a week.
UPDATE sessions
   SET cancelled_at = now(), error_code = 'input.never_came', error_message = 'The files that were announced never came.', updated_at = now()
 WHERE files_known = 0 AND cancelled_at IS NULL AND expired_at IS NULL AND completed_epoch IS DISTINCT FROM epoch
   AND created_at < now() - interval '8 days';

-- name: mark_expired
-- Remember that a session's items and results are gone; one that never ended is cancelled, and so are the items it had
-- open, for those who look at its counts.
WITH left_open AS (
    INSERT INTO tallies (session_id, at, outcome, items)
    SELECT id, date_bin('5 seconds', now(), timestamptz '2000-01-01 00:00Z'), 'cancelled', left_over
      FROM (SELECT id, next_item_no - 1 - (SELECT coalesce(sum(items), 0) FROM tallies WHERE session_id = :session::uuid) AS left_over
              FROM sessions WHERE id = :session::uuid AND expired_at IS NULL) counted
     WHERE left_over > 0
)
UPDATE sessions
   SET expired_at = now(), updated_at = now(), completed_epoch = epoch, quote = quote - 'preview',  -- it shows rows
       cancelled_at = CASE WHEN completed_epoch IS DISTINCT FROM epoch THEN coalesce(cancelled_at, now()) ELSE cancelled_at END
 WHERE id = :session::uuid;

-- name: reprocess_items
-- Open up to 5,000 settled items again, as a new round: of these outcomes, and as far as they are given of one key,
-- these error codes and one prompt. Answers how many and the last. The attempt rises, so that nothing late from the old
-- round lands in the new one, and how the old one ended is kept. A failed item that holds an answer was paid for and
-- could not be written: it keeps the answer.
WITH session AS MATERIALIZED (
    SELECT id FROM sessions WHERE id = :session::uuid AND expired_at IS NULL AND cancelled_at IS NULL FOR NO KEY UPDATE
), chosen AS MATERIALIZED (
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND EXISTS (SELECT FROM session)
       AND finalized_at IS NOT NULL AND item_no > :after::bigint
       AND outcome = ANY (:outcomes::text[])
       AND outcome NOT IN ('duplicate', 'merged', 'rejected') AND key IS NOT NULL  -- a record without a film has no turn
       AND (:key::text IS NULL OR key = :key)
       AND (cardinality(:error_codes::text[]) = 0 OR error_code = ANY (:error_codes::text[]) OR code = ANY (:error_codes::text[]))
       AND (:prompt::text IS NULL OR result->>'prompt' = :prompt)
     ORDER BY item_no LIMIT (SELECT 5000)  -- named outright, it is more than the planner thinks there are, and all are sorted
), ended AS MATERIALIZED (  -- as they are now: another may have opened them while this waited for the session's row
    SELECT item_no, round, attempt, outcome, code, result, error_code, error_message, finalized_at FROM items
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen)) AND finalized_at IS NOT NULL
       AND outcome = ANY (:outcomes::text[])
     ORDER BY item_no FOR NO KEY UPDATE
), kept AS (
    INSERT INTO item_history (session_id, item_no, round, attempt, outcome, code, result, error_code, error_message, finalized_at)
    SELECT :session::uuid, item_no, round, attempt, outcome, code, result, error_code, error_message, finalized_at FROM ended
    ON CONFLICT DO NOTHING
), opened AS (
    UPDATE items
       SET state = 'available', attempt = attempt + 1, outcome = NULL, code = NULL, finalized_at = NULL, failures = 0, snoozes = 0, lost_leases = 0,
           round = round + 1, due_at = NULL, dispatched_at = NULL, dispatches = 0, dead_lettered = 0,
           -- an answer that was paid for and could not be written; other failures only say what failed
           result = CASE WHEN outcome = 'failed' AND error_code LIKE 'db.%' THEN result END,
           error_code = NULL, error_message = NULL
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM ended)) AND finalized_at IS NOT NULL
    RETURNING item_no
), raised AS (
    UPDATE sessions SET epoch = epoch + 1, failed_at = NULL, error_code = NULL, error_message = NULL, completed_at = NULL,
                        updated_at = now()
     WHERE id = :session::uuid AND EXISTS (SELECT FROM opened)
)
SELECT count(*) AS opened, max(item_no) AS last FROM opened;

-- name: expanded_items
-- How many items of a session others expanded into: they name their parent, and stand for no record of a file.
SELECT count(*) AS items FROM items
 WHERE session_id = :session::uuid AND parent IS NOT NULL AND outcome IS DISTINCT FROM 'duplicate' AND outcome IS DISTINCT FROM 'merged';
