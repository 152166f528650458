-- name: plan_with_values
-- Have the transaction's statements planned for their values: which way is quick depends on how common they are.
SET LOCAL plan_cache_mode = 'force_custom_plan';

-- name: save_tracks
-- Write what a program knows of some tracks, one for each path; of one that is there the status stays as it is.
INSERT INTO audio_tracks AS mine (id, audio_path, status, title, artist, album, genre, year, track, duration, channels, sample_rate,
                                  bitrate, format, thumbnail_path)
SELECT id, audio_path, status, title, artist, album, genre, year, track, duration, channels, sample_rate, bitrate, format, thumbnail_path
  FROM jsonb_to_recordset(:tracks::jsonb) AS given (
       id uuid, audio_path text, status text, title text, artist text, album text, genre text, year integer, track integer,
       duration double precision, channels integer, sample_rate integer, bitrate double precision, format text, thumbnail_path text)
 ORDER BY id
ON CONFLICT (id) DO UPDATE
   SET title = excluded.title, artist = excluded.artist, album = excluded.album, genre = excluded.genre, year = excluded.year,
       track = excluded.track, duration = excluded.duration, channels = excluded.channels, sample_rate = excluded.sample_rate,
       bitrate = excluded.bitrate, format = excluded.format, thumbnail_path = excluded.thumbnail_path,
       session_id = NULL, item_no = NULL, attempt = NULL, updated_at = now()
RETURNING id;

-- name: tracks_by_ids
-- Some tracks, by their ids.
SELECT id, status, title, artist, album, genre, year, track, duration, channels, sample_rate, bitrate, format, audio_path,
       thumbnail_path, error_code, error_message, retry_count, session_id, item_no, created_at, updated_at
  FROM audio_tracks WHERE id = ANY (:ids::uuid[]);

-- name: tracks_up
-- A page of tracks in ascending order of a key, with the key of each.
SELECT id, status, title, artist, album, genre, year, track, duration, channels, sample_rate, bitrate, format, audio_path,
       thumbnail_path, error_code, error_message, retry_count, session_id, item_no, created_at, updated_at, ({sort_key})::text AS key
  FROM audio_tracks
 WHERE (:status::text IS NULL OR status = :status)
   AND (:after::uuid IS NULL OR ({sort_key}, id) > (:after_key::text::{sort_type}, :after::uuid))
 ORDER BY {sort_key}, id LIMIT :size::integer OFFSET :offset::bigint;

-- name: tracks_down
-- The same in descending order.
SELECT id, status, title, artist, album, genre, year, track, duration, channels, sample_rate, bitrate, format, audio_path,
       thumbnail_path, error_code, error_message, retry_count, session_id, item_no, created_at, updated_at, ({sort_key})::text AS key
  FROM audio_tracks
 WHERE (:status::text IS NULL OR status = :status)
   AND (:after::uuid IS NULL OR ({sort_key}, id) < (:after_key::text::{sort_type}, :after::uuid))
 ORDER BY {sort_key} DESC, id DESC LIMIT :size::integer OFFSET :offset::bigint;

-- name: created_at_sort_key
created_at

-- name: created_at_sort_type
timestamptz

-- name: title_sort_key
"left"(fold_text(coalesce(title, '')), 100) COLLATE "C"

-- name: title_sort_type
text

-- name: artist_sort_key
"left"(fold_text(coalesce(artist, '')), 100) COLLATE "C"

-- name: artist_sort_type
text

-- name: year_sort_key
coalesce(year, 0)

-- name: year_sort_type
integer

-- name: count_tracks
-- How many tracks there are, of one status if that is asked.
SELECT count(*) AS total FROM audio_tracks WHERE (:status::text IS NULL OR status = :status);

-- name: question
-- What a person's words ask for: how it reads, how many words it has (none: nothing can be looked for), and about how
-- many tracks match.
SELECT asked::text AS question, numnode(asked) AS words, CASE WHEN numnode(asked) > 0 THEN expected_tracks(asked) ELSE 0 END AS expected
  FROM words_asked(:words, :prefix::boolean) AS asked;

-- name: search_tracks
-- The best of the tracks that match, all of them ranked while they are no more than `most`, and how many that are.
WITH matching AS MATERIALIZED (
    SELECT id, ts_rank(search_vector, :question::tsquery, 1) AS rank FROM audio_tracks
     WHERE search_vector @@ :question::tsquery
       AND (:status::text IS NULL OR status = :status) AND (:format::text IS NULL OR format = :format)
       AND (:genre::text IS NULL OR lower(genre) = lower(:genre))
       AND (:year_from::integer IS NULL OR year >= :year_from) AND (:year_to::integer IS NULL OR year <= :year_to)
     LIMIT :most::integer
), {ranked}

-- name: search_shortest_tracks
-- The same among the 5,000 tracks with the fewest words, where a word is so common that ranking all of its tracks would
-- take too long: few words are what ranks a track high. Reading ends when `enough` match.
WITH shortest AS MATERIALIZED (
    SELECT id, ts_rank(search_vector, :question::tsquery, 1) AS rank
      FROM (SELECT id, search_vector, status, format, genre, year FROM audio_tracks WHERE length(search_vector) > 0
             ORDER BY length(search_vector), id LIMIT 5000) first
     WHERE search_vector @@ :question::tsquery
       AND (:status::text IS NULL OR status = :status) AND (:format::text IS NULL OR format = :format)
       AND (:genre::text IS NULL OR lower(genre) = lower(:genre))
       AND (:year_from::integer IS NULL OR year >= :year_from) AND (:year_to::integer IS NULL OR year <= :year_to)
     LIMIT :enough::integer
), matching AS (
    SELECT id, rank FROM shortest
), {ranked}

-- name: tracks_ranked
ranked AS MATERIALIZED (
    SELECT id, rank, count(*) OVER () AS found FROM matching WHERE rank >= :min_rank::real
), page AS MATERIALIZED (
    SELECT id, rank, found FROM ranked
     WHERE :after::uuid IS NULL OR (-rank, id) > (-:after_rank::real, :after::uuid)
     ORDER BY rank DESC, id LIMIT :size::integer OFFSET :offset::bigint
)
SELECT coalesce((SELECT found FROM ranked LIMIT 1), 0) AS found, page.rank::text AS rank, mine.id, status, title, artist, album, genre,
       year, track, duration, channels, sample_rate, bitrate, format, audio_path, thumbnail_path, error_code, error_message,
       retry_count, session_id, item_no, created_at, updated_at
  FROM (SELECT) one LEFT JOIN page ON true LEFT JOIN audio_tracks mine ON mine.id = page.id
 ORDER BY page.rank DESC, page.id;

-- name: move_tracks
-- Change the status of some tracks where that is a move there is, and note who did it. With `whole` none is moved unless
-- all can be.
WITH given AS (
    SELECT DISTINCT unnest(:ids::uuid[]) AS id
), locked AS MATERIALIZED (
    SELECT id, status FROM audio_tracks WHERE id = ANY (:ids::uuid[]) ORDER BY id FOR NO KEY UPDATE
), judged AS MATERIALIZED (
    SELECT given.id, locked.status AS stood,
           CASE WHEN locked.id IS NULL THEN 'unknown'
                WHEN (locked.status, :status::text) IN (('PENDING', 'PROCESSING'), ('PROCESSING', 'COMPLETED'),
                                                        ('PROCESSING', 'FAILED'), ('FAILED', 'PROCESSING')) THEN 'moved'
                ELSE 'refused' END AS verdict
      FROM given LEFT JOIN locked ON locked.id = given.id
), chosen AS MATERIALIZED (
    SELECT id, stood FROM judged
     WHERE verdict = 'moved' AND NOT (:whole::boolean AND EXISTS (SELECT FROM judged WHERE verdict <> 'moved'))
), moved AS (
    UPDATE audio_tracks track
       SET status = :status, error_code = :error_code, error_message = :error_message, updated_at = now(),
           retry_count = retry_count + (chosen.stood = 'FAILED')::integer
      FROM chosen WHERE track.id = chosen.id
    RETURNING track.id
), noted AS (
    INSERT INTO audio_track_changes (track_id, actor, from_status, to_status, error_code)
    SELECT chosen.id, :actor, chosen.stood, :status, :error_code FROM chosen JOIN moved ON moved.id = chosen.id ORDER BY chosen.id
)
SELECT judged.id, judged.stood, judged.verdict, moved.id IS NOT NULL AS moved FROM judged LEFT JOIN moved ON moved.id = judged.id;

-- name: track_changes
-- What programs changed about the status of a track, the newest first.
SELECT at, actor, from_status, to_status, error_code FROM audio_track_changes
 WHERE track_id = :track::uuid ORDER BY id DESC LIMIT 1000;
