-- The projection `history`: all chats as rows (projections/chat_list.py, chat_tree.py, chat_search.py). Made in a schema of its own, and
-- thrown away with it: whenever this file changes, the next start makes it anew and replays the log.
-- Fold 2: to be raised when the same events make other rows.

-- What lists are made from.
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
    CONSTRAINT chats_pkey PRIMARY KEY (chat_id)
);

-- One chat: what it is itself. The keys of a chat that only clients know may be large, so they are stored anew only when the events
-- after `fields_version` are as large.
CREATE TABLE heads (
    chat_id        uuid        NOT NULL,
    version        integer     NOT NULL, -- these tables hold the chat as of this version
    position       bigint      NOT NULL,
    updated_at     timestamptz NOT NULL,
    current_id     uuid,
    messages_count integer     NOT NULL,
    open           json        NOT NULL, -- the answers that are being generated, with the versions that began them
    owner_id       uuid,
    listed         boolean     NOT NULL,
    deleted        boolean     NOT NULL,
    title          text        NOT NULL,
    folder_id      uuid,
    pinned         boolean     NOT NULL,
    archived       boolean     NOT NULL,
    tags           text[]      NOT NULL,
    created_at     timestamptz,
    grants         json        NOT NULL,
    share          json,
    fields_weight  integer     NOT NULL, -- bytes of what changed them after `fields_version`
    fields_version integer     NOT NULL,
    fields_bytes   integer     NOT NULL,
    fields         json        NOT NULL,
    CONSTRAINT heads_pkey PRIMARY KEY (chat_id)
);

-- One row for each place and each stored content of each message, valid from version `since` until before `until`.
CREATE TABLE messages (
    chat_id       uuid    NOT NULL,
    message_id    uuid    NOT NULL,
    since         integer NOT NULL,
    until         integer,
    ordinal       integer NOT NULL, -- the version that added the message: siblings stand in this order
    parent_id     uuid,
    is_open       boolean NOT NULL, -- an answer that is being generated: what followed the body is in the log
    body_since    integer,          -- which row of the same message holds the body; null: this one
    body_bytes    integer NOT NULL,
    changed_since integer,          -- the first of the changes that are noted upon the body, in `changes`
    body          json,             -- the message as of `since`, but for its place in the tree
    CONSTRAINT messages_pkey PRIMARY KEY (chat_id, message_id, since)
);
CREATE INDEX messages_parent_key ON messages (chat_id, parent_id) WHERE parent_id IS NOT NULL;

-- Events that change a message whose body does not hold them yet. What they say is in the log alone.
CREATE TABLE changes (
    chat_id    uuid    NOT NULL,
    message_id uuid    NOT NULL,
    version    integer NOT NULL,
    weight     integer NOT NULL, -- bytes of all of them since the body
    CONSTRAINT changes_pkey PRIMARY KEY (chat_id, message_id, version)
);

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
    owner_id   uuid,              -- of the title's row: whose chat it is
    version    integer,           -- of the event that says the text; null: an answer that is being generated, and the title
    content    json,              -- what was said, where an emitter has added to it
    words      tsvector NOT NULL,
    CONSTRAINT texts_pkey PRIMARY KEY (chat_id, ordinal)
);
CREATE INDEX texts_message_key ON texts (chat_id, message_id) WHERE message_id IS NOT NULL;

-- For readers:
-- the projection itself needs none of these, so a build beside the live one makes them at its end: all at once is several times quicker.
CREATE INDEX IF NOT EXISTS chats_owner_key ON chats (owner_id, updated_at DESC, position DESC) WHERE listed AND NOT deleted;
CREATE INDEX IF NOT EXISTS chats_shared_key ON chats (owner_id) WHERE share_id IS NOT NULL AND NOT deleted;
-- Most chats have no other readers, and all are rewritten.
CREATE INDEX IF NOT EXISTS chats_readers_key ON chats USING gin (readers) WHERE NOT deleted AND readers <> '{}';
-- What is new waits in a list that every search reads, too: it is kept short.
CREATE INDEX IF NOT EXISTS texts_words_key ON texts USING gin (words) WITH (gin_pending_list_limit = 256);
