-- name: verify_session
-- Every violation of the invariants of one session (design §4), a row each; no rows: it is sound. I4 is the pipelines'
-- own: `<slug>_verify`.
WITH session AS (SELECT * FROM sessions WHERE id = :session::uuid),
counts AS (SELECT file, count(*) AS n FROM items WHERE session_id = :session::uuid
            AND (parent IS NULL OR outcome IN ('duplicate', 'merged')) GROUP BY file),
money AS (
    SELECT coalesce(sum(cost) FILTER (WHERE state IN ('succeeded', 'failed')), 0) AS spent,
           coalesce(sum(reserved) FILTER (WHERE state IN ('started', 'unknown')), 0) AS reserved
      FROM calls WHERE session_id = :session::uuid
)
SELECT 'I1' AS rule, format('file %s: %s records read, %s items made, %s ignored', f.object_name, f.records_read,
                            coalesce(c.n, 0), f.ignored) AS finding
  FROM files f LEFT JOIN counts c ON c.file = f.id
 WHERE f.session_id = :session::uuid AND f.records_read <> coalesce(c.n, 0) + f.ignored
UNION ALL
SELECT 'I1', format('item %s expands from item %s, %s', child.item_no, child.parent,
                    CASE WHEN owner.item_no IS NULL THEN 'which does not exist' WHEN owner.item_no > child.item_no THEN 'which is a later one'
                         ELSE 'which is of another record' END)
  FROM items child LEFT JOIN items owner ON owner.session_id = child.session_id AND owner.item_no = child.parent
 WHERE child.session_id = :session::uuid AND child.parent IS NOT NULL
   AND child.outcome IS DISTINCT FROM 'duplicate' AND child.outcome IS DISTINCT FROM 'merged'
   AND (owner.item_no IS NULL OR owner.item_no > child.item_no OR (owner.file, owner.line) <> (child.file, child.line))
UNION ALL
SELECT 'I1', format('%s item numbers were taken, there are %s items', next_item_no - 1, n)
  FROM session, (SELECT count(*) AS n FROM items WHERE session_id = :session::uuid) made
 WHERE expired_at IS NULL AND next_item_no - 1 <> n
UNION ALL
SELECT 'I2', format('item %s is %s with outcome %s', item_no, state, coalesce(outcome, 'none'))
  FROM items WHERE session_id = :session::uuid
   AND (state IN ('completed', 'discarded', 'cancelled', 'rejected')) <> (outcome IS NOT NULL AND finalized_at IS NOT NULL)
UNION ALL
SELECT 'I3', format('the session is %s with %s open items and %s unread files', status,
                    (SELECT count(*) FROM items WHERE session_id = :session::uuid AND finalized_at IS NULL), files_open)
  FROM session
 WHERE status = 'completed'
   AND (files_open > 0 OR EXISTS (SELECT FROM items WHERE session_id = :session::uuid AND finalized_at IS NULL))
UNION ALL
SELECT 'I5', format('item %s was paid for %s times in round %s', item_no, count(*), round)
  FROM calls WHERE session_id = :session::uuid AND state = 'succeeded' AND cost > 0
 GROUP BY item_no, round HAVING count(*) > 1
UNION ALL
SELECT 'I6', format('spent %s and reserved %s stand against calls worth %s and %s (budget %s)', session.spent,
                    session.reserved, money.spent, money.reserved, coalesce(budget::text, 'none'))
  FROM session, money
 WHERE session.spent <> money.spent OR session.reserved <> money.reserved OR session.spent + session.reserved > budget
UNION ALL
SELECT 'I7', format('call %s of attempt %s is newer than its item %s, at attempt %s', calls.id, calls.attempt, items.item_no, items.attempt)
  FROM calls JOIN items ON items.session_id = calls.session_id AND items.item_no = calls.item_no
 WHERE calls.session_id = :session::uuid AND calls.attempt > items.attempt
UNION ALL
SELECT 'I2', format('the counters say %s items are %s, there are %s', coalesce(tally.n, 0), coalesce(tally.outcome, found.outcome), coalesce(found.n, 0))
  FROM (SELECT outcome, sum(items) AS n FROM tallies WHERE session_id = :session::uuid GROUP BY outcome HAVING sum(items) <> 0) tally
  FULL JOIN (SELECT outcome, count(*) AS n FROM items WHERE session_id = :session::uuid AND outcome IS NOT NULL GROUP BY outcome) found
    ON found.outcome = tally.outcome
 WHERE tally.n IS DISTINCT FROM found.n AND (SELECT expired_at IS NULL FROM session)
LIMIT 100;
