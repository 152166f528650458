-- name: server_version
-- That PostgreSQL answers, and which it is.
SELECT current_setting('server_version') AS version, now() AS checked_at;
