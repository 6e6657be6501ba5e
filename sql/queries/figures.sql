-- What adapters/postgres/analysts/figures.py asks for analysts. A question is put together from the parts below: {braces} stand for names of the
-- catalogue (projections/figures/catalogue.py), and for the numbers of parameters, never for what somebody sent.

-- name: figures_ask
SELECT {columns}
  FROM ({source}) AS s
 WHERE {filters}
 GROUP BY {groups}
 ORDER BY {order}
 LIMIT {limit};

-- name: figures_ask_by_time
-- The same by parts of time, each on its own: rows are found by their time, and grouped and sorted some hundred at once. A part of time may
-- have several numbers where clocks changed: the caller asks otherwise then. ${at}, ${since}, ${until} timestamptz[]: the parts.
SELECT p.at, x.*
  FROM unnest(${at}::timestamptz[], ${since}::timestamptz[], ${until}::timestamptz[]) AS p (at, since, until)
 CROSS JOIN LATERAL (
       SELECT {columns}
         FROM ({source}) AS s
        WHERE s.at >= p.since AND s.at < p.until AND {filters}
        GROUP BY {groups}
       HAVING count(*) > 0) AS x
 ORDER BY {order}
 LIMIT {limit};

-- name: figures_times_of_generations
SELECT min(started_at), max(started_at) FROM stenograph_figures.counted_generations;

-- name: figures_times_of_messages
SELECT min(sent_at), max(sent_at) FROM stenograph_figures.counted_messages;

-- name: figures_memory!
-- Of one question: sorting and grouping ten thousand rows on disk takes as long again.
SET LOCAL work_mem = '32MB'

-- name: figures_of_everything!
true

-- name: figures_since!
s.at >= ${number}::timestamptz

-- name: figures_until!
s.at < ${number}::timestamptz

-- name: figures_one_of!
s.{column}::text = ANY (${number}::text[])

-- name: figures_dimension!
s.{column}::text

-- name: figures_part_of_time!
date_trunc(${part}::text, s.at, ${zone}::text)

-- name: figures_count!
count(*)

-- name: figures_count_where!
count(*) FILTER (WHERE s.{where}::text = '{value}')

-- name: figures_share!
(avg((s.{where}::text = '{value}')::integer))::double precision

-- name: figures_sum!
sum(s.{column})::double precision

-- name: figures_max!
max(s.{column})::double precision

-- name: figures_distinct!
count(DISTINCT s.{column})

-- name: figures_percentile!
(percentile_cont({fraction}) WITHIN GROUP (ORDER BY s.{column}))::double precision

-- name: figures_source_generations
-- What was copied or imported was not generated here.
SELECT g.*, g.started_at AS at,
       CASE WHEN g.output_tokens IS NOT NULL AND g.duration_ms > g.first_token_ms
            THEN g.output_tokens * 1000.0::double precision / (g.duration_ms - g.first_token_ms) END AS tokens_per_second,
       (SELECT ((g.input_tokens * p.input_per_million + g.output_tokens * p.output_per_million) / 1000000)::double precision
          FROM public.model_prices AS p
         WHERE p.model_id IN (g.model_id, g.base_model_id) AND p.since <= (g.started_at AT TIME ZONE 'UTC')::date
         ORDER BY p.model_id = g.model_id DESC, p.since DESC LIMIT 1) AS cost
  FROM stenograph_figures.counted_generations AS g
 WHERE g.origin = 'here'

-- name: figures_source_messages
-- A copy says nothing new.
SELECT m.*, m.sent_at AS at, m.deleted_at IS NOT NULL AS is_deleted,
       CASE WHEN m.role = 'assistant' THEN m.model_id END AS answering_model_id
  FROM stenograph_figures.counted_messages AS m
 WHERE m.origin <> 'copied'

-- name: figures_source_ratings
SELECT r.*, c.kind, r.rated_at AS at
  FROM stenograph_figures.counted_ratings AS r JOIN stenograph_figures.counted_conversations AS c USING (stream_id)
 WHERE r.superseded_at IS NULL AND r.version >= c.imported_version

-- name: figures_source_memberships
SELECT m.*, m.joined_at AS at, m.left_at IS NOT NULL AS has_left FROM stenograph_figures.counted_memberships AS m

-- name: figures_source_people
SELECT p.*, p.created_at AS at FROM stenograph_figures.counted_people AS p

-- name: figures_position
SELECT position FROM projections WHERE name = 'figures';

-- name: figures_duels
-- $1 timestamptz, $2 timestamptz: from and before; null: no bound. Of ratings that count.
SELECT d.winner_model_id, d.loser_model_id, count(*) AS duels
  FROM stenograph_figures.counted_duels AS d
  JOIN stenograph_figures.counted_ratings AS r USING (stream_id, version)
  JOIN stenograph_figures.counted_conversations AS c USING (stream_id)
 WHERE r.superseded_at IS NULL AND d.version >= c.imported_version
   AND ($1::timestamptz IS NULL OR d.decided_at >= $1) AND ($2::timestamptz IS NULL OR d.decided_at < $2)
 GROUP BY d.winner_model_id, d.loser_model_id
 ORDER BY d.winner_model_id, d.loser_model_id;

-- name: figures_list_messages
-- $1 text, $2 uuid, $3 uuid: of a model, a person, a conversation; null: any. $4, $5 timestamptz: from and before. $6 int, $7 int: offset, limit.
SELECT m.stream_id, m.message_id, m.user_id, m.role, m.parent_id, m.model_id, m.input_tokens, m.output_tokens, m.sent_at, m.deleted_at
  FROM stenograph_figures.counted_messages AS m
 WHERE ($1::text IS NULL OR m.model_id = $1) AND ($2::uuid IS NULL OR m.user_id = $2) AND ($3::uuid IS NULL OR m.stream_id = $3)
   AND ($4::timestamptz IS NULL OR m.sent_at >= $4) AND ($5::timestamptz IS NULL OR m.sent_at < $5)
 ORDER BY m.sent_at DESC, m.position DESC
OFFSET $6 LIMIT $7;

-- name: figures_list_ratings
-- Of ratings that count. $1 bool: by what they say. $2 int: 1 ascending, -1 descending. $3 int, $4 int: offset, limit. Each with how many there are.
SELECT r.stream_id, r.version, r.message_id, r.user_id, r.model_id, r.requested_model_id, r.rating, r.rated_at, count(*) OVER () AS total
  FROM stenograph_figures.counted_ratings AS r JOIN stenograph_figures.counted_conversations AS c USING (stream_id)
 WHERE r.superseded_at IS NULL AND r.version >= c.imported_version
 ORDER BY CASE WHEN $1 THEN r.rating ELSE 0 END * $2, r.position * $2
OFFSET $3 LIMIT $4;

-- name: figures_chats_of_model
-- $1 text: a model. $2, $3 timestamptz: its answers from and before. Each chat with its owner, and when the model answered in it last.
SELECT m.stream_id, c.owner_id, max(m.sent_at) AS updated_at
  FROM stenograph_figures.counted_messages AS m JOIN stenograph_figures.counted_conversations AS c USING (stream_id)
 WHERE m.model_id = $1 AND m.role = 'assistant' AND c.kind = 'chat' AND c.deleted_at IS NULL
   AND ($2::timestamptz IS NULL OR m.sent_at >= $2) AND ($3::timestamptz IS NULL OR m.sent_at < $3)
 GROUP BY m.stream_id, c.owner_id
 ORDER BY max(m.sent_at) DESC, m.stream_id;
