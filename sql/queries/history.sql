-- What projections/history.py reads and writes. Tables without a schema are those of the build that is being written.

-- name: history_chats
-- $1 uuid[]: chats.
SELECT chat_id, version, position, owner_id, listed, deleted, title, folder_id, pinned, archived, tags, tag_ids, readers,
       created_at, updated_at, current_id, messages_count, state::text
  FROM chats
 WHERE chat_id = ANY ($1::uuid[]);

-- name: history_touched
-- $1 uuid[], $2 uuid[]: chats and a message of each. $3 uuid[], $4 uuid[]: the same, of messages whose children are wanted.
SELECT m.chat_id::text, m.message_id::text, m.since, m.until, m.ordinal, m.parent_id::text, m.is_open, m.role, m.body::text
  FROM unnest($1::uuid[], $2::uuid[]) AS wanted(chat_id, message_id) JOIN messages AS m USING (chat_id, message_id)
 WHERE m.until IS NULL
UNION
SELECT m.chat_id::text, m.message_id::text, m.since, m.until, m.ordinal, m.parent_id::text, m.is_open, m.role, m.body::text
  FROM unnest($3::uuid[], $4::uuid[]) AS wanted(chat_id, parent_id) JOIN messages AS m USING (chat_id, parent_id)
 WHERE m.until IS NULL AND m.parent_id IS NOT NULL;

-- name: history_message_events
-- $1 uuid[], $2 uuid[]: chats and a message of each. $3 int[], $4 int[]: after which version, and until which.
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, coalesce(o.recorded_at, e.recorded_at)
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[]) AS wanted(stream_id, message_id, after, until)
  JOIN events AS e ON e.stream_id = wanted.stream_id AND e.version > wanted.after AND e.version <= wanted.until
                  AND e.message_id = wanted.message_id AND e.type <> 'message_delta'
  LEFT JOIN originals AS o ON o.stream_id = e.stream_id AND o.version = e.version;

-- name: history_deltas
-- $1 uuid, $2 uuid: a chat, a message. $3 int, $4 int: after which version, and until which. $5 int: rows at most.
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM events AS e
 WHERE e.stream_id = $1 AND e.message_id = $2 AND e.version > $3 AND e.version <= $4 AND e.type = 'message_delta'
 ORDER BY e.version
 LIMIT $5;

-- name: history_close_messages!
-- $1 uuid, $2 uuid, $3 int: a row of a message. $4 int: the version that ended it.
UPDATE messages SET until = $4 WHERE chat_id = $1 AND message_id = $2 AND since = $3;

-- name: history_add_message!
INSERT INTO messages (chat_id, message_id, since, until, ordinal, parent_id, is_open, role, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::json);

-- name: history_copy_messages!
COPY messages (chat_id, message_id, since, until, ordinal, parent_id, is_open, role, body) FROM STDIN;

-- name: history_add_current!
INSERT INTO currents (chat_id, version, message_id) VALUES ($1, $2, $3);

-- name: history_copy_currents!
COPY currents (chat_id, version, message_id) FROM STDIN;

-- name: history_add_chat!
INSERT INTO chats (chat_id, version, position, owner_id, listed, deleted, title, folder_id, pinned, archived, tags, tag_ids, readers,
                   created_at, updated_at, current_id, messages_count, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text[], $12::text[], $13::uuid[], $14, $15, $16, $17, $18::text::json);

-- name: history_copy_chats!
COPY chats (chat_id, version, position, owner_id, listed, deleted, title, folder_id, pinned, archived, tags, tag_ids, readers,
            created_at, updated_at, current_id, messages_count, state) FROM STDIN;

-- name: history_put_chat!
UPDATE chats
   SET version = $2, position = $3, owner_id = $4, listed = $5, deleted = $6, title = $7, folder_id = $8, pinned = $9, archived = $10,
       tags = $11::text[], tag_ids = $12::text[], readers = $13::uuid[], created_at = $14, updated_at = $15, current_id = $16,
       messages_count = $17, state = $18::text::json
 WHERE chat_id = $1;

-- name: history_blobs
-- $1 uuid[], $2 text[]: chats, and the sha256, in hex, of a blob of each. $3 int: so many characters of it at most.
SELECT b.stream_id, encode(b.sha256, 'hex'), left(convert_from(b.content, 'UTF8'), $3)
  FROM unnest($1::uuid[], $2::text[]) AS wanted(stream_id, sha256) JOIN blobs AS b
    ON b.stream_id = wanted.stream_id AND b.sha256 = decode(wanted.sha256, 'hex');

-- name: history_add_text!
INSERT INTO texts (chat_id, ordinal, message_id, words) VALUES ($1, $2, $3, $4::text::tsvector);

-- name: history_copy_texts!
COPY texts (chat_id, ordinal, message_id, words) FROM STDIN;

-- name: history_put_text!
-- $1 uuid, $2 int: chat, and the message's ordinal; 0: the title. $3 uuid: the message. $4 text: its words, as a tsvector is written.
INSERT INTO texts (chat_id, ordinal, message_id, words) VALUES ($1, $2, $3, $4::text::tsvector)
    ON CONFLICT (chat_id, ordinal) DO UPDATE SET words = excluded.words;

-- name: history_drop_text!
DELETE FROM texts WHERE chat_id = $1 AND ordinal = $2;
