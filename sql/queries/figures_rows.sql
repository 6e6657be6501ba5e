-- What projections/figures/projection.py reads and writes. Tables without a schema are those of the build that is being written.

-- name: figures_conversations
-- $1 uuid[]: streams.
SELECT stream_id, kind, channel_type, owner_id, listed, created_at, source, imported_version, deleted_at
  FROM counted_conversations
 WHERE stream_id = ANY ($1::uuid[]);

-- name: figures_messages
-- $1 uuid[], $2 uuid[]: streams and messages.
SELECT t.stream_id, t.message_id, t.version, t.position, t.user_id, t.role, t.model_id, t.base_model_id, t.parent_id,
       t.kind, t.listed, t.origin, t.is_generated, t.sent_at, t.recorded_at, t.characters, t.input_tokens, t.output_tokens, t.edits, t.reactions,
       t.deleted_at
  FROM unnest($1::uuid[], $2::uuid[]) AS k (stream_id, key_id)
  JOIN counted_messages AS t ON t.stream_id = k.stream_id AND t.message_id = k.key_id;

-- name: figures_generations
-- $1 uuid[], $2 uuid[]: streams and messages.
SELECT t.stream_id, t.message_id, t.version, t.position, t.user_id, t.requested_model_id, t.model_id, t.base_model_id,
       t.provider_name, t.kind, t.listed, t.origin, t.is_arena, t.is_continued, t.started_at, t.first_token_at, t.ended_at, t.outcome, t.finish_reason, t.error_code,
       t.provider_status, t.input_tokens, t.output_tokens, t.cached_tokens, t.reasoning_tokens, t.deltas, t.characters,
       t.tool_calls, t.retries, t.first_token_ms, t.duration_ms, t.gap_p50_ms, t.gap_p95_ms, t.gap_p99_ms, t.gap_max_ms
  FROM unnest($1::uuid[], $2::uuid[]) AS k (stream_id, key_id)
  JOIN counted_generations AS t ON t.stream_id = k.stream_id AND t.message_id = k.key_id;

-- name: figures_messages_of_streams
-- $1 uuid[]: streams.
SELECT t.stream_id, t.message_id, t.version, t.position, t.user_id, t.role, t.model_id, t.base_model_id, t.parent_id,
       t.kind, t.listed, t.origin, t.is_generated, t.sent_at, t.recorded_at, t.characters, t.input_tokens, t.output_tokens, t.edits, t.reactions,
       t.deleted_at
  FROM counted_messages AS t
 WHERE t.stream_id = ANY ($1::uuid[]);

-- name: figures_generations_of_streams
-- $1 uuid[]: streams.
SELECT t.stream_id, t.message_id, t.version, t.position, t.user_id, t.requested_model_id, t.model_id, t.base_model_id,
       t.provider_name, t.kind, t.listed, t.origin, t.is_arena, t.is_continued, t.started_at, t.first_token_at, t.ended_at, t.outcome, t.finish_reason, t.error_code,
       t.provider_status, t.input_tokens, t.output_tokens, t.cached_tokens, t.reasoning_tokens, t.deltas, t.characters,
       t.tool_calls, t.retries, t.first_token_ms, t.duration_ms, t.gap_p50_ms, t.gap_p95_ms, t.gap_p99_ms, t.gap_max_ms
  FROM counted_generations AS t
 WHERE t.stream_id = ANY ($1::uuid[]);

-- name: figures_ratings
-- $1 uuid[], $2 uuid[]: streams and messages. Ratings that none supersedes.
SELECT t.stream_id, t.version, t.position, t.message_id, t.user_id, t.model_id, t.requested_model_id, t.rating,
       t.rated_at, t.superseded_at
  FROM unnest($1::uuid[], $2::uuid[]) AS k (stream_id, key_id)
  JOIN counted_ratings AS t ON t.stream_id = k.stream_id AND t.message_id = k.key_id AND t.superseded_at IS NULL;

-- name: figures_answers
-- $1 uuid[], $2 uuid[]: streams and messages. The answers to these.
SELECT t.stream_id, t.message_id, t.version, t.position, t.user_id, t.role, t.model_id, t.base_model_id, t.parent_id,
       t.kind, t.listed, t.origin, t.is_generated, t.sent_at, t.recorded_at, t.characters, t.input_tokens, t.output_tokens, t.edits, t.reactions,
       t.deleted_at
  FROM unnest($1::uuid[], $2::uuid[]) AS k (stream_id, key_id)
  JOIN counted_messages AS t ON t.stream_id = k.stream_id AND t.parent_id = k.key_id AND t.role = 'assistant';

-- name: figures_members
-- $1 uuid[]: channels and groups. Who has not left.
SELECT stream_id, user_id, version, kind, role, joined_at, left_at
  FROM counted_memberships
 WHERE stream_id = ANY ($1::uuid[]) AND left_at IS NULL;

-- name: figures_people
-- $1 uuid[]: accounts.
SELECT user_id, role, created_at, deactivated_at
  FROM counted_people
 WHERE user_id = ANY ($1::uuid[]);

-- name: figures_streamed
-- $1 uuid[], $2 uuid[], $3 int[]: streams, messages, and the versions of the events that end them. What the log's rows between the
-- start of each answer and its end add up to. A run that waits for a provider that refused says so in a status of its own, without an actor.
SELECT k.stream_id, k.version, s.*
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS k (stream_id, message_id, version)
 CROSS JOIN LATERAL (
       SELECT e.version FROM events AS e
        WHERE e.stream_id = k.stream_id AND e.message_id = k.message_id AND e.version < k.version AND e.type = 'message_start'
        ORDER BY e.version DESC LIMIT 1) AS b
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE d.type = 'message_delta')::integer AS deltas,
              coalesce(sum(d.characters), 0)::bigint AS characters,
              count(*) FILTER (WHERE d.type = 'content_block')::integer AS tool_calls,
              count(*) FILTER (WHERE d.type = 'status')::integer AS retries,
              min(d.at) FILTER (WHERE d.type = 'message_delta') AS first_token_at,
              (percentile_cont(0.5) WITHIN GROUP (ORDER BY d.gap_ms))::double precision AS gap_p50_ms,
              (percentile_cont(0.95) WITHIN GROUP (ORDER BY d.gap_ms))::double precision AS gap_p95_ms,
              (percentile_cont(0.99) WITHIN GROUP (ORDER BY d.gap_ms))::double precision AS gap_p99_ms,
              max(d.gap_ms)::double precision AS gap_max_ms
         FROM (SELECT r.type, r.at, CASE WHEN r.type = 'message_delta' THEN length(r.data ->> 'text') END AS characters,
                      CASE WHEN r.type = 'message_delta'
                           THEN extract(epoch FROM r.at - lag(r.at) OVER (PARTITION BY r.type ORDER BY r.version)) * 1000
                       END::double precision AS gap_ms
                 FROM (SELECT e.type, e.version, e.data, e.actor, coalesce(o.recorded_at, e.recorded_at) AS at
                         FROM events AS e LEFT JOIN originals AS o USING (stream_id, version)
                        WHERE e.stream_id = k.stream_id AND e.version > b.version AND e.version < k.version
                          AND e.message_id = k.message_id AND e.type IN ('message_delta', 'content_block', 'status')) AS r
                WHERE r.type = 'message_delta'
                   OR (r.type = 'content_block' AND r.data ->> 'type' = 'tool_call')
                   OR (r.type = 'status' AND r.actor IS NULL AND r.data ->> 'description' LIKE '%. Asked again in % s')) AS d) AS s;

-- name: figures_put_conversation!
INSERT INTO counted_conversations (stream_id, kind, channel_type, owner_id, listed, created_at, source, imported_version,
                         deleted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (stream_id) DO UPDATE SET
       kind = excluded.kind, channel_type = excluded.channel_type, owner_id = excluded.owner_id, listed =
       excluded.listed, created_at = excluded.created_at, source = excluded.source, imported_version =
       excluded.imported_version, deleted_at = excluded.deleted_at;

-- name: figures_put_duel!
INSERT INTO counted_duels (stream_id, version, opponent_id, position, user_id, winner_model_id, loser_model_id, arena_id,
                         decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (stream_id, version, opponent_id) DO UPDATE SET
       position = excluded.position, user_id = excluded.user_id, winner_model_id = excluded.winner_model_id,
       loser_model_id = excluded.loser_model_id, arena_id = excluded.arena_id, decided_at = excluded.decided_at;

-- name: figures_put_generation!
INSERT INTO counted_generations (stream_id, message_id, version, position, user_id, requested_model_id, model_id, base_model_id,
                         provider_name, kind, listed, origin, is_arena, is_continued, started_at, first_token_at,
                         ended_at, outcome, finish_reason, error_code, provider_status, input_tokens, output_tokens,
                         cached_tokens, reasoning_tokens, deltas, characters, tool_calls, retries, first_token_ms,
                         duration_ms, gap_p50_ms, gap_p95_ms, gap_p99_ms, gap_max_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)
    ON CONFLICT (stream_id, message_id) DO UPDATE SET
       version = excluded.version, position = excluded.position, user_id = excluded.user_id, requested_model_id =
       excluded.requested_model_id, model_id = excluded.model_id, base_model_id = excluded.base_model_id, provider_name
       = excluded.provider_name, kind = excluded.kind, listed = excluded.listed, origin = excluded.origin, is_arena =
       excluded.is_arena, is_continued = excluded.is_continued, started_at = excluded.started_at, first_token_at =
       excluded.first_token_at, ended_at = excluded.ended_at, outcome = excluded.outcome, finish_reason =
       excluded.finish_reason, error_code = excluded.error_code, provider_status = excluded.provider_status,
       input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, cached_tokens =
       excluded.cached_tokens, reasoning_tokens = excluded.reasoning_tokens, deltas = excluded.deltas, characters =
       excluded.characters, tool_calls = excluded.tool_calls, retries = excluded.retries, first_token_ms =
       excluded.first_token_ms, duration_ms = excluded.duration_ms, gap_p50_ms = excluded.gap_p50_ms, gap_p95_ms =
       excluded.gap_p95_ms, gap_p99_ms = excluded.gap_p99_ms, gap_max_ms = excluded.gap_max_ms;

-- name: figures_put_membership!
INSERT INTO counted_memberships (stream_id, user_id, version, kind, role, joined_at, left_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (stream_id, user_id, version) DO UPDATE SET
       kind = excluded.kind, role = excluded.role, joined_at = excluded.joined_at, left_at = excluded.left_at;

-- name: figures_put_message!
INSERT INTO counted_messages (stream_id, message_id, version, position, user_id, role, model_id, base_model_id, parent_id,
                         kind, listed, origin, is_generated, sent_at, recorded_at, characters, input_tokens,
                         output_tokens, edits, reactions, deleted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
    ON CONFLICT (stream_id, message_id) DO UPDATE SET
       version = excluded.version, position = excluded.position, user_id = excluded.user_id, role = excluded.role,
       model_id = excluded.model_id, base_model_id = excluded.base_model_id, parent_id = excluded.parent_id, kind =
       excluded.kind, listed = excluded.listed, origin = excluded.origin, is_generated = excluded.is_generated, sent_at
       = excluded.sent_at, recorded_at = excluded.recorded_at, characters = excluded.characters, input_tokens =
       excluded.input_tokens, output_tokens = excluded.output_tokens, edits = excluded.edits, reactions =
       excluded.reactions, deleted_at = excluded.deleted_at;

-- name: figures_put_person!
INSERT INTO counted_people (user_id, role, created_at, deactivated_at)
VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_id) DO UPDATE SET
       role = excluded.role, created_at = excluded.created_at, deactivated_at = excluded.deactivated_at;

-- name: figures_put_rating!
INSERT INTO counted_ratings (stream_id, version, position, message_id, user_id, model_id, requested_model_id, rating,
                         rated_at, superseded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (stream_id, version) DO UPDATE SET
       position = excluded.position, message_id = excluded.message_id, user_id = excluded.user_id, model_id =
       excluded.model_id, requested_model_id = excluded.requested_model_id, rating = excluded.rating, rated_at =
       excluded.rated_at, superseded_at = excluded.superseded_at;
