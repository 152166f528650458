-- name: plain_lines
-- The result lines of a page of settled items where a pipeline has none of its own: the columns it names (`:columns`) of
-- the row, the answer, and how the item ended.
, lines AS (
    SELECT page.item_no, page.settled_in,
           (SELECT '{' || string_agg(to_json(name)::text || ':' || coalesce(facts->name, 'null')::text, ',' ORDER BY place) || '}'
              FROM jsonb_array_elements_text(:columns::jsonb) WITH ORDINALITY AS listed (name, place)) AS text
      FROM page CROSS JOIN LATERAL (
           SELECT page.input || coalesce(page.result, '{}') || jsonb_build_object(
                      'item_no', page.item_no, 'key', page.key, 'error', page.error_message, 'outcome', page.outcome,
                      'attempts', page.attempt, 'code', page.code, 'error_code', page.error_code, 'parent', page.parent,
                      'line', page.line,
                      'db_status', CASE WHEN page.outcome = 'failed' THEN 'error'
                                        WHEN page.code IN ('skip_existing', 'resumed') THEN 'skipped'
                                        ELSE page.result->>'db_status' END) AS facts) whole
)

-- name: plain_known
-- Which of these keys the table has: asked for skip-existing.
SELECT key FROM {slug} WHERE key = ANY (ARRAY (SELECT jsonb_array_elements_text(:keys::jsonb)));

-- name: plain_held
-- What the table has of the rows that lines of an earlier run's results name: whether it is there, whether its columns
-- say what the line's answer says, and what they say. Without the table (`domain` is false) nothing is known.
SELECT given.line, mine.key IS NOT NULL AS known,
       mine.key IS NOT NULL AND NOT EXISTS (
           SELECT FROM jsonb_each(given.answer) AS said (name, value)
            WHERE to_jsonb(mine) ? said.name AND to_jsonb(mine)->said.name IS DISTINCT FROM said.value) AS same,
       left((SELECT string_agg(to_jsonb(mine)->>said.name, ' ') FROM jsonb_object_keys(given.answer) AS said (name)), 200) AS says
  FROM jsonb_to_recordset(:lines::jsonb) AS given (line bigint, key text, answer jsonb)
  LEFT JOIN {slug} mine ON :domain::boolean AND mine.key = given.key;

-- name: plain_forecast
-- How many items of a session wait among some numbers.
SELECT count(*) AS items FROM items
 WHERE session_id = :session::uuid AND item_no > :after::bigint AND item_no <= :upto::bigint
   AND (outcome IS NULL OR outcome = 'skipped' AND code = 'dry_run');

-- name: plain_verify
-- I4 where a pipeline has no statement of its own: a row of its table names its last writer, and a result that was
-- written is there.
SELECT 'I4' AS rule, format('row %s names item %s, attempt %s, which did not write it', mine.key, mine.item_no, mine.attempt) AS finding
  FROM {slug} mine LEFT JOIN items item ON item.session_id = mine.session_id AND item.item_no = mine.item_no
 WHERE mine.session_id = :session::uuid AND (SELECT expired_at IS NULL FROM sessions WHERE id = :session::uuid)
   AND (item.item_no IS NULL OR item.key IS DISTINCT FROM mine.key
        OR item.outcome = 'enriched' AND item.result->>'db_status' = 'updated' AND item.attempt <> mine.attempt)
UNION ALL
SELECT 'I4', format('the row of item %s, %s, is gone', item.item_no, item.key)
  FROM items item LEFT JOIN {slug} mine ON mine.key = item.key
 WHERE item.session_id = :session::uuid AND item.outcome = 'enriched' AND item.result->>'db_status' = 'updated'
   AND mine.key IS NULL
LIMIT 100;
