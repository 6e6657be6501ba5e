-- What statistics are made of: a page of a person's chats, and a few columns of each of their messages.

-- name: counted_chats
-- $1 uuid: the person. $2 int: offset. $3 int: rows at most. $4 boolean: the one that changed first comes first.
-- $5 timestamptz: only those that changed after it; null: all.
SELECT chat_id, owner_id, tags, current_id, created_at, updated_at
  FROM stenograph_history.chats
 WHERE owner_id = $1 AND listed AND NOT deleted AND ($5::timestamptz IS NULL OR updated_at > $5)
 ORDER BY CASE WHEN $4::boolean THEN updated_at END, CASE WHEN $4 THEN position END, updated_at DESC, position DESC
OFFSET $2
 LIMIT $3;

-- name: counted_chats_total
-- $1 uuid: the person. $2 timestamptz: only those that changed after it; null: all.
SELECT count(*)
  FROM stenograph_history.chats
 WHERE owner_id = $1 AND listed AND NOT deleted AND ($2::timestamptz IS NULL OR updated_at > $2);

-- name: counted_messages
-- $1 uuid[]: chats. No text leaves the database, only its length: in characters, or in bytes where it is kept by reference.
SELECT m.chat_id, m.message_id, m.parent_id, m.role,
       CASE json_typeof(m.body -> 'model') WHEN 'string' THEN m.body ->> 'model' END AS model,
       CASE json_typeof(m.body -> 'timestamp') WHEN 'number' THEN (m.body ->> 'timestamp')::double precision END AS said_at,
       CASE WHEN m.is_open THEN 0
            WHEN json_typeof(m.body -> 'content') = 'string' THEN length(m.body ->> 'content')
            WHEN json_typeof(m.body -> 'content') = 'array' THEN
                 (SELECT coalesce(sum(length(part ->> 'text')), 0)
                    FROM json_array_elements(m.body -> 'content') AS part
                   WHERE json_typeof(part) = 'object' AND part ->> 'type' = 'text' AND json_typeof(part -> 'text') = 'string')
            WHEN m.body -> 'content' ->> 'size_bytes' ~ '^[0-9]{1,15}$' THEN (m.body -> 'content' ->> 'size_bytes')::bigint
            ELSE 0
       END::bigint AS content_length,
       CASE WHEN m.body -> 'annotation' ->> 'rating' ~ '^-?[0-9]{1,9}$' AND json_typeof(m.body -> 'annotation' -> 'rating') = 'number'
            THEN (m.body -> 'annotation' ->> 'rating')::integer
       END AS rating,
       (m.body -> 'annotation' -> 'tags')::text AS rating_tags
  FROM stenograph_history.messages AS m
 WHERE m.chat_id = ANY ($1::uuid[]) AND m.until IS NULL
 ORDER BY m.chat_id, m.ordinal;
