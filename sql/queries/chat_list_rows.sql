-- What projections/chat_list.py reads and writes. Tables without a schema are those of the build that is being written.

-- name: list_chats
-- $1 uuid[]: chats.
SELECT chat_id, version, position, updated_at, owner_id, listed, deleted, title, folder_id, pinned, archived, tags, readers, created_at,
       share_id, share_version, shared_at, share_updated_at
  FROM chats
 WHERE chat_id = ANY ($1::uuid[]);

-- name: list_add_chat!
INSERT INTO chats (chat_id, version, position, updated_at, owner_id, listed, deleted, title, folder_id, pinned, archived, tags, tag_ids,
                   readers, created_at, share_id, share_version, shared_at, share_updated_at, messages, bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text[], $13::text[], $14::uuid[], $15, $16, $17, $18, $19,
        $20, $21);

-- name: list_copy_chats!
COPY chats (chat_id, version, position, updated_at, owner_id, listed, deleted, title, folder_id, pinned, archived, tags, tag_ids,
            readers, created_at, share_id, share_version, shared_at, share_updated_at, messages, bytes) FROM STDIN;

-- name: list_put_chat!
UPDATE chats
   SET version = $2, position = $3, updated_at = $4, owner_id = $5, listed = $6, deleted = $7, title = $8, folder_id = $9, pinned = $10,
       archived = $11, tags = $12::text[], tag_ids = $13::text[], readers = $14::uuid[], created_at = $15, share_id = $16,
       share_version = $17, shared_at = $18, share_updated_at = $19, messages = messages + $20, bytes = bytes + $21
 WHERE chat_id = $1;

-- name: list_touch_chat!
UPDATE chats SET version = $2, position = $3, updated_at = $4, messages = messages + $5, bytes = bytes + $6 WHERE chat_id = $1;
