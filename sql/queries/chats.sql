-- Reads of chats: rows of the projection `chat_tree`, and what stands in the log above them. What is read together is read in one snapshot.
-- An array that is unnested stands in a SELECT of its own: how long it is changes no plan here, and where Postgres sees it, it plans anew
-- at every call, which takes longer than the rest.

-- name: chat_head
-- $1 uuid: a chat. The newest version in the log, and the row, whose columns are null where there is none yet.
SELECT (SELECT e.version FROM events AS e
         WHERE e.stream_id = $1 AND EXISTS (SELECT FROM streams AS s WHERE s.stream_id = $1 AND s.kind = 'chat')
         ORDER BY e.version DESC LIMIT 1) AS newest,
       h.chat_id, h.version, h.position, h.updated_at, h.current_id, h.messages_count, h.open::text, h.owner_id, h.listed, h.deleted, h.title,
       h.folder_id, h.pinned, h.archived, h.tags, h.created_at, h.grants::text, h.share::text, h.fields_weight, h.fields_version,
       h.fields::text
  FROM (SELECT) AS one LEFT JOIN stenograph_chat_tree.chat_heads AS h ON h.chat_id = $1;

-- name: chat_configured
-- $1 uuid: a chat. $2 int, $3 int: after which version, and until which. What changed its keys.
SELECT e.position, 'chat' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e
 WHERE e.stream_id = $1 AND e.version > $2 AND e.version <= $3 AND e.message_id IS NULL AND e.type = 'chat_configured'
 ORDER BY e.version;

-- name: chat_facts
-- $1 uuid, $2 int: a chat, a version. What happened to the chat itself until then, and the event of that version.
SELECT e.position, 'chat' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at) AS recorded_at
  FROM events AS e LEFT JOIN originals AS o USING (stream_id, version)
 WHERE e.stream_id = $1 AND e.version <= $2 AND e.message_id IS NULL
UNION ALL
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at)
  FROM events AS e LEFT JOIN originals AS o USING (stream_id, version)
 WHERE e.stream_id = $1 AND e.version = $2 AND e.message_id IS NOT NULL
 ORDER BY version;

-- name: chat_current
-- $1 uuid, $2 int: a chat, a version. Which message it was looked at from.
SELECT message_id FROM stenograph_chat_tree.currents WHERE chat_id = $1 AND version <= $2 ORDER BY version DESC LIMIT 1;

-- name: chat_messages
-- $1 uuid, $2 int: a chat, a version. All its messages as they were then; of those that are not whole, the body that more is folded into.
SELECT m.message_id::text, m.parent_id::text, m.ordinal, m.is_open,
       CASE WHEN m.body_since IS NULL THEN m.body
            ELSE (SELECT b.body FROM stenograph_chat_tree.messages AS b
                   WHERE b.chat_id = m.chat_id AND b.message_id = m.message_id AND b.since = m.body_since)
       END AS body,
       coalesce(m.body_since, m.since) AS body_version, NOT m.is_open AND coalesce(m.changed_since > $2, true) AS is_whole
  FROM stenograph_chat_tree.messages AS m
 WHERE m.chat_id = $1 AND m.since <= $2 AND (m.until IS NULL OR m.until > $2);

-- name: chat_some_messages
-- $1 uuid, $2 int: a chat, a version. $3 uuid[]: messages. $4 uuid[]: messages whose children are wanted.
SELECT m.message_id::text, m.parent_id::text, m.ordinal, m.is_open,
       CASE WHEN m.body_since IS NULL THEN m.body
            ELSE (SELECT b.body FROM stenograph_chat_tree.messages AS b
                   WHERE b.chat_id = m.chat_id AND b.message_id = m.message_id AND b.since = m.body_since)
       END AS body,
       coalesce(m.body_since, m.since) AS body_version, NOT m.is_open AND coalesce(m.changed_since > $2, true) AS is_whole
  FROM stenograph_chat_tree.messages AS m
 WHERE m.chat_id = $1 AND m.since <= $2 AND (m.until IS NULL OR m.until > $2)
   AND (m.message_id = ANY ($3::uuid[]) OR m.parent_id = ANY ($4::uuid[]));

-- name: chat_branch
-- $1 uuid, $2 int: a chat, a version. $3 uuid: a message. $4 int: how many at most. That message and those above it.
WITH RECURSIVE branch (message_id, since, parent_id, depth) AS (
    SELECT m.message_id, m.since, m.parent_id, 1
      FROM stenograph_chat_tree.messages AS m
     WHERE m.chat_id = $1 AND m.message_id = $3 AND m.since <= $2 AND (m.until IS NULL OR m.until > $2)
    UNION ALL
    SELECT m.message_id, m.since, m.parent_id, b.depth + 1
      FROM branch AS b JOIN stenograph_chat_tree.messages AS m
        ON m.chat_id = $1 AND m.message_id = b.parent_id AND m.since <= $2 AND (m.until IS NULL OR m.until > $2)
     WHERE b.depth < $4
)
SELECT m.message_id::text, m.parent_id::text, m.ordinal, m.is_open,
       CASE WHEN m.body_since IS NULL THEN m.body
            ELSE (SELECT b.body FROM stenograph_chat_tree.messages AS b
                   WHERE b.chat_id = m.chat_id AND b.message_id = m.message_id AND b.since = m.body_since)
       END AS body,
       coalesce(m.body_since, m.since) AS body_version, NOT m.is_open AND coalesce(m.changed_since > $2, true) AS is_whole
  FROM branch AS b JOIN stenograph_chat_tree.messages AS m ON m.chat_id = $1 AND m.message_id = b.message_id AND m.since = b.since;

-- name: chat_said
-- $1 uuid: a chat. $2 uuid[], $3 int[]: messages, and the versions that began them. $4 int: until. Everything about them in between.
-- Each is looked up between its own two versions: left to itself, a plan for any arrays reads all events up to $4, tokens too.
SELECT e.position, 'chat' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at) AS recorded_at
  FROM unnest((SELECT $2::uuid[]), (SELECT $3::integer[])) AS wanted(message_id, after)
 CROSS JOIN LATERAL (SELECT * FROM events AS said
                      WHERE said.stream_id = $1 AND said.version > wanted.after AND said.version <= $4 AND said.message_id = wanted.message_id
                     OFFSET 0) AS e
  LEFT JOIN originals AS o ON o.stream_id = $1 AND o.version = e.version
 ORDER BY e.version;

-- name: chat_noted
-- $1 uuid: a chat. $2 uuid[], $3 int[]: messages, and the versions of their bodies. $4 int: until. The changes that are noted upon each.
SELECT e.position, 'chat' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at) AS recorded_at
  FROM unnest((SELECT $2::uuid[]), (SELECT $3::integer[])) AS wanted(message_id, after)
 CROSS JOIN LATERAL (SELECT c.version FROM stenograph_chat_tree.noted_changes AS c
                      WHERE c.chat_id = $1 AND c.message_id = wanted.message_id AND c.version > wanted.after AND c.version <= $4
                     OFFSET 0) AS noted
 CROSS JOIN LATERAL (SELECT * FROM events AS one WHERE one.stream_id = $1 AND one.version = noted.version OFFSET 0) AS e
  LEFT JOIN originals AS o ON o.stream_id = $1 AND o.version = e.version
 ORDER BY e.version;

-- name: chat_tail
-- $1 uuid: a chat. $2 int: the version that its row holds. $3 int: until which. $4 int: rows at most. Without tokens.
-- What readers see of a restored event is when it was recorded first.
SELECT e.position, s.kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at) AS recorded_at
  FROM events AS e JOIN streams AS s USING (stream_id) LEFT JOIN originals AS o USING (stream_id, version)
 WHERE e.stream_id = $1 AND e.version > $2 AND e.version <= $3 AND e.type <> 'message_delta'
 ORDER BY e.version
 LIMIT $4;

-- name: chat_children
-- $1 uuid, $2 int: a chat, a version. $3 uuid[]: messages. Which stood below each then, in the order in which they were added.
-- One look into the index for each: what is known of chats in general says nothing of one that is long.
SELECT wanted.parent_id::text, child.message_id::text, child.ordinal
  FROM unnest((SELECT $3::uuid[])) AS wanted(parent_id)
 CROSS JOIN LATERAL (SELECT m.message_id, m.ordinal FROM stenograph_chat_tree.messages AS m
                      WHERE m.chat_id = $1 AND m.parent_id = wanted.parent_id AND m.since <= $2 AND (m.until IS NULL OR m.until > $2)
                     OFFSET 0) AS child
 ORDER BY child.ordinal;

-- name: chat_outline
-- $1 uuid, $2 int: a chat, a version. Where each of its messages stood then, in the order in which they were added, and the size of each.
SELECT m.message_id::text, m.parent_id::text, m.ordinal, m.is_open, m.body_bytes
  FROM stenograph_chat_tree.messages AS m
 WHERE m.chat_id = $1 AND m.since <= $2 AND (m.until IS NULL OR m.until > $2)
 ORDER BY m.ordinal;

-- name: chat_rows_version
-- $1 uuid: a chat. The version that its rows hold.
SELECT version FROM stenograph_chat_tree.chat_heads WHERE chat_id = $1;

-- name: chat_tail_of_messages
-- $1 uuid: a chat. $2 int, $3 int: after which version, and until which. $4 uuid[]: messages. What happened to them, without tokens.
SELECT e.position, 'chat' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at) AS recorded_at
  FROM events AS e LEFT JOIN originals AS o USING (stream_id, version)
 WHERE e.stream_id = $1 AND e.version > $2 AND e.version <= $3 AND e.type <> 'message_delta' AND e.message_id = ANY ($4::uuid[])
 ORDER BY e.version;
