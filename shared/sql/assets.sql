-- name: absorb_sheet_rows
-- Keep a chunk's rows as the sheet has them, in the transaction that writes their items, and note where they disagree
-- with what the database knows, or with another row of the sheet.
WITH new AS MATERIALIZED (
    SELECT items.session_id, item_no, file, input->>'row_id' AS row_id, input->>'name' AS name,
           coalesce(input->'cells'->>'link', '') AS link, input->'cells' || coalesce(input->'extra', '{}') AS cells,
           ARRAY (SELECT link->>'source' FROM jsonb_array_elements(input->'links') AS link) AS sources,
           ARRAY (SELECT jsonb_array_elements_text(input->'findings')) AS findings,
           ARRAY (SELECT one->>'group' FROM jsonb_array_elements(input->'tracked') AS one WHERE one->>'status' <> 'completed') AS open_groups
      FROM items
     WHERE items.session_id = :session::uuid AND item_no >= :first::bigint AND item_no < :beyond::bigint
       AND outcome IS DISTINCT FROM 'rejected'
), compared AS (
    SELECT new.*,
           new.sources <> first_value(new.sources) OVER same_person
           OR EXISTS (SELECT FROM sheet_rows other
                       WHERE other.row_id = new.row_id AND other.session_id = new.session_id AND other.sources <> new.sources) AS has_other_links,
           known.name <> new.name AS other_name, known.source_link <> new.link AS other_link,
           EXISTS (SELECT FROM assets
                    WHERE person_row_id = new.row_id AND source = ANY (new.sources) AND download_status = 'uploaded' AND what <> 'listing'
                      AND CASE WHEN asset_type LIKE 'youtube%' THEN 'youtube' ELSE 'drive' END = ANY (new.open_groups)) AS has_the_file
      FROM new LEFT JOIN people known ON known.row_id = new.row_id
    WINDOW same_person AS (PARTITION BY new.row_id ORDER BY new.item_no)
)
INSERT INTO sheet_rows (session_id, item_no, file, row_id, sources, cells, findings)
SELECT session_id, item_no, file, row_id, sources, cells,
       findings || CASE WHEN has_other_links THEN ARRAY['row_id_with_other_links'] ELSE '{}' END
                || CASE WHEN other_name THEN ARRAY['other_name_than_before'] ELSE '{}' END
                || CASE WHEN other_link THEN ARRAY['other_link_than_before'] ELSE '{}' END
                || CASE WHEN has_the_file THEN ARRAY['open_but_the_file_is_here'] ELSE '{}' END
  FROM compared ORDER BY item_no;

-- name: assets_domain
-- What a settled message says of people and their files. A person is as the newest sheet has them. A file that is here
-- stays, whatever failed later; what is only to be fetched never hides what is known of it. `stored` answers the items
-- something of was written.
, persons AS (
    INSERT INTO people AS mine (row_id, name, email, personality_type, source_link, sheet, sheet_at, session_id, item_no, attempt)
    SELECT DISTINCT ON (person.row_id) person.row_id, person.name, person.email, person.personality_type, person.source_link,
           sessions.id, sessions.created_at, sessions.id, written.item_no, written.attempt
      FROM written
     CROSS JOIN LATERAL jsonb_to_record(written.domain->'person') AS person (
           row_id text, name text, email text, personality_type text, source_link text)
      JOIN sessions ON sessions.id = :session::uuid
     WHERE jsonb_typeof(written.domain->'person') = 'object'
     ORDER BY person.row_id, written.item_no
    ON CONFLICT (row_id) DO UPDATE
       SET name = excluded.name, email = excluded.email, personality_type = excluded.personality_type,
           source_link = excluded.source_link, sheet = excluded.sheet, sheet_at = excluded.sheet_at,
           session_id = excluded.session_id, item_no = excluded.item_no, attempt = excluded.attempt, updated_at = now()
     WHERE excluded.sheet_at > mine.sheet_at OR excluded.sheet = mine.sheet AND excluded.item_no <= mine.item_no
    RETURNING mine.item_no
), said AS MATERIALIZED (
    SELECT DISTINCT ON (file.asset_id) written.item_no, written.attempt, file.*
      FROM written
     CROSS JOIN LATERAL jsonb_to_recordset(written.domain->'assets') AS file (
           asset_id uuid, person_row_id text, asset_type text, what text, source text, original_url text, media_id text,
           local_file_path text, cloud_storage_url text, filename text, content_type text, file_size_bytes bigint,
           sha256 text, download_status text, origin text, metadata jsonb, error_code text, error_message text, try_again boolean)
     CROSS JOIN (SELECT count(*) FROM persons) AS first  -- people are locked before files, everywhere
     WHERE file.origin <> 'sheet' OR file.filename IS NULL OR NOT EXISTS (  -- a list of ours that came back
           SELECT FROM assets known
            WHERE known.person_row_id = file.person_row_id AND known.source = file.source AND known.filename = file.filename
              AND known.origin = 'fetch' AND known.asset_id <> file.asset_id)
     ORDER BY file.asset_id, array_position(ARRAY['uploaded', 'downloaded', 'failed', 'pending'], file.download_status), written.item_no
), files AS (
    INSERT INTO assets AS mine (
           asset_id, person_row_id, asset_type, what, source, original_url, media_id, local_file_path, cloud_storage_url,
           filename, content_type, file_size_bytes, sha256, download_status, origin, metadata, error_code, error_message,
           try_again, attempted_at, session_id, item_no, attempt)
    SELECT asset_id, person_row_id, asset_type, what, source, original_url, media_id, local_file_path, cloud_storage_url,
           filename, content_type, file_size_bytes, sha256, download_status, origin, coalesce(metadata, '{}'), error_code,
           error_message, try_again, CASE WHEN origin = 'fetch' AND download_status <> 'pending' THEN now() END,
           :session::uuid, item_no, attempt
      FROM said ORDER BY asset_id
    ON CONFLICT (asset_id) DO UPDATE
       SET source = excluded.source, original_url = excluded.original_url, media_id = excluded.media_id,
           local_file_path = coalesce(excluded.local_file_path, mine.local_file_path),
           cloud_storage_url = excluded.cloud_storage_url, filename = excluded.filename, content_type = excluded.content_type,
           file_size_bytes = excluded.file_size_bytes, sha256 = excluded.sha256, download_status = excluded.download_status,
           origin = excluded.origin, metadata = excluded.metadata, error_code = excluded.error_code,
           error_message = excluded.error_message, try_again = excluded.try_again,
           attempted_at = coalesce(excluded.attempted_at, mine.attempted_at), session_id = excluded.session_id,
           item_no = excluded.item_no, attempt = excluded.attempt, updated_at = now()
     WHERE CASE excluded.download_status
           WHEN 'uploaded' THEN true
           WHEN 'downloaded' THEN mine.download_status <> 'uploaded'
           WHEN 'failed' THEN mine.download_status IN ('pending', 'failed') AND (excluded.origin = 'fetch' OR mine.origin = 'sheet')
           ELSE mine.download_status IN ('pending', 'failed') AND mine.session_id <> excluded.session_id END
    RETURNING mine.item_no
), stored AS (
    SELECT item_no FROM persons UNION SELECT item_no FROM files
)

-- name: assets_known
-- Which of these files are in the media bucket: asked before anything is fetched.
SELECT asset_id::text AS asset_id FROM assets
 WHERE asset_id = ANY (ARRAY (SELECT jsonb_array_elements_text(:assets::jsonb)::uuid)) AND download_status = 'uploaded';

-- name: assets_lines
-- The result lines of a page of settled items; in write mode `db`, whose answers stand in table assets, short ones.
, lines AS (
    SELECT item_no, settled_in,
           CASE WHEN :minimal::boolean
                THEN (SELECT row_to_json(brief) FROM (
                      SELECT item_no, key, row_id, asset_id, cloud_storage_url, db_status, error, outcome, code, parent) brief)
                ELSE (SELECT row_to_json(whole) FROM (
                      SELECT item_no, key, row_id, input->>'name' AS name, input->>'email' AS email, input->>'type' AS type,
                             asset_id, file->>'asset_type' AS asset_type,
                             coalesce(file->>'original_url', input->'links'->0->>'url') AS original_url,
                             file->>'media_id' AS media_id, file->>'filename' AS filename, file->>'content_type' AS content_type,
                             (file->>'file_size_bytes')::bigint AS file_size_bytes, file->>'sha256' AS sha256, cloud_storage_url,
                             file->>'download_status' AS download_status, result->>'failure' AS failure,
                             (result->>'try_again')::boolean AS try_again, (result->>'expanded')::bigint AS expanded,
                             db_status, error, outcome, attempt AS attempts, code, error_code, parent, line) whole)
           END::text AS text
      FROM (SELECT page.*, input->>'row_id' AS row_id, result->'asset' AS file, result->'asset'->>'asset_id' AS asset_id,
                   result->'asset'->>'cloud_storage_url' AS cloud_storage_url, error_message AS error,
                   CASE WHEN outcome = 'failed' THEN 'error' WHEN code IN ('skip_existing', 'resumed') THEN 'skipped'
                        ELSE result->>'db_status' END AS db_status FROM page) named
)

-- name: assets_verify
-- I4 for people and their files: a row names its last writer and says what that item's result says, and a file that was
-- written is there.
WITH facts AS MATERIALIZED (
    SELECT expired_at IS NULL AS kept FROM sessions WHERE id = :session::uuid
)
SELECT 'I4' AS rule, format('file %s names item %s, attempt %s, which says otherwise', a.asset_id, a.item_no, a.attempt) AS finding
  FROM facts JOIN assets a ON a.session_id = :session::uuid AND a.origin = 'fetch' AND a.download_status = 'uploaded'
  LEFT JOIN items i ON i.session_id = a.session_id AND i.item_no = a.item_no
 WHERE facts.kept AND (i.item_no IS NULL
       OR i.finalized_at IS NOT NULL AND i.outcome = 'enriched'
          AND (i.attempt IS DISTINCT FROM a.attempt OR i.result->'asset'->>'sha256' IS DISTINCT FROM a.sha256))
UNION ALL
SELECT 'I4', format('file %s of item %s is gone', i.result->'asset'->>'asset_id', i.item_no)
  FROM items i LEFT JOIN assets a ON a.asset_id = (i.result->'asset'->>'asset_id')::uuid
 WHERE i.session_id = :session::uuid AND i.outcome = 'enriched' AND i.result->>'db_status' = 'updated'
   AND i.result->'asset' IS NOT NULL AND (a.asset_id IS NULL OR a.download_status NOT IN ('uploaded', 'downloaded'))
UNION ALL
SELECT 'I4', format('person %s names item %s, which says otherwise', p.row_id, p.item_no)
  FROM facts JOIN people p ON p.session_id = :session::uuid
  LEFT JOIN items i ON i.session_id = p.session_id AND i.item_no = p.item_no
 WHERE facts.kept AND (i.item_no IS NULL OR i.input->>'row_id' <> p.row_id OR i.input->>'name' <> p.name
                       OR i.input->>'type' IS DISTINCT FROM p.personality_type)
LIMIT 100;

-- name: assets_status
-- The reconciliation of a session's sheet with the database, once its work is done: rows, people, the files the sheet
-- lists and those that were fetched, and where cells disagree. Null while it runs, and where no table is written.
SELECT CASE WHEN completed_epoch = epoch AND options->>'write_mode' IS DISTINCT FROM 'file' AND (options->>'dry_run')::boolean IS NOT TRUE
       THEN (SELECT reconciliation FROM (
             SELECT jsonb_build_object(
                 'rows', (SELECT count(*) FROM sheet_rows WHERE session_id = sessions.id),
                 'people', (SELECT count(DISTINCT row_id) FROM sheet_rows WHERE session_id = sessions.id),
                 'listed', files.listed, 'uploaded', files.uploaded, 'pending', files.pending, 'failed', files.failed,
                 'disagreements', coalesce((
                     SELECT jsonb_object_agg(finding, rows) FROM (
                         SELECT finding, count(*) AS rows FROM sheet_rows CROSS JOIN LATERAL unnest(findings) AS finding
                          WHERE session_id = sessions.id AND findings <> '{}' GROUP BY finding) counted), '{}')) AS reconciliation
               FROM (SELECT count(*) FILTER (WHERE download_status = 'downloaded') AS listed,
                            count(*) FILTER (WHERE download_status = 'uploaded') AS uploaded,
                            count(*) FILTER (WHERE download_status = 'pending') AS pending,
                            count(*) FILTER (WHERE download_status = 'failed') AS failed
                       FROM assets WHERE session_id = sessions.id AND what <> 'listing') files) summed) END AS sheet
  FROM sessions WHERE id = :session::uuid;

-- name: assets_manifest
-- What the manifest tells of a session's sheet: the same, and the first rows whose cells disagree.
SELECT jsonb_build_object(
           'rows', (SELECT count(*) FROM sheet_rows WHERE session_id = :session::uuid),
           'people', (SELECT count(DISTINCT row_id) FROM sheet_rows WHERE session_id = :session::uuid),
           'listed', count(*) FILTER (WHERE download_status = 'downloaded'),
           'uploaded', count(*) FILTER (WHERE download_status = 'uploaded'),
           'pending', count(*) FILTER (WHERE download_status = 'pending'),
           'failed', count(*) FILTER (WHERE download_status = 'failed'),
           'disagreements', coalesce((
               SELECT jsonb_object_agg(finding, rows) FROM (
                   SELECT finding, count(*) AS rows FROM sheet_rows CROSS JOIN LATERAL unnest(findings) AS finding
                    WHERE session_id = :session::uuid AND findings <> '{}' GROUP BY finding) counted), '{}')) AS sheet,
       coalesce((SELECT jsonb_agg(jsonb_build_object('item_no', item_no, 'row_id', row_id, 'findings', to_jsonb(findings)) ORDER BY item_no)
                   FROM (SELECT item_no, row_id, findings FROM sheet_rows
                          WHERE session_id = :session::uuid AND findings <> '{}' ORDER BY item_no LIMIT 1000) first), '[]')
           AS disagreements_first_1000
  FROM assets WHERE session_id = :session::uuid AND what <> 'listing';

-- name: assets_held
-- What the database has of the rows that lines of an earlier run's results name: whether anything is known, whether it is
-- the line's and nothing of the row is left to do, and what it says. Where a table is written (`domain`) and has the
-- person, it decides; else how the items of the row ended in the newest of the sessions with most of these rows (looked
-- for among the last 100, with 50 rows). Keys of all items of a row begin with the person's.
WITH given AS MATERIALIZED (
    SELECT line, key, answer FROM jsonb_to_recordset(:lines::jsonb) AS g (line bigint, key text, answer jsonb)
), sample AS MATERIALIZED (
    SELECT key FROM given ORDER BY md5(key) LIMIT 50
), recent AS MATERIALIZED (
    SELECT id, created_at FROM sessions WHERE pipeline = 'assets' AND id <> :session::uuid AND expired_at IS NULL
     ORDER BY created_at DESC LIMIT 100
), earlier AS MATERIALIZED (
    SELECT recent.id, recent.created_at
      FROM recent CROSS JOIN LATERAL (
           SELECT count(*) AS people FROM items
            WHERE session_id = recent.id AND key = ANY (ARRAY (SELECT key FROM sample)) AND outcome IS DISTINCT FROM 'duplicate'
              AND outcome IS DISTINCT FROM 'merged' AND outcome IS DISTINCT FROM 'rejected') shared
     WHERE people > 0 ORDER BY people DESC, created_at DESC LIMIT 5
), known AS (
    SELECT given.line, answer->>'sha256' AS digest, person.row_id IS NOT NULL AS in_table, ended.id IS NOT NULL AS in_ledger,
           CASE WHEN person.row_id IS NOT NULL THEN files.open ELSE ended.open END AS open,
           CASE WHEN person.row_id IS NOT NULL THEN files.digests ELSE ended.digests END AS digests
      FROM given LEFT JOIN people person ON :domain::boolean AND person.row_id = answer->>'row_id'
      LEFT JOIN LATERAL (
           SELECT count(*) FILTER (WHERE download_status IN ('pending', 'failed')
                                     AND error_code IS DISTINCT FROM 'upstream.no_captions'
                                     AND error_code IS DISTINCT FROM 'sheet.failed'
                                     AND error_code IS DISTINCT FROM 'input.not_a_file') AS open,
                  jsonb_agg(sha256) AS digests
             FROM assets WHERE person_row_id = person.row_id AND what <> 'listing') files ON true
      LEFT JOIN LATERAL (
           SELECT earlier.id, of_row.open, of_row.digests
             FROM earlier CROSS JOIN LATERAL (
                  SELECT count(*) AS items, jsonb_agg(result->'asset'->>'sha256') AS digests,
                         count(*) FILTER (WHERE outcome IS NULL OR outcome IN ('failed', 'cancelled')
                                             OR code IN ('row_only', 'not_in_mode', 'dry_run')) AS open
                    FROM items
                   WHERE session_id = earlier.id AND outcome IS DISTINCT FROM 'duplicate' AND outcome IS DISTINCT FROM 'merged'
                     AND outcome IS DISTINCT FROM 'rejected'
                     AND (key = answer->>'row_id' OR key > (answer->>'row_id') || ' ' AND key < (answer->>'row_id') || '!')) of_row
            WHERE of_row.items > 0
            ORDER BY earlier.created_at DESC LIMIT 1) ended ON person.row_id IS NULL
)
SELECT line, in_table OR in_ledger AS known,
       (in_table OR in_ledger) AND coalesce(open, 0) = 0
       AND (digest IS NULL OR coalesce(digests ? digest, false)) AS same,
       CASE WHEN coalesce(open, 0) > 0 THEN format('%s of its files failed, or are still to come', open)
            ELSE 'other files' END AS says
  FROM known;

-- name: assets_forecast
-- How many items wait among some numbers, and how many links they have.
SELECT count(*) AS items, coalesce(sum(CASE WHEN input ? 'want' THEN 1 ELSE jsonb_array_length(input->'links') END), 0)::bigint AS links
  FROM items
 WHERE session_id = :session::uuid AND item_no > :after::bigint AND item_no <= :upto::bigint
   AND (outcome IS NULL OR outcome = 'skipped' AND code = 'dry_run');

-- name: person
-- One person, as the newest sheet has them.
SELECT row_id, name, email, personality_type, source_link, sheet, created_at, updated_at FROM people WHERE row_id = :row_id;

-- name: files_of_person
-- The files of a person, a page of them.
SELECT asset_id, asset_type, original_url, media_id, local_file_path, cloud_storage_url, filename, content_type,
       file_size_bytes, sha256, download_status, metadata, error_code, error_message, try_again, attempted_at, updated_at
  FROM assets
 WHERE person_row_id = :row_id AND (what <> 'listing' OR download_status = 'failed') AND asset_id > :after::uuid
 ORDER BY asset_id LIMIT :size::integer;

-- name: asset
-- One file.
SELECT asset_id, person_row_id, cloud_storage_url, filename, content_type, file_size_bytes, sha256, download_status
  FROM assets WHERE asset_id = :asset::uuid;

-- name: bring_file
-- A file that a person's sheet lists is in the media bucket now. No row: the sheet lists none of this name.
UPDATE assets
   SET cloud_storage_url = :url, sha256 = :sha256, file_size_bytes = :size::bigint, content_type = :content_type,
       filename = coalesce(filename, local_file_path), download_status = 'uploaded', updated_at = now()
 WHERE person_row_id = :row_id AND local_file_path = :file
   AND (download_status = 'downloaded' OR download_status = 'uploaded' AND sha256 = :sha256)
RETURNING asset_id;

-- name: sheets
-- The sheets that people's newest rows stand in, the oldest first, each with the layouts of its files.
SELECT sheet AS session_id,
       (SELECT jsonb_agg(layout ORDER BY id) FROM files WHERE files.session_id = sheet AND layout IS NOT NULL) AS layouts
  FROM people GROUP BY sheet ORDER BY min(sheet_at), sheet;

-- name: sheet
-- The same of one session's sheet.
SELECT id AS session_id,
       (SELECT jsonb_agg(layout ORDER BY id) FROM files WHERE files.session_id = sessions.id AND layout IS NOT NULL) AS layouts
  FROM sessions WHERE id = :session::uuid;

-- name: sheet_page
-- A page of a sheet's rows, each with what was fetched of its links, in the order of the file. `newest`: only people no
-- newer sheet names.
WITH page AS MATERIALIZED (
    SELECT item_no, row_id, sources, cells FROM sheet_rows
     WHERE session_id = :session::uuid AND item_no > :after::bigint
       AND (NOT :newest::boolean OR EXISTS (
            SELECT FROM people WHERE people.row_id = sheet_rows.row_id AND people.sheet = :session::uuid))
     ORDER BY item_no LIMIT :size::integer
)
SELECT page.item_no, page.cells, page.sources, files.found AS files
  FROM page LEFT JOIN LATERAL (
       SELECT jsonb_agg(jsonb_build_object(
                  'asset_id', asset_id, 'asset_type', asset_type, 'what', what, 'source', source, 'media_id', media_id,
                  'filename', filename, 'cloud_storage_url', cloud_storage_url, 'download_status', download_status,
                  'origin', origin, 'error_code', error_code, 'error_message', error_message, 'try_again', try_again,
                  'attempted_at', attempted_at)
                  ORDER BY array_position(page.sources, source), array_position(ARRAY['listing', 'video', 'transcript', 'file', 'document_pdf', 'document_text'], what),
                           filename, asset_id) AS found
         FROM assets WHERE person_row_id = page.row_id AND source = ANY (page.sources)) files ON true
 ORDER BY page.item_no;

-- name: sheet_copies_due
-- The session that keeps its sheet in the results bucket and waits longest for it to be written there, having changed.
SELECT sessions.id, sessions.epoch, sessions.worked_at
  FROM sessions LEFT JOIN sheet_copies copy ON copy.session_id = sessions.id
 WHERE sessions.completed_epoch IS DISTINCT FROM sessions.epoch AND sessions.expired_at IS NULL
   AND sessions.pipeline = 'assets' AND sessions.options->>'dual_write' = 'true' AND sessions.worked_at IS NOT NULL
   AND (copy.session_id IS NULL OR copy.due_at <= now() AND (copy.epoch, copy.worked_at) IS DISTINCT FROM (sessions.epoch, sessions.worked_at))
 ORDER BY copy.due_at NULLS FIRST LIMIT 1;

-- name: note_sheet_copy
-- A session's sheet is in the results bucket as it was at that moment; the next may be written in so many seconds.
INSERT INTO sheet_copies (session_id, epoch, worked_at, due_at)
VALUES (:session::uuid, :epoch::bigint, :worked_at::timestamptz, now() + :pause * interval '1 second')
ON CONFLICT (session_id) DO UPDATE
   SET epoch = excluded.epoch, worked_at = excluded.worked_at, due_at = excluded.due_at;
