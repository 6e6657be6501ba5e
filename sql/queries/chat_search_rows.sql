-- What projections/chat_search.py reads and writes. Tables without a schema are those of the build that is being written.

-- name: search_owners
-- $1 uuid[]: chats. Whose they are, by the row of the title.
SELECT chat_id::text, owner_id FROM texts WHERE chat_id = ANY ($1::uuid[]) AND ordinal = 0;

-- name: search_texts
-- $1 uuid[], $2 uuid[]: chats and a message of each.
SELECT t.chat_id::text, t.message_id::text, t.ordinal, t.version, t.content::text
  FROM unnest($1::uuid[], $2::uuid[]) AS wanted(chat_id, message_id) JOIN texts AS t USING (chat_id, message_id)
 WHERE t.message_id IS NOT NULL;

-- name: search_said
-- $1 uuid[], $2 int[]: chats and a version of each.
SELECT e.position, 'chat', e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM unnest($1::uuid[], $2::integer[]) AS wanted(stream_id, version) JOIN events AS e USING (stream_id, version);

-- name: search_blobs
-- $1 uuid[], $2 text[]: chats, and the sha256, in hex, of a blob of each. $3 int: so many characters of it at most.
SELECT b.stream_id::text AS chat_id, encode(b.sha256, 'hex') AS sha256, left(convert_from(b.content, 'UTF8'), $3) AS content
  FROM unnest($1::uuid[], $2::text[]) AS wanted(stream_id, sha256) JOIN blobs AS b
    ON b.stream_id = wanted.stream_id AND b.sha256 = decode(wanted.sha256, 'hex');

-- name: search_add_text!
INSERT INTO texts (chat_id, ordinal, message_id, owner_id, version, content, words) VALUES ($1, $2, $3, $4, $5, $6::text::json, $7::text::tsvector);

-- name: search_copy_texts!
COPY texts (chat_id, ordinal, message_id, owner_id, version, content, words) FROM STDIN;

-- name: search_put_text!
-- $1 uuid, $2 int: chat, and the message's ordinal; 0: the title. The message and the owner stay what they are.
INSERT INTO texts (chat_id, ordinal, message_id, owner_id, version, content, words) VALUES ($1, $2, $3, $4, $5, $6::text::json, $7::text::tsvector)
    ON CONFLICT (chat_id, ordinal) DO UPDATE SET version = excluded.version, content = excluded.content, words = excluded.words;

-- name: search_drop_text!
DELETE FROM texts WHERE chat_id = $1 AND ordinal = $2;
