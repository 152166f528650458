-- name: audio_domain
-- The tracks of a settled message, last writer named; with skip-existing one that was read before stays.
, stored AS (
    INSERT INTO audio_tracks AS mine (id, audio_path, status, title, artist, album, genre, year, track, duration, channels,
                                      sample_rate, bitrate, format, thumbnail_path, session_id, item_no, attempt)
    SELECT said.id, said.audio_path, 'COMPLETED', said.title, said.artist, said.album, said.genre, said.year, said.track,
           said.duration, said.channels, said.sample_rate, said.bitrate, said.format, said.thumbnail_path, :session::uuid,
           written.item_no, written.attempt
      FROM written CROSS JOIN LATERAL jsonb_to_record(written.domain) AS said (
           id uuid, audio_path text, title text, artist text, album text, genre text, year integer, track integer,
           duration double precision, channels integer, sample_rate integer, bitrate double precision, format text,
           thumbnail_path text)
     ORDER BY said.id
    ON CONFLICT (id) DO UPDATE
       SET status = 'COMPLETED', title = excluded.title, artist = excluded.artist, album = excluded.album,
           genre = excluded.genre, year = excluded.year, track = excluded.track, duration = excluded.duration,
           channels = excluded.channels, sample_rate = excluded.sample_rate, bitrate = excluded.bitrate,
           format = excluded.format, thumbnail_path = excluded.thumbnail_path, error_code = NULL, error_message = NULL,
           session_id = excluded.session_id, item_no = excluded.item_no, attempt = excluded.attempt, updated_at = now()
     WHERE mine.status <> 'COMPLETED' OR NOT :skip_existing::boolean
    RETURNING mine.item_no
)

-- name: audio_known
-- Which of these tracks were read before.
SELECT id FROM audio_tracks WHERE id = ANY (:ids::uuid[]) AND status = 'COMPLETED';

-- name: audio_held
-- What is known of the files that lines of an earlier run's results name: whether anything is, whether their track is
-- called as the line says, and how. Where the library is written (`domain`) and has the track, it decides; else how the
-- file's item ended in the newest of the sessions with most of these files (looked for among the last 100, with 50 files).
WITH given AS MATERIALIZED (
    SELECT line, key, answer FROM jsonb_to_recordset(:lines::jsonb) AS g (line bigint, key text, answer jsonb)
), sample AS MATERIALIZED (
    SELECT key FROM given ORDER BY md5(key) LIMIT 50
), recent AS MATERIALIZED (
    SELECT id, created_at FROM sessions WHERE pipeline = 'audio' AND id <> :session::uuid AND expired_at IS NULL
     ORDER BY created_at DESC LIMIT 100
), earlier AS MATERIALIZED (
    SELECT recent.id, recent.created_at
      FROM recent CROSS JOIN LATERAL (
           SELECT count(*) AS files FROM items
            WHERE session_id = recent.id AND key = ANY (ARRAY (SELECT key FROM sample)) AND outcome IS DISTINCT FROM 'duplicate'
              AND outcome IS DISTINCT FROM 'merged' AND outcome IS DISTINCT FROM 'rejected') shared
     WHERE files > 0 ORDER BY files DESC, created_at DESC LIMIT 5
), known AS (
    SELECT given.line, answer, track.id IS NOT NULL OR ended.item_no IS NOT NULL AS known,
           CASE WHEN track.id IS NOT NULL THEN track.title ELSE ended.title END AS title
      FROM given
      LEFT JOIN audio_tracks track ON :domain::boolean AND track.audio_path = given.key AND track.status = 'COMPLETED'
      LEFT JOIN LATERAL (
           SELECT item.item_no, item.result->>'title' AS title
             FROM earlier JOIN items item ON item.session_id = earlier.id AND item.key = given.key
              AND item.outcome IS DISTINCT FROM 'duplicate' AND item.outcome IS DISTINCT FROM 'merged'
              AND item.outcome IS DISTINCT FROM 'rejected'
            WHERE item.outcome = 'enriched'
            ORDER BY earlier.created_at DESC LIMIT 1) ended ON true
)
SELECT line, known, known AND (answer IS NULL OR title IS NOT DISTINCT FROM answer->>'title') AS same, left(title, 200) AS says
  FROM known;

-- name: audio_forecast
-- How many files of a session wait among some numbers.
SELECT count(*) AS files FROM items
 WHERE session_id = :session::uuid AND item_no > :after::bigint AND item_no <= :upto::bigint
   AND (outcome IS NULL OR outcome = 'skipped' AND code = 'dry_run');

-- name: audio_lines
-- The result lines of a page of settled items; in write mode `db`, whose answers stand in the library, short ones.
, lines AS (
    SELECT item_no, settled_in,
           CASE WHEN :minimal::boolean THEN (SELECT row_to_json(brief) FROM (
                     SELECT item_no, audio_path, track_id, db_status, error) brief)
                ELSE (SELECT row_to_json(whole) FROM (
                     SELECT item_no, audio_path, track_id, result->>'title' AS title, result->>'artist' AS artist,
                            result->>'album' AS album, result->>'genre' AS genre, result->'year' AS year, result->'track' AS track,
                            result->'duration' AS duration, result->'channels' AS channels, result->'sample_rate' AS sample_rate,
                            result->'bitrate' AS bitrate, result->>'format' AS format, result->'size' AS size,
                            result->>'thumbnail_path' AS thumbnail_path, result->>'cover_note' AS cover_note, db_status, error,
                            outcome, attempt AS attempts, code, error_code, line) whole)
           END::text AS text
      FROM (SELECT page.*, input->>'audio_path' AS audio_path, input->>'track_id' AS track_id, error_message AS error,
                   CASE WHEN outcome = 'failed' THEN 'error' WHEN code IN ('skip_existing', 'resumed') THEN 'skipped'
                        ELSE result->>'db_status' END AS db_status FROM page) named
)

-- name: audio_verify
-- I4 for tracks: one names its last writer, and stands and says what that item's result says.
SELECT 'I4' AS rule, format('track %s names item %s, attempt %s, which says otherwise', t.id, t.item_no, t.attempt) AS finding
  FROM audio_tracks t LEFT JOIN items i ON i.session_id = t.session_id AND i.item_no = t.item_no
 WHERE t.session_id = :session::uuid AND (SELECT expired_at IS NULL FROM sessions WHERE id = :session::uuid)
   AND CASE WHEN i.outcome IS NULL THEN i.item_no IS NULL
            WHEN i.outcome = 'enriched' THEN t.status <> 'COMPLETED' OR i.attempt IS DISTINCT FROM t.attempt
                 OR i.result->>'title' IS DISTINCT FROM t.title OR i.result->>'artist' IS DISTINCT FROM t.artist
            WHEN i.outcome IN ('failed', 'cancelled') THEN t.status NOT IN ('FAILED', 'COMPLETED')
                 OR t.status = 'FAILED' AND i.outcome = 'failed' AND i.error_code IS DISTINCT FROM t.error_code
            ELSE t.status = 'PENDING' END
LIMIT 100;
