-- What statistics are made of: a page of a person's chats, and a few columns of each of their messages.

-- name: counted_chats
-- $1 uuid: the person. $2 int: offset. $3 int: rows at most. $4 boolean: the one that changed first comes first.
-- $5 timestamptz: only those that changed after it; null: all.
SELECT c.chat_id, c.owner_id, c.tags, h.current_id, c.created_at, c.updated_at
  FROM stenograph_chat_list.chats AS c LEFT JOIN stenograph_chat_tree.chat_heads AS h USING (chat_id)
 WHERE c.owner_id = $1 AND c.listed AND NOT c.deleted AND ($5::timestamptz IS NULL OR c.updated_at > $5)
 ORDER BY CASE WHEN $4::boolean THEN c.updated_at END, CASE WHEN $4 THEN c.position END, c.updated_at DESC, c.position DESC
OFFSET $2
 LIMIT $3;

-- name: counted_chats_total
-- $1 uuid: the person. $2 timestamptz: only those that changed after it; null: all.
SELECT count(*)
  FROM stenograph_chat_list.chats
 WHERE owner_id = $1 AND listed AND NOT deleted AND ($2::timestamptz IS NULL OR updated_at > $2);

-- name: counted_messages
-- $1 uuid[]: chats. Of their messages those whose body is all that is known of them, and open answers. No text leaves the database, only its length: in characters, or in bytes where it is kept by reference.
SELECT m.chat_id, m.message_id, m.parent_id, m.ordinal, m.body ->> 'role' AS role,
       CASE json_typeof(m.body -> 'model') WHEN 'string' THEN m.body ->> 'model' END AS model,
       CASE json_typeof(m.body -> 'timestamp') WHEN 'number' THEN (m.body ->> 'timestamp')::double precision END AS timestamp,
       CASE WHEN m.is_open THEN 0
            WHEN json_typeof(m.body -> 'content') = 'string' THEN length(m.body ->> 'content')
            WHEN json_typeof(m.body -> 'content') = 'array' THEN
                 (SELECT coalesce(sum(length(part ->> 'text')), 0)
                    FROM json_array_elements(m.body -> 'content') AS part
                   WHERE json_typeof(part) = 'object' AND part ->> 'type' = 'text' AND json_typeof(part -> 'text') = 'string')
            WHEN m.body -> 'content' ->> 'size_bytes' ~ '^[0-9]{1,15}$' THEN (m.body -> 'content' ->> 'size_bytes')::bigint
            ELSE 0
       END::bigint AS length,
       CASE WHEN m.body -> 'annotation' ->> 'rating' ~ '^-?[0-9]{1,9}$' AND json_typeof(m.body -> 'annotation' -> 'rating') = 'number'
            THEN (m.body -> 'annotation' ->> 'rating')::integer
       END AS rating,
       (m.body -> 'annotation' -> 'tags')::text AS tags
  FROM (SELECT one.chat_id, one.message_id, one.parent_id, one.ordinal, one.is_open,
               CASE WHEN one.body_since IS NULL THEN one.body
                    ELSE (SELECT b.body FROM stenograph_chat_tree.messages AS b
                           WHERE b.chat_id = one.chat_id AND b.message_id = one.message_id AND b.since = one.body_since)
               END AS body
          FROM stenograph_chat_tree.messages AS one
         WHERE one.chat_id = ANY ($1::uuid[]) AND one.until IS NULL AND (one.is_open OR one.changed_since IS NULL)) AS m;

-- name: counted_changed_messages
-- $1 uuid[]: chats. Those of their messages that have changes noted upon a large body.
SELECT m.chat_id, m.message_id::text, m.parent_id::text, m.ordinal, m.is_open, false AS is_whole, coalesce(m.body_since, m.since) AS body_version,
       CASE WHEN m.body_since IS NULL THEN m.body
            ELSE (SELECT b.body FROM stenograph_chat_tree.messages AS b
                   WHERE b.chat_id = m.chat_id AND b.message_id = m.message_id AND b.since = m.body_since)
       END AS body
  FROM stenograph_chat_tree.messages AS m
 WHERE m.chat_id = ANY ($1::uuid[]) AND m.until IS NULL AND m.changed_since IS NOT NULL AND NOT m.is_open;

-- name: counted_changes
-- $1 uuid[], $2 uuid[], $3 int[]: chats, a message of each, and the version of its body. The changes that are noted upon each.
SELECT e.position, 'chat' AS kind, e.stream_id, e.version, e.type, e.message_id, e.actor, e.data, e.recorded_at
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted(chat_id, message_id, after)
 CROSS JOIN LATERAL (SELECT c.chat_id, c.version FROM stenograph_chat_tree.noted_changes AS c
                      WHERE c.chat_id = wanted.chat_id AND c.message_id = wanted.message_id AND c.version > wanted.after
                     OFFSET 0) AS noted
 CROSS JOIN LATERAL (SELECT * FROM events AS one WHERE one.stream_id = noted.chat_id AND one.version = noted.version OFFSET 0) AS e
 ORDER BY e.version;
