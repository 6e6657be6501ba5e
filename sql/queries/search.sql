-- Searches in the words of the projection `chat_search` (adapters/postgres/reading/search.py says which is asked when). What is looked for is
-- a SELECT of its own wherever it stands: else it is read anew for each text that it is compared with.

-- name: sampled_texts
-- $1 uuid[]: chats. $2 tsquery. $3 int: so many of the newest texts of each are looked at. How many those were, how many of them have
-- what is looked for, and which is the newest of these.
SELECT wanted.chat_id, newest.seen, newest.hits, newest.ordinal
  FROM unnest($1::uuid[]) AS wanted(chat_id)
 CROSS JOIN LATERAL (
        SELECT count(*) AS seen, count(*) FILTER (WHERE has) AS hits, max(ordinal) FILTER (WHERE has) AS ordinal
          FROM (SELECT t.ordinal, t.words @@ (SELECT $2::text::tsquery) AS has
                  FROM stenograph_chat_search.texts AS t
                 WHERE t.chat_id = wanted.chat_id
                 ORDER BY t.ordinal DESC LIMIT $3) AS looked_at) AS newest;

-- name: newest_hits
-- $1 uuid[]: chats. $2 tsquery. The newest text that has it of each chat that has one: a chat is looked through from its end. OFFSET 0
-- keeps the condition out of the inner query: the index of words, asked once for each chat, would take seconds.
SELECT wanted.chat_id, hit.ordinal
  FROM unnest($1::uuid[]) AS wanted(chat_id)
 CROSS JOIN LATERAL (
        SELECT looked_at.ordinal
          FROM (SELECT t.ordinal, t.words @@ (SELECT $2::text::tsquery) AS has
                  FROM stenograph_chat_search.texts AS t
                 WHERE t.chat_id = wanted.chat_id
                 ORDER BY t.ordinal DESC OFFSET 0) AS looked_at
         WHERE looked_at.has LIMIT 1) AS hit;

-- name: shares_of_words
-- $1 text[]: words. How large a share of all texts has each, as far as the database keeps count of it: of the more frequent ones.
SELECT counted.word, counted.share
  FROM pg_stats AS kept, unnest(kept.most_common_elems::text::text[], kept.most_common_elem_freqs) AS counted(word, share)
 WHERE kept.schemaname = 'stenograph_chat_search' AND kept.tablename = 'texts' AND kept.attname = 'words' AND counted.word = ANY ($1);

-- name: indexed_hits
-- $1 tsquery: what a text must have, the word that names its owner among it. $2 tsquery: what must hold of these texts besides; null: nothing.
SELECT chat_id, max(ordinal) AS ordinal
  FROM (SELECT chat_id, ordinal, $2::text IS NULL OR words @@ (SELECT $2::text::tsquery) AS has
          FROM stenograph_chat_search.texts
         WHERE words @@ (SELECT $1::text::tsquery)
        OFFSET 0) AS looked_at
 WHERE has
 GROUP BY chat_id;

-- name: indexed_hits_apart
-- The same for words that are frequent: $1 to $4 are what a text must have, the rarest first, $5 is what must hold besides. The index
-- answers to each apart and leaps from one to the other; asked for all in one it weighs the whole of them wherever the rarest is.
SELECT chat_id, max(ordinal) AS ordinal
  FROM (SELECT chat_id, ordinal, words @@ (SELECT $5::text::tsquery) AS has
          FROM stenograph_chat_search.texts
         WHERE words @@ (SELECT $1::text::tsquery) AND words @@ (SELECT $2::text::tsquery)
           AND words @@ (SELECT $3::text::tsquery) AND words @@ (SELECT $4::text::tsquery)
        OFFSET 0) AS looked_at
 WHERE has
 GROUP BY chat_id;

-- name: shared_hits
-- $1 uuid: a person. $2 tsquery: for what others share with them, which is looked through as above.
SELECT c.chat_id, hit.ordinal
  FROM stenograph_chat_list.chats AS c
 CROSS JOIN LATERAL (
        SELECT looked_at.ordinal
          FROM (SELECT t.ordinal, t.words @@ (SELECT $2::text::tsquery) AS has
                  FROM stenograph_chat_search.texts AS t
                 WHERE t.chat_id = c.chat_id
                 ORDER BY t.ordinal DESC OFFSET 0) AS looked_at
         WHERE looked_at.has LIMIT 1) AS hit
 WHERE c.readers @> ARRAY[$1::uuid] AND c.readers <> '{}' AND NOT c.deleted;

-- name: found_texts
-- $1 uuid[], $2 int[]: chats, and the ordinal of a text of each. The event that says it, or what was added to it; neither for a title.
SELECT t.chat_id, t.message_id, t.content::text, e.type, e.data
  FROM unnest($1::uuid[], $2::integer[]) AS wanted(chat_id, ordinal)
  JOIN stenograph_chat_search.texts AS t USING (chat_id, ordinal)
  LEFT JOIN events AS e ON e.stream_id = t.chat_id AND e.version = t.version AND t.content IS NULL;
