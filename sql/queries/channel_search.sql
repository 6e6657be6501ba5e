-- Searches in channels, and what projections/channel_search.py reads and writes. Tables without a schema are those of the build that is
-- being written.

-- name: channel_hits
-- $1 tsquery. $2 timestamptz, $3 timestamptz: written before, and at or after; null: whenever. $4 bigint: below this position. $5 int: offset.
-- $6 int: rows at most. The newest first. A restored or imported message was written when it was first.
SELECT m.channel_id, m.message_id, m.position
  FROM stenograph_channel_search.channel_texts AS m
  JOIN events AS e ON e.stream_id = m.channel_id AND e.version = m.ordinal
  LEFT JOIN originals AS o ON o.stream_id = m.channel_id AND o.version = m.ordinal
 WHERE m.words @@ (SELECT $1::text::tsquery) AND m.position < $4
   AND ($2::timestamptz IS NULL OR coalesce(o.recorded_at, e.recorded_at) < $2)
   AND ($3::timestamptz IS NULL OR coalesce(o.recorded_at, e.recorded_at) >= $3)
 ORDER BY m.position DESC
OFFSET $5
 LIMIT $6;

-- name: channel_search_before
-- $1 uuid[], $2 uuid[], $3 int[]: channels, a message of each, and a version: what made the message what it was below that version.
SELECT e.position, 'channel', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted(stream_id, message_id, version)
 CROSS JOIN LATERAL (
        SELECT * FROM events AS one
         WHERE one.stream_id = wanted.stream_id AND one.message_id = wanted.message_id
           AND one.type <> 'message_delta' AND one.type <> 'content_block' AND one.version < wanted.version
           AND one.type IN ('message', 'message_start', 'message_end', 'error', 'cancelled', 'interrupted', 'message:update', 'message:delete',
                            'files', 'chat:message:files')
        OFFSET 0) AS e
 ORDER BY e.stream_id, e.version;

-- name: channel_search_add!
INSERT INTO channel_texts (channel_id, ordinal, message_id, position, words) VALUES ($1, $2, $3, $4, $5::text::tsvector);

-- name: channel_search_copy!
COPY channel_texts (channel_id, ordinal, message_id, position, words) FROM STDIN;

-- name: channel_search_put!
INSERT INTO channel_texts (channel_id, ordinal, message_id, position, words) VALUES ($1, $2, $3, $4, $5::text::tsvector)
    ON CONFLICT (channel_id, ordinal) DO UPDATE SET words = excluded.words;

-- name: channel_search_drop!
DELETE FROM channel_texts WHERE channel_id = $1 AND ordinal = $2;
