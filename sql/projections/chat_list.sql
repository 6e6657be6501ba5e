-- The projection `chat_list` (projections/chat_list.py): what lists of chats are made from. Made in a schema of its own, and thrown away
-- with it: whenever this file changes, the next start makes it anew and replays the log.
-- Fold 2: to be raised when the same events make other rows.

CREATE TABLE chats (
    chat_id          uuid        NOT NULL,
    version          integer     NOT NULL,
    position         bigint      NOT NULL,
    updated_at       timestamptz NOT NULL,
    owner_id         uuid,
    listed           boolean     NOT NULL,
    deleted          boolean     NOT NULL,
    title            text        NOT NULL,
    folder_id        uuid,
    pinned           boolean     NOT NULL,
    archived         boolean     NOT NULL,
    tags             text[]      NOT NULL, -- as they were named
    tag_ids          text[]      NOT NULL, -- what makes two of them the same one, in the same order
    readers          uuid[]      NOT NULL, -- besides the owner
    created_at       timestamptz,
    share_id         uuid,                 -- the link to a snapshot of it, where there is one …
    share_version    integer,              -- … what it shows …
    shared_at        bigint,               -- … and when it was made and changed last, in seconds since 1970
    share_updated_at bigint,
    messages         integer     NOT NULL, -- that are there
    bytes            bigint      NOT NULL, -- that its events and the content that they refer to take
    CONSTRAINT chats_pkey PRIMARY KEY (chat_id)
);

-- For readers:
-- the projection itself needs none of these, so a replay makes them at its end: all at once is several times quicker.
CREATE INDEX IF NOT EXISTS chats_owner_key ON chats (owner_id, updated_at DESC, position DESC) WHERE listed AND NOT deleted;
-- What an account has, also in chats that no list shows.
CREATE INDEX IF NOT EXISTS chats_usage_key ON chats (owner_id) WHERE NOT deleted;
CREATE INDEX IF NOT EXISTS chats_shared_key ON chats (owner_id) WHERE share_id IS NOT NULL AND NOT deleted;
-- Most chats have no other readers, and all are rewritten.
CREATE INDEX IF NOT EXISTS chats_readers_key ON chats USING gin (readers) WHERE NOT deleted AND readers <> '{}';
