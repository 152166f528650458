-- name: seed_upstream
-- Make the row an upstream's slots are taken from, unless somebody has.
INSERT INTO upstreams (name) VALUES (:upstream) ON CONFLICT (name) DO NOTHING;

-- name: reserve_slots
-- Take time slots for up to n requests of given tokens each (GCRA, paced at 97 % of the limit, with 1 % of the period
-- as burst; what that leaves for starts that come late, UpstreamLimits.lateness says), as far as they begin within
-- max_wait and not sooner than `ahead`. The limit is the setting, or what slow_down left of it, risen by 2 % of the
-- setting for each second since. Answers the wait for the first, the step to each further one, how many were given,
-- the server's clock (`at`, which the waits count from: after the row lock, not from the statement's start) and how
-- long the row was waited for. A slot is no money: the statement need not reach the disk.
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) AS done
), upstream AS MATERIALIZED (
    SELECT upstreams.*, quick.done FROM upstreams, quick WHERE name = :upstream FOR NO KEY UPDATE OF upstreams
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at, upstream.* FROM upstream
), present AS MATERIALIZED (
    SELECT moment.*, greatest(0, extract(epoch FROM at - recovers_at))::double precision AS rested FROM moment
), pace AS MATERIALIZED (
    SELECT present.*, 0.01 * :period::double precision AS burst,
           coalesce(:period::double precision / (0.97 * least(:requests::double precision,
               requests_limit + rested * 0.02 * coalesce(:requests::double precision, requests_limit))), 0) AS request_step,
           coalesce(:period::double precision / (0.97 * least(:tokens::double precision,
               tokens_limit + rested * 0.02 * coalesce(:tokens::double precision, tokens_limit))), 0) * :each::bigint AS token_step
      FROM present
), lead AS MATERIALIZED (
    SELECT pace.*,
           greatest(:ahead::double precision, extract(epoch FROM requests_tat - at))::double precision AS request_lead,
           greatest(:ahead::double precision, extract(epoch FROM tokens_tat - at))::double precision AS token_lead,
           greatest(request_step, token_step) AS step
      FROM pace
), offer AS MATERIALIZED (
    SELECT lead.*, greatest(0, greatest(request_lead, token_lead) - burst) AS wait,
           CASE WHEN greatest(request_lead, token_lead) - burst > :max_wait::double precision THEN 0
                WHEN step = 0 THEN :n::integer
                ELSE least(:n::integer, 1 + floor(
                     (:max_wait::double precision + burst - greatest(request_lead, token_lead)) / step))::integer END AS given
      FROM lead
), taken AS (
    UPDATE upstreams
       SET requests_tat = offer.at + (offer.request_lead + offer.given * offer.request_step) * interval '1 second',
           tokens_tat = offer.at + (offer.token_lead + offer.given * offer.token_step) * interval '1 second',
           updated_at = offer.at
      FROM offer WHERE upstreams.name = offer.name AND offer.given > 0
)
SELECT given, request_lead, token_lead, request_step, token_step, burst, wait,
       extract(epoch FROM at)::double precision AS at,
       extract(epoch FROM at - statement_timestamp())::double precision AS locked
  FROM offer;

-- name: upstream_is_paced
-- Whether all of an upstream's slots of the next moment are taken: more requests wait for it than its limit lets go.
SELECT greatest(requests_tat, tokens_tat) > clock_timestamp() + interval '0.25 s' AS so FROM upstreams WHERE name = :upstream;

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
), present AS MATERIALIZED (
    SELECT moment.*, greatest(0, extract(epoch FROM at - recovers_at))::double precision AS rested FROM moment
), standing AS MATERIALIZED (
    SELECT present.*,
           least(:requests::double precision,
               requests_limit + rested * 0.02 * coalesce(:requests::double precision, requests_limit)) AS requests,
           least(:tokens::double precision,
               tokens_limit + rested * 0.02 * coalesce(:tokens::double precision, tokens_limit)) AS tokens
      FROM present
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
