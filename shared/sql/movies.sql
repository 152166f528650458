-- name: known_films
-- Before a chunk is written: which of some URIs the session's records or a person's decisions name already, and which of
-- some names with years the records do.
WITH asked AS MATERIALIZED (
    SELECT ARRAY (SELECT jsonb_array_elements_text(:uris::jsonb)) AS uris,
           ARRAY (SELECT jsonb_array_elements_text(:aliases::jsonb)) AS aliases
), named AS (
    SELECT film AS uri FROM film_records
     WHERE session_id = :session::uuid AND film = ANY ((SELECT uris FROM asked)::text[])
    UNION
    SELECT uri FROM film_records
     WHERE session_id = :session::uuid AND NOT maker AND uri = ANY ((SELECT uris FROM asked)::text[])
    UNION
    SELECT film FROM match_overrides WHERE film = ANY ((SELECT uris FROM asked)::text[])
), called AS (
    SELECT DISTINCT alias FROM film_records
     WHERE session_id = :session::uuid AND alias = ANY ((SELECT aliases FROM asked)::text[])
)
SELECT (SELECT coalesce(jsonb_agg(uri), '[]') FROM named) AS uris, (SELECT coalesce(jsonb_agg(alias), '[]') FROM called) AS aliases;

-- name: keep_lone_films
-- Last of a chunk's merge: note the new records that are each the only one of their film, and write their films. Their
-- items stand as they are to be.
WITH lone AS MATERIALIZED (
    SELECT session_id, item_no, key, input, input_hash, input->>'kind' AS kind, input->>'name' AS name,
           (input->>'year')::integer AS year
      FROM items WHERE session_id = :session::uuid AND item_no >= :first::bigint AND item_no < :beyond::bigint
       AND outcome IS NULL
       AND item_no NOT IN (SELECT jsonb_array_elements_text(:together::jsonb)::bigint)
     ORDER BY item_no
), kept AS (
    INSERT INTO film_records (session_id, item_no, kind, uri, alias, link, maker, digest, film, asked)
    SELECT session_id, item_no, kind, key, concat(name, ' (', year, ')'), key, true, input_hash, key,
           concat(name, ' (', year, ')')
      FROM lone
)
INSERT INTO movies (session_id, item_no, letterboxd_uri, title, year, rating, watched_date, logged_date, liked, in_watchlist)
SELECT session_id, item_no, key, name, year, CASE WHEN kind = 'rating' THEN (input->>'rating')::numeric END,
       CASE WHEN kind = 'watched' THEN (input->>'date')::date END, CASE WHEN kind = 'watched' THEN (input->>'date')::date END,
       kind = 'like', kind = 'watchlist'
  FROM lone WHERE :domain::boolean;

-- name: keep_film_records
-- First of a chunk's merge: note what the new records are and name that may belong with others. A record the session has
-- word for word is left out.
INSERT INTO film_records (session_id, item_no, kind, uri, alias, link, maker, digest, film)
SELECT session_id, item_no, kind, uri, alias, link, maker, input_hash, CASE WHEN maker THEN uri END
  FROM (SELECT session_id, item_no, kind, alias, link, input_hash,
               CASE WHEN kind NOT IN ('diary', 'review') THEN coalesce(link, 'title:' || alias) END AS uri,
               kind IN ('watched', 'rating', 'like') OR kind = 'watchlist' AND :watchlist::boolean OR kind = 'diary' AND link IS NOT NULL AS maker
          FROM (SELECT session_id, item_no, input_hash, input->>'kind' AS kind, coalesce(input->>'uri', input->>'entry') AS link,
                       concat(input->>'name', ' (', input->>'year', ')') AS alias
                  FROM items WHERE session_id = :session::uuid AND item_no >= :first::bigint AND item_no < :beyond::bigint
                   AND outcome = 'merged' ORDER BY item_no) said) new
ON CONFLICT (session_id, digest) DO NOTHING
RETURNING item_no;

-- name: settle_repeated_records
-- The new records that were left out are duplicates of those that are kept.
UPDATE items
   SET outcome = 'duplicate', code = 'same_record', parent = kept.item_no,
       error_message = format('The same record stands in item %s.', kept.item_no)
  FROM film_records kept
 WHERE items.session_id = :session::uuid AND items.item_no >= :first::bigint AND items.item_no < :beyond::bigint
   AND items.outcome = 'merged' AND kept.session_id = items.session_id AND kept.digest = items.input_hash
   AND kept.item_no <> items.item_no;

-- name: supersede_film_records
-- Of several entries of one kind and link the newest says how it is; answers the films of the older ones.
WITH alike AS MATERIALIZED (
    SELECT item_no, max(item_no) OVER (PARTITION BY kind, link) AS newest FROM film_records
     WHERE session_id = :session::uuid AND kind IN ('diary', 'review') AND NOT superseded
       AND link = ANY (ARRAY (SELECT DISTINCT link FROM film_records
                               WHERE session_id = :session::uuid AND item_no >= :first::bigint AND kind IN ('diary', 'review')))
), older AS (
    UPDATE film_records SET superseded = true
     WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM alike WHERE item_no < newest))
    RETURNING film
)
SELECT coalesce(jsonb_agg(DISTINCT film), '[]') AS films FROM older WHERE film IS NOT NULL;

-- name: place_film_records
-- Say anew which film each record belongs to that the new ones may have a say in: those of the same name and year, and
-- watchlist entries of the same film. (One that makes a film known and names it has it from the start.) Answers the films
-- that gained or lost a record. (Windows and arrays, not joins: tables without statistics had the planner compare every
-- pair of a chunk.)
WITH touched AS MATERIALIZED (
    SELECT alias FROM film_records WHERE session_id = :session::uuid AND item_no >= :first::bigint
    UNION
    SELECT alias FROM film_records
     WHERE session_id = :session::uuid AND NOT maker AND uri = ANY (ARRAY (
           SELECT DISTINCT uri FROM film_records WHERE session_id = :session::uuid AND item_no >= :first::bigint AND uri IS NOT NULL))
), named AS MATERIALIZED (
    SELECT item_no, CASE WHEN item_no < :first::bigint THEN film END AS film_before, uri, alias, maker,
           min(uri) FILTER (WHERE maker) OVER same AS one_film, max(uri) FILTER (WHERE maker) OVER same AS other_film,
           bool_or(maker AND uri IS NULL) OVER same AS in_diary
      FROM film_records
     WHERE session_id = :session::uuid AND alias = ANY (ARRAY (SELECT alias FROM touched))
    WINDOW same AS (PARTITION BY alias)
), placed AS MATERIALIZED (
    SELECT item_no, film_before,
           CASE WHEN maker AND uri IS NOT NULL THEN uri
                WHEN uri IS NOT NULL THEN (SELECT known.film FROM film_records known WHERE known.session_id = :session::uuid
                                              AND known.film = named.uri AND known.uri = named.uri AND known.maker LIMIT 1)
                WHEN one_film = other_film THEN one_film
                WHEN one_film IS NULL AND in_diary THEN 'title:' || alias END AS film
      FROM named
), moved AS (
    UPDATE film_records SET film = placed.film FROM placed
     WHERE session_id = :session::uuid AND film_records.item_no = placed.item_no AND film_records.film IS DISTINCT FROM placed.film
)
SELECT coalesce(jsonb_agg(DISTINCT key), '[]') AS films
  FROM placed CROSS JOIN LATERAL (VALUES (film), (film_before)) AS changed (key)
 WHERE film IS DISTINCT FROM film_before AND key IS NOT NULL;

-- name: join_film_records
-- Settle the records of some films as merged into the item that owns the film, also one that owned a film until now.
-- Answers the items it changed.
UPDATE items
   SET state = 'completed', outcome = 'merged', code = member.kind, parent = member.owner, key = member.film,
       finalized_at = now(), due_at = NULL, dispatched_at = NULL, lease_expires_at = NULL, claim = NULL, result = NULL,
       error_code = NULL, error_message = NULL
  FROM film_members member
 WHERE member.session_id = :session::uuid AND member.film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
   AND member.item_no <> member.owner AND items.session_id = member.session_id AND items.item_no = member.item_no
   AND (items.outcome IS DISTINCT FROM 'merged' OR items.parent IS DISTINCT FROM member.owner OR items.key IS DISTINCT FROM member.film)
RETURNING items.item_no;

-- name: detach_film_records
-- Settle the records that belong to no film: a diary entry with no film of its name or two of them, a film that is only
-- on the watchlist. What changes that brings them back. Answers the items it changed.
UPDATE items
   SET state = 'completed', outcome = CASE WHEN lost.kind = 'watchlist' THEN 'skipped' ELSE 'needs_review' END,
       code = CASE WHEN lost.kind = 'watchlist' THEN 'watchlist_only' ELSE 'unresolved' END,
       error_message = lost.reason, parent = NULL, key = NULL, finalized_at = now(), due_at = NULL, dispatched_at = NULL,
       lease_expires_at = NULL, claim = NULL, result = NULL, error_code = NULL
  FROM (SELECT r.item_no, r.kind,
               CASE WHEN r.kind = 'watchlist' THEN 'Only on the watchlist; with option watchlist=true such films are enriched too.'
                    WHEN EXISTS (SELECT FROM film_records f WHERE f.session_id = r.session_id AND f.alias = r.alias AND f.maker AND f.uri IS NOT NULL)
                    THEN format('More than one film of this export is called %s; the entry does not say which.', regexp_replace(r.alias, ' \(\)$', ''))
                    ELSE format('No film of this export is called %s; it waits for the file that has it.', regexp_replace(r.alias, ' \(\)$', '')) END AS reason
          FROM film_records r
         WHERE r.session_id = :session::uuid AND r.film IS NULL
           AND r.alias = ANY (ARRAY (SELECT DISTINCT alias FROM film_records WHERE session_id = :session::uuid AND item_no >= :first::bigint))) lost
 WHERE items.session_id = :session::uuid AND items.item_no = lost.item_no
   AND (items.outcome NOT IN ('skipped', 'needs_review') OR items.outcome IS NULL OR items.key IS NOT NULL
        OR items.error_message IS DISTINCT FROM lost.reason)
RETURNING items.item_no;

-- name: carry_decisions
-- What a person decided about a film known by name and year alone holds for the URI it is found under now.
INSERT INTO match_overrides (film, tmdb_id, session_id, item_no)
SELECT member.film, chosen.tmdb_id, chosen.session_id, chosen.item_no
  FROM film_members member
  JOIN items ON items.session_id = member.session_id AND items.item_no = member.item_no
  JOIN match_overrides chosen ON chosen.film = items.key
 WHERE member.session_id = :session::uuid AND member.film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
   AND member.item_no = member.owner AND member.owns AND items.key <> member.film
ON CONFLICT (film) DO NOTHING;

-- name: seat_film_owners
-- Give every film's owner the film's key, and its turn where it is new to that.
UPDATE items
   SET key = member.film, state = CASE WHEN member.owns THEN items.state ELSE 'available' END,
       outcome = CASE WHEN member.owns THEN items.outcome END, code = CASE WHEN member.owns THEN items.code END,
       finalized_at = CASE WHEN member.owns THEN items.finalized_at END,
       attempt = items.attempt + (NOT member.owns AND items.item_no < :first::bigint)::integer,
       failures = CASE WHEN member.owns THEN items.failures ELSE 0 END, parent = NULL,
       error_message = CASE WHEN member.owns THEN items.error_message END
  FROM film_members member
 WHERE member.session_id = :session::uuid AND member.film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
   AND member.item_no = member.owner AND items.session_id = member.session_id AND items.item_no = member.item_no
   AND (NOT member.owns OR items.key IS DISTINCT FROM member.film);

-- name: reopen_renamed_films
-- Give films their turn again for which the new records change what is asked: their name, or that a person decided
-- about the URI they have now.
WITH owners AS MATERIALIZED (
    SELECT r.film, (array_agg(r.alias ORDER BY film_record_rank(r)))[1] AS name,
           min(r.item_no) FILTER (WHERE i.key IS NOT NULL AND i.outcome IS DISTINCT FROM 'merged') AS item_no
      FROM film_records r JOIN items i ON i.session_id = r.session_id AND i.item_no = r.item_no
     WHERE r.session_id = :session::uuid AND r.film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
     GROUP BY r.film
), asking AS MATERIALIZED (
    SELECT owners.item_no, record.asked AS asked_before, coalesce('decided ' || chosen.film, owners.name) AS asked
      FROM owners JOIN film_records record ON record.session_id = :session::uuid AND record.item_no = owners.item_no
      LEFT JOIN match_overrides chosen ON chosen.film = owners.film
), noted AS (
    UPDATE film_records SET asked = asking.asked FROM asking
     WHERE session_id = :session::uuid AND film_records.item_no = asking.item_no AND asking.asked IS DISTINCT FROM asking.asked_before
)
UPDATE items
   SET state = 'available', attempt = items.attempt + 1, outcome = NULL, code = NULL, finalized_at = NULL, failures = 0,
       due_at = NULL, dispatched_at = NULL, lease_expires_at = NULL, claim = NULL, result = NULL, error_code = NULL, error_message = NULL
  FROM asking
 WHERE items.session_id = :session::uuid AND items.item_no = asking.item_no AND asking.asked <> asking.asked_before
   AND (items.code IS DISTINCT FROM 'resumed' OR asking.asked LIKE 'decided %');  -- nobody asked for that one

-- name: renew_settled_films
-- Have the lines of films that were settled before come again in settle order: they may say more now.
WITH locked AS MATERIALIZED (
    SELECT item_no FROM items
     WHERE session_id = :session::uuid AND key = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
       AND outcome IS DISTINCT FROM 'duplicate' AND outcome IS DISTINCT FROM 'merged' AND outcome IS DISTINCT FROM 'rejected'
       AND finalized_at IS NOT NULL AND settled_in <> pg_current_xact_id()
     ORDER BY item_no FOR NO KEY UPDATE
)
UPDATE items SET settled_in = pg_current_xact_id()
 WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM locked));

-- name: drop_former_movies
-- Items that own no film any more have no row among the films.
DELETE FROM movies WHERE session_id = :session::uuid AND item_no = ANY (:item_nos::bigint[]);

-- name: store_movies
-- Write what the records of some films say together; what TMDB said stays.
INSERT INTO movies AS mine (session_id, item_no, letterboxd_uri, title, year, rating, watched_date, logged_date, liked, in_watchlist,
                            diary_count, review_count, tags)
SELECT session_id, item_no, letterboxd_uri, title, year, rating, watched_date, logged_date, liked, in_watchlist,
       diary_count, review_count, tags
  FROM film_facts
 WHERE session_id = :session::uuid AND film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
ON CONFLICT (session_id, item_no) DO UPDATE
   SET letterboxd_uri = excluded.letterboxd_uri, title = excluded.title, year = excluded.year, rating = excluded.rating,
       watched_date = excluded.watched_date, logged_date = excluded.logged_date, liked = excluded.liked,
       in_watchlist = excluded.in_watchlist, diary_count = excluded.diary_count, review_count = excluded.review_count,
       tags = excluded.tags, updated_at = now();

-- name: drop_entries
-- Make room for `store_diary` and `store_reviews`, and forget the entries that lost their film. (Joined, without
-- statistics, every entry of a chunk was compared with all of the session: four fifths of the time of a diary.)
WITH touched AS MATERIALIZED (
    SELECT item_no FROM film_records
     WHERE session_id = :session::uuid AND kind IN ('diary', 'review')
       AND film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
    UNION
    SELECT item_no FROM film_records WHERE session_id = :session::uuid AND film IS NULL
       AND alias = ANY (ARRAY (SELECT DISTINCT alias FROM film_records WHERE session_id = :session::uuid AND item_no >= :first::bigint))
), diary AS (
    DELETE FROM diary_entries WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM touched))
)
DELETE FROM reviews WHERE session_id = :session::uuid AND item_no = ANY (ARRAY (SELECT item_no FROM touched));

-- name: store_diary
-- Write the viewings of some films.
INSERT INTO diary_entries (session_id, item_no, film_no, entry_uri, watched_date, logged_date, rating, rewatch, tags)
SELECT items.session_id, items.item_no, member.owner, items.input->>'entry', (items.input->>'watched_date')::date,
       (items.input->>'date')::date, (items.input->>'rating')::numeric, coalesce((items.input->>'rewatch')::boolean, false),
       coalesce(items.input->'tags', '[]')
  FROM film_members member JOIN items ON items.session_id = member.session_id AND items.item_no = member.item_no
 WHERE member.session_id = :session::uuid AND member.film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
   AND member.kind = 'diary' AND NOT member.superseded;

-- name: store_reviews
-- Write the reviews of some films.
INSERT INTO reviews (session_id, item_no, film_no, entry_uri, watched_date, logged_date, rating, rewatch, tags, review)
SELECT items.session_id, items.item_no, member.owner, items.input->>'entry', (items.input->>'watched_date')::date,
       (items.input->>'date')::date, (items.input->>'rating')::numeric, coalesce((items.input->>'rewatch')::boolean, false),
       coalesce(items.input->'tags', '[]'), coalesce(items.input->>'review', '')
  FROM film_members member JOIN items ON items.session_id = member.session_id AND items.item_no = member.item_no
 WHERE member.session_id = :session::uuid AND member.film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)))
   AND member.kind = 'review' AND NOT member.superseded;

-- name: movies_domain
-- What TMDB says of a settled message's films. `stored` answers the items whose film has a row.
, stored AS (
    UPDATE movies
       SET tmdb_enriched = given.tmdb_id IS NOT NULL, tmdb_id = given.tmdb_id, imdb_id = given.imdb_id,
           tmdb_rating = given.tmdb_rating, tmdb_votes = given.tmdb_votes, genres = given.genres,
           directors = given.directors, "cast" = given."cast", runtime = given.runtime,
           original_title = given.original_title, original_language = given.original_language,
           release_date = given.release_date, overview = given.overview, poster_path = given.poster_path,
           match_score = given.match_score, match_method = given.match_method, attempt = written.attempt, updated_at = now()
      FROM written CROSS JOIN LATERAL jsonb_to_record(written.domain) AS given (
           tmdb_id bigint, imdb_id text, tmdb_rating numeric, tmdb_votes integer, genres jsonb, directors jsonb, "cast" jsonb,
           runtime integer, original_title text, original_language text, release_date date, overview text,
           poster_path text, match_score real, match_method text)
     WHERE movies.session_id = :session::uuid AND movies.item_no = written.item_no
    RETURNING movies.item_no
)

-- name: movies_lines
-- The result lines of a page of settled items, of films with what all their records say; in write mode `db`, whose films
-- stand in table movies, short ones. A page of a thousand at most: found for each line by itself, once the tables had
-- statistics, 5,000 took over 30 s.
, named AS MATERIALIZED (
    SELECT page.*, CASE WHEN outcome NOT IN ('merged', 'duplicate') THEN key END AS film FROM page
), facts AS MATERIALIZED (
    SELECT * FROM film_facts
     WHERE session_id = :session::uuid AND film = ANY (ARRAY (SELECT film FROM named WHERE film IS NOT NULL))
), diary AS MATERIALIZED (
    SELECT r.film, jsonb_agg(jsonb_build_object('watched_date', e.input->'watched_date', 'logged_date', e.input->'date',
                                                'rating', e.input->'rating', 'rewatch', e.input->'rewatch', 'tags', e.input->'tags')
                             ORDER BY e.input->>'watched_date', e.item_no) AS entries
      FROM film_records r JOIN items e ON e.session_id = r.session_id AND e.item_no = r.item_no
     WHERE r.session_id = :session::uuid AND r.film = ANY (ARRAY (SELECT film FROM named WHERE film IS NOT NULL))
       AND r.kind = 'diary' AND NOT r.superseded
     GROUP BY r.film
), whole AS (
    SELECT named.item_no, input->>'kind' AS kind, coalesce(facts.letterboxd_uri, input->>'uri') AS letterboxd_uri,
           coalesce(facts.title, input->>'name') AS title, coalesce(facts.year, (input->>'year')::integer) AS year,
           outcome, code, parent, facts.rating, facts.watched_date, facts.logged_date, facts.liked, facts.in_watchlist,
           facts.tags, diary.entries AS diary, result->'tmdb_id' AS tmdb_id, result->'imdb_id' AS imdb_id,
           result->'genres' AS genres, result->'directors' AS directors, result->'cast' AS "cast",
           result->'runtime' AS runtime, result->'original_title' AS original_title,
           result->'original_language' AS original_language, result->'release_date' AS release_date,
           result->'tmdb_rating' AS tmdb_rating, result->'tmdb_votes' AS tmdb_votes, result->'overview' AS overview,
           result->'poster_path' AS poster_path, result->'match' AS match, result->'candidates' AS candidates,
           result->'from_cache' AS from_cache,
           CASE WHEN outcome = 'failed' THEN 'error' WHEN code = 'resumed' THEN 'skipped' ELSE result->>'db_status' END AS db_status, error_message AS error,
           error_code, attempt AS attempts, line
      FROM named LEFT JOIN facts ON facts.film = named.film LEFT JOIN diary ON diary.film = named.film
), lines AS (
    SELECT named.item_no, named.settled_in,
           CASE WHEN :minimal::boolean
                THEN (SELECT row_to_json(brief) FROM (
                      SELECT whole.item_no, whole.letterboxd_uri, whole.tmdb_id, whole.db_status, whole.error) brief)
                ELSE row_to_json(whole) END::text AS text
      FROM named JOIN whole ON whole.item_no = named.item_no
)

-- name: movies_verify
-- I4 for films: a row of an enriched item says what its result says, and is there if it was written; every film has one
-- owner, and every merged record belongs to an owner.
SELECT 'I4' AS rule, format('film %s, attempt %s, says otherwise than its item', m.item_no, m.attempt) AS finding
  FROM movies m JOIN items i ON i.session_id = m.session_id AND i.item_no = m.item_no
 WHERE m.session_id = :session::uuid AND i.finalized_at IS NOT NULL
   AND (m.tmdb_enriched <> (i.outcome = 'enriched') AND i.outcome IN ('enriched', 'not_found', 'needs_review')
        OR i.outcome = 'enriched' AND (m.attempt IS DISTINCT FROM i.attempt OR m.tmdb_id IS DISTINCT FROM (i.result->>'tmdb_id')::bigint))
UNION ALL
SELECT 'I4', format('the row of film %s is gone', i.item_no)
  FROM items i LEFT JOIN movies m ON m.session_id = i.session_id AND m.item_no = i.item_no
 WHERE i.session_id = :session::uuid AND i.outcome = 'enriched' AND i.result->>'db_status' = 'updated' AND m.item_no IS NULL
UNION ALL
SELECT 'I4', format('film %s has %s owners', film, count(*) FILTER (WHERE owns))
  FROM film_members WHERE session_id = :session::uuid
 GROUP BY film HAVING count(*) FILTER (WHERE owns) <> 1
UNION ALL
SELECT 'I4', format('record %s belongs to no film and is %s', i.item_no, coalesce(i.outcome, i.state))
  FROM film_records r JOIN items i ON i.session_id = r.session_id AND i.item_no = r.item_no
 WHERE r.session_id = :session::uuid AND r.film IS NULL AND i.outcome IS DISTINCT FROM 'needs_review'
   AND i.outcome IS DISTINCT FROM 'skipped'
UNION ALL
SELECT 'I4', format('item %s is merged into item %s, which owns no film', i.item_no, i.parent)
  FROM items i LEFT JOIN film_members owner ON owner.session_id = i.session_id AND owner.item_no = i.parent AND owner.owns
 WHERE i.session_id = :session::uuid AND i.outcome = 'merged' AND (owner.item_no IS NULL OR owner.film <> i.key)
LIMIT 100;

-- name: movies_status
-- What the status of a session tells of its films beside its items: how many there are, once every file is read, and
-- how many TMDB enriched. In write mode `file` no film has a row: the items are counted then.
SELECT CASE WHEN files_open = 0 AND files_known > 0
            THEN (SELECT count(*) FROM items WHERE session_id = sessions.id AND key IS NOT NULL AND parent IS NULL) END AS total_movies,
       CASE WHEN options->>'write_mode' = 'file'
            THEN (SELECT count(*) FROM items WHERE session_id = sessions.id AND outcome = 'enriched')
            ELSE (SELECT count(*) FROM movies WHERE session_id = sessions.id AND tmdb_enriched) END AS enriched_count
  FROM sessions WHERE id = :session::uuid;

-- name: movies_manifest
-- What the manifest tells of a session's films: those that the newest version of every file names no more. They stay.
WITH versions AS (  -- of each part all files of the newest drop that has it: an archive may have likes.csv and films.csv
    SELECT id, part, state, checksum,
           (object_name, generation) = (first_value(object_name) OVER newest_first, first_value(generation) OVER newest_first) AS newest
      FROM files WHERE session_id = :session::uuid AND state IN ('read', 'repeated') AND part <> 'archive'
    WINDOW newest_first AS (PARTITION BY part ORDER BY id DESC)
), newest AS MATERIALIZED (
    SELECT CASE WHEN state = 'read' THEN id ELSE (SELECT max(same.id) FROM files same WHERE same.session_id = :session::uuid
                  AND same.part = versions.part AND same.checksum = versions.checksum AND same.state = 'read') END AS id
      FROM versions WHERE newest OR part = ''
), named AS MATERIALIZED (
    SELECT CASE WHEN outcome = 'duplicate' THEN parent ELSE item_no END AS item_no
      FROM items WHERE session_id = :session::uuid AND file IN (SELECT id FROM newest)
), gone AS (
    SELECT film, min(owner) AS item_no FROM film_members
     WHERE session_id = :session::uuid AND maker
       AND EXISTS (SELECT FROM versions WHERE state = 'read' AND id NOT IN (SELECT id FROM newest))
     GROUP BY film HAVING NOT bool_or(item_no IN (SELECT item_no FROM named))
)
SELECT count(*) AS films_gone,
       coalesce(jsonb_agg(jsonb_build_object('item_no', item_no, 'film', film) ORDER BY item_no) FILTER (WHERE place <= 1000), '[]')
           AS films_gone_first_1000
  FROM (SELECT gone.*, row_number() OVER (ORDER BY item_no) AS place FROM gone) listed;

-- name: hold_for_decision
-- Wait for whoever writes to the session's items; no row: it is no more.
SELECT id FROM sessions WHERE id = :session::uuid AND expired_at IS NULL AND cancelled_at IS NULL FOR NO KEY UPDATE;

-- name: decide_match
-- Remember what a person decided about an item's film, and give the film its turn again, in the transaction that holds
-- the session. No row: the item does not exist; a row without a film: the record belongs to none.
WITH target AS MATERIALIZED (
    SELECT coalesce(kept.parent, items.parent, items.item_no) AS item_no, coalesce(kept.key, items.key) AS film
      FROM items
      LEFT JOIN items kept ON items.outcome = 'duplicate' AND kept.session_id = items.session_id AND kept.item_no = items.parent
     WHERE items.session_id = :session::uuid AND items.item_no = :item_no::bigint AND items.outcome IS DISTINCT FROM 'rejected'
), decided AS (
    INSERT INTO match_overrides (film, tmdb_id, session_id, item_no)
    SELECT film, :tmdb_id::bigint, :session::uuid, item_no FROM target WHERE film IS NOT NULL
    ON CONFLICT (film) DO UPDATE
       SET tmdb_id = excluded.tmdb_id, session_id = excluded.session_id, item_no = excluded.item_no, decided_at = now()
), ended AS (  -- whoever settles waits for the session
    INSERT INTO item_history (session_id, item_no, round, attempt, outcome, code, result, error_code, error_message, finalized_at)
    SELECT session_id, items.item_no, round, attempt, outcome, code, result, error_code, error_message, finalized_at
      FROM items, target
     WHERE items.session_id = :session::uuid AND items.item_no = target.item_no AND target.film IS NOT NULL
       AND finalized_at IS NOT NULL
    ON CONFLICT DO NOTHING
), opened AS (
    UPDATE items
       SET state = 'available', attempt = items.attempt + 1, round = round + (finalized_at IS NOT NULL)::integer, outcome = NULL,
           code = NULL, finalized_at = NULL, failures = 0, snoozes = 0, lost_leases = 0, due_at = NULL, dispatched_at = NULL,
           dispatches = 0, dead_lettered = 0, lease_expires_at = NULL, claim = NULL, result = NULL, error_code = NULL,
           error_message = NULL
      FROM target
     WHERE items.session_id = :session::uuid AND items.item_no = target.item_no AND target.film IS NOT NULL
    RETURNING items.item_no
), noted AS (
    UPDATE film_records SET asked = 'decided ' || target.film FROM target
     WHERE film_records.session_id = :session::uuid AND film_records.item_no = target.item_no
), raised AS (
    UPDATE sessions SET epoch = epoch + 1, failed_at = NULL, error_code = NULL, error_message = NULL, completed_at = NULL,
                        updated_at = now()
     WHERE id = :session::uuid AND EXISTS (SELECT FROM opened)
)
SELECT item_no, film FROM target;

-- name: movies_held
-- What the database has of the films that lines of an earlier run's results name: whether any end of theirs is known,
-- whether it is the line's, and what it says. What a person decided decides; else how the film ended in the newest of
-- the sessions with most of these films (looked for among the last 100, with 50 films), in write modes with the table
-- (`domain`) as its row there says.
WITH given AS MATERIALIZED (
    SELECT line, key, answer FROM jsonb_to_recordset(:lines::jsonb) AS g (line bigint, key text, answer jsonb)
), sample AS MATERIALIZED (
    SELECT key FROM given ORDER BY md5(key) LIMIT 50
), recent AS MATERIALIZED (
    SELECT id, created_at FROM sessions WHERE pipeline = 'movies' AND id <> :session::uuid AND expired_at IS NULL
     ORDER BY created_at DESC LIMIT 100
), earlier AS MATERIALIZED (
    SELECT recent.id, recent.created_at
      FROM recent CROSS JOIN LATERAL (
           SELECT count(*) AS films FROM items
            WHERE session_id = recent.id AND key = ANY (ARRAY (SELECT key FROM sample)) AND outcome IS DISTINCT FROM 'duplicate'
              AND outcome IS DISTINCT FROM 'merged' AND outcome IS DISTINCT FROM 'rejected') shared
     WHERE films > 0 ORDER BY films DESC, created_at DESC LIMIT 5
), known AS (
    SELECT given.line, given.answer, chosen.film IS NOT NULL OR ended.item_no IS NOT NULL AS known,
           CASE WHEN chosen.film IS NOT NULL THEN chosen.tmdb_id ELSE ended.tmdb_id END AS tmdb_id
      FROM given LEFT JOIN match_overrides chosen ON chosen.film = given.key
      LEFT JOIN LATERAL (
           SELECT item.item_no,
                  CASE WHEN :domain::boolean AND row.attempt IS NOT NULL THEN row.tmdb_id ELSE (item.result->>'tmdb_id')::bigint END AS tmdb_id
             FROM earlier JOIN items item ON item.session_id = earlier.id AND item.key = given.key
              AND item.outcome IS DISTINCT FROM 'duplicate' AND item.outcome IS DISTINCT FROM 'merged' AND item.outcome IS DISTINCT FROM 'rejected'
             LEFT JOIN movies row ON row.session_id = item.session_id AND row.item_no = item.item_no
            WHERE item.outcome IN ('enriched', 'not_found', 'needs_review')
            ORDER BY earlier.created_at DESC LIMIT 1) ended ON true
)
SELECT line, known, known AND (answer IS NULL OR tmdb_id IS NOT DISTINCT FROM (answer->>'tmdb_id')::bigint) AS same,
       CASE WHEN tmdb_id IS NULL THEN 'no film of TMDB''s' ELSE 'TMDB ' || tmdb_id END AS says
  FROM known;

-- name: find_films
-- Name and year of some films as their records say, and what a person decided about each once, in any session.
SELECT facts.film, facts.title, facts.year, chosen.film IS NOT NULL AS decided, chosen.tmdb_id
  FROM film_facts facts LEFT JOIN match_overrides chosen ON chosen.film = facts.film
 WHERE facts.session_id = :session::uuid AND facts.film = ANY (ARRAY (SELECT jsonb_array_elements_text(:films::jsonb)));

-- name: movies_forecast
-- How many films of a session wait among some numbers, and of how many TMDB's first answer is remembered. Records tell name and year well
-- enough for that, mended or not.
SELECT count(*) AS films,
       count(*) FILTER (WHERE EXISTS (
           SELECT FROM tmdb_answers
            WHERE request = '1/search/' || coalesce(items.input->>'year', 'any') || '/' || (items.input->>'name')
              AND expires_at > now())) AS remembered
  FROM items
 WHERE session_id = :session::uuid AND item_no > :after::bigint AND item_no <= :upto::bigint
   AND (outcome IS NULL OR outcome = 'skipped' AND code = 'dry_run');

-- name: recall_answers
-- The answers that are remembered and not too old.
SELECT request, body FROM tmdb_answers
 WHERE request = ANY (ARRAY (SELECT jsonb_array_elements_text(:requests::jsonb))) AND expires_at > now();

-- name: remember_answers
-- Keep answers; what is lost with a crash is asked again, so the statement need not reach the disk.
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
), given AS MATERIALIZED (
    SELECT request, body FROM quick, jsonb_to_recordset(:answers::jsonb) AS g (request text, body jsonb) ORDER BY request
)
INSERT INTO tmdb_answers (request, body, expires_at)
SELECT request, body, now() + :days::double precision * interval '1 day' FROM given
ON CONFLICT (request) DO UPDATE SET body = excluded.body, fetched_at = now(), expires_at = excluded.expires_at;

-- name: forget_answers
-- Remove up to 5,000 answers that are too old.
DELETE FROM tmdb_answers WHERE request IN (SELECT request FROM tmdb_answers WHERE expires_at < now() LIMIT 5000);
