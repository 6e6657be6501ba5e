-- name: read_stream
-- $1 uuid: the stream. $2 int: the reader's version. $3 int: the last version wanted, or null. $4 int: rows at most.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.stream_id = $1 AND e.version > $2 AND ($3::integer IS NULL OR e.version <= $3)
 ORDER BY e.version
 LIMIT $4;

-- name: read_streams
-- The same of several streams, for all who ask at once. $1 uuid[]: the streams; one may be named twice. $2 int[]: the reader's version of
-- each. $3 int[]: rows at most of each. The last column is the stream's number in $1, from 1.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at, asked.number
  FROM unnest($1::uuid[], $2::integer[], $3::integer[]) WITH ORDINALITY AS asked (stream_id, version, events_max, number)
  JOIN streams AS s ON s.stream_id = asked.stream_id
 CROSS JOIN LATERAL (
       SELECT * FROM events AS one
        WHERE one.stream_id = asked.stream_id AND one.version > asked.version
        ORDER BY one.version
        LIMIT asked.events_max
       ) AS e
 ORDER BY asked.number, e.version;

-- name: read_stream_without_deltas
-- The same without tokens, by its own partial index: a long chat is folded without reading what was streamed.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.stream_id = $1 AND e.version > $2 AND ($3::integer IS NULL OR e.version <= $3) AND e.type <> 'message_delta'
 ORDER BY e.version
 LIMIT $4;

-- name: read_outline
-- The same without what answers are made of, for folds. $5 json: what stands for each message_end, whose text is as long as all
-- its deltas. The index holds blocks, too, but they are few.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, NULL::json AS actor,
       CASE WHEN e.type = 'message_end' THEN $5::json ELSE e.data END AS data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.stream_id = $1 AND e.version > $2 AND e.version <= $3 AND e.type <> 'message_delta' AND e.type <> 'content_block'
 ORDER BY e.version
 LIMIT $4;

-- name: read_message
-- $1 uuid: the stream. $2 uuid: the message. $3 int: a version; only what stands above it is read.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.stream_id = $1 AND e.message_id = $2 AND e.version > $3
 ORDER BY e.version;

-- name: read_head
-- $1 uuid: the stream. $2 text[]: types. All events that are about no message, the newest of these types, and the newest of all.
-- $3 json: as of read_outline. OFFSET 0: as of read_relatives.
-- The newest of these types is looked for from the stream's end backwards. The planner would rather sort all events of the stream, since
-- it knows only how many a stream has on average; so the search is one over all streams up to this one, which it may not sort. It ends
-- at the stream's first event.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, NULL::json AS actor,
       CASE WHEN e.type = 'message_end' THEN $3::json ELSE e.data END AS data, e.recorded_at
  FROM (SELECT o.version FROM events AS o WHERE o.stream_id = $1 AND o.message_id IS NULL
        UNION
        SELECT f.version
          FROM (SELECT t.stream_id, t.version, t.type FROM events AS t
                 WHERE (t.stream_id, t.version) <= ($1, 2147483647) AND t.type <> 'message_delta'
                   AND (t.type = ANY ($2::text[]) OR t.version = 1)
                 ORDER BY t.stream_id DESC, t.version DESC LIMIT 1) AS f
         WHERE f.stream_id = $1 AND f.type = ANY ($2::text[])
        UNION
        (SELECT n.version FROM events AS n WHERE n.stream_id = $1 ORDER BY n.version DESC LIMIT 1)) AS wanted
       CROSS JOIN LATERAL (SELECT * FROM events AS w WHERE w.stream_id = $1 AND w.version = wanted.version OFFSET 0) AS e
  JOIN streams AS s ON s.stream_id = $1
 ORDER BY e.version;

-- name: read_relatives
-- $1 uuid: the stream. $2 uuid[]: messages. $3 int: the last version that counts. $4 json: as of read_outline.
-- Of these messages, their parents and their children: what added, ended and deleted each, and the newest that changed it besides. Every step goes
-- by an index of migration 0008, one message at a time: the planner knows only how many events a stream has on average, and would read
-- the stream as a whole if OFFSET 0 did not keep it from joining otherwise.
WITH named AS (SELECT DISTINCT message_id FROM unnest($2::uuid[]) AS u(message_id)),
family AS (
    SELECT message_id FROM named
    UNION
    SELECT (own.data ->> 'parent_id')::uuid FROM named CROSS JOIN LATERAL (
        SELECT b.type, b.data FROM events AS b
         WHERE b.stream_id = $1 AND b.message_id = named.message_id AND b.type <> 'message_delta' AND b.type <> 'content_block'
           AND b.version <= $3
        OFFSET 0) AS own
     WHERE own.type IN ('message_added', 'message_start')
    UNION
    SELECT child.message_id FROM named CROSS JOIN LATERAL (
        SELECT b.message_id FROM events AS b
         WHERE b.stream_id = $1 AND (b.data ->> 'parent_id')::uuid = named.message_id
           AND b.type IN ('message_added', 'message_start') AND b.version <= $3
        OFFSET 0) AS child
)
SELECT e.position, s.kind, $1 AS stream_id, e.version, e.type, e.message_id, NULL::json AS actor,
       CASE WHEN e.type = 'message_end' THEN $4::json ELSE e.data END AS data, e.recorded_at
  FROM streams AS s CROSS JOIN family CROSS JOIN LATERAL (
        SELECT * FROM events AS o
         WHERE o.stream_id = $1 AND o.message_id = family.message_id AND o.type <> 'message_delta' AND o.type <> 'content_block'
           AND o.type IN ('message_added', 'message_start', 'message_deleted', 'message_end', 'error', 'cancelled', 'interrupted')
           AND o.version <= $3
        UNION ALL
        (SELECT * FROM events AS n
          WHERE n.stream_id = $1 AND n.message_id = family.message_id AND n.type <> 'message_delta' AND n.type <> 'content_block'
            AND n.type NOT IN ('message_added', 'message_start', 'message_deleted', 'message_end', 'error', 'cancelled', 'interrupted',
                               'chat_branch_selected', 'call', 'call_answered', 'call_expired')
            AND n.version <= $3
          ORDER BY n.version DESC LIMIT 1)
        OFFSET 0) AS e
 WHERE s.stream_id = $1
 ORDER BY e.version;

-- name: read_messages
-- $1 uuid: the stream. $2 uuid[]: messages. $3 int: the last version that counts. $4 json: as of read_outline.
-- All events of these messages without what answers are made of, each message by its index. OFFSET 0: as of read_relatives.
SELECT e.position, s.kind, $1 AS stream_id, e.version, e.type, e.message_id, NULL::json AS actor,
       CASE WHEN e.type = 'message_end' THEN $4::json ELSE e.data END AS data, e.recorded_at
  FROM streams AS s CROSS JOIN (SELECT DISTINCT message_id FROM unnest($2::uuid[]) AS u(message_id)) AS named
       CROSS JOIN LATERAL (
        SELECT * FROM events AS o
         WHERE o.stream_id = $1 AND o.message_id = named.message_id AND o.type <> 'message_delta' AND o.type <> 'content_block'
           AND o.version <= $3
        OFFSET 0) AS e
 WHERE s.stream_id = $1
 ORDER BY e.version;

-- name: read_open_starts
-- $1 uuid: the stream. $2 int: the last version that counts. Every message_start that no end came after.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, NULL::json AS actor, e.data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.stream_id = $1 AND e.version <= $2 AND e.type = 'message_start' AND e.type <> 'message_delta'
   AND NOT EXISTS (SELECT FROM events AS o
                    WHERE o.stream_id = $1 AND o.message_id = e.message_id AND o.type <> 'message_delta' AND o.type <> 'content_block'
                      AND o.type IN ('message_end', 'error', 'cancelled', 'interrupted') AND o.version > e.version AND o.version <= $2)
 ORDER BY e.version;

-- name: read_open_calls
-- $1 uuid: the stream. $2 int: the last version that counts. Every call to a user that has neither an answer nor an end. The conditions on
-- the type are those of the indexes that hold calls alone.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, NULL::json AS actor, e.data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.stream_id = $1 AND e.version <= $2 AND e.type IN ('call', 'call_answered', 'call_expired') AND e.type = 'call'
   AND NOT EXISTS (SELECT FROM events AS o
                    WHERE o.stream_id = $1 AND o.version > e.version AND o.version <= $2 AND o.data ->> 'call_id' = e.data ->> 'call_id'
                      AND o.type IN ('call', 'call_answered', 'call_expired') AND o.type <> 'call')
 ORDER BY e.version;

-- name: read_call
-- $1 text: the call's id.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.data ->> 'call_id' = $1 AND e.type IN ('call', 'call_answered', 'call_expired') AND s.kind IN ('chat', 'channel')
 ORDER BY e.position;

-- name: read_log
-- $1 bigint: the reader's position. $2 int: rows at most.
-- Positions are given out under the append lock and that lock is held until the commit, so position order is commit order
-- and no row can surface below one that was already seen. That is why no further filter is needed here.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id)
 WHERE e.position > $1
 ORDER BY e.position
 LIMIT $2;

-- name: stream_version
-- $1 uuid, $2 text: the stream's id and kind. An id of another kind names no stream.
SELECT version FROM events
 WHERE stream_id = $1 AND EXISTS (SELECT FROM streams AS s WHERE s.stream_id = $1 AND s.kind = $2)
 ORDER BY version DESC
 LIMIT 1;

-- name: version_times
-- $1 uuid, $2 text: the stream's id and kind. $3 int[]: versions.
SELECT version, recorded_at
  FROM events
 WHERE stream_id = $1 AND version = ANY($3::integer[])
   AND EXISTS (SELECT FROM streams AS s WHERE s.stream_id = $1 AND s.kind = $2);

-- name: version_at
-- $1 uuid, $2 text: the stream's id and kind. $3 timestamptz. Time never runs against versions, so this halves what is left.
-- A restored event counts from when it was recorded first.
WITH RECURSIVE halved (low, high) AS (
    SELECT 0, coalesce((SELECT version FROM events
                         WHERE stream_id = $1 AND EXISTS (SELECT FROM streams AS s WHERE s.stream_id = $1 AND s.kind = $2)
                         ORDER BY version DESC LIMIT 1), 0)
    UNION ALL
    SELECT CASE WHEN coalesce(o.recorded_at, e.recorded_at) <= $3 THEN e.version ELSE low END,
           CASE WHEN coalesce(o.recorded_at, e.recorded_at) <= $3 THEN high ELSE e.version - 1 END
      FROM halved JOIN events AS e ON e.stream_id = $1 AND e.version = (low + high + 1) / 2
      LEFT JOIN originals AS o ON o.stream_id = $1 AND o.version = e.version
     WHERE low < high
)
SELECT low AS version FROM halved WHERE low >= high;

-- name: original_times
-- $1 uuid: a stream. $2 int, $3 int: after which version, and until which. When its restored events were recorded first.
SELECT version, recorded_at FROM originals WHERE stream_id = $1 AND version > $2 AND version <= $3;

-- name: log_head
SELECT position FROM events ORDER BY position DESC LIMIT 1;

-- name: streams_of_kind
-- $1 text: the kind, of which there are few. The second condition is that of their index.
SELECT stream_id FROM streams WHERE kind = $1 AND kind NOT IN ('chat', 'channel', 'user');

-- name: find_command
SELECT request_hash, position, versions, answer, recorded_at FROM commands WHERE actor_id = $1 AND key = $2;

-- name: find_claim
SELECT s.stream_id, s.kind FROM claims JOIN streams AS s USING (stream_id) WHERE claims.kind = $1 AND claims.key = $2;

-- name: put_blob!
INSERT INTO blobs (stream_id, sha256, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: get_blob
SELECT content FROM blobs WHERE stream_id = $1 AND sha256 = $2;

-- name: get_blob_part
-- $3 int: so many bytes are passed over. $4 int: bytes at most.
SELECT substring(content FROM $3 + 1 FOR $4) AS part FROM blobs WHERE stream_id = $1 AND sha256 = $2;

-- name: append_batch!
-- The arguments are explained in functions/append_batch.sql. Arrays come as their text, "{1,2,3}"; those of JSON as elements
-- with a record separator between them, an empty one for NULL.
-- Never inside an open transaction: it ends in COMMIT.
CALL append_batch($1, $2,
                  $3::text::integer[], $4::text::uuid[], $5::text::text[], $6::text::bytea[], $7::text::json[],
                  $8::text::integer[], $9::text::text[], $10::text::text[], $11::text::uuid[],
                  $12::text::integer[], $13::text::uuid[], $14::text::text[], $15::text::integer[], $16::text::integer[],
                  $17::text::integer[], $18::text::integer[], $19::text::text[], $20::text::uuid[],
                  string_to_array($21, E'\x1e', '')::json[], string_to_array($22, E'\x1e')::json[], $23::text::timestamptz[]);

-- name: announce_as
-- $1 text: the id of the process that appends on this connection; empty: its commits are not announced (functions/append_batch.sql).
SELECT set_config('stenograph.node', $1, false);

-- name: bell_channel
-- The name that no other login of the database knows (sql/migrations/0020).
SELECT channel FROM bell;

-- name: notify
-- $1 text: the channel. $2 text: the payload, under 8,000 bytes.
SELECT pg_notify($1, $2);

-- name: probe_append
-- $1 json: see sql/functions/probe_append.sql.
SELECT probe_append($1);
