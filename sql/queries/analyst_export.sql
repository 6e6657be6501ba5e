-- What adapters/postgres/analysts/export.py reads for a data set of files. {braces} stand for literals, which psycopg writes.

-- name: export_settings
-- In order of position, without sorting anything and without holding anything: a look into streams for each row costs less. Times are UTC.
SELECT set_config('enable_sort', 'off', false) AS sort, set_config('enable_hashjoin', 'off', false) AS hashjoin,
       set_config('enable_mergejoin', 'off', false) AS mergejoin, set_config('jit', 'off', false) AS jit,
       set_config('max_parallel_workers_per_gather', '0', false) AS parallel_workers, set_config('TimeZone', 'UTC', false) AS zone;

-- name: export_standing
-- What a data set must agree with: the history of the log, how far it is counted, how ids are shown, and what rows are computed from.
SELECT (SELECT e.epoch FROM epochs AS e ORDER BY e.recorded_at DESC, e.since_position DESC LIMIT 1) AS epoch,
       p.position, p.sha256 AS projection_sha256, a.pseudonyms, a.key,
       (SELECT coalesce(string_agg(m::text, ' ' ORDER BY m.model_id, m.since), '') FROM model_prices AS m) AS prices
  FROM projections AS p CROSS JOIN analyst_settings AS a WHERE p.name = 'figures';

-- name: lock_figures!
-- Before a transaction sees its moment: a rebuild that replaced the tables after it would leave them empty to it.
LOCK TABLE stenograph_figures.counted_generations, stenograph_figures.counted_messages IN ACCESS SHARE MODE;

-- name: copy_events
-- Positions: after, and up to. Of what an event says only its size; of who caused it only the id and the role.
COPY (SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor ->> 'id', e.actor ->> 'role',
             octet_length(e.data::text), e.recorded_at AT TIME ZONE 'UTC', o.recorded_at AT TIME ZONE 'UTC'
        FROM events AS e LEFT JOIN streams AS s USING (stream_id) LEFT JOIN originals AS o USING (stream_id, version)
       WHERE e.position > {after} AND e.position <= {last}
       ORDER BY e.position) TO STDOUT (FORMAT csv);

-- name: copy_generations
-- Times: from, and before.
COPY (SELECT g.conversation_id, g.message_id, g.kind, g.listed, g.person_id, g.requested_model_id, g.model_id, g.base_model_id, g.provider_name,
             g.is_arena,
             g.is_continued, g.started_at AT TIME ZONE 'UTC', g.first_token_at AT TIME ZONE 'UTC', g.ended_at AT TIME ZONE 'UTC', g.outcome,
             g.finish_reason, g.error_code, g.provider_status, g.input_tokens, g.output_tokens, g.cached_tokens, g.reasoning_tokens,
             g.deltas, g.characters, g.tool_calls, g.retries, g.first_token_ms, g.duration_ms, g.gap_p50_ms, g.gap_p95_ms, g.gap_p99_ms,
             g.gap_max_ms, g.cost::double precision
        FROM analytics.generations AS g
       WHERE g.started_at >= {since} AND g.started_at < {until}
       ORDER BY g.started_at, g.message_id) TO STDOUT (FORMAT csv);

-- name: copy_messages
-- The same.
COPY (SELECT m.conversation_id, m.message_id, m.parent_id, m.kind, m.listed, m.person_id, m.role, m.model_id, m.base_model_id,
             m.is_generated, m.is_imported, m.sent_at AT TIME ZONE 'UTC', m.recorded_at AT TIME ZONE 'UTC', m.characters, m.input_tokens,
             m.output_tokens, m.edits, m.reactions, m.deleted_at AT TIME ZONE 'UTC'
        FROM analytics.messages AS m
       WHERE m.sent_at >= {since} AND m.sent_at < {until}
       ORDER BY m.sent_at, m.message_id) TO STDOUT (FORMAT csv);

-- name: export_days
SELECT DISTINCT 'generations' AS name, (g.started_at AT TIME ZONE 'UTC')::date AS day FROM stenograph_figures.counted_generations AS g
 UNION ALL
SELECT DISTINCT 'messages', (m.sent_at AT TIME ZONE 'UTC')::date FROM stenograph_figures.counted_messages AS m;

-- name: export_changed_days
-- $1 bigint, $2 bigint: positions, after and up to. Tables and days of the rows that the events between them may have changed: those of
-- their messages, and of an imported or copied chat all, since its import decides what of it is counted. A message that was added without
-- text and is filled by an answer later moves to the day of the answer: so the days on which it was added are among them, by the log's time
-- and by the time that it names itself.
  WITH moved AS MATERIALIZED (
       SELECT DISTINCT e.stream_id, e.message_id, e.type = 'chat_imported' AS is_import FROM events AS e
        WHERE e.position > $1 AND e.position <= $2 AND e.type <> 'message_delta' AND (e.message_id IS NOT NULL OR e.type = 'chat_imported')),
       changed AS (SELECT DISTINCT v.stream_id, v.message_id FROM moved AS v WHERE v.message_id IS NOT NULL),
       imported AS (SELECT DISTINCT v.stream_id FROM moved AS v WHERE v.is_import),
       added AS (
       SELECT coalesce(o.recorded_at, e.recorded_at) AS at,
              CASE WHEN json_typeof(e.data -> 'timestamp') = 'number' THEN (e.data ->> 'timestamp')::numeric END AS named_s
         FROM changed
         JOIN stenograph_figures.counted_messages AS m USING (stream_id, message_id)
         JOIN events AS e ON e.stream_id = m.stream_id AND e.message_id = m.message_id AND e.type = 'message_added'
                         AND e.type <> 'message_delta' AND e.type <> 'content_block' -- the condition of the index
         LEFT JOIN originals AS o ON o.stream_id = e.stream_id AND o.version = e.version
        WHERE m.is_generated)
SELECT 'generations' AS name, (g.started_at AT TIME ZONE 'UTC')::date AS day
  FROM changed JOIN stenograph_figures.counted_generations AS g USING (stream_id, message_id)
 UNION
SELECT 'generations', (g.started_at AT TIME ZONE 'UTC')::date FROM imported JOIN stenograph_figures.counted_generations AS g USING (stream_id)
 UNION
SELECT 'messages', (m.sent_at AT TIME ZONE 'UTC')::date FROM changed JOIN stenograph_figures.counted_messages AS m USING (stream_id, message_id)
 UNION
SELECT 'messages', (m.sent_at AT TIME ZONE 'UTC')::date FROM imported JOIN stenograph_figures.counted_messages AS m USING (stream_id)
 UNION
SELECT 'messages', (a.at AT TIME ZONE 'UTC')::date FROM added AS a
 UNION
SELECT 'messages', (to_timestamp(a.named_s::double precision) AT TIME ZONE 'UTC')::date FROM added AS a WHERE a.named_s BETWEEN 0 AND 32503680000;
