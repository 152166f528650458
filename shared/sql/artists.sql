-- name: artists_domain
-- The bios of a settled message, one row per artist, last writer named. An unknown id comes in with its name; with
-- skip-existing a bio that is there stays. `stored` answers the items whose bio was written.
, stored AS (
    INSERT INTO artists AS mine (id, name, bio, response_id, model, prompt, session_id, item_no, attempt, updated_at)
    SELECT (domain->>'id')::uuid, domain->>'name', domain->>'bio', domain->>'response_id', domain->>'model',
           domain->>'prompt', :session::uuid, item_no, attempt, now()
      FROM written ORDER BY 1
    ON CONFLICT (id) DO UPDATE
       SET bio = excluded.bio, response_id = excluded.response_id, model = excluded.model, prompt = excluded.prompt,
           session_id = excluded.session_id, item_no = excluded.item_no, attempt = excluded.attempt, updated_at = now()
     WHERE mine.bio IS NULL OR NOT :skip_existing::boolean
    RETURNING mine.item_no
)

-- name: artists_known
-- Which of these artists exist, and which of them have a bio: asked before anything is paid.
SELECT id::text AS key, bio IS NOT NULL AS has_bio FROM artists WHERE id = ANY (:ids::uuid[]);

-- name: artists_held
-- What the database has of the artists that lines of an earlier run's results name: whether any answer is known, whether
-- it is the line's, and what it says. In write modes with the table (`domain`) a bio that stands there decides; else the
-- answers that were paid for do.
SELECT given.line, artists.id IS NOT NULL OR paid.known AS known,
       coalesce(CASE WHEN artists.id IS NULL THEN paid.same WHEN answer->>'text' IS NOT NULL THEN artists.bio = answer->>'text'
                     WHEN answer IS NOT NULL THEN artists.response_id = answer->>'response_id' ELSE true END, false) AS same,
       left(coalesce(artists.bio, paid.says), 200) AS says
  FROM jsonb_to_recordset(:lines::jsonb) AS given (line bigint, key text, answer jsonb)
  LEFT JOIN artists ON :domain::boolean AND artists.id = given.key::uuid AND artists.bio IS NOT NULL
 CROSS JOIN LATERAL (
       SELECT count(*) > 0 AS known,
              bool_or(CASE WHEN answer->>'text' IS NOT NULL THEN result->>'text' = answer->>'text'
                           WHEN answer IS NOT NULL THEN result->>'response_id' = answer->>'response_id' ELSE true END) AS same,
              (array_agg(result->>'text' ORDER BY answered_at DESC))[1] AS says
         FROM answers WHERE artists.id IS NULL AND pipeline = 'artists' AND answers.key = given.key) paid;

-- name: artists_forecast
-- The waiting items among some numbers of a session by the bytes their row adds to the prompt (as the prompt quotes it, `<` and `>` escaped),
-- in steps of 256 above 4,096: how many there are, of how many the answer was paid for before, and how many of the others
-- end unpaid because of the options.
SELECT CASE WHEN bytes > 4096 THEN (bytes + 255) / 256 * 256 ELSE bytes END AS size,
       sum(items)::bigint AS items, sum(reusable)::bigint AS reusable, sum(free)::bigint AS free
  FROM (SELECT bytes, count(*) AS items, count(*) FILTER (WHERE answered) AS reusable,
               count(*) FILTER (WHERE left_alone AND NOT answered) AS free
          FROM (SELECT octet_length(replace(replace((items.input->'artist_name')::text || (items.input->'artist_data')::text,
                                                    '<', '123456'), '>', '123456')) AS bytes,
                       answers.key IS NOT NULL AS answered,
                       :skip_existing::boolean AND EXISTS (
                           SELECT FROM artists WHERE artists.id = items.key::uuid AND artists.bio IS NOT NULL)
                       OR :must_exist::boolean AND NOT EXISTS (SELECT FROM artists WHERE artists.id = items.key::uuid) AS left_alone
                  FROM items
                  LEFT JOIN answers ON :configuration::text <> '' AND answers.configuration = :configuration::text
                   AND answers.pipeline = 'artists' AND answers.key = items.key AND answers.input_hash = items.input_hash
                   AND items.round = 1
                 WHERE items.session_id = :session::uuid AND items.item_no > :after::bigint AND items.item_no <= :upto::bigint
                   AND (items.outcome IS NULL OR items.outcome = 'skipped' AND items.code = 'dry_run')) waiting
         GROUP BY bytes) measured
 GROUP BY 1;

-- name: artists_lines
-- The result lines of a page of settled items; in write mode `db`, whose answers stand in table artists, short ones.
, lines AS (
    SELECT item_no, settled_in,
           CASE WHEN :minimal::boolean THEN (SELECT row_to_json(brief) FROM (SELECT artist_id, db_status, response_id, error) brief)
                ELSE (SELECT row_to_json(whole) FROM (
                      SELECT item_no, artist_id, input->>'artist_name' AS artist_name, input->>'artist_data' AS artist_data,
                             result->>'text' AS response_text, response_id, result->>'created' AS created, db_status, error,
                             outcome, attempt AS attempts, code, error_code, line,
                             result->>'model' AS model, result->>'prompt' AS prompt, result->'usage' AS usage) whole)
           END::text AS text
      FROM (SELECT page.*, input->>'artist_id' AS artist_id, result->>'response_id' AS response_id, error_message AS error,
                   CASE WHEN outcome = 'failed' THEN 'error' WHEN code IN ('skip_existing', 'resumed') THEN 'skipped'
                        ELSE result->>'db_status' END AS db_status FROM page) named
)

-- name: artists_verify
-- I4 for artists: a row names its last writer and says what that item's result says.
SELECT 'I4' AS rule, format('artist %s names item %s, attempt %s, which says otherwise', a.id, a.item_no, a.attempt) AS finding
  FROM artists a LEFT JOIN items i ON i.session_id = a.session_id AND i.item_no = a.item_no
 WHERE a.session_id = :session::uuid AND (SELECT expired_at IS NULL FROM sessions WHERE id = :session::uuid)
   AND (i.round = 1 OR i.outcome = 'enriched') AND i.finalized_at IS NOT NULL
   AND (i.attempt IS DISTINCT FROM a.attempt OR i.result->>'text' IS DISTINCT FROM a.bio)
LIMIT 100;
