-- The projection `history` (projections/history.py): all chats as rows. Made in a schema of its own, and thrown away with it:
-- whenever this file changes, the next start makes it anew and replays the log. Fold 1: to be raised when the same events make other rows.

CREATE TABLE chats (
    chat_id        uuid        NOT NULL,
    version        integer     NOT NULL, -- these tables hold the chat as of this version
    position       bigint      NOT NULL,
    owner_id       uuid,
    listed         boolean     NOT NULL,
    deleted        boolean     NOT NULL,
    title          text        NOT NULL,
    folder_id      uuid,
    pinned         boolean     NOT NULL,
    archived       boolean     NOT NULL,
    tags           text[]      NOT NULL, -- as they were named
    tag_ids        text[]      NOT NULL, -- what makes two of them the same one, in the same order
    readers        uuid[]      NOT NULL, -- besides the owner
    created_at     timestamptz,
    updated_at     timestamptz NOT NULL,
    current_id     uuid,
    messages_count integer     NOT NULL,
    state          json        NOT NULL,
    CONSTRAINT chats_pkey PRIMARY KEY (chat_id)
);

-- One row for each state of each message, valid from version `since` until before `until`.
CREATE TABLE messages (
    chat_id    uuid    NOT NULL,
    message_id uuid    NOT NULL,
    since      integer NOT NULL,
    until      integer,
    ordinal    integer NOT NULL, -- the version that added the message: siblings stand in this order
    parent_id  uuid,
    is_open    boolean NOT NULL, -- an answer that is being generated: what followed its start is in the log
    role       text    NOT NULL,
    body       json    NOT NULL,
    CONSTRAINT messages_pkey PRIMARY KEY (chat_id, message_id, since)
);
CREATE INDEX messages_parent_key ON messages (chat_id, parent_id) WHERE parent_id IS NOT NULL;

-- Which message a chat was looked at from, from each version on.
CREATE TABLE currents (
    chat_id    uuid    NOT NULL,
    version    integer NOT NULL,
    message_id uuid,
    CONSTRAINT currents_pkey PRIMARY KEY (chat_id, version)
);

-- What searches look through: the words of each message that is whole, as it is now, and of each title (projections/words.py). Those of
-- a chat that its owner has in their list hold one more word, which names the owner: what one person finds is then one look into the
-- index, however much of the same others said.
CREATE TABLE texts (
    chat_id    uuid     NOT NULL,
    ordinal    integer  NOT NULL, -- of the message, which is its key here: the newest stand together; 0: the title
    message_id uuid,
    words      tsvector NOT NULL,
    CONSTRAINT texts_pkey PRIMARY KEY (chat_id, ordinal)
);

-- For readers:
-- the projection itself needs none of these, so a build beside the live one makes them at its end: all at once is several times quicker.
CREATE INDEX IF NOT EXISTS chats_owner_key ON chats (owner_id, updated_at DESC, position DESC) WHERE listed AND NOT deleted;
CREATE INDEX IF NOT EXISTS chats_shared_key ON chats (owner_id) WHERE (state -> 'share') IS NOT NULL AND NOT deleted;
-- Most chats have no other readers, and all are rewritten.
CREATE INDEX IF NOT EXISTS chats_readers_key ON chats USING gin (readers) WHERE NOT deleted AND readers <> '{}';
-- What is new waits in a list that every search reads, too: it is kept short.
CREATE INDEX IF NOT EXISTS texts_words_key ON texts USING gin (words) WITH (gin_pending_list_limit = 256);
