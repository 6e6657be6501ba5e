-- name: listed_chats
-- $1 uuid: the person. $2 int: offset. $3 int: rows at most. What their own stream lists and has not unlisted since,
-- with the newest event of each chat: one look into the index a chat.
SELECT listed.chat_id,
       (SELECT e.data ->> 'title' FROM events AS e
         WHERE e.stream_id = listed.chat_id AND e.type IN ('chat_created', 'chat_renamed') AND e.type <> 'message_delta'
         ORDER BY e.version DESC LIMIT 1) AS title,
       first.recorded_at AS created_at,
       newest.recorded_at AS updated_at
  FROM (SELECT DISTINCT ON (data ->> 'chat_id') (data ->> 'chat_id')::uuid AS chat_id, type
          FROM events
         WHERE stream_id = $1 AND type IN ('chat_listed', 'chat_unlisted') AND type <> 'message_delta'
         ORDER BY data ->> 'chat_id', version DESC) AS listed
  CROSS JOIN LATERAL (SELECT e.recorded_at, e.position FROM events AS e WHERE e.stream_id = listed.chat_id ORDER BY e.version DESC LIMIT 1) AS newest
  CROSS JOIN LATERAL (SELECT e.recorded_at FROM events AS e WHERE e.stream_id = listed.chat_id AND e.version = 1) AS first
 WHERE listed.type = 'chat_listed'
 ORDER BY newest.position DESC
OFFSET $2
 LIMIT $3;
