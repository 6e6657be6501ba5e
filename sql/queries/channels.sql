-- What is read of channels. The log itself has an index for each question (migration 0016), so that what is read is never behind what was
-- written, and is as easily read as of any version. Only what was not read is counted by rows of a projection, `channel_counts`, and its tail.
-- Whether a message was deleted is looked for among its own events. OFFSET 0 keeps the planner from going through all changes of the channel
-- for each message: it knows only how many a channel has on average.

-- name: channel_page
-- $1 uuid: the channel. $2 text: the first message of a thread, '' for the channel itself. $3 int: below this version. $4 int: as of this version.
-- $5 int: offset. $6 int: rows at most. The newest first, without those that were deleted by then.
SELECT m.message_id, m.version
  FROM events AS m
 WHERE m.stream_id = $1 AND m.type IN ('message', 'message_start') AND coalesce(m.data ->> 'parent_id', '') = $2
   AND m.version < $3 AND m.version <= $4
   AND NOT EXISTS (SELECT FROM (SELECT d.type FROM events AS d
                                  WHERE d.stream_id = $1 AND d.message_id = m.message_id
                                    AND d.type <> 'message_delta' AND d.type <> 'content_block' AND d.version <= $4
                                 OFFSET 0) AS own WHERE own.type = 'message:delete')
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

-- name: channel_events_below
-- $1 uuid: the channel. $2 int: below this version. $3 int: rows at most. The newest first, without deltas.
SELECT e.position, 'channel' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e
 WHERE e.stream_id = $1 AND e.version < $2 AND e.type <> 'message_delta'
 ORDER BY e.version DESC
 LIMIT $3;

-- name: channel_replies
-- $1 uuid: the channel. $2 text[]: first messages of threads. $3 int: as of this version. How many replies each has, and when the last came,
-- which may be deleted by now.
SELECT named.parent_id::uuid AS message_id, thread.replies, thread.latest_at
  FROM unnest($2::text[]) AS named(parent_id)
       CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE NOT EXISTS (
                      SELECT FROM (SELECT d.type FROM events AS d
                                    WHERE d.stream_id = $1 AND d.message_id = m.message_id
                                      AND d.type <> 'message_delta' AND d.type <> 'content_block' AND d.version <= $3
                                   OFFSET 0) AS own WHERE own.type = 'message:delete')) AS replies,
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
-- Versions above read_version are counted in three parts: up to whole_after, the end of the stretch that was read in part, from the log;
-- from there to counted, what the rows of the projection hold, by its stretches; above it from the log again. What was deleted above
-- counted is taken away from the stretches. All of it is of one transaction snapshot, so the sum is exact.
SELECT asked.channel_id, newest.version AS last_version, newest.recorded_at AS last_at,
       stretches.messages + unread.count - gone.messages AS unread, stretches.replies + replies.count - gone.replies - seen.count AS unread_replies,
       mentions.count AS unread_mentions,
       (SELECT f.recorded_at FROM events AS f WHERE f.stream_id = asked.channel_id AND f.version = 1) AS created_at
  FROM unnest($1::uuid[], $2::integer[]) AS asked(channel_id, read_version)
 CROSS JOIN LATERAL (
        SELECT coalesce((SELECT h.version FROM stenograph_channel_counts.channel_heads AS h WHERE h.channel_id = asked.channel_id), 0) AS counted,
               coalesce((SELECT n.version FROM events AS n WHERE n.stream_id = asked.channel_id ORDER BY n.version DESC LIMIT 1), 0) AS head,
               (asked.read_version + 127) / 128 * 128 AS whole_after
        OFFSET 0) AS at
  LEFT JOIN LATERAL (
        SELECT m.version, m.recorded_at FROM events AS m
         WHERE m.stream_id = asked.channel_id AND m.type IN ('message', 'message_start') AND coalesce(m.data ->> 'parent_id', '') = ''
         ORDER BY m.version DESC LIMIT 1) AS newest ON true
 CROSS JOIN LATERAL (
        SELECT coalesce(sum(CASE WHEN c.user_id = $3::uuid THEN -c.messages ELSE c.messages END), 0) AS messages,
               coalesce(sum(CASE WHEN c.user_id = $3::uuid THEN -c.replies ELSE c.replies END), 0) AS replies
          FROM (VALUES ('00000000-0000-0000-0000-000000000000'::uuid), ($3::uuid)) AS writer(user_id)
               CROSS JOIN LATERAL (
                SELECT b.user_id, b.messages, b.replies FROM stenograph_channel_counts.message_counts AS b
                 WHERE b.channel_id = asked.channel_id AND b.user_id = writer.user_id AND b.stretch >= at.whole_after / 128
                OFFSET 0) AS c
         WHERE at.whole_after < at.counted) AS stretches
 CROSS JOIN LATERAL (
        SELECT count(*)
          FROM (VALUES (asked.read_version, at.whole_after), (greatest(at.counted, at.whole_after), at.head)) AS span(above, until)
               CROSS JOIN LATERAL (
                SELECT FROM events AS m
                 WHERE m.stream_id = asked.channel_id AND m.type IN ('message', 'message_start') AND coalesce(m.data ->> 'parent_id', '') = ''
                   AND m.version > span.above AND m.version <= span.until AND (m.data ->> 'user_id') IS DISTINCT FROM ($3::uuid)::text
                   AND NOT EXISTS (SELECT FROM (SELECT d.type FROM events AS d
                                                  WHERE d.stream_id = asked.channel_id AND d.message_id = m.message_id
                                                    AND d.type <> 'message_delta' AND d.type <> 'content_block'
                                                 OFFSET 0) AS own WHERE own.type = 'message:delete')
                OFFSET 0) AS one
         WHERE span.above < least(span.until, at.head)) AS unread
 CROSS JOIN LATERAL (
        SELECT count(*)
          FROM (VALUES (asked.read_version, at.whole_after), (greatest(at.counted, at.whole_after), at.head)) AS span(above, until)
               CROSS JOIN LATERAL (
                SELECT FROM events AS m
                 WHERE m.stream_id = asked.channel_id AND m.type IN ('message', 'message_start') AND (m.data ->> 'parent_id') IS NOT NULL
                   AND m.version > span.above AND m.version <= span.until AND (m.data ->> 'user_id') IS DISTINCT FROM ($3::uuid)::text
                   AND NOT EXISTS (SELECT FROM (SELECT d.type FROM events AS d
                                                  WHERE d.stream_id = asked.channel_id AND d.message_id = m.message_id
                                                    AND d.type <> 'message_delta' AND d.type <> 'content_block'
                                                 OFFSET 0) AS own WHERE own.type = 'message:delete')
                OFFSET 0) AS one
         WHERE span.above < least(span.until, at.head)) AS replies
 CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE m.parent_id IS NULL) AS messages, count(*) FILTER (WHERE m.parent_id IS NOT NULL) AS replies
          FROM events AS d
               CROSS JOIN LATERAL (
                SELECT b.data ->> 'parent_id' AS parent_id FROM events AS b
                 WHERE b.stream_id = asked.channel_id AND b.message_id = d.message_id AND b.type IN ('message', 'message_start')
                   AND b.type <> 'message_delta' AND b.type <> 'content_block'
                   AND b.version > at.whole_after AND b.version <= at.counted AND (b.data ->> 'user_id') IS DISTINCT FROM ($3::uuid)::text
                OFFSET 0) AS m
         WHERE at.counted < at.head AND at.whole_after < at.counted
           AND d.stream_id = asked.channel_id AND d.version > at.counted AND d.type = 'message:delete'
           AND d.type IN ('message:update', 'message:delete', 'message:reaction:remove', 'channel:update')
           AND NOT EXISTS (SELECT FROM (SELECT e.type FROM events AS e
                                         WHERE e.stream_id = asked.channel_id AND e.message_id = d.message_id
                                           AND e.type <> 'message_delta' AND e.type <> 'content_block' AND e.version < d.version
                                        OFFSET 0) AS own WHERE own.type = 'message:delete')) AS gone
 CROSS JOIN LATERAL (
        SELECT count(*)
          FROM unnest($4::text[], $5::integer[]) AS t(root, version)
               CROSS JOIN LATERAL (
                SELECT FROM events AS m
                 WHERE m.stream_id = asked.channel_id AND m.type IN ('message', 'message_start')
                   AND coalesce(m.data ->> 'parent_id', '') = t.root
                   AND m.version > asked.read_version AND m.version <= t.version
                   AND (m.data ->> 'user_id') IS DISTINCT FROM ($3::uuid)::text
                   AND NOT EXISTS (SELECT FROM (SELECT d.type FROM events AS d
                                                  WHERE d.stream_id = asked.channel_id AND d.message_id = m.message_id
                                                    AND d.type <> 'message_delta' AND d.type <> 'content_block'
                                                 OFFSET 0) AS own WHERE own.type = 'message:delete')
                OFFSET 0) AS one
         WHERE t.version > asked.read_version AND t.root <> '') AS seen
 CROSS JOIN LATERAL (
        SELECT count(*) FROM events AS n
         WHERE n.stream_id = $3::uuid AND n.type = 'mentioned' AND (n.data ->> 'channel_id') = asked.channel_id::text
           AND (n.data ->> 'version')::integer > asked.read_version
           AND (n.data ->> 'version')::integer > coalesce((SELECT t.version FROM unnest($4::text[], $5::integer[]) AS t(root, version)
                                                            WHERE t.root = n.data ->> 'parent_id'), 0)
           AND NOT EXISTS (SELECT FROM (SELECT d.type FROM events AS d
                                         WHERE d.stream_id = asked.channel_id AND d.message_id = (n.data ->> 'message_id')::uuid
                                           AND d.type <> 'message_delta' AND d.type <> 'content_block'
                                        OFFSET 0) AS own WHERE own.type = 'message:delete')
           AND NOT EXISTS (SELECT FROM events AS r
                            WHERE r.stream_id = $3::uuid AND (r.data ->> 'message_id') = (n.data ->> 'message_id')
                              AND r.type IN ('mentioned', 'mention_removed') AND r.type = 'mention_removed' AND r.version > n.version)) AS mentions;

-- name: channel_mentioned
-- $1 text: a channel. $2 text: a message of it. In whose streams it stands that the message mentions them, and the newest that stands there of it.
SELECT DISTINCT ON (n.stream_id) n.stream_id, n.type
  FROM events AS n
 WHERE (n.data ->> 'message_id') = $2 AND n.type IN ('mentioned', 'mention_removed') AND (n.data ->> 'channel_id') = $1
 ORDER BY n.stream_id, n.version DESC;

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

-- name: channel_counts_before
-- $1 uuid[], $2 uuid[], $3 int[]: channels, a message of each, and a version: what began the message and deleted it, below that version.
SELECT e.position, 'channel', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted(stream_id, message_id, version)
 CROSS JOIN LATERAL (
        SELECT * FROM events AS one
         WHERE one.stream_id = wanted.stream_id AND one.message_id = wanted.message_id
           AND one.type <> 'message_delta' AND one.type <> 'content_block' AND one.version < wanted.version
           AND one.type IN ('message', 'message_start', 'message:delete')
        OFFSET 0) AS e
 ORDER BY e.stream_id, e.version;

-- name: channel_counts_add!
-- Tables without a schema are those of the build that is being written.
INSERT INTO message_counts (channel_id, user_id, stretch, messages, replies) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (channel_id, user_id, stretch)
    DO UPDATE SET messages = message_counts.messages + excluded.messages, replies = message_counts.replies + excluded.replies;

-- name: channel_counts_head!
INSERT INTO channel_heads (channel_id, version) VALUES ($1, $2) ON CONFLICT (channel_id) DO UPDATE SET version = excluded.version;
