-- What `steno verify` reads (adapters/postgres/log/verify.py). All of it in one snapshot, so that a log that is written meanwhile is no false alarm.

-- name: verify_log
-- Positions, first and last. First what differs in each row, then what those of one answer have in common. Without the stream the kind is null.
COPY (SELECT e.position, e.version, e.recorded_at, e.stream_id, s.kind, e.message_id, e.type, e.actor, e.data
        FROM events AS e LEFT JOIN streams AS s USING (stream_id)
       WHERE e.position >= {first} AND e.position <= {last}
       ORDER BY e.position) TO STDOUT (FORMAT binary);

-- name: verify_stream
-- The same of one stream, by version.
COPY (SELECT e.position, e.version, e.recorded_at, e.stream_id, s.kind, e.message_id, e.type, e.actor, e.data
        FROM events AS e LEFT JOIN streams AS s USING (stream_id)
       WHERE e.stream_id = {stream_id} AND e.position >= {first} AND e.position <= {last}
       ORDER BY e.version) TO STDOUT (FORMAT binary);

-- name: verify_settings
-- In order of position, without sorting anything and without holding anything: a look into streams for each row costs less.
SELECT set_config('enable_sort', 'off', true) AS sort, set_config('enable_hashjoin', 'off', true) AS hashjoin,
       set_config('enable_mergejoin', 'off', true) AS mergejoin, set_config('jit', 'off', true) AS jit,
       set_config('max_parallel_workers_per_gather', '0', true) AS parallel_workers;

-- name: verify_blobs
-- Postgres hashes what it holds; the content does not leave it.
SELECT uuid_send(stream_id) AS stream_id, sha256, sha256(content) AS content_sha256, octet_length(content) AS size_bytes FROM blobs;

-- name: verify_blobs_of_stream
SELECT uuid_send(stream_id) AS stream_id, sha256, sha256(content) AS content_sha256, octet_length(content) AS size_bytes FROM blobs WHERE stream_id = $1;

-- name: verify_empty_streams
-- A stream is written with its first event.
SELECT s.kind || '/' || s.stream_id AS name FROM streams AS s WHERE NOT EXISTS (SELECT FROM events AS e WHERE e.stream_id = s.stream_id);

-- name: verify_claims
SELECT c.kind, c.key, c.stream_id::text AS stream_id FROM claims AS c WHERE NOT EXISTS (SELECT FROM streams AS s WHERE s.stream_id = c.stream_id);

-- name: verify_reached
-- $1 bigint: the head. A position beyond it that was seen means that events are gone. Projections that stand together are one row.
SELECT 'the answer to a command' AS what, max(position) AS position FROM commands HAVING max(position) > $1
UNION ALL
SELECT 'an epoch', max(since_position) FROM epochs HAVING max(since_position) > $1
UNION ALL
SELECT 'projections: ' || string_agg(name, ', ' ORDER BY name), position FROM projections WHERE position > $1 GROUP BY position;

-- name: verify_stream_is_known
SELECT EXISTS (SELECT FROM events WHERE stream_id = $1) OR EXISTS (SELECT FROM streams WHERE stream_id = $1) AS is_known;

-- name: verify_projection
-- As of the snapshot that it is asked in.
SELECT sha256, position FROM projections WHERE name = $1;

-- name: verify_columns
-- $1 text: a schema. $2 text: a table. What each column is, and whether the primary key holds it.
SELECT a.attname, coalesce(a.attnum = ANY (i.indkey), false)
  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
  LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
 WHERE c.relnamespace = to_regnamespace($1) AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum;

-- name: verify_differing_rows
-- Rows that the live table and the one that was built beside it do not have in common: key, what the live one has, what it should have.
-- Compared as text, since not every type has an equality. Each is looked up by its key.
SELECT coalesce(l.key, b.key), l.line, b.line, count(*) OVER ()
  FROM (SELECT json_build_array({key})::text AS key, row_to_json(t)::text AS line FROM {live} AS t
         WHERE NOT EXISTS (SELECT FROM {built} AS o WHERE {same_key} AND o::text = t::text)) AS l
  FULL JOIN
       (SELECT json_build_array({key})::text AS key, row_to_json(t)::text AS line FROM {built} AS t
         WHERE NOT EXISTS (SELECT FROM {live} AS o WHERE {same_key} AND o::text = t::text)) AS b USING (key)
 ORDER BY 1
 LIMIT {most};
