-- The projection `chat_tree` (projections/chat_tree.py): one chat at any of its versions. Made in a schema of its own, and thrown away
-- with it: whenever this file changes, the next start makes it anew and replays the log.
-- Fold 2: to be raised when the same events make other rows.

-- The names of the tables are in the order in which readers take them, which is also the order in which a rebuild locks them.

-- One chat: what it is itself. The keys of a chat that only clients know may be large, so they are stored anew only when the events
-- after `fields_version` are as large.
CREATE TABLE chat_heads (
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
    CONSTRAINT chat_heads_pkey PRIMARY KEY (chat_id)
);

-- Which message a chat was looked at from, from each version on.
CREATE TABLE currents (
    chat_id    uuid    NOT NULL,
    version    integer NOT NULL,
    message_id uuid,
    CONSTRAINT currents_pkey PRIMARY KEY (chat_id, version)
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
    changed_since integer,          -- the first of the changes that are noted upon the body, in `noted_changes`
    body          json,             -- the message as of `since`, but for its place in the tree
    CONSTRAINT messages_pkey PRIMARY KEY (chat_id, message_id, since)
);
CREATE INDEX messages_parent_key ON messages (chat_id, parent_id) WHERE parent_id IS NOT NULL;

-- Events that change a message whose body does not hold them yet. What they say is in the log alone.
CREATE TABLE noted_changes (
    chat_id    uuid    NOT NULL,
    message_id uuid    NOT NULL,
    version    integer NOT NULL,
    weight     integer NOT NULL, -- bytes of all of them since the body
    CONSTRAINT noted_changes_pkey PRIMARY KEY (chat_id, message_id, version)
);
