-- name: add_usage
-- $1 date. $2 uuid[], $3 bigint[]: accounts, and what each wrote since it was counted last. Returns what each has written on that day.
INSERT INTO usage_days (user_id, day, bytes)
SELECT user_id, $1, bytes FROM unnest($2::uuid[], $3::bigint[]) AS more(user_id, bytes) ORDER BY user_id
    ON CONFLICT (user_id, day) DO UPDATE SET bytes = usage_days.bytes + excluded.bytes
RETURNING user_id, bytes;

-- name: usage_of_user
-- $1 uuid: an account. $2 date. What it wrote on that day; its chats that lists show, and the bytes of all.
SELECT coalesce((SELECT bytes FROM usage_days WHERE user_id = $1 AND day = $2), 0)::bigint AS day_bytes,
       count(*) FILTER (WHERE c.listed)::int AS chats, coalesce(sum(c.bytes), 0)::bigint AS bytes
  FROM stenograph_chat_list.chats AS c
 WHERE c.owner_id = $1 AND NOT c.deleted;

-- name: usage_of_chat
-- $1 uuid: a chat.
SELECT version, messages, bytes FROM stenograph_chat_list.chats WHERE chat_id = $1;
