-- name: seed_upstream
-- Make the row an upstream's slots are taken from, unless somebody has.
INSERT INTO upstreams (name) VALUES (:upstream) ON CONFLICT (name) DO NOTHING;

-- name: reserve_slots
-- Take time slots for up to n requests of given tokens each (GCRA, paced at 97 % of the limit; 1 % is the burst
-- and 2 % are left for starts that come late: with 3 % of burst 21 calls left in a second that allowed 20), as far as they begin within max_wait. The limit is the setting, or the row's own where that is lower. Answers the wait for the first, the step to each further one, how many
-- were given. The wait counts from the server's clock after the row lock, not from the statement's start. A slot is no
-- money: the statement need not reach the disk.
WITH quick AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) AS done
), upstream AS MATERIALIZED (
    SELECT upstreams.*, quick.done FROM upstreams, quick WHERE name = :upstream FOR NO KEY UPDATE OF upstreams
), pace AS MATERIALIZED (
    SELECT clock_timestamp() AS at, upstream.*, 0.01 * :period::double precision AS burst,
           coalesce(:period::double precision / (0.97 * least(requests_limit, :requests::bigint)), 0) AS request_step,
           coalesce(:period::double precision / (0.97 * least(tokens_limit, :tokens::bigint)) * :each::bigint, 0) AS token_step
      FROM upstream
), lead AS MATERIALIZED (
    SELECT pace.*,
           greatest(0, extract(epoch FROM requests_tat - at))::double precision AS request_lead,
           greatest(0, extract(epoch FROM tokens_tat - at))::double precision AS token_lead,
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
SELECT given, request_lead, token_lead, request_step, token_step, burst, wait FROM offer;
