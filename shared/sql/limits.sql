-- name: seed_upstream
-- Make the row an upstream's slots are taken from, unless somebody has.
INSERT INTO upstreams (name) VALUES (:upstream) ON CONFLICT (name) DO NOTHING;

-- name: reserve_slots
-- Take time slots for up to n requests of given tokens each (GCRA, paced at 97 % of the limit, with 1 % of the period
-- as burst; what that leaves for starts that come late, UpstreamLimits.lateness says), as far as they begin within
-- max_wait and not sooner than `ahead`. While the breaker is not closed one request is let through as a probe when the
-- time for it has come, and the next when that has taken longer than probe_timeout. `returned` is the time of tokens that
-- earlier calls were given and did not use (a call is admitted for its worst case): never more than is still to come. Answers the wait for the first, the step to each further one, how many were given,
-- the server's clock (`at`, which the waits count from: after the row lock, not from the statement's start) and how
-- long the row was waited for. A slot is no money: the statement need not reach the disk.
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) AS done
), upstream AS MATERIALIZED (
    SELECT upstreams.*, quick.done FROM upstreams, quick WHERE name = :upstream FOR NO KEY UPDATE OF upstreams
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at, upstream.* FROM upstream
), pace AS MATERIALIZED (
    SELECT moment.*, greatest(tokens_tat - :returned::double precision * interval '1 second', least(tokens_tat, at)) AS tokens_due,
           0.01 * :period::double precision AS burst, breaker <> 'closed' AS tripped,
           coalesce(:period::double precision / (0.97 * present_limit(
               :requests::double precision, requests_said, requests_limit, recovers_at, at)), 0) AS request_step,
           coalesce(:period::double precision / (0.97 * present_limit(
               :tokens::double precision, tokens_said, tokens_limit, recovers_at, at)), 0) * :each::bigint AS token_step
      FROM moment
), lead AS MATERIALIZED (
    SELECT pace.*,
           greatest(:ahead::double precision, extract(epoch FROM requests_tat - at))::double precision AS request_lead,
           greatest(:ahead::double precision, extract(epoch FROM tokens_due - at))::double precision AS token_lead,
           greatest(request_step, token_step) AS step
      FROM pace
), offer AS MATERIALIZED (
    SELECT lead.*,
           greatest(0, request_lead - burst, token_lead - burst,
                    CASE breaker WHEN 'open' THEN extract(epoch FROM next_probe_at - at)::double precision
                                 WHEN 'half_open' THEN 1 END) AS wait,  -- how the probe ends is known soon
           CASE WHEN greatest(request_lead, token_lead) - burst > :max_wait::double precision THEN 0
                WHEN tripped THEN (next_probe_at <= at)::integer
                WHEN step = 0 THEN :n::integer
                ELSE least(:n::integer, 1 + floor(
                     (:max_wait::double precision + burst - greatest(request_lead, token_lead)) / step))::integer END AS given
      FROM lead
), taken AS (
    UPDATE upstreams
       SET requests_tat = CASE WHEN offer.given > 0
                               THEN offer.at + (offer.request_lead + offer.given * offer.request_step) * interval '1 second'
                               ELSE offer.requests_tat END,
           tokens_tat = CASE WHEN offer.given > 0
                             THEN offer.at + (offer.token_lead + offer.given * offer.token_step) * interval '1 second'
                             ELSE offer.tokens_due END,
           breaker = CASE WHEN offer.given > 0 AND offer.tripped THEN 'half_open' ELSE offer.breaker END,
           next_probe_at = CASE WHEN offer.given > 0 AND offer.tripped
                                THEN offer.at + :probe_timeout::double precision * interval '1 second'
                                ELSE offer.next_probe_at END,
           updated_at = offer.at
      FROM offer WHERE upstreams.name = offer.name AND (offer.given > 0 OR :returned::double precision > 0)
)
SELECT given, request_lead, token_lead, request_step, token_step, burst, wait, tripped, tripped OR failing > 0 AS ailing,
       extract(epoch FROM at)::double precision AS at,
       extract(epoch FROM at - statement_timestamp())::double precision AS locked
  FROM offer;

-- name: upstream_stands
-- How an upstream stands: whether all of its slots of the next moment are taken (more requests wait for it than its limit
-- lets go), and its breaker.
SELECT greatest(requests_tat, tokens_tat) > clock_timestamp() + interval '0.25 s' AS paced, breaker, reason,
       next_probe_at, opened_at
  FROM upstreams WHERE name = :upstream;

-- name: learn_limits
-- Remember what an upstream's answers say the account may ask.
UPDATE upstreams SET requests_said = :requests::double precision, tokens_said = :tokens::double precision, updated_at = now()
 WHERE name = :upstream AND (requests_said IS DISTINCT FROM :requests::double precision
                             OR tokens_said IS DISTINCT FROM :tokens::double precision);

-- name: give_back_tokens
-- Give back the time of unused tokens where no slots are asked for with it.
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) AS done
)
UPDATE upstreams
   SET tokens_tat = greatest(tokens_tat - :seconds::double precision * interval '1 second', least(tokens_tat, clock_timestamp()))
  FROM quick WHERE name = :upstream;

-- name: slow_down
-- Lower what an upstream is asked, because it answered 429 (why by so much: shared/limits.py). A limit it names below the
-- present one takes its place and stands for a minute; if it names none, the present limits are cut in one proportion.
-- No slot is given before the moment it asked to wait for, burst included, and the limits rise from then on. Answers the
-- limits now in force; null is unlimited.
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) AS done
), upstream AS MATERIALIZED (
    SELECT upstreams.*, quick.done FROM upstreams, quick WHERE name = :upstream FOR NO KEY UPDATE OF upstreams
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at, upstream.* FROM upstream
), standing AS MATERIALIZED (
    SELECT moment.*, present_limit(:requests::double precision, requests_said, requests_limit, recovers_at, at) AS requests,
           present_limit(:tokens::double precision, tokens_said, tokens_limit, recovers_at, at) AS tokens
      FROM moment
), verdict AS MATERIALIZED (
    SELECT standing.*,
           coalesce(:said_requests::double precision < coalesce(requests, 'Infinity'), false)
           OR coalesce(:said_tokens::double precision < coalesce(tokens, 'Infinity'), false) AS named,
           greatest(0.75, 1 - coalesce(0.67 * :period::double precision / requests, 1)) AS kept
      FROM standing
), lowered AS MATERIALIZED (
    SELECT verdict.*,
           CASE WHEN named THEN least(requests, :said_requests::double precision)
                ELSE least(requests, greatest(kept * requests, 0.05 * :requests::double precision)) END AS requests_now,
           CASE WHEN named THEN least(tokens, :said_tokens::double precision)
                ELSE least(tokens, greatest(kept * tokens, 0.05 * :tokens::double precision)) END AS tokens_now
      FROM verdict
)
UPDATE upstreams
   SET requests_limit = lowered.requests_now, tokens_limit = lowered.tokens_now, updated_at = lowered.at,
       recovers_at = greatest(lowered.recovers_at, lowered.at
           + greatest(:retry_after::double precision, CASE WHEN named THEN 60 ELSE 0 END) * interval '1 second'),
       requests_tat = CASE WHEN :retry_after::double precision > 0 THEN greatest(lowered.requests_tat, lowered.at
           + (:retry_after::double precision + 0.01 * :period::double precision) * interval '1 second')
           ELSE lowered.requests_tat END
  FROM lowered WHERE upstreams.name = lowered.name
RETURNING upstreams.requests_limit AS requests, upstreams.tokens_limit AS tokens;

-- name: note_health
-- Take in how calls of an upstream ended: `failed` of them alike in `signature`, `fine` of them so that it is well. The
-- score rises with each failure that counts (`counts` of them: a row that fails again and again may itself be the cause,
-- and must not stop all others) and falls by four with each that went well, so only failures that dominate (more than
-- four of five) let it rise. With :down the failures mean that the upstream is away: at the threshold its breaker opens,
-- and every failed probe opens it again for twice as long. Failures of calls that began before the last reset count for
-- nothing, nor do calls that began before the breaker opened say anything about it since.
WITH upstream AS MATERIALIZED (
    SELECT * FROM upstreams WHERE name = :upstream FOR NO KEY UPDATE
), moment AS MATERIALIZED (
    SELECT upstream.*, clock_timestamp() AS at FROM upstream
), heard AS MATERIALIZED (
    SELECT moment.*, breaker <> 'closed' AS tripped,
           CASE WHEN at - :failed_age::double precision * interval '1 second'
                     > greatest(reset_at, CASE WHEN breaker <> 'closed' THEN opened_at END, '-infinity') THEN :failed::integer ELSE 0 END AS failed,
           CASE WHEN breaker = 'closed' OR at - :fine_age::double precision * interval '1 second' > opened_at
                THEN :fine::integer ELSE 0 END AS fine
      FROM moment
), score AS MATERIALIZED (
    SELECT heard.*, greatest(0, least(failed, :counts::integer) - 4 * fine
               + CASE WHEN failed = 0 OR signature = :signature THEN failing ELSE 0 END) AS score
      FROM heard
), verdict AS MATERIALIZED (
    SELECT score.*, CASE
               WHEN tripped AND (fine > 0 OR failed > 0 AND NOT :down::boolean) THEN 'closed'
               WHEN tripped AND failed > 0 OR NOT tripped AND :down::boolean AND score >= :threshold::integer THEN 'open'
               ELSE breaker END AS now
      FROM score
), acted AS MATERIALIZED (
    SELECT verdict.*, now = 'open' AND (NOT tripped OR failed > 0) AS opens, now = 'closed' AND tripped AS closes,
           CASE WHEN tripped THEN least(:probe_wait_max::double precision, 2 * probe_wait) ELSE :probe_wait::double precision END AS pause
      FROM verdict
), kept AS (
    UPDATE upstreams
       SET breaker = acted.now,
           failing = CASE WHEN acted.closes AND acted.fine > 0 THEN 0 ELSE least(acted.score, 1000) END,
           signature = CASE WHEN acted.failed > 0 THEN :signature ELSE acted.signature END,
           reason = CASE WHEN acted.opens THEN :reason WHEN acted.closes THEN NULL ELSE acted.reason END,
           opened_at = CASE WHEN acted.opens THEN acted.at ELSE acted.opened_at END,
           probe_wait = CASE WHEN acted.opens THEN acted.pause ELSE acted.probe_wait END,
           next_probe_at = CASE WHEN acted.opens THEN acted.at + acted.pause * interval '1 second'
                                WHEN acted.closes THEN NULL ELSE acted.next_probe_at END,
           updated_at = acted.at
      FROM acted WHERE upstreams.name = acted.name
    RETURNING upstreams.breaker, upstreams.failing, upstreams.next_probe_at, acted.at, acted.opens, acted.closes, acted.tripped
)
SELECT breaker <> 'closed' AS tripped, opens AND NOT tripped AS opened, closes AS closed, failing >= :threshold::integer AS dominates,
       breaker <> 'closed' OR failing > 0 AS ailing,
       greatest(0, extract(epoch FROM next_probe_at - at))::double precision AS probe_in
  FROM kept;

-- name: release_probe
-- A probe was let through and did not leave: another may be made at once.
UPDATE upstreams SET next_probe_at = now(), updated_at = now() WHERE name = :upstream AND breaker = 'half_open';

-- name: hand_tries_back
-- The breaker has opened: what failed alike while nobody knew uses up no try. At most 5,000 items.
WITH chosen AS MATERIALIZED (
    SELECT items.session_id, items.item_no FROM sessions JOIN items ON items.session_id = sessions.id
     WHERE sessions.pipeline = ANY (ARRAY (SELECT jsonb_array_elements_text(:pipelines::jsonb))) AND sessions.completed_epoch IS DISTINCT FROM sessions.epoch AND sessions.expired_at IS NULL
       AND items.state = 'retryable' AND items.failures > 0
       AND items.error_code = ANY (ARRAY (SELECT jsonb_array_elements_text(:codes::jsonb)))
     ORDER BY items.session_id, items.item_no LIMIT 5000 FOR NO KEY UPDATE OF items
), back AS (
    UPDATE items SET failures = 0
      FROM chosen WHERE items.session_id = chosen.session_id AND items.item_no = chosen.item_no AND items.state = 'retryable'
    RETURNING 1
)
SELECT count(*) AS items FROM back;

-- name: reset_upstream
-- A person has mended something: what failed before counts no more, and an open breaker is probed now.
UPDATE upstreams
   SET reset_at = clock_timestamp(), failing = 0, signature = NULL,
       probe_wait = :probe_wait::double precision, next_probe_at = CASE WHEN breaker <> 'closed' THEN clock_timestamp() END, updated_at = now()
 WHERE name = :upstream;
