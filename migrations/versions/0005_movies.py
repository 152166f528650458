"""Films: the records of exports and what belongs together, the films, diary and reviews, decisions, TMDB's answers.

Safe before the code that uses it.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

MOVIES = """
-- Which film each record of an export belongs to. `film` is the film's key: its URI, or 'title:' and its name and year
-- where no URI is known. Records that say the same word for word are kept once; the others are duplicates.
CREATE TABLE film_records (
    session_id uuid NOT NULL,
    item_no    bigint NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    uri        text COLLATE "C",                    -- the film a record names itself; entries of the diary name none
    alias      text COLLATE "C" NOT NULL,           -- name and year, by which entries find their film
    link       text COLLATE "C",                    -- the film's or the entry's own page
    superseded boolean NOT NULL DEFAULT false,      -- a newer record of its kind and link says how it is now
    maker      boolean NOT NULL,                    -- whether it makes a film known
    digest     bytea NOT NULL,
    film       text COLLATE "C",                    -- null: no film of the export, or more than one
    asked      text,                                -- of the film's owner: what TMDB is asked, or that a person decided
    CONSTRAINT film_records_pkey PRIMARY KEY (session_id, item_no),
    CONSTRAINT film_records_are_kept_once UNIQUE (session_id, digest),
    CONSTRAINT film_records_belong_to_items FOREIGN KEY (session_id, item_no) REFERENCES items (session_id, item_no) ON DELETE CASCADE,
    CONSTRAINT film_records_kind_is_known CHECK (kind IN ('watched', 'rating', 'like', 'watchlist', 'diary', 'review'))
);

CREATE INDEX film_records_of_alias ON film_records (session_id, alias);
CREATE INDEX film_records_of_uri ON film_records (session_id, uri) WHERE uri IS NOT NULL;
CREATE INDEX film_records_wanted ON film_records (session_id, uri) WHERE NOT maker AND uri IS NOT NULL;
CREATE INDEX film_records_of_link ON film_records (session_id, link) WHERE link IS NOT NULL AND NOT superseded;
CREATE INDEX film_records_of_film ON film_records (session_id, film) WHERE film IS NOT NULL;

-- Every record of a film with the item that owns the film: the one that does already, else the first that may.
CREATE VIEW film_members AS
SELECT *, first_value(item_no) OVER (
              PARTITION BY session_id, film ORDER BY maker DESC, owns DESC, uri IS NULL, item_no) AS owner
  FROM (SELECT r.session_id, r.item_no, r.kind, r.uri, r.alias, r.maker, r.film, r.superseded,
               i.key IS NOT NULL AND i.outcome IS DISTINCT FROM 'merged' AS owns
          FROM film_records r JOIN items i ON i.session_id = r.session_id AND i.item_no = r.item_no
         WHERE r.film IS NOT NULL) members;

-- Which record of a film says what it is called: ascending, the first one.
CREATE FUNCTION film_record_rank(record film_records) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[(record.uri IS NULL)::integer, array_position(ARRAY['watched', 'rating', 'like', 'watchlist', 'diary', 'review'], record.kind),
             -record.item_no];

-- What the records of a film say together, a row per film; item_no is the owner's.
CREATE VIEW film_facts AS
SELECT r.session_id, r.film,
       min(r.item_no) FILTER (WHERE i.key IS NOT NULL AND i.outcome IS DISTINCT FROM 'merged') AS item_no,
       CASE WHEN r.film NOT LIKE 'title:%' THEN r.film END AS letterboxd_uri,
       (array_agg(i.input->>'name' ORDER BY film_record_rank(r)))[1] AS title,
       (array_agg((i.input->>'year')::integer ORDER BY film_record_rank(r)))[1] AS year,
       (array_agg((i.input->>'rating')::numeric ORDER BY r.item_no DESC) FILTER (WHERE r.kind = 'rating'))[1] AS rating,
       coalesce(max((i.input->>'watched_date')::date) FILTER (WHERE r.kind = 'diary' AND NOT r.superseded),
                (array_agg((i.input->>'date')::date ORDER BY r.item_no DESC) FILTER (WHERE r.kind = 'watched'))[1]) AS watched_date,
       (array_agg((i.input->>'date')::date ORDER BY r.item_no DESC) FILTER (WHERE r.kind = 'watched'))[1] AS logged_date,
       coalesce(bool_or(r.kind = 'like'), false) AS liked,
       coalesce(bool_or(r.kind = 'watchlist'), false) AS in_watchlist,
       count(*) FILTER (WHERE r.kind = 'diary' AND NOT r.superseded) AS diary_count,
       count(*) FILTER (WHERE r.kind = 'review' AND NOT r.superseded) AS review_count,
       coalesce((SELECT jsonb_agg(DISTINCT tag ORDER BY tag) FROM unnest(array_agg(i.input->'tags') FILTER (WHERE r.kind = 'diary' AND NOT r.superseded)) tags,
                        jsonb_array_elements_text(tags) tag), '[]') AS tags
  FROM film_records r JOIN items i ON i.session_id = r.session_id AND i.item_no = r.item_no
 WHERE r.film IS NOT NULL
 GROUP BY r.session_id, r.film;

-- The films of every session, with what TMDB knows of each.
CREATE TABLE movies (
    session_id        uuid NOT NULL,
    item_no           bigint NOT NULL,
    letterboxd_uri    text COLLATE "C",
    title             text NOT NULL,
    year              integer,
    rating            numeric(2, 1),
    watched_date      date,                         -- the last time by the diary; without one the day it was logged
    logged_date       date,
    liked             boolean NOT NULL DEFAULT false,
    in_watchlist      boolean NOT NULL DEFAULT false,
    diary_count       integer NOT NULL DEFAULT 0,
    review_count      integer NOT NULL DEFAULT 0,
    tags              jsonb NOT NULL DEFAULT '[]',
    tmdb_enriched     boolean NOT NULL DEFAULT false,
    tmdb_id           bigint,
    imdb_id           text,
    imdb_rating       numeric(3, 1),                -- TMDB does not have it: null unless another source is added
    tmdb_rating       numeric(5, 3),
    tmdb_votes        integer,
    genres            jsonb,
    directors         jsonb,
    "cast"            jsonb,
    runtime           integer,                      -- minutes
    original_title    text,
    original_language text,
    release_date      date,
    overview          text,
    poster_path       text,
    match_score       real,
    match_method      text,
    attempt           integer,                      -- of the item, the last writer (I4)
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT movies_pkey PRIMARY KEY (session_id, item_no),
    CONSTRAINT movies_uri_is_unique_in_its_session UNIQUE (session_id, letterboxd_uri),
    CONSTRAINT movies_rating_is_in_half_stars CHECK (rating BETWEEN 0.5 AND 5 AND rating * 2 = trunc(rating * 2))
) WITH (fillfactor = 80);

-- Every viewing a diary tells of; film_no is the film's item.
CREATE TABLE diary_entries (
    session_id   uuid NOT NULL,
    item_no      bigint NOT NULL,
    film_no      bigint NOT NULL,
    entry_uri    text COLLATE "C",
    watched_date date,
    logged_date  date,
    rating       numeric(2, 1),                     -- on that day
    rewatch      boolean NOT NULL DEFAULT false,
    tags         jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT diary_entries_pkey PRIMARY KEY (session_id, item_no)
);

CREATE INDEX diary_entries_of_film ON diary_entries (session_id, film_no);

CREATE TABLE reviews (
    session_id   uuid NOT NULL,
    item_no      bigint NOT NULL,
    film_no      bigint NOT NULL,
    entry_uri    text COLLATE "C",                  -- that of the diary entry it belongs to, if there is one
    watched_date date,
    logged_date  date,
    rating       numeric(2, 1),
    rewatch      boolean NOT NULL DEFAULT false,
    tags         jsonb NOT NULL DEFAULT '[]',
    review       text NOT NULL,
    CONSTRAINT reviews_pkey PRIMARY KEY (session_id, item_no)
);

CREATE INDEX reviews_of_film ON reviews (session_id, film_no);

-- What people decided about a film, for every later session; a null id: none of TMDB's films is it.
CREATE TABLE match_overrides (
    film       text COLLATE "C" NOT NULL,           -- as film_records.film
    tmdb_id    bigint,
    session_id uuid,
    item_no    bigint,
    decided_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT match_overrides_pkey PRIMARY KEY (film)
);

-- TMDB's answers, trimmed to what is used, for all sessions until they are too old.
CREATE TABLE tmdb_answers (
    request    text COLLATE "C" NOT NULL,
    body       jsonb NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT tmdb_answers_pkey PRIMARY KEY (request)
);

CREATE INDEX tmdb_answers_expiring ON tmdb_answers (expires_at);

-- No statistics on session_id: those of other sessions say that a new one has a row or none, and the planner then takes
-- any index that begins with it (a chunk of 2,000 records took 25 s instead of 0.2 s).
ALTER TABLE film_records ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE movies ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE diary_entries ALTER COLUMN session_id SET STATISTICS 0;
ALTER TABLE reviews ALTER COLUMN session_id SET STATISTICS 0
"""


def upgrade() -> None:
    for statement in MOVIES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW film_facts, film_members")
    op.execute("DROP FUNCTION film_record_rank")
    op.execute("DROP TABLE tmdb_answers, match_overrides, reviews, diary_entries, movies, film_records")
