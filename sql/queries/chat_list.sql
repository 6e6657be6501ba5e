-- name: listed_chats
-- $1 uuid: the person. $2 int: offset. $3 int: rows at most. Then what is wanted, null for whatever it is: $4 boolean: pinned,
-- $5 boolean: archived, $6 boolean: in a folder, $7 uuid[]: of these alone, $8 text[]: with all of these tags, by their ids,
-- $9 boolean: with any tag, $10 boolean: shared, $11 uuid[]: one of these chats. Of what others share: $12 uuid[]: not these chats,
-- $13 uuid[]: not those of these people. What others share with them has none of the owner's marks.
-- By time, and not by position alone: an imported chat stands where it stood in the list that it comes from.
SELECT chat_id, title, created_at, updated_at, pinned, archived, folder_id, version
  FROM ((SELECT chat_id, title, created_at, updated_at, pinned, archived, folder_id, version, position
           FROM stenograph_chat_list.chats
          WHERE owner_id = $1 AND listed AND NOT deleted
            AND ($4::boolean IS NULL OR pinned = $4)
            AND ($5::boolean IS NULL OR archived = $5)
            AND ($6::boolean IS NULL OR (folder_id IS NOT NULL AND ($7::uuid[] IS NULL OR folder_id = ANY ($7))) = $6)
            AND ($8::text[] IS NULL OR tag_ids @> $8)
            AND ($9::boolean IS NULL OR (tag_ids <> '{}') = $9)
            AND ($10::boolean IS NULL OR (readers <> '{}') = $10)
            AND ($11::uuid[] IS NULL OR chat_id = ANY ($11))
          ORDER BY updated_at DESC, position DESC LIMIT $2::integer + $3::integer)
        UNION ALL
        (SELECT chat_id, title, created_at, updated_at, false AS pinned, false AS archived, NULL AS folder_id, version, position
           FROM stenograph_chat_list.chats
          WHERE readers @> ARRAY[$1::uuid] AND readers <> '{}' AND NOT deleted
            AND $4 IS NOT TRUE AND $5 IS NOT TRUE AND $6 IS NOT TRUE AND $8 IS NULL AND $9 IS NOT TRUE AND $10 IS NOT FALSE
            AND ($11::uuid[] IS NULL OR chat_id = ANY ($11))
            AND chat_id <> ALL ($12::uuid[]) AND owner_id <> ALL ($13::uuid[])
          ORDER BY updated_at DESC, position DESC LIMIT $2::integer + $3::integer)) AS chats
 ORDER BY updated_at DESC, position DESC
OFFSET $2
 LIMIT $3;

-- name: own_chats
-- $1 uuid: the person. $2 bigint: above this position. $3 int: rows at most. $4 to $10 as above. The one that changed last comes last:
-- whoever changes each of them misses none, since what changes meanwhile only moves on. And they stay in this order among each other.
SELECT position, chat_id
  FROM stenograph_chat_list.chats
 WHERE owner_id = $1 AND listed AND NOT deleted
   AND position > $2
   AND ($4::boolean IS NULL OR pinned = $4)
   AND ($5::boolean IS NULL OR archived = $5)
   AND ($6::boolean IS NULL OR (folder_id IS NOT NULL AND ($7::uuid[] IS NULL OR folder_id = ANY($7))) = $6)
   AND ($8::text[] IS NULL OR tag_ids @> $8)
   AND ($9::boolean IS NULL OR (tag_ids <> '{}') = $9)
   AND ($10::boolean IS NULL OR (readers <> '{}') = $10)
 ORDER BY position
 LIMIT $3;

-- name: chat_tags
-- $1 uuid: the person.
SELECT DISTINCT ON (tagged.id) tagged.name
  FROM stenograph_chat_list.chats AS c, unnest(c.tags, c.tag_ids) AS tagged(name, id)
 WHERE c.owner_id = $1 AND c.listed AND NOT c.deleted
 ORDER BY tagged.id, tagged.name COLLATE "C";

-- name: shared_chats
-- $1 uuid: the person. $2 int: offset. $3 int: rows at most.
SELECT chat_id, title, share_id, share_version AS version, shared_at AS created_at, share_updated_at AS updated_at
  FROM stenograph_chat_list.chats
 WHERE owner_id = $1 AND NOT deleted AND share_id IS NOT NULL
 ORDER BY share_updated_at DESC, chat_id
OFFSET $2
 LIMIT $3;

-- name: archived_chats_count
-- $1 uuid: the person.
SELECT count(*) FROM stenograph_chat_list.chats WHERE owner_id = $1 AND listed AND NOT deleted AND archived;

-- name: chat_times
-- $1 uuid[], $2 int[]: chats, a version of each. When each was written; a restored one, when it was first.
SELECT e.stream_id AS chat_id, coalesce(o.recorded_at, e.recorded_at) AS recorded_at
  FROM unnest($1::uuid[], $2::integer[]) AS wanted(stream_id, version)
  JOIN events AS e USING (stream_id, version)
  LEFT JOIN originals AS o USING (stream_id, version);
