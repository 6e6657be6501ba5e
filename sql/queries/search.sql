-- Searches in the words of the projection `history` (adapters/postgres/search.py says which is asked when).

-- name: sampled_texts
-- $1 uuid[]: chats. $2 tsquery. $3 int: so many of the newest texts of each are looked at. How many those were, how many of them have
-- what is looked for, and which is the newest of these.
SELECT wanted.chat_id, newest.seen, newest.hits, newest.ordinal
  FROM unnest($1::uuid[]) AS wanted(chat_id)
 CROSS JOIN LATERAL (
        SELECT count(*) AS seen, count(*) FILTER (WHERE has) AS hits, max(ordinal) FILTER (WHERE has) AS ordinal
          FROM (SELECT t.ordinal, t.words @@ $2::text::tsquery AS has
                  FROM stenograph_history.texts AS t
                 WHERE t.chat_id = wanted.chat_id
                 ORDER BY t.ordinal DESC LIMIT $3) AS looked_at) AS newest;

-- name: newest_hits
-- $1 uuid[]: chats. $2 tsquery. The newest text that has it of each chat that has one: a chat is looked through from its end. OFFSET 0
-- keeps the condition out of the inner query: the index of words, asked once for each chat, would take seconds.
SELECT wanted.chat_id, hit.ordinal
  FROM unnest($1::uuid[]) AS wanted(chat_id)
 CROSS JOIN LATERAL (
        SELECT looked_at.ordinal
          FROM (SELECT t.ordinal, t.words @@ $2::text::tsquery AS has
                  FROM stenograph_history.texts AS t
                 WHERE t.chat_id = wanted.chat_id
                 ORDER BY t.ordinal DESC OFFSET 0) AS looked_at
         WHERE looked_at.has LIMIT 1) AS hit;

-- name: indexed_hits
-- $1 uuid: a person. $2 tsquery: with the word that names them as the owner. $3 tsquery: without it, for what others share with them:
-- that is looked through as above.
SELECT chat_id, max(ordinal) AS ordinal
  FROM stenograph_history.texts
 WHERE words @@ $2::text::tsquery
 GROUP BY chat_id
UNION ALL
SELECT c.chat_id, hit.ordinal
  FROM stenograph_history.chats AS c
 CROSS JOIN LATERAL (
        SELECT looked_at.ordinal
          FROM (SELECT t.ordinal, t.words @@ $3::text::tsquery AS has
                  FROM stenograph_history.texts AS t
                 WHERE t.chat_id = c.chat_id
                 ORDER BY t.ordinal DESC OFFSET 0) AS looked_at
         WHERE looked_at.has LIMIT 1) AS hit
 WHERE c.readers @> ARRAY[$1::uuid] AND c.readers <> '{}' AND NOT c.deleted;

-- name: found_texts
-- $1 uuid[], $2 int[]: chats, and the ordinal of a text of each. The message, as JSON, or what a blob holds of it; neither for a title.
-- $3 int: so many characters of a blob at most.
SELECT t.chat_id, t.message_id, m.body::text, said.content
  FROM unnest($1::uuid[], $2::integer[]) AS wanted(chat_id, ordinal)
  JOIN stenograph_history.texts AS t USING (chat_id, ordinal)
  LEFT JOIN stenograph_history.messages AS m ON m.chat_id = t.chat_id AND m.message_id = t.message_id AND m.until IS NULL
  LEFT JOIN LATERAL (
        SELECT left(convert_from(b.content, 'UTF8'), $3) AS content
          FROM blobs AS b
         WHERE json_typeof(m.body -> 'content') = 'object' AND m.body -> 'content' ->> 'blob' ~ '^[0-9a-f]{64}$'
           AND b.stream_id = t.chat_id AND b.sha256 = decode(m.body -> 'content' ->> 'blob', 'hex')) AS said ON true;
