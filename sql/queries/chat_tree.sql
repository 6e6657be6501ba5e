-- What projections/chat_tree.py reads and writes. Tables without a schema are those of the build that is being written.

-- name: tree_heads
-- $1 uuid[]: chats. $2 int: keys of a chat up to so many bytes are read, too.
SELECT chat_id, version, position, updated_at, current_id, messages_count, open::text, owner_id, listed, deleted, title, folder_id,
       pinned, archived, tags, created_at, grants::text, share::text, fields_weight, fields_version, fields_bytes,
       CASE WHEN fields_bytes <= $2 THEN fields::text END AS fields
  FROM chat_heads
 WHERE chat_id = ANY ($1::uuid[]);

-- name: tree_fields
-- $1 uuid[]: chats.
SELECT chat_id, fields::text FROM chat_heads WHERE chat_id = ANY ($1::uuid[]);

-- name: tree_configured
-- $1 uuid[]: chats. $2 int[], $3 int[]: after which version, and until which. What changed the keys of each.
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at)
  FROM unnest($1::uuid[], $2::integer[], $3::integer[]) AS wanted(stream_id, after, until)
  JOIN events AS e ON e.stream_id = wanted.stream_id AND e.version > wanted.after AND e.version <= wanted.until
                  AND e.message_id IS NULL AND e.type = 'chat_configured'
  LEFT JOIN originals AS o ON o.stream_id = e.stream_id AND o.version = e.version;

-- name: tree_touched
-- $1 uuid[], $2 uuid[]: chats and a message of each. $3 uuid[], $4 uuid[]: the same, of messages whose children are wanted.
-- $5 int: bodies up to so many bytes are read, too.
SELECT m.chat_id::text, m.message_id::text, m.since, m.ordinal, m.parent_id::text, m.is_open, m.body_bytes, m.changed_since,
       coalesce(m.body_since, m.since) AS body_version,
       CASE WHEN m.body_bytes <= $5 THEN
            CASE WHEN m.body_since IS NULL THEN m.body
                 ELSE (SELECT b.body FROM messages AS b WHERE b.chat_id = m.chat_id AND b.message_id = m.message_id AND b.since = m.body_since)
            END
       END AS body,
       CASE WHEN m.changed_since IS NOT NULL THEN
            (SELECT c.weight FROM noted_changes AS c WHERE c.chat_id = m.chat_id AND c.message_id = m.message_id ORDER BY c.version DESC LIMIT 1)
       END AS weight
  FROM (SELECT one.chat_id, one.message_id, one.since
          FROM unnest($1::uuid[], $2::uuid[]) AS wanted(chat_id, message_id) JOIN messages AS one USING (chat_id, message_id)
         WHERE one.until IS NULL
        UNION
        SELECT child.chat_id, child.message_id, child.since
          FROM unnest($3::uuid[], $4::uuid[]) AS wanted(chat_id, parent_id) JOIN messages AS child USING (chat_id, parent_id)
         WHERE child.until IS NULL AND child.parent_id IS NOT NULL) AS found
  JOIN messages AS m USING (chat_id, message_id, since);

-- name: tree_bodies
-- $1 uuid[], $2 uuid[], $3 int[]: chats, a message of each, and the row that holds its body.
SELECT chat_id::text, message_id::text, body
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted(chat_id, message_id, since) JOIN messages USING (chat_id, message_id, since);

-- name: tree_noted
-- $1 uuid[], $2 uuid[], $3 int[]: chats, a message of each, and a version. The changes that are noted of it after that version.
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at)
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted(chat_id, message_id, after)
  JOIN noted_changes AS c ON c.chat_id = wanted.chat_id AND c.message_id = wanted.message_id AND c.version > wanted.after
  JOIN events AS e ON e.stream_id = c.chat_id AND e.version = c.version
  LEFT JOIN originals AS o ON o.stream_id = e.stream_id AND o.version = e.version;

-- name: tree_said
-- $1 uuid[], $2 uuid[]: chats and an answer of each that is being generated. $3 int[]: until which version. All that happened to each after
-- its body was stored, but for its tokens.
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at)
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted(stream_id, message_id, until)
  JOIN messages AS m ON m.chat_id = wanted.stream_id AND m.message_id = wanted.message_id AND m.until IS NULL
  JOIN events AS e ON e.stream_id = wanted.stream_id AND e.version > coalesce(m.body_since, m.since) AND e.version <= wanted.until
                  AND e.message_id = wanted.message_id AND e.type <> 'message_delta'
  LEFT JOIN originals AS o ON o.stream_id = e.stream_id AND o.version = e.version;

-- name: tree_deltas
-- $1 uuid, $2 uuid: a chat, a message. $3 int, $4 int: after which version, and until which. $5 int: rows at most.
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e
 WHERE e.stream_id = $1 AND e.message_id = $2 AND e.version > $3 AND e.version <= $4 AND e.type = 'message_delta'
 ORDER BY e.version
 LIMIT $5;

-- name: tree_close_messages!
-- $1 uuid, $2 uuid, $3 int: a row of a message. $4 int: the version that ended it.
UPDATE messages SET until = $4 WHERE chat_id = $1 AND message_id = $2 AND since = $3;

-- name: tree_mark_changed!
-- $1 uuid, $2 uuid, $3 int: a row of a message. $4 int: the first change that is noted upon its body.
UPDATE messages SET changed_since = $4 WHERE chat_id = $1 AND message_id = $2 AND since = $3;

-- name: tree_add_message!
INSERT INTO messages (chat_id, message_id, since, until, ordinal, parent_id, is_open, body_since, body_bytes, changed_since, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::json);

-- name: tree_copy_messages!
COPY messages (chat_id, message_id, since, until, ordinal, parent_id, is_open, body_since, body_bytes, changed_since, body) FROM STDIN;

-- name: tree_add_change!
INSERT INTO noted_changes (chat_id, message_id, version, weight) VALUES ($1, $2, $3, $4);

-- name: tree_copy_changes!
COPY noted_changes (chat_id, message_id, version, weight) FROM STDIN;

-- name: tree_add_current!
INSERT INTO currents (chat_id, version, message_id) VALUES ($1, $2, $3);

-- name: tree_copy_currents!
COPY currents (chat_id, version, message_id) FROM STDIN;

-- name: tree_add_head!
INSERT INTO chat_heads (chat_id, version, position, updated_at, current_id, messages_count, open, owner_id, listed, deleted, title, folder_id,
                   pinned, archived, tags, created_at, grants, share, fields_weight, fields_version, fields_bytes, fields)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $10, $11, $12, $13, $14, $15::text[], $16, $17::text::json, $18::text::json,
        $19, $20, $21, $22::text::json);

-- name: tree_copy_heads!
COPY chat_heads (chat_id, version, position, updated_at, current_id, messages_count, open, owner_id, listed, deleted, title, folder_id,
            pinned, archived, tags, created_at, grants, share, fields_weight, fields_version, fields_bytes, fields) FROM STDIN;

-- name: tree_touch_head!
UPDATE chat_heads SET version = $2, position = $3, updated_at = $4, current_id = $5, messages_count = $6, open = $7::text::json WHERE chat_id = $1;

-- name: tree_put_head!
UPDATE chat_heads
   SET version = $2, position = $3, updated_at = $4, current_id = $5, messages_count = $6, open = $7::text::json, owner_id = $8, listed = $9,
       deleted = $10, title = $11, folder_id = $12, pinned = $13, archived = $14, tags = $15::text[], created_at = $16,
       grants = $17::text::json, share = $18::text::json, fields_weight = $19
 WHERE chat_id = $1;

-- name: tree_put_fields!
UPDATE chat_heads SET fields_version = $2, fields_bytes = $3, fields = $4::text::json WHERE chat_id = $1;
