-- What is read of channels. There are no rows of a projection: the log itself has an index for each question (migration 0016), so that what
-- is read is never behind what was written, and is as easily read as of any version.

-- name: channel_page
-- $1 uuid: the channel. $2 text: the first message of a thread, '' for the channel itself. $3 int: below this version. $4 int: as of this version.
-- $5 int: offset. $6 int: rows at most. The newest first, without those that were deleted by then.
SELECT m.message_id, m.version
  FROM events AS m
 WHERE m.stream_id = $1 AND m.type IN ('message', 'message_start') AND coalesce(m.data ->> 'parent_id', '') = $2
   AND m.version < $3 AND m.version <= $4
   AND NOT EXISTS (SELECT FROM events AS d
                    WHERE d.stream_id = $1 AND d.message_id = m.message_id AND d.type = 'message:delete'
                      AND d.type <> 'message_delta' AND d.type <> 'content_block' AND d.version <= $4)
 ORDER BY m.version DESC
OFFSET $5
 LIMIT $6;

-- name: channel_messages
-- $1 uuid: the channel. $2 uuid[]: messages. $3 int: as of this version. All of their events but what answers are made of.
SELECT e.position, 'channel' AS kind, $1 AS stream_id, e.version, e.type, e.message_id, e.actor, e.data,
       coalesce(o.recorded_at, e.recorded_at) AS recorded_at
  FROM (SELECT DISTINCT message_id FROM unnest($2::uuid[]) AS u(message_id)) AS named
       CROSS JOIN LATERAL (
        SELECT * FROM events AS one
         WHERE one.stream_id = $1 AND one.message_id = named.message_id AND one.type <> 'message_delta' AND one.type <> 'content_block'
           AND one.version <= $3
        OFFSET 0) AS e
  LEFT JOIN originals AS o ON o.stream_id = $1 AND o.version = e.version
 ORDER BY e.version;

-- name: channel_replies
-- $1 uuid: the channel. $2 text[]: first messages of threads. $3 int: as of this version. How many replies each has, and when the last came,
-- which may be deleted by now.
SELECT named.parent_id::uuid AS message_id, thread.replies, thread.latest_at
  FROM unnest($2::text[]) AS named(parent_id)
       CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE NOT EXISTS (
                      SELECT FROM events AS d
                       WHERE d.stream_id = $1 AND d.message_id = m.message_id AND d.type = 'message:delete'
                         AND d.type <> 'message_delta' AND d.type <> 'content_block' AND d.version <= $3)) AS replies,
               max(m.recorded_at) AS latest_at
          FROM events AS m
         WHERE m.stream_id = $1 AND m.type IN ('message', 'message_start') AND coalesce(m.data ->> 'parent_id', '') = named.parent_id
           AND m.version <= $3) AS thread
 WHERE thread.replies > 0;

-- name: channel_pinned
-- $1 uuid: the channel. $2 int: as of this version. $3 int: offset. $4 int: rows at most. Pinned last comes first.
SELECT p.message_id, p.version
  FROM events AS p
 WHERE p.stream_id = $1 AND p.type = 'message:pin' AND p.version <= $2
   AND NOT EXISTS (SELECT FROM events AS d
                    WHERE d.stream_id = $1 AND d.message_id = p.message_id AND d.type IN ('message:delete', 'message:unpin', 'message:pin')
                      AND d.type <> 'message_delta' AND d.type <> 'content_block' AND d.version > p.version AND d.version <= $2)
 ORDER BY p.version DESC
OFFSET $3
 LIMIT $4;

-- name: channel_summaries
-- $1 uuid[], $2 int[]: channels, and the version up to which the reader has read each. $3 uuid: the reader. $4 text[], $5 int[]: first messages of
-- threads, and the version up to which the reader has read each of those. Of each channel when it was made, its newest message, how many
-- others have written in it since, in its threads too, and how many of all those mention the reader.
SELECT asked.channel_id, newest.version AS last_version, newest.recorded_at AS last_at,
       unread.count AS unread, replies.count AS unread_replies, mentions.count AS unread_mentions,
       (SELECT f.recorded_at FROM events AS f WHERE f.stream_id = asked.channel_id AND f.version = 1) AS created_at
  FROM unnest($1::uuid[], $2::integer[]) AS asked(channel_id, read_version)
  LEFT JOIN LATERAL (
        SELECT m.version, m.recorded_at FROM events AS m
         WHERE m.stream_id = asked.channel_id AND m.type IN ('message', 'message_start') AND coalesce(m.data ->> 'parent_id', '') = ''
         ORDER BY m.version DESC LIMIT 1) AS newest ON true
 CROSS JOIN LATERAL (
        SELECT count(*) FROM events AS m
         WHERE m.stream_id = asked.channel_id AND m.type IN ('message', 'message_start') AND coalesce(m.data ->> 'parent_id', '') = ''
           AND m.version > asked.read_version AND (m.data ->> 'user_id') IS DISTINCT FROM ($3::uuid)::text
           AND NOT EXISTS (SELECT FROM events AS d
                            WHERE d.stream_id = asked.channel_id AND d.message_id = m.message_id AND d.type = 'message:delete'
                              AND d.type <> 'message_delta' AND d.type <> 'content_block')) AS unread
 CROSS JOIN LATERAL (
        SELECT count(*) FROM events AS m
         WHERE m.stream_id = asked.channel_id AND m.type IN ('message', 'message_start') AND (m.data ->> 'parent_id') IS NOT NULL
           AND m.version > asked.read_version AND (m.data ->> 'user_id') IS DISTINCT FROM ($3::uuid)::text
           AND m.version > coalesce((SELECT t.version FROM unnest($4::text[], $5::integer[]) AS t(root, version)
                                      WHERE t.root = m.data ->> 'parent_id'), 0)
           AND NOT EXISTS (SELECT FROM events AS d
                            WHERE d.stream_id = asked.channel_id AND d.message_id = m.message_id AND d.type = 'message:delete'
                              AND d.type <> 'message_delta' AND d.type <> 'content_block')) AS replies
 CROSS JOIN LATERAL (
        SELECT count(*) FROM events AS n
         WHERE n.stream_id = $3::uuid AND n.type = 'mentioned' AND (n.data ->> 'channel_id') = asked.channel_id::text
           AND (n.data ->> 'version')::integer > asked.read_version
           AND (n.data ->> 'version')::integer > coalesce((SELECT t.version FROM unnest($4::text[], $5::integer[]) AS t(root, version)
                                                            WHERE t.root = n.data ->> 'parent_id'), 0)
           AND NOT EXISTS (SELECT FROM events AS d
                            WHERE d.stream_id = asked.channel_id AND d.message_id = (n.data ->> 'message_id')::uuid
                              AND d.type = 'message:delete' AND d.type <> 'message_delta' AND d.type <> 'content_block')) AS mentions;

-- name: standard_channels
SELECT stream_id FROM events WHERE type = 'channel:created' AND (data ->> 'type') = 'standard';

-- name: channel_changes
-- $1 uuid: the channel. $2, $3 int: above and up to these versions. $4 int: rows at most. What took words away.
SELECT e.position, 'channel' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e
 WHERE e.stream_id = $1 AND e.type IN ('message:update', 'message:delete', 'message:reaction:remove', 'channel:update')
   AND e.version > $2 AND e.version <= $3
 ORDER BY e.version
 LIMIT $4;
