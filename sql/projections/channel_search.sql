-- The projection `channel_search` (projections/channel_search.py): what searches in channels look through. Made in a schema of its own, and
-- thrown away with it: whenever this file changes, the next start makes it anew and replays the log.
-- Fold 1: to be raised when the same events make other rows.

-- The words of each message that is whole and not deleted; and, as words that no text can hold, its channel, who wrote it and what it has
-- with it: whatever is asked, it is one look into the index.
CREATE TABLE channel_texts (
    channel_id uuid     NOT NULL,
    ordinal    integer  NOT NULL, -- the version of the event that began it
    message_id uuid     NOT NULL,
    position   bigint   NOT NULL, -- of that event: the newest is found first
    words      tsvector NOT NULL,
    CONSTRAINT channel_texts_pkey PRIMARY KEY (channel_id, ordinal)
);

-- For readers:
-- the projection itself needs none of these, so a replay makes them at its end: all at once is several times quicker.
-- What is new waits in a list that every search reads, too: it is kept short.
CREATE INDEX IF NOT EXISTS channel_texts_words_key ON channel_texts USING gin (words) WITH (gin_pending_list_limit = 256);
