-- name: record_action
-- Write down what somebody is about to do to a session; no row: there is no such session, and none is about to be made.
-- Repeated after a lost connection it may stand there twice: better than not at all.
INSERT INTO audit_log (session_id, action, actor, details, trace_id)
SELECT :session::uuid, :action, :actor, :details::jsonb, :trace_id
 WHERE :is_new::boolean OR EXISTS (SELECT FROM sessions WHERE id = :session::uuid)
RETURNING id;

-- name: complete_record
-- Add to what was written down what came of it.
UPDATE audit_log SET details = details || :details::jsonb WHERE id = :id::bigint;

-- name: audit_entries
-- What was done to a session, the newest first.
SELECT at, action, actor, details FROM audit_log
 WHERE session_id = :session::uuid ORDER BY id DESC LIMIT :size::integer;
