-- name: projections
SELECT name, position, moved_at, paused, owner, lease_until >= clock_timestamp() AS is_owned, failed_position, failure FROM projections ORDER BY name;

-- name: take_projection
-- $1 text: its name. $2 uuid: who wants it. $3 float: for how many seconds. The database's clock alone counts. $4 text: of the file
-- that made its tables: a server of another version, which knows other tables, must not write these.
UPDATE projections SET owner = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
 WHERE name = $1 AND sha256 = $4 AND NOT paused AND failed_position IS NULL AND (owner IS NULL OR owner = $2 OR lease_until < clock_timestamp())
RETURNING position;

-- name: move_checkpoints
-- $1 text[]: projections that stand at the same position. $2 bigint, $3 bigint: from and to. $4 uuid, $5 float: their owner, and the lease
-- that this renews. An owner that was thought dead moves nothing: another process has the row, or the position is another one.
UPDATE projections SET position = $3, moved_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => $5)
 WHERE name = ANY ($1::text[]) AND position = $2 AND owner = $4 AND NOT paused AND failed_position IS NULL
RETURNING name;

-- name: leave_projection!
UPDATE projections SET owner = NULL, lease_until = NULL WHERE name = $1 AND owner = $2;

-- name: fail_projection!
-- $3 bigint: the position of the event. $4 text: what is wrong with it.
UPDATE projections SET failed_position = $3, failure = $4, owner = NULL, lease_until = NULL WHERE name = $1 AND owner = $2;

-- name: pause_projection
UPDATE projections SET paused = true, owner = NULL, lease_until = NULL WHERE name = $1 RETURNING name;

-- name: resume_projection
-- Also after a failure: it tries the same event again.
UPDATE projections SET paused = false, failed_position = NULL, failure = NULL WHERE name = $1 RETURNING name;

-- name: retry_failed_projections!
-- Code that was mended may do what the code before it could not: each start tries once more.
UPDATE projections SET failed_position = NULL, failure = NULL WHERE name = ANY ($1::text[]) AND failed_position IS NOT NULL;

-- name: read_for_projection
-- $1 bigint, $2 bigint: positions, after and until. $3 text[]: kinds of streams. $4 int: rows at most.
-- $5 int, $6 int: only the streams of one partition of so many, from 0; every stream is in one of them.
-- What readers see of a restored event is when it was recorded first.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at)
  FROM events AS e JOIN streams AS s USING (stream_id) LEFT JOIN originals AS o USING (stream_id, version)
 WHERE e.position > $1 AND e.position <= $2 AND e.type <> 'message_delta' AND s.kind = ANY ($3::text[])
   AND ($6::integer = 1 OR (uuid_hash(e.stream_id) & 2147483647) % $6 = $5::integer)
 ORDER BY e.position
 LIMIT $4;

-- name: projection_positions
-- $1 text[]: projections. Where each is, and the event that it can't project, if there is one.
SELECT p.name, p.position, p.failure, p.failed_position, s.kind, e.stream_id, e.version, e.type
  FROM projections AS p LEFT JOIN events AS e ON e.position = p.failed_position LEFT JOIN streams AS s USING (stream_id)
 WHERE p.name = ANY ($1::text[]);

-- name: projections_reached
-- $1 text[]: projections. Up to where all of them hold everything; 0 where one has no tables yet.
SELECT CASE WHEN count(*) = cardinality($1::text[]) THEN min(position) ELSE 0 END AS position FROM projections WHERE name = ANY ($1);

-- name: projection_backlog
-- $1 bigint, $2 bigint: positions, after and until. About how many bytes the log stores for the events between them, tokens left out.
SELECT coalesce(sum(pg_column_size(data)), 0)::bigint FROM events WHERE position > $1 AND position <= $2 AND type <> 'message_delta';

-- name: replays
-- $1 text: how their names begin: the partitions of a replay that was begun.
SELECT name, sha256 FROM projections WHERE starts_with(name, $1);

-- name: forget_replays!
DELETE FROM projections WHERE starts_with(name, $1);

-- name: begin_replay!
INSERT INTO projections (name, sha256) VALUES ($1, $2);

-- name: lock_projection
-- Until the end of the transaction its checkpoint stands still: whoever would move it waits.
SELECT position FROM projections WHERE name = $1 FOR UPDATE;

-- name: configure_session
-- Settings of the session, in this order: the role first.
SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS setting (name, value);

-- name: bound_lock_waits
SELECT set_config('lock_timeout', $1, true);

-- name: put_projection_in_place!
UPDATE projections SET position = $2, sha256 = $3, moved_at = clock_timestamp(), owner = NULL, lease_until = NULL,
                       failed_position = NULL, failure = NULL
 WHERE name = $1;

-- name: projection_tables
-- $1 text: a schema.
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' ORDER BY relname;

-- name: digest_of_table
SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} AS t;
