-- name: beat!
INSERT INTO nodes (node_id, beat, open_since) VALUES ($1, $2, $3)
ON CONFLICT (node_id) DO UPDATE SET beat = excluded.beat, open_since = excluded.open_since;

-- name: beats
SELECT node_id, beat, open_since FROM nodes;

-- name: leave!
DELETE FROM nodes WHERE node_id = $1;

-- name: open_generations
-- $1 bigint: a position. Every generation that began above it and has no end.
SELECT (SELECT t.kind FROM streams AS t WHERE t.stream_id = s.stream_id) AS kind, s.stream_id, s.message_id, (s.data ->> 'task_id')::uuid AS task_id, (s.data ->> 'node_id')::uuid AS node_id, s.version,
       s.data ->> 'model' AS model
  FROM events AS s
 WHERE s.position > $1 AND s.type = 'message_start'
   AND NOT EXISTS (SELECT FROM events AS e
                    WHERE e.position > s.position AND e.stream_id = s.stream_id AND e.version > s.version
                      AND e.message_id = s.message_id AND e.type IN ('message_end', 'error', 'cancelled', 'interrupted'));

-- name: open_calls
-- $1 bigint: a position. Every call to a user that was made above it and has neither an answer nor an end. By the indexes that hold calls alone.
SELECT s.kind, c.stream_id, (c.data ->> 'call_id')::uuid AS call_id, (c.data ->> 'node_id')::uuid AS node_id
  FROM events AS c JOIN streams AS s USING (stream_id)
 WHERE c.position > $1 AND c.type = 'call'
   AND NOT EXISTS (SELECT FROM events AS e
                    WHERE e.stream_id = c.stream_id AND e.version > c.version AND e.data ->> 'call_id' = c.data ->> 'call_id'
                      AND e.type IN ('call', 'call_answered', 'call_expired') AND e.type <> 'call');

-- name: connection_capacity
-- How many connections this user may have in this database, were nobody else there; and how many others there are now.
-- reserved_connections is of PostgreSQL 16 and newer.
SELECT least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true)::int, 0),
             nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)) AS room,
       (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS taken
  FROM pg_roles AS r, pg_database AS d
 WHERE r.rolname = session_user AND d.datname = current_database();

-- name: server_facts
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_database(), pg_backend_pid();

-- name: backend
SELECT pg_backend_pid();

-- name: session_settings
-- $1 text[]: names. $2 text[]: their values, for this session. Not sent when the connection is opened: a pooler refuses most of them there.
SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS given (name, value);
