-- name: movies_page
-- A page of a session's films (or the one with a number) as a JSON array, with how many there are by the same filter.
-- Nulls come last either way; films that are alike come by number, so that pages neither overlap nor leave a gap.
WITH chosen AS MATERIALIZED (
    SELECT film.*, items.outcome, items.code, items.result->'from_cache' AS from_cache
      FROM movies film JOIN items ON items.session_id = film.session_id AND items.item_no = film.item_no
     WHERE film.session_id = :session::uuid
       AND (:item_no::bigint IS NULL OR film.item_no = :item_no::bigint)
       AND (:year::integer IS NULL OR film.year = :year::integer)
       AND (:rating::numeric IS NULL OR film.rating = :rating::numeric)
       AND (:outcome::text IS NULL OR items.outcome = :outcome::text)
       AND (:enriched::boolean IS NULL OR film.tmdb_enriched = :enriched::boolean)
       AND (:genre::text IS NULL OR EXISTS (
               SELECT FROM jsonb_array_elements_text(film.genres) genre WHERE lower(genre) = lower(:genre::text)))
), page AS (
    SELECT chosen.*, row_number() OVER (
               ORDER BY CASE WHEN :sort::text = 'title' AND NOT :descending::boolean THEN lower(title) END,
                        CASE WHEN :sort::text = 'title' AND :descending::boolean THEN lower(title) END DESC,
                        CASE WHEN :descending::boolean THEN -1 ELSE 1 END
                        * CASE :sort::text WHEN 'year' THEN year WHEN 'rating' THEN rating WHEN 'tmdb_rating' THEN tmdb_rating
                                           WHEN 'watched_date' THEN watched_date - date '2000-01-01' WHEN 'runtime' THEN runtime
                                           WHEN 'item_no' THEN item_no END NULLS LAST,
                        item_no) AS place
      FROM chosen ORDER BY place LIMIT :size::integer OFFSET :offset::bigint
), shown AS (
    SELECT place, row_to_json(facts) AS film
      FROM page CROSS JOIN LATERAL (
           SELECT item_no, letterboxd_uri, title, year, rating, watched_date, logged_date, liked, in_watchlist, tags, diary_count,
                  review_count, outcome, code, tmdb_enriched, tmdb_id, imdb_id, imdb_rating, tmdb_rating, tmdb_votes, genres,
                  directors, (SELECT jsonb_agg(actor.value->'name' ORDER BY actor.ordinality)
                                FROM jsonb_array_elements(page."cast") WITH ORDINALITY actor) AS "cast",
                  "cast" AS cast_roles, runtime, original_title, original_language, release_date, overview, poster_path,
                  match_score, match_method, from_cache) facts
)
SELECT coalesce((SELECT json_agg(film ORDER BY place) FROM shown), '[]')::text AS films, (SELECT count(*) FROM chosen) AS total;

-- name: movie_entries
-- What is told of one film beside its row: its diary, its reviews, and what it may be. The record may be any of the
-- film's; no row: the session has no such record, or it belongs to no film.
WITH RECURSIVE record AS (
    SELECT item_no, parent FROM items WHERE session_id = :session::uuid AND item_no = :item_no::bigint
    UNION
    SELECT items.item_no, items.parent FROM record JOIN items ON items.session_id = :session::uuid AND items.item_no = record.parent
), film AS (
    SELECT movies.item_no FROM movies JOIN record USING (item_no) WHERE movies.session_id = :session::uuid
), diary AS (
    SELECT jsonb_agg(jsonb_build_object('item_no', entry.item_no, 'entry_uri', entry_uri, 'watched_date', watched_date,
                                        'logged_date', logged_date, 'rating', rating, 'rewatch', rewatch, 'tags', tags)
                     ORDER BY watched_date, entry.item_no) AS entries
      FROM diary_entries entry JOIN film ON entry.film_no = film.item_no WHERE entry.session_id = :session::uuid
), written AS (
    SELECT jsonb_agg(jsonb_build_object('item_no', entry.item_no, 'entry_uri', entry_uri, 'watched_date', watched_date,
                                        'logged_date', logged_date, 'rating', rating, 'rewatch', rewatch, 'tags', tags, 'review', review)
                     ORDER BY watched_date, entry.item_no) AS entries
      FROM reviews entry JOIN film ON entry.film_no = film.item_no WHERE entry.session_id = :session::uuid
)
SELECT film.item_no, coalesce(diary.entries, '[]') AS diary, coalesce(written.entries, '[]') AS reviews,
       CASE WHEN items.outcome = 'needs_review' THEN items.result->'candidates' END AS candidates
  FROM film CROSS JOIN diary CROSS JOIN written JOIN items ON items.session_id = :session::uuid AND items.item_no = film.item_no;

-- name: movies_summary
-- How many films of a session there are of each year, rating and genre, for pictures of an export. One without a rating is
-- in none of the ratings; one without a year or a genre (nobody has told) likewise.
WITH film AS MATERIALIZED (
    SELECT year, rating, genres FROM movies WHERE session_id = :session::uuid
), years AS (
    SELECT year, count(*) AS films FROM film WHERE year IS NOT NULL GROUP BY year
), ratings AS (
    SELECT rating, count(*) AS films FROM film WHERE rating IS NOT NULL GROUP BY rating
), genres AS (
    SELECT genre, count(*) AS films FROM film CROSS JOIN LATERAL jsonb_array_elements_text(film.genres) genre GROUP BY genre
)
SELECT (SELECT coalesce(jsonb_agg(to_jsonb(years) ORDER BY year), '[]') FROM years) AS by_year,
       (SELECT coalesce(jsonb_agg(to_jsonb(ratings) ORDER BY rating), '[]') FROM ratings) AS ratings,
       (SELECT coalesce(jsonb_agg(to_jsonb(genres) ORDER BY films DESC, genre), '[]') FROM genres) AS genres;
