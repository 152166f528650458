-- name: claim_items
-- Take a message's items for one attempt each: waiting, due, and of a session that may run. A claim repeated with the
-- same token finds its items again. Comes with what the session asks for, with the answer an earlier success left for
-- the same input and configuration, and with the call that an earlier attempt left under way, so that no second read is
-- needed. A deliberate new round wants a new answer.
WITH session AS MATERIALIZED (
    SELECT id, options, trace_id FROM sessions
     WHERE id = :session::uuid AND pipeline = :pipeline AND hold IS NULL AND cancelled_at IS NULL AND failed_at IS NULL
       AND approval <> 'awaited' AND expired_at IS NULL
), locked AS MATERIALIZED (
    SELECT items.item_no FROM items JOIN session ON items.session_id = session.id
     WHERE items.item_no = ANY (:item_nos::bigint[])
       AND items.state IN ('available', 'retryable') AND (items.due_at IS NULL OR items.due_at <= now())
     ORDER BY items.item_no FOR NO KEY UPDATE OF items
), claimed AS (
    UPDATE items
       SET state = 'running', attempt = attempt + 1, claim = :claim::uuid, dispatched_at = NULL, dispatches = 0, due_at = NULL,
           lease_expires_at = now() + :lease * interval '1 second'
      FROM session
     WHERE items.session_id = session.id AND items.item_no = ANY (ARRAY (SELECT item_no FROM locked))
       AND items.state IN ('available', 'retryable') AND (items.due_at IS NULL OR items.due_at <= now())
    RETURNING items.item_no, items.attempt, items.key, items.input, items.input_hash, items.failures, items.snoozes,
              items.round, items.result, items.error_code
), taken AS (
    SELECT item_no, attempt, key, input, input_hash, failures, snoozes, round, result, error_code FROM claimed
    UNION ALL
    SELECT items.item_no, items.attempt, items.key, items.input, items.input_hash, items.failures, items.snoozes,
           items.round, items.result, items.error_code
      FROM items JOIN session ON items.session_id = session.id
     WHERE items.item_no = ANY (:item_nos::bigint[]) AND items.state = 'running' AND items.claim = :claim::uuid
)
SELECT taken.item_no, taken.attempt, taken.key, taken.input, taken.failures, taken.snoozes, taken.round, taken.result,
       taken.error_code, earlier.result AS reusable, asked.id AS asked_id, asked.response_id AS asked_for,
       encode(asked.request_hash, 'hex') AS asked_hash, asked.reserved AS asked_reserved, session.options, session.trace_id
  FROM taken CROSS JOIN session
  LEFT JOIN LATERAL (
        SELECT answers.result FROM answers
         WHERE answers.pipeline = :pipeline AND answers.key = taken.key AND answers.input_hash = taken.input_hash
           AND answers.configuration = :configuration AND taken.round = 1 AND session.options->>'reuse' IS DISTINCT FROM 'never'
         LIMIT 1  -- by its key, item for item: joined, a message read every answer of the pipeline where statistics were old
       ) earlier ON true
  LEFT JOIN LATERAL (
        SELECT calls.id, calls.response_id, calls.request_hash, calls.reserved FROM calls
         WHERE calls.session_id = session.id AND calls.item_no = taken.item_no AND calls.state IN ('started', 'unknown')
           AND calls.round = taken.round AND calls.response_id IS NOT NULL
           AND calls.error_code IS DISTINCT FROM 'upstream.response_lost' AND session.options->>'call_mode' = 'background'
         ORDER BY calls.started_at DESC LIMIT 1
       ) asked ON true
 ORDER BY taken.item_no;

-- name: note_absorbed
-- Count the items of a delivery that had been taken already: it came twice, or late.
UPDATE sessions SET absorbed = absorbed + late.n, updated_at = now()
  FROM (SELECT count(*) AS n FROM items
         WHERE session_id = :session::uuid AND item_no = ANY (:item_nos::bigint[]) AND state NOT IN ('available', 'retryable')) late
 WHERE sessions.id = :session::uuid AND late.n > 0;

-- name: fill_window
-- Put the lowest-numbered due items out up to the free window. The choice takes no row locks: concurrent dispatchers
-- choose the same items and the loser updates none (with SKIP LOCKED 16 of them overran a window of 100 sixteenfold).
-- A dispatch repeated with the same token answers what the first run put out, too: nobody has published it yet.
-- While the upstream's breaker is not closed no more go out than `probes`, when the next probe may be made.
WITH allowed AS MATERIALIZED (
    SELECT coalesce((SELECT CASE WHEN next_probe_at > now() THEN 0 ELSE least(:probes::bigint, :window::bigint) END
                       FROM upstreams WHERE name = :upstream AND breaker <> 'closed'), :window::bigint) AS n
), session AS MATERIALIZED (
    SELECT id FROM sessions
     WHERE id = :session::uuid AND hold IS NULL AND cancelled_at IS NULL AND failed_at IS NULL
       AND approval <> 'awaited' AND expired_at IS NULL
), outside AS MATERIALIZED (
    SELECT count(*) AS n, array_agg(item_no) FILTER (WHERE claim = :token::uuid) AS ours
      FROM items WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL
), chosen AS MATERIALIZED (  -- in the index's order: joined to the session, all that waits was read and sorted for eight
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND dispatched_at IS NULL AND state IN ('available', 'retryable')
       AND (due_at IS NULL OR due_at <= now()) AND EXISTS (SELECT FROM session)
     ORDER BY item_no
     LIMIT (SELECT greatest(0, allowed.n - outside.n) FROM allowed, outside)
), locked AS MATERIALIZED (  -- by number, as everybody locks items: an UPDATE alone takes them as they lie on disk
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen))
       AND dispatched_at IS NULL AND state IN ('available', 'retryable')
     ORDER BY item_no FOR NO KEY UPDATE
), put_out AS (
    UPDATE items
       SET dispatched_at = now(), dispatches = dispatches + 1, claim = :token::uuid
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM locked))
       AND dispatched_at IS NULL AND state IN ('available', 'retryable') AND (due_at IS NULL OR due_at <= now())
    RETURNING item_no
)
SELECT item_no FROM put_out UNION ALL SELECT unnest(ours) FROM outside;

-- name: standing
-- Whether a session is ready to be finalized: every file read, nothing open, results of this epoch not written; or else
-- to be quoted: every file read, approval awaited, no quote of this epoch.
-- Waiting items are looked for in two steps, out and not yet out, as the two partial indexes have them: asked for
-- in one, 200,000 settled items were read at every nudge.
SELECT pipeline, trace_id, epoch, completed_epoch IS DISTINCT FROM epoch AND (files_known > 0 OR cancelled_at IS NOT NULL) AND files_open = 0
       AND NOT EXISTS (SELECT FROM items WHERE session_id = sessions.id AND state = 'running')
       AND (failed_at IS NOT NULL OR NOT EXISTS (
                SELECT FROM items WHERE session_id = sessions.id AND dispatched_at IS NOT NULL)
            AND NOT EXISTS (
                SELECT FROM items WHERE session_id = sessions.id AND dispatched_at IS NULL
                   AND state IN ('available', 'retryable'))) AS finished,
       status = 'quoted' AND quoted_epoch IS DISTINCT FROM epoch AS to_quote
  FROM sessions WHERE id = :session::uuid AND expired_at IS NULL;

-- name: take_back
-- Notices that could not be published are not out.
WITH locked AS MATERIALIZED (
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND item_no = ANY (:item_nos::bigint[]) AND dispatched_at IS NOT NULL
     ORDER BY item_no FOR NO KEY UPDATE
)
UPDATE items SET dispatched_at = NULL, dispatches = greatest(0, dispatches - 1)
 WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM locked)) AND dispatched_at IS NOT NULL;

-- name: lost_notices
-- Take back notices that were lost: nothing was worked on in this pipeline for a while, or ten minutes have passed,
-- either doubled with every repeat (a claim shows that one arrived), so that an outage does not flood the broker. At most 5,000; answers how many.
WITH idle AS (
    SELECT coalesce(max(worked_at), '-infinity') < now() - :lost_after * interval '1 second' AS so
      FROM sessions WHERE pipeline = :pipeline AND completed_epoch IS DISTINCT FROM epoch AND expired_at IS NULL
), chosen AS MATERIALIZED (
    SELECT item_no FROM items, idle
     WHERE session_id = :session::uuid AND dispatched_at IS NOT NULL
       AND ((idle.so AND dispatched_at < now() - :lost_after * power(2, least(dispatches, 5) - 1) * interval '1 second')
            OR dispatched_at < now() - interval '10 minutes' * power(2, least(dispatches, 10) - 1))
     ORDER BY item_no LIMIT 5000 FOR NO KEY UPDATE OF items
), back AS (
    UPDATE items SET dispatched_at = NULL
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM chosen)) AND dispatched_at IS NOT NULL
    RETURNING 1
)
SELECT count(*) AS lost FROM back;

-- name: leases_to_retire
-- Whether workers of a session died: `expired`, there are leases that `retire_leases` would free; `awaited`, items that
-- it freed with a call under way wait for their turn, and an answer put aside late could still be theirs.
SELECT EXISTS (SELECT FROM items
                WHERE session_id = :session::uuid AND state = 'running'
                  AND lease_expires_at < now() - :grace * interval '1 second'
                  AND pg_postmaster_start_time() < now() - :grace * interval '1 second') AS expired,
       EXISTS (SELECT FROM items
                WHERE session_id = :session::uuid AND state = 'retryable' AND code = 'worker_lost') AS awaited;

-- name: retire_leases
-- Free the items of workers that died, and say of their calls that nobody knows how they ended. A lost lease is no
-- failure, but the tenth ends the item. Waits a grace after expiry and after the server's own start. An item with a call
-- under way is due `late` seconds later: its answer may be on the way to the bucket, and the next claim would bar it.
WITH chosen AS MATERIALIZED (
    SELECT item_no, EXISTS (SELECT FROM calls
                             WHERE calls.session_id = items.session_id AND calls.item_no = items.item_no
                               AND calls.state = 'started') AS asked
      FROM items
     WHERE session_id = :session::uuid AND state = 'running'
       AND lease_expires_at < now() - :grace * interval '1 second'
       AND pg_postmaster_start_time() < now() - :grace * interval '1 second'
     ORDER BY item_no LIMIT 5000 FOR UPDATE
), freed AS (
    UPDATE items
       SET lost_leases = items.lost_leases + 1, lease_expires_at = NULL, claim = NULL,
           due_at = CASE WHEN chosen.asked AND items.lost_leases < 9 THEN now() + :late * interval '1 second' END,
           state = CASE WHEN items.lost_leases >= 9 THEN 'discarded' ELSE 'retryable' END,
           outcome = CASE WHEN items.lost_leases >= 9 THEN 'failed' END,
           finalized_at = CASE WHEN items.lost_leases >= 9 THEN now() END,
           code = CASE WHEN items.lost_leases >= 9 OR chosen.asked THEN 'worker_lost' END,
           error_code = CASE WHEN items.lost_leases >= 9 THEN 'db.worker_lost' END,
           error_message = CASE WHEN items.lost_leases >= 9
               THEN 'Ten workers died while they ran this item; look at its input and at the function''s memory.' END
      FROM chosen
     WHERE items.session_id = :session::uuid AND items.item_no = chosen.item_no AND items.state = 'running'
       AND items.item_no = ANY (ARRAY (SELECT item_no FROM chosen))
    RETURNING items.item_no, items.attempt, items.key, items.state, items.outcome
), unknown AS (
    UPDATE calls SET state = 'unknown', finished_at = now(), error_code = 'db.worker_lost'
      FROM freed
     WHERE calls.session_id = :session::uuid AND calls.item_no = freed.item_no AND calls.state = 'started'
    RETURNING 1
)
SELECT item_no, attempt, key, state, outcome, (SELECT count(*) FROM unknown) AS unknown_calls FROM freed;

-- name: settle
-- End or hand back a message's attempts, end their calls and move the money, all or nothing. An attempt that a newer
-- claim has superseded changes nothing but the cost on its own call; its call ends as unknown and stays reserved.
-- A settlement is welcome while no newer attempt was claimed, lease or no lease; a hand-back only while it runs,
-- unless it brings an answer that was paid for.
-- An answer that was paid for is kept for every later session with the same input and configuration (if it has one).
-- The pipeline's own write takes the rows of `written` and answers those it wrote as `stored`. What items expand into is
-- made here too, each key once in a session; it raises the epoch, for there is more to do, and the result says how many
-- were made, how many keys were there already, and how many were cut off before.
-- Items and calls are looked up by arrays: joined, each message of a small database read every item of its session.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(:batch::jsonb) AS g (
        item_no bigint, attempt integer, state text, outcome text, code text, failed boolean, snoozed boolean, due_in double precision,
        result jsonb, error_code text, error_message text, domain jsonb,
        call_id uuid, call_state text, response_id text, model text, tokens_in bigint, tokens_out bigint, cost bigint,
        children jsonb, cut bigint)
), session AS MATERIALIZED (
    SELECT id, cancelled_at IS NOT NULL AS cancelled FROM sessions WHERE id = :session::uuid FOR NO KEY UPDATE
), target AS MATERIALIZED (
    SELECT items.item_no, items.attempt, items.state, items.key, items.input_hash
      FROM items JOIN session ON items.session_id = session.id
     WHERE items.item_no = ANY (ARRAY (SELECT item_no FROM given)) ORDER BY items.item_no FOR UPDATE OF items
), accepted AS MATERIALIZED (
    SELECT given.*, target.key, target.input_hash, session.cancelled AND given.outcome IS NULL AS stop
      FROM given JOIN target ON target.item_no = given.item_no AND target.attempt = given.attempt CROSS JOIN session
     WHERE CASE WHEN given.outcome IS NULL AND given.result IS NULL THEN target.state = 'running'
                ELSE target.state IN ('available', 'running', 'retryable') END
), expanded AS MATERIALIZED (  -- the session is locked by now, so its numbers are ours
    SELECT children.item_no, children.made
      FROM (SELECT jsonb_agg(jsonb_build_object('parent', item_no, 'children', children) ORDER BY item_no) AS wanted
              FROM accepted WHERE children IS NOT NULL AND outcome IS NOT NULL HAVING count(*) > 0) all_wanted
     CROSS JOIN LATERAL expand_items(:session::uuid, wanted) AS children
), written AS (
    SELECT item_no, attempt, domain FROM accepted WHERE domain IS NOT NULL
){domain}, settled AS (
    UPDATE items
       SET state = CASE WHEN accepted.stop THEN 'cancelled' ELSE accepted.state END,
           outcome = CASE WHEN accepted.stop THEN 'cancelled' ELSE accepted.outcome END,
           code = accepted.code,
           failures = items.failures + accepted.failed::integer, snoozes = items.snoozes + accepted.snoozed::integer,
           due_at = CASE WHEN NOT accepted.stop THEN now() + accepted.due_in * interval '1 second' END,
           finalized_at = CASE WHEN accepted.stop OR accepted.outcome IS NOT NULL THEN now() END,
           lease_expires_at = NULL, claim = NULL, dispatched_at = NULL,
           result = CASE WHEN accepted.domain IS NULL  -- what was kept, because it could not be written, stays
                         THEN coalesce(accepted.result, CASE WHEN accepted.outcome IS NULL THEN items.result END,
                                       accepted.expansion)
                         ELSE accepted.result || jsonb_build_object('db_status', CASE
                             WHEN EXISTS (SELECT FROM stored WHERE stored.item_no = accepted.item_no) THEN 'updated'
                             ELSE 'skipped' END) END
                    || coalesce(accepted.expansion, '{}'),
           error_code = CASE WHEN accepted.outcome IS NULL THEN coalesce(accepted.error_code, items.error_code)
                             ELSE accepted.error_code END,
           error_message = CASE WHEN accepted.outcome IS NULL THEN coalesce(accepted.error_message, items.error_message)
                                ELSE accepted.error_message END
      FROM (SELECT accepted.*, CASE WHEN children IS NOT NULL AND outcome IS NOT NULL THEN jsonb_build_object(
                       'expansion', jsonb_build_object('made', coalesce(made, 0), 'cut', coalesce(cut, 0),
                                                       'known', jsonb_array_length(children) - coalesce(made, 0))) END AS expansion
              FROM accepted LEFT JOIN expanded ON expanded.item_no = accepted.item_no) accepted
     WHERE items.session_id = :session::uuid AND items.item_no = accepted.item_no
       AND items.item_no = ANY (ARRAY (SELECT item_no FROM accepted))
    RETURNING items.item_no
), answered AS (
    INSERT INTO answers AS mine (pipeline, key, input_hash, configuration, result, session_id, item_no)
    SELECT :pipeline, key, input_hash, :configuration, result, :session::uuid, item_no FROM accepted
     WHERE outcome = 'enriched' AND :configuration::text <> '' AND input_hash IS NOT NULL AND call_state = 'succeeded'
     ORDER BY key
    ON CONFLICT ON CONSTRAINT answers_pkey DO UPDATE
       SET result = excluded.result, session_id = excluded.session_id, item_no = excluded.item_no, answered_at = now()
), ended AS (
    UPDATE calls
       SET state = CASE WHEN target.attempt > given.attempt THEN 'unknown'
                        -- I5 in any case: were it refused here, its item would run, and pay, again.
                        WHEN given.call_state = 'succeeded' AND EXISTS (
                             SELECT FROM calls other
                              WHERE other.session_id = calls.session_id AND other.item_no = calls.item_no
                                AND other.round = calls.round AND other.state = 'succeeded' AND other.cost > 0
                                AND other.id <> calls.id) THEN 'unknown'
                        ELSE given.call_state END,
           finished_at = now(), response_id = coalesce(given.response_id, calls.response_id), model = given.model, tokens_in = given.tokens_in,
           tokens_out = given.tokens_out, cost = given.cost, error_code = given.error_code
      FROM given JOIN target ON target.item_no = given.item_no
     WHERE calls.id = given.call_id AND calls.id = ANY (ARRAY (SELECT call_id FROM given))
       AND calls.state IN ('started', 'unknown')
    RETURNING calls.reserved, calls.cost, calls.state
), money AS (
    SELECT coalesce(sum(reserved) FILTER (WHERE state <> 'unknown'), 0)::bigint AS freed,
           coalesce(sum(cost) FILTER (WHERE state <> 'unknown'), 0)::bigint AS spent FROM ended
), booked AS (
    UPDATE sessions SET reserved = reserved - money.freed, spent = sessions.spent + money.spent, worked_at = now(), updated_at = now(),
                        next_item_no = next_item_no + more.items, epoch = epoch + (more.items > 0)::integer
      FROM money, (SELECT coalesce(sum(made), 0)::bigint AS items FROM expanded) more WHERE sessions.id = :session::uuid
)
SELECT given.item_no,
       CASE WHEN settled.item_no IS NOT NULL THEN 'settled'
            WHEN target.item_no IS NULL THEN 'gone'
            WHEN target.attempt = given.attempt THEN 'already'
            ELSE 'superseded' END AS verdict
  FROM given LEFT JOIN target ON target.item_no = given.item_no LEFT JOIN settled ON settled.item_no = given.item_no;

-- name: none_domain
-- For settlements that write no domain row: they have to land even where the domain table is missing.
, stored AS (
    SELECT item_no FROM written WHERE false
)

-- name: dead_letter
-- Note that a message of these items was given up. The third ends the item; before that it is put back. Items that
-- run or are settled stay as they are. A dead letter that is delivered twice counts once, by its message id, and so do
-- several notices of one outage: one published before the last dead letter that counted adds nothing.
WITH locked AS MATERIALIZED (
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND item_no = ANY (:item_nos::bigint[]) AND state IN ('available', 'retryable')
       AND (:message = '' OR dead_letter IS DISTINCT FROM :message)
       AND (:published::timestamptz IS NULL OR dead_lettered_at IS NULL OR :published::timestamptz > dead_lettered_at)
     ORDER BY item_no FOR NO KEY UPDATE
), noted AS (
    UPDATE items
       SET dead_lettered = dead_lettered + 1, dead_letter = :message, dead_lettered_at = now(), dispatched_at = NULL,
           state = CASE WHEN dead_lettered >= 2 THEN 'discarded' ELSE state END,
           outcome = CASE WHEN dead_lettered >= 2 THEN 'failed' END,
           finalized_at = CASE WHEN dead_lettered >= 2 THEN now() END,
           code = CASE WHEN dead_lettered >= 2 THEN 'undeliverable' ELSE code END,
           error_code = CASE WHEN dead_lettered >= 2 THEN 'db.undeliverable' ELSE error_code END,
           error_message = CASE WHEN dead_lettered >= 2 THEN :reason ELSE error_message END
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM locked))
       AND state IN ('available', 'retryable') AND (:message = '' OR dead_letter IS DISTINCT FROM :message)
    RETURNING item_no, attempt, key, state, outcome
)
SELECT item_no, attempt, key, state, outcome FROM noted;

-- name: items_page
-- Items of a session in item order, for people. One statement for each way they are found: with filters that may be left
-- out, the plan that is kept for all of them read 300,000 items for a page of 25.
SELECT item_no, file, line, key, input, state, outcome, code, attempt, failures, round, due_at, finalized_at, result,
       error_code, error_message, parent
  FROM items
 WHERE session_id = :session::uuid AND item_no > :after::bigint
 ORDER BY item_no LIMIT :size::integer;

-- name: ended_items_page
-- Those of an outcome that few items have, found by its index; of one error, if that is asked for.
SELECT item_no, file, line, key, input, state, outcome, code, attempt, failures, round, due_at, finalized_at, result,
       error_code, error_message, parent
  FROM items
 WHERE session_id = :session::uuid AND outcome = :outcome AND item_no > :after::bigint AND outcome <> 'enriched'
   AND (:error_code::text IS NULL OR error_code = :error_code OR code = :error_code)
 ORDER BY item_no LIMIT :size::integer;

-- name: open_items_page
-- Those that wait or run, each state by its index; the parts for other states are not run.
WITH found AS MATERIALIZED (
    SELECT item_no FROM (
       (SELECT item_no FROM items
         WHERE :state::text = 'running' AND session_id = :session::uuid AND state = 'running' AND item_no > :after::bigint
         ORDER BY item_no LIMIT :size::integer)
        UNION ALL
       (SELECT item_no FROM items
         WHERE :state::text = 'retryable' AND session_id = :session::uuid AND state = 'retryable' AND item_no > :after::bigint
         ORDER BY item_no LIMIT :size::integer)
        UNION ALL
       (SELECT item_no FROM items
         WHERE :state::text = 'available' AND session_id = :session::uuid AND state = 'available' AND dispatched_at IS NOT NULL AND item_no > :after::bigint
         ORDER BY item_no LIMIT :size::integer)
        UNION ALL
       (SELECT item_no FROM items
         WHERE :state::text = 'available' AND session_id = :session::uuid AND state = 'available' AND dispatched_at IS NULL AND item_no > :after::bigint
         ORDER BY item_no LIMIT :size::integer)
    ) parts ORDER BY item_no LIMIT :size::integer
)
SELECT item_no, file, line, key, input, state, outcome, code, attempt, failures, round, due_at, finalized_at, result,
       error_code, error_message, parent
  FROM items WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM found)) ORDER BY item_no;

-- name: items_between
-- Those among some numbers that fit: their key begins with a text or their input holds it, and what else is given.
SELECT item_no, file, line, key, input, state, outcome, code, attempt, failures, round, due_at, finalized_at, result,
       error_code, error_message, parent
  FROM items
 WHERE session_id = :session::uuid AND item_no > :after::bigint AND item_no <= :upto::bigint
   AND (:outcome::text IS NULL OR outcome = :outcome) AND (:state::text IS NULL OR state = :state)
   AND (:error_code::text IS NULL OR error_code = :error_code OR code = :error_code)
   AND (:text::text IS NULL OR starts_with(key, :text) OR strpos(lower(input::text), lower(:text)) > 0)
 ORDER BY item_no LIMIT :size::integer;
