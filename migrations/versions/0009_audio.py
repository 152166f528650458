"""Sound: the library of tracks, the words they are found by, and how tracks follow their items.

Safe before the code that uses it. Writes nothing that exists.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

# fmt: off
TRACKS = r"""
-- Text as it is looked for: without accents, case, punctuation and the forms of letters that only look different, so that
-- Björk and bjork meet, as do ß and ss, ё and е, full and half width, dotless and dotted i. What is stored and what is
-- asked both go through it. Each Chinese or Japanese letter becomes a word, for nothing there tells where words end.
-- Quotation marks and a minus before a word stay: they mean something in a question. The case of Greek and Cyrillic is
-- spelled out, and so are letters without a decomposition: lower() in a database of locale C knows none of them.
CREATE FUNCTION fold_text(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(normalize(
    replace(replace(replace(replace(translate(lower(
        regexp_replace(translate(normalize(value, NFKD), '“”„«»', repeat('"', 5)),
                       '[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f\u200b-\u200f\u00ad\u2060\ufeff''`\u2018\u2019\u201b\u02bb\u02bc\u2032]', '', 'g')),
        'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩςАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐҒҖҚҢҮҰҲҺӘӨØøŁłĐđÐðĦħıŊŋŦŧÆŒÞẞ',
        'αβγδεζηθικλμνξοπρστυφχψωσабвгдежзиклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґғҗқңүұҳһәөoollddddhhinnttæœþß'),
        'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), NFKC),
    '([\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])', ' \1 ', 'g'),
    '(?<![^\s.])([^\s.])\.(?=[^\s.](\.|\s|$))', '\1', 'g'),
    '[!#-,./:-@\[-`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u055a-\u055f\u0589\u058a\u05be\u05f3\u05f4\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u1361-\u1368\u2000-\u2bff\u2e00-\u2e7f\u3000-\u303f\u30a0\u30fb\ufe10-\ufe6f\uffe0-\uffef]+', ' ', 'g'),
    '(?<=\S)-|-(?=\s|$)', ' ', 'g'),
    '\s+', ' ', 'g'));

-- The words of a text that is stored; nothing in it is an operator of a question.
CREATE FUNCTION words_of(value text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple'::regconfig, translate(fold_text(coalesce(value, '')), '"-', '  '));

-- What a person asks, whatever they type: "…" for words that follow each other, - for what must not be there, or. With
-- `prefix` the last word may go on. Empty if nothing in it can be looked for.
CREATE FUNCTION words_asked(value text, prefix boolean) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN prefix AND asked::text LIKE '%''' AND value !~ '["“”„«»\s]$' THEN (asked::text || ':*')::tsquery ELSE asked END
          FROM (SELECT websearch_to_tsquery('simple'::regconfig, fold_text(value)) AS asked) folded);

-- About how many tracks a question matches, by the planner's statistics; asked before the way to find them is chosen.
CREATE FUNCTION expected_tracks(question tsquery) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM audio_tracks WHERE search_vector @@ %L::tsquery', question) INTO plan;
    RETURN (plan->0->'Plan'->>'Plan Rows')::bigint;
END
$$;

-- Every sound file that was given, and what it says of itself. The id is made of the path: a file that is read again is
-- the same track.
CREATE TABLE audio_tracks (
    id             uuid NOT NULL,
    status         text COLLATE "C" NOT NULL DEFAULT 'PENDING',
    title          text,
    artist         text,
    album          text,
    genre          text,
    year           integer,
    track          integer,
    duration       double precision,                -- seconds
    channels       integer,
    sample_rate    integer,                         -- in a second
    bitrate        double precision,                -- kbit/s
    format         text COLLATE "C",
    audio_path     text COLLATE "C" NOT NULL,       -- gs://bucket/name, or the link it was given by
    thumbnail_path text COLLATE "C",
    error_code     text,
    error_message  text,
    retry_count    integer NOT NULL DEFAULT 0,
    session_id     uuid,                            -- the last writer (I4); null: a program, not an item
    item_no        bigint,
    attempt        integer,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    search_vector  tsvector GENERATED ALWAYS AS (
                       setweight(words_of(title), 'A') || setweight(words_of(artist), 'A') || setweight(words_of(album), 'B')
                       || setweight(words_of(genre), 'C')) STORED,
    CONSTRAINT audio_tracks_pkey PRIMARY KEY (id),
    CONSTRAINT audio_tracks_one_for_each_path UNIQUE (audio_path),
    CONSTRAINT audio_tracks_status_is_known CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED')),
    CONSTRAINT audio_tracks_failed_ones_say_why CHECK ((status = 'FAILED') = (error_code IS NOT NULL)),
    CONSTRAINT audio_tracks_year_is_of_our_time CHECK (year BETWEEN 1800 AND 2100),
    CONSTRAINT audio_tracks_channels_are_few CHECK (channels BETWEEN 1 AND 16),
    CONSTRAINT audio_tracks_figures_are_positive CHECK (track > 0 AND duration > 0 AND sample_rate > 0 AND bitrate > 0),
    CONSTRAINT audio_tracks_retries_are_counted CHECK (retry_count >= 0),
    CONSTRAINT audio_tracks_path_is_an_address CHECK (
        audio_path ~ '^(gs://[a-z0-9][a-z0-9._-]+/|https?://[^/])[^\u0001-\u001f\u007f]+$' AND octet_length(audio_path) <= 2100),
    CONSTRAINT audio_tracks_thumbnail_is_an_object CHECK (
        thumbnail_path ~ '^gs://[a-z0-9][a-z0-9._-]+/[^\u0001-\u001f\u007f]+$' AND octet_length(thumbnail_path) <= 2100),
    CONSTRAINT audio_tracks_texts_are_short CHECK (
        greatest(length(title), length(artist), length(album), length(genre)) <= 1000)
) WITH (fillfactor = 80);

-- Without fastupdate: its list of pending words would be read through by every search.
CREATE INDEX audio_tracks_words ON audio_tracks USING gin (search_vector) WITH (fastupdate = off);
-- The tracks with the fewest words first, for words that so many tracks have that not all can be ranked.
CREATE INDEX audio_tracks_shortest ON audio_tracks (length(search_vector), id) WHERE length(search_vector) > 0;
CREATE INDEX audio_tracks_newest ON audio_tracks (created_at, id);
CREATE INDEX audio_tracks_by_title ON audio_tracks ("left"(fold_text(coalesce(title, '')), 100) COLLATE "C", id);
CREATE INDEX audio_tracks_by_artist ON audio_tracks ("left"(fold_text(coalesce(artist, '')), 100) COLLATE "C", id);
CREATE INDEX audio_tracks_by_year ON audio_tracks (coalesce(year, 0), id);
CREATE INDEX audio_tracks_unfinished ON audio_tracks (status, created_at, id) WHERE status <> 'COMPLETED';
CREATE INDEX audio_tracks_of_session ON audio_tracks (session_id, item_no) WHERE session_id IS NOT NULL;

-- What programs changed about the status of tracks; what items do to theirs stands in the ledger.
CREATE TABLE audio_track_changes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    track_id    uuid NOT NULL,
    actor       text NOT NULL,
    from_status text COLLATE "C" NOT NULL,
    to_status   text COLLATE "C" NOT NULL,
    error_code  text
);

CREATE INDEX audio_track_changes_of_track ON audio_track_changes (track_id, id);

-- Tracks follow their items, by triggers so that no statement can forget it: made with the item, taken up with its
-- claim, failed with it however that came about. What a settled item enriches its own statement writes. They act as their
-- owner: whoever may change items, such as ingest, has no other business with tracks.
CREATE FUNCTION session_writes_tracks(session uuid) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM sessions
                WHERE id = session AND pipeline = 'audio' AND options->>'write_mode' IS DISTINCT FROM 'file'
                  AND options->>'dry_run' IS DISTINCT FROM 'true');

CREATE FUNCTION tracks_of_made_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT session_writes_tracks((SELECT session_id FROM made LIMIT 1)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO audio_tracks (id, audio_path, session_id, item_no, attempt)
    SELECT (input->>'track_id')::uuid, input->>'audio_path', session_id, item_no, 0
      FROM made WHERE outcome IS NULL ORDER BY 1
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION tracks_of_changed_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT session_writes_tracks((SELECT session_id FROM after LIMIT 1)) THEN
        RETURN NULL;
    END IF;
    WITH moved AS MATERIALIZED (
        SELECT after.session_id, after.item_no, after.attempt, after.state, after.outcome,
               coalesce(after.error_code, after.outcome, '') AS error_code, after.error_message,
               (after.input->>'track_id')::uuid AS track_id
          FROM after JOIN before ON before.session_id = after.session_id AND before.item_no = after.item_no
         WHERE after.state <> before.state AND (after.state = 'running' OR after.outcome IN ('failed', 'cancelled', 'skipped'))
    ), locked AS MATERIALIZED (
        SELECT id FROM audio_tracks WHERE id IN (SELECT track_id FROM moved) ORDER BY id FOR UPDATE
    ), removed AS (  -- an item that was skipped leaves no track behind that nobody will read
        DELETE FROM audio_tracks track USING moved, locked
         WHERE moved.outcome = 'skipped' AND track.id = moved.track_id AND track.id = locked.id AND track.status = 'PENDING'
           AND track.session_id = moved.session_id AND track.item_no = moved.item_no
    )
    UPDATE audio_tracks track
       SET status = CASE WHEN moved.state = 'running' THEN 'PROCESSING' ELSE 'FAILED' END,
           error_code = CASE WHEN moved.state <> 'running' THEN moved.error_code END,
           error_message = CASE WHEN moved.state <> 'running' THEN coalesce(moved.error_message, 'The session was cancelled.') END,
           retry_count = track.retry_count + (moved.state = 'running' AND track.status = 'FAILED')::integer,
           session_id = moved.session_id, item_no = moved.item_no, attempt = moved.attempt, updated_at = now()
      FROM moved, locked
     WHERE track.id = moved.track_id AND track.id = locked.id
       AND CASE WHEN moved.state = 'running' THEN track.status IN ('PENDING', 'PROCESSING', 'FAILED')
                WHEN moved.outcome = 'failed' THEN true
                WHEN moved.outcome = 'cancelled' THEN track.status <> 'COMPLETED' AND track.session_id = moved.session_id
                                                      AND track.item_no = moved.item_no
                ELSE false END;
    RETURN NULL;
END
$$;

CREATE TRIGGER items_tracks_made AFTER INSERT ON items REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION tracks_of_made_items();
CREATE TRIGGER items_tracks_changed AFTER UPDATE ON items REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tracks_of_changed_items();
"""
# fmt: on


def upgrade() -> None:
    for statement in TRACKS.split(";\n\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER items_tracks_changed ON items")
    op.execute("DROP TRIGGER items_tracks_made ON items")
    op.execute("DROP FUNCTION tracks_of_changed_items, tracks_of_made_items, session_writes_tracks")
    op.execute("DROP TABLE audio_track_changes, audio_tracks")
    op.execute("DROP FUNCTION expected_tracks, words_asked, words_of, fold_text")
